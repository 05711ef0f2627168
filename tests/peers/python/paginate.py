"""Follows redirects and next pages through attache with the two HTTP clients most Python programs use.

usage: paginate.py [--proxy URL] URL...

Each client follows redirects, and then `Link: rel="next"` as its library parses it, until there is none. Prints one JSON
line a client and URL: client, status, urls (the URL of each page after redirects), bodies, or error.
"""

import argparse
import json
from urllib.parse import urljoin

import httpx
import requests

LIMIT = 20


def follow(get, url):
    urls, bodies, status = [], [], None
    while url is not None and len(urls) < LIMIT:
        answer = get(url)
        status = answer.status_code
        urls.append(str(answer.url))
        bodies.append(answer.text)
        link = answer.links.get("next", {}).get("url")
        url = urljoin(str(answer.url), link) if link is not None else None
    return {"status": status, "urls": urls, "bodies": bodies}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--proxy")
    parser.add_argument("urls", nargs="+")
    args = parser.parse_args()

    with requests.Session() as session, httpx.Client(
        trust_env=False, follow_redirects=True, proxy=args.proxy, timeout=30
    ) as client:
        session.trust_env = False
        if args.proxy:
            session.proxies = {"http": args.proxy}
        for url in args.urls:
            for name, get in (
                ("requests", lambda url: session.get(url, timeout=30)),
                ("httpx", client.get),
            ):
                try:
                    result = follow(get, url)
                except (requests.RequestException, httpx.HTTPError, httpx.InvalidURL) as error:
                    result = {"error": f"{type(error).__name__}: {error}"}
                print(json.dumps({"client": name, **result}), flush=True)


if __name__ == "__main__":
    main()
