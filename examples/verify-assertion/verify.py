"""A program behind attache that believes the assertion and nothing else: python verify.py PORT (see README.md)."""

import hashlib, json, os, re, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

FORWARD_PATH = os.environ.get("ATTACHE_FORWARD_PATH", "").rstrip("/")
REQUIRE_BODY = os.environ.get("ATTACHE_REQUIRE_BODY") == "1"
MAX_BODY, MAX_SEEN, LEEWAY = 10 * 1024 * 1024, 100_000, 5
# A key that is withdrawn is trusted for `lifespan` yet. One we don't know makes us ask anew, at most once a second.
KEYS = jwt.PyJWKClient(os.environ["ATTACHE_JWKS"], lifespan=300, timeout=5, cooldown_duration=1)
RULES = dict(issuer=os.environ["ATTACHE_ISSUER"], audience=os.environ["ATTACHE_AUDIENCE"], leeway=LEEWAY,
             algorithms=["EdDSA", "ES256"], options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]})
seen, seen_lock = {}, threading.Lock()


class Refused(Exception):
    pass


def require(holds, otherwise):
    if not holds:
        raise Refused(otherwise)


def verify(call, body):
    assertions = call.headers.get_all("X-Attache-Assertion", [])
    require(len(assertions) == 1, f"{len(assertions)} assertions instead of one")
    claims = jwt.decode(assertions[0], KEYS.get_signing_key_from_jwt(assertions[0]), **RULES)
    require(claims.get("method") == call.command, "another method")
    path, _, query = call.path.encode("latin-1").partition(b"?")
    # The claim is `/webhooks/{key}` and a rest; our path is that of `forward_to` and the same rest. To see whether it
    # *ends* with the rest would not do: the rest may be empty, and every path ends with that.
    rest = re.fullmatch("/webhooks/[^/]+(.*)", str(claims.get("path")), re.DOTALL)
    require(rest and path == (FORWARD_PATH + rest[1] or "/").encode(), "another path")
    require(claims.get("query_sha256") == (hashlib.sha256(query).hexdigest() if query else None), "another query")
    # A body that attache passed on unread has no claim: then the assertion says who called, not what the body is.
    require(claims.get("body_sha256") or not REQUIRE_BODY, "nothing vouches for the body")
    require(claims.get("body_sha256") in (None, hashlib.sha256(body).hexdigest()), "another body")
    with seen_lock:
        while seen and next(iter(seen.values())) < time.time():  # the oldest come first
            del seen[next(iter(seen))]
        require(claims["jti"] not in seen, "used before")
        require(len(seen) < MAX_SEEN, "too many calls to remember")
        seen[claims["jti"]] = claims["exp"] + 2 * LEEWAY  # surely longer than it is accepted
    return {"user": claims["sub"], **{name: claims.get(name) for name in ("service", "key_id", "delivery_id")}}


class Handler(BaseHTTPRequestHandler):
    protocol_version, timeout = "HTTP/1.1", 30

    def read(self, size, before=0):
        part = self.rfile.read(size) if 0 <= size <= MAX_BODY - before else b""
        require(len(part) == size, "the body is too large, or cut short")
        return part

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.read(int(self.headers.get("Content-Length", 0)))
        body, size = bytearray(), None
        while size != 0:  # http.server leaves chunks to us
            size = int(self.rfile.readline(80).split(b";")[0], 16)
            body += self.read(size, len(body))
            self.rfile.readline(80)
        return body

    def answer(self):
        try:
            status, said = 200, json.dumps(verify(self, self.read_body()))
        except Exception as error:  # whatever went wrong, nobody is let in; a library's own words may quote the token
            status, said = 401, str(error) if isinstance(error, Refused) else type(error).__name__
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status == 200 else "text/plain")
        self.send_header("Content-Length", str(len(said)))
        self.send_header("Connection", "close")  # what is left of a body we didn't read is not the next call
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else said.encode())

    def log_message(self, *_):
        """Nothing: it would show the query."""

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer


ThreadingHTTPServer.request_queue_size = 128  # five, the default, is less than a burst of calls
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
