"""Resident memory of attache under webhook bodies that are not finished or not genuine.

usage: python3 benches/webhook_memory.py target/release/attache

Starts it with two webhooks that verify. Each of the four cases has a process of its own. The last one prints the status
of genuine deliveries from another address, by their size in KiB.
"""

import base64, hashlib, hmac, re, socket, subprocess, sys, tempfile, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY, SECRET = "k" * 43, "a secret of the bench"


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def start(binary, receiver):
    digest = lambda key: hashlib.sha256(key.encode()).hexdigest()
    hook = lambda name, scheme: f"""
  {name}:
    webhook:
      user: bot
      forward_to: http://127.0.0.1:{receiver}/
      timeout: 60s
      api_keys: [ {{ id: one, sha256: {digest(KEY + name)} }} ]
      verify: {{ scheme: {scheme}, secret: {SECRET} }}"""
    text = f"""
listen: {{ outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }}
public_url: https://hooks.example
log: {{ access: "off" }}
users: {{ bot: {{}} }}
services:{hook("github", "github")}{hook("twilio", "twilio")}
"""
    folder = tempfile.mkdtemp()
    with open(f"{folder}/attache.yaml", "w") as file:
        file.write(text)
    err = open(f"{folder}/stderr", "w+")
    process = subprocess.Popen([binary, "run", "-c", f"{folder}/attache.yaml"], stderr=err, stdout=err)
    for _ in range(100):
        time.sleep(0.05)
        found = re.search(r"listener=webhooks address=(127\.0\.0\.1:\d+)", open(f"{folder}/stderr").read())
        if found:
            host, port = found.group(1).split(":")
            return process, (host, int(port))
    raise SystemExit(open(f"{folder}/stderr").read())


def memory(process, field="VmRSS"):
    status = open(f"/proc/{process.pid}/status").read()
    return int(re.search(field + r":\s+(\d+)", status).group(1)) / 1024


def request(hook, length, headers=""):
    return (f"POST /webhooks/{KEY}{hook} HTTP/1.1\r\nHost: hooks.example\r\n{headers}"
            f"Content-Length: {length}\r\n\r\n").encode()


def send(address, data, source="127.0.0.1"):
    connection = socket.create_connection(address, source_address=(source, 0))
    connection.sendall(data)
    return connection


def status(connection):
    connection.settimeout(60)
    return connection.recv(65536).split(b"\r\n")[0].decode()[9:12]


def genuine(address, size, source):
    body = b"x" * size
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = request("github", size, f"X-Hub-Signature-256: sha256={signature}\r\n")
    return status(send(address, head + body, source))


def form():
    body = b"&".join(b"%d" % n for n in range(200_000))[: 1 << 20]
    headers = ("Content-Type: application/x-www-form-urlencoded\r\n"
               f"X-Twilio-Signature: {base64.b64encode(bytes(20)).decode()}\r\n")
    return request("twilio", len(body), headers) + body


def stalled(address, count, received):
    head = request("github", 1 << 20, f"X-Hub-Signature-256: sha256={'0' * 64}\r\n")
    held = [send(address, head) for _ in range(count)]
    for connection in held:
        connection.sendall(b"x" * received)
    return held


def case(binary, receiver, name, run):
    process, address = start(binary, receiver)
    try:
        genuine(address, 1000, "127.0.0.2")
        before, began = memory(process), time.time()
        note = run(process, address)
        took = time.time() - began
        print(f"{name}: RSS {before:.0f} -> {memory(process):.0f} MiB, peak {memory(process, 'VmHWM'):.0f}; {took:.2f} s; {note}")
    finally:
        process.terminate()
        process.wait()


def one_byte(process, address):
    held = stalled(address, 1000, 1)
    time.sleep(1.5)
    return f"{len(held)} connections, +{memory(process):.0f}"


def forms(count):
    def run(process, address):
        data, results = form(), []
        threads = [threading.Thread(target=lambda: results.append(status(send(address, data)))) for _ in range(count)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return f"answers {sorted(set(results))}"
    return run


def one_address(process, address):
    held = stalled(address, 1300, 50 << 10)
    time.sleep(1.5)
    answers = {size >> 10: genuine(address, size, "127.0.0.2") for size in (1 << 10, 32 << 10, 100 << 10, 1 << 20)}
    return f"{len(held)} connections; a genuine delivery of KiB: {answers}"


def main(binary):
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    port = receiver.server_port
    case(binary, port, "1,000 connections of one byte", one_byte)
    case(binary, port, "one form of 1 MiB", forms(1))
    case(binary, port, "sixteen forms of 1 MiB", forms(16))
    case(binary, port, "1,300 stalled bodies of 50 KiB", one_address)


main(sys.argv[1])
