"""Serves a Flask application as the tests expect it of a peer: on a free port, until standard input ends."""

import os
import sys
import threading

from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    """Says nothing of requests: their lines would come between those the test reads."""

    def log(self, *_):
        pass


def say(line):
    print(line, flush=True)


def bound(app):
    """The server of an application that still has to learn its own address: (server, URL)."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    return server, f"http://127.0.0.1:{server.server_port}"


def serve(server):
    def end():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    say(f"ready {server.server_port}")
    server.serve_forever()
