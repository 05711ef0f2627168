"""Sends through attache with the two HTTP clients most Python programs use.

usage: client.py [--method M] [--header NAME:VALUE]... [--body TEXT | --upload BYTES] URL...

Prints one JSON line an exchange: client, url, status, headers, body (or how it failed). An upload is sent by a
generator, so it is chunked. Nothing is taken from the environment, a proxy least of all.
"""

import argparse
import json
import sys

import httpx
import requests


def chunks(size):
    while size > 0:
        yield b"x" * min(size, 65536)
        size -= 65536


def with_requests(args, url, body):
    with requests.Session() as session:
        session.trust_env = False
        return session.request(args.method, url, data=body, headers=args.headers, timeout=30)


def with_httpx(args, url, body):
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.request(args.method, url, content=body, headers=args.headers)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", default="GET")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--body")
    parser.add_argument("--upload", type=int)
    parser.add_argument("urls", nargs="+")
    args = parser.parse_args()
    args.headers = {name: value.strip() for name, value in (h.split(":", 1) for h in args.header)}

    failed = False
    for url in args.urls:
        for name, send in (("requests", with_requests), ("httpx", with_httpx)):
            body = args.body.encode() if args.body is not None else None
            if args.upload is not None:
                body = chunks(args.upload)
            try:
                answer = send(args, url, body)
                result = {
                    "status": answer.status_code,
                    "headers": {k.lower(): v for k, v in answer.headers.items()},
                    "body": answer.text,
                }
            except (requests.RequestException, httpx.HTTPError) as error:
                failed = True
                result = {"error": type(error).__name__}
            print(json.dumps({"client": name, "url": url, **result}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
