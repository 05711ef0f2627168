"""A webhook as its sender would send it now, signed by the sender's own library. ../deliver.mjs has other senders.

usage: deliver.py slack | twilio | svix | standard_webhooks URL [BODY]

environment:
  PEER_SECRET      what the sender and the receiver share; needed
  PEER_AGE         sign as if that many seconds ago; below zero: in the future. Not for twilio, which signs no time.
  PEER_TAMPER      body | signature: change one byte of it after signing
  PEER_PUBLIC_URL  twilio only: the URL that is signed, if it is not the one that is sent to

Prints one JSON line: the status, the body, and the signature that was sent. The URL is sent as it stands.
"""

import json
import os
import re
import sys
import time
import uuid
from datetime import datetime, timezone
from http.client import HTTPConnection
from urllib.parse import urlsplit

import standardwebhooks
import svix.webhooks
from slack_sdk.signature import SignatureVerifier
from twilio.request_validator import RequestValidator
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

FORM = "application/x-www-form-urlencoded"


def slack(secret, body, timestamp, _url):
    return {
        "content-type": "application/json",
        "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        "x-slack-request-timestamp": str(timestamp),
        "x-slack-signature": SignatureVerifier(secret).generate_signature(timestamp=str(timestamp), body=body),
    }


def twilio(secret, body, _timestamp, url):
    # The library leaves the parsing of a form to the framework; this one is Flask's.
    form = Request(EnvironBuilder(method="POST", data=body.encode(), content_type=FORM).get_environ()).form
    return {
        "content-type": FORM,
        "user-agent": "TwilioProxy/1.1",
        "x-twilio-signature": RequestValidator(secret).compute_signature(url, form),
    }


def standard(signer, prefix):
    def headers(secret, body, timestamp, _url):
        message = f"msg_{uuid.uuid4()}"
        signature = signer(secret).sign(message, datetime.fromtimestamp(timestamp, tz=timezone.utc), body)
        return {
            "content-type": "application/json",
            f"{prefix}-id": message,
            f"{prefix}-timestamp": str(timestamp),
            f"{prefix}-signature": signature,
        }

    return headers


# The headers, which of them is the signature, and the body if none is given.
EVENT = '{"type":"invoice.paid","timestamp":"2026-01-01T00:00:00Z","data":{"id":"1"}}'
SENDERS = {
    "slack": (slack, "x-slack-signature", '{"type":"event_callback","event":{"type":"app_mention","text":"hi"}}'),
    "twilio": (twilio, "x-twilio-signature", "From=%2B15005550006&To=%2B15005550009&Body=Hello+%26+gr%C3%BC%C3%9Fe"),
    "svix": (standard(svix.webhooks.Webhook, "svix"), "svix-signature", EVENT),
    "standard_webhooks": (standard(standardwebhooks.Webhook, "webhook"), "webhook-signature", EVENT),
}


def fail(why):
    print(f"deliver.py: {why}", file=sys.stderr)
    raise SystemExit(2)


def post(url, headers, body):
    parts = urlsplit(url)
    if parts.scheme != "http":
        fail("only http: URLs are sent to")
    connection = HTTPConnection(parts.hostname, parts.port, timeout=30)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("POST", target, body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def main():
    scheme, url, given = (sys.argv[1:] + [None] * 3)[:3]
    secret, age, tamper = (os.environ.get(name) for name in ("PEER_SECRET", "PEER_AGE", "PEER_TAMPER"))
    if scheme not in SENDERS or not url:
        fail(f"usage: {' | '.join(SENDERS)} URL [BODY]")
    if not secret:
        fail("PEER_SECRET is not set")
    if (tamper or "") not in ("", "body", "signature"):
        fail("PEER_TAMPER is body or signature")
    if age is not None and not re.fullmatch(r"-?\d+", age):
        fail("PEER_AGE is a whole number of seconds")
    if age is not None and scheme == "twilio":
        fail("twilio signs no time, so PEER_AGE means nothing")

    sign, signature, body = SENDERS[scheme]
    body = body if given is None else given
    signed_url = os.environ.get("PEER_PUBLIC_URL") or url
    headers = sign(secret, body, int(time.time()) - int(age or 0), signed_url)
    body = bytearray(body.encode())
    if tamper == "body":
        if not body:
            fail("an empty body has no byte to change")
        body[-1] ^= 1
    if tamper == "signature":
        # Far enough from the end to be a whole digit of the HMAC, in hex as in base64.
        digits = list(headers[signature])
        digits[-20] = "1" if digits[-20] == "0" else "0"
        headers[signature] = "".join(digits)
    status, text = post(url, headers, bytes(body))
    print(json.dumps({"status": status, "body": text, "signature": headers[signature]}))


if __name__ == "__main__":
    main()
