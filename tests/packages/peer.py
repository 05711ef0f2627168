"""A name server, a token endpoint and a service, for a root in which there is nothing but attache.

Every name is 127.0.0.1. `/token` answers with an access token, any other path with the Authorization field that came.
usage: peer.py, in a network namespace of its own; prints `ready`
"""

import http.server
import json
import socket
import struct
import threading


def answer(query: bytes) -> bytes:
    """An A record for an A question, nothing for another one."""
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    is_address = question[-4:-2] == b"\0\1"
    head = query[:2] + struct.pack("!5H", 0x8180, 1, 1 if is_address else 0, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
    return head + question + (record if is_address else b"")


def serve_names(server: socket.socket) -> None:
    while True:
        query, client = server.recvfrom(4096)
        server.sendto(answer(query), client)


class Handler(http.server.BaseHTTPRequestHandler):
    def respond(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/token":
            body = json.dumps({"access_token": "of-the-endpoint", "token_type": "Bearer", "expires_in": 600})
        else:
            body = self.headers.get("Authorization", "none")
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if self.path == "/token" else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = respond

    def log_message(self, *_arguments: object) -> None:
        pass


names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))
threading.Thread(target=serve_names, args=(names,), daemon=True).start()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 3000), Handler)
print("ready", flush=True)
server.serve_forever()
