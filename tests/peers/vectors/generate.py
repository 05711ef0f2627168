"""Writes webhooks to tests/vectors, signed by the libraries in Python that their senders publish.

usage: tests/peers/.venv/bin/python tests/peers/vectors/generate.py

generate.mjs beside it does the same with what there is in JavaScript. The files are committed. The clock and the
secrets are fixed: run again, this writes the same bytes.
"""

import base64
import json
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote, quote_plus

import standardwebhooks
import svix.webhooks
from slack_sdk.signature import Clock, SignatureVerifier
from twilio.request_validator import RequestValidator
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

AT = 1767225600
URL = "https://hooks.example.com/webhooks/key-of-the-vectors"
SECRET, NEW_SECRET = "test-secret-of-the-vectors-1", "test-secret-of-the-vectors-2"

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
TEXT = "text/plain; charset=utf-8"

# The same bodies as in generate.mjs: (name, type, text). No library here signs bytes that are not UTF-8: Slack's and
# the verifiers decode what they get, the rest take text only.
SMALL = ("json", JSON, '{"id":"evt_1","object":"event","amount":1.0}')
EMPTY = ("empty", JSON, "")
# What a program that parsed, normalized or re-encoded it would change.
UTF8 = ("utf-8", TEXT, 'Grüße, Zoe\u0308 – 世界 \u2028🐙\r\n\t"\\u00fc" \n\n')
LARGE = ("1-mib", TEXT, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n" * 16384)
BODIES = [SMALL, EMPTY, UTF8, LARGE]


def stored(text):
    content = text.encode()
    unit = content[:64]
    if len(content) > 64 and unit * (len(content) // 64) == content:
        return {"repeat_base64": base64.b64encode(unit).decode(), "times": len(content) // 64}
    return {"base64": base64.b64encode(content).decode()}


def vector(scheme, name, secret, headers, content_type, text, *, method="POST", url=URL):
    headers = [*headers.items()] + ([("content-type", content_type)] if content_type else [])
    return {
        "scheme": scheme,
        "name": name,
        "secrets": [secret],
        "method": method,
        "url": url,
        "headers": headers,
        "body": stored(text),
        "at": AT,
    }


def confirm(holds, what):
    if not holds:
        raise SystemExit(f"the library does not accept {what}")


def write(file, library, package, vectors):
    lines = ",\n".join("    " + json.dumps(vector, separators=(",", ":")) for vector in vectors)
    head = f'"library": {json.dumps(library)},\n  "version": {json.dumps(version(package))}'
    path = Path(__file__).parent.parent.parent / "vectors" / f"{file}.json"
    path.write_text(f'{{\n  {head},\n  "vectors": [\n{lines}\n  ]\n}}\n')


# Slack.


class Fixed(Clock):
    def now(self):
        return AT


def slack():
    verifier = SignatureVerifier(SECRET, clock=Fixed())
    for name, content_type, text in BODIES:
        headers = {
            "x-slack-request-timestamp": str(AT),
            "x-slack-signature": verifier.generate_signature(timestamp=str(AT), body=text),
        }
        confirm(verifier.is_valid_request(text.encode(), headers), f"slack {name}")
        yield vector("slack", name, SECRET, headers, content_type, text)


# Standard Webhooks, and Svix, which has its own names for the headers.


class Frozen(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(AT, tz)


def standard(scheme, signer, prefix, **options):
    message = "msg_of-the-vectors_1"
    old, new = ("whsec_" + base64.b64encode(secret.encode()).decode() for secret in (SECRET, NEW_SECRET))

    def sign(secret, text):
        return signer(secret).sign(message, datetime.fromtimestamp(AT, tz=timezone.utc), text)

    def entry(name, signature, secret, content_type, text):
        headers = {
            f"{prefix}-id": message,
            f"{prefix}-timestamp": str(AT),
            f"{prefix}-signature": signature,
        }
        with patch("standardwebhooks.webhooks.datetime", Frozen):
            # Raises if it doesn't hold.
            signer(secret).verify(text.encode(), headers, **options)
        return vector(scheme, name, secret, headers, content_type, text)

    for name, content_type, text in BODIES:
        yield entry(name, sign(old, text), old, content_type, text)
    _, content_type, text = SMALL
    both = f"{sign(old, text)} {sign(new, text)}"
    yield entry("two-signatures-old-secret", both, old, content_type, text)
    yield entry("two-signatures-new-secret", both, new, content_type, text)


# Twilio.


class Received(Request):
    """Twilio's library leaves the parsing of a form to the framework; this one is Flask's."""

    max_form_memory_size = None


def parameters(content_type, text):
    if content_type != FORM:
        return text
    builder = EnvironBuilder(method="POST", data=text.encode(), content_type=content_type)
    return Received(builder.get_environ()).form


def twilio():
    validator = RequestValidator(SECRET)

    def entry(name, content_type, text, *, method="POST", url=URL, signed_url=None):
        given = parameters(content_type, text) if content_type else {}
        # Of a body that is no form, the URL has the digest, and only the URL is signed.
        signed = {} if isinstance(given, str) else given
        signature = validator.compute_signature(signed_url or url, signed)
        confirm(validator.validate(url, given, signature), f"twilio {name}")
        headers = {"x-twilio-signature": signature}
        return vector("twilio", name, SECRET, headers, content_type, text, method=method, url=url)

    message = "ToCountry=US&SmsStatus=received&Body=Hi&From=%2B15005550006&To=%2B15005550009&NumMedia=0&AccountSid=AC"
    yield entry("form", FORM, message)
    yield entry("form-empty", FORM, "")
    # The order is that of the code points: all capitals are first.
    yield entry("form-order", FORM, "b=1&B=2&a=3&AB=4&A=5&_=6&a1=7&a-=8")
    # The values are a sorted set: the signature shows neither the two "b" nor that "c" is first.
    yield entry("form-repeated", FORM, "Tag=c&Other=1&Tag=b&Tag=a&Tag=b&tag=d")
    escaped = {
        "name with space": "a+b c",
        "100%": "50% & =?#/\\\"'~*",
        "größe": "世界 🐙 Zoe\u0308",
        "[x]": "\r\n\t",
    }
    encode = {"form-percent": quote, "form-plus": quote_plus}
    for name, encoded in encode.items():
        text = "&".join(f"{encoded(key, safe='')}={encoded(value, safe='')}" for key, value in escaped.items())
        yield entry(name, FORM, text)
    yield entry("form-lower-case-escapes", FORM, "Body=gr%c3%bc%c3%9fe&From=%2b15005550006")
    yield entry("form-empty-value", FORM, "Body=&From=%2B15005550006&MediaUrl0=")
    yield entry("form-no-equals-sign", FORM, "Body&From=%2B15005550006&&Last=1&")
    yield entry("form-1-mib", FORM, "Parameter-of-64-bytes=%2B0123456789abcdefghijklmnopqrstuvwxyz-~&" * 16384)

    # Escapes in the URL are signed as they stand.
    query = "?b=2&a=1&b=1&text=%20a+b%2f%C3%BC~%7E&empty=&flag"
    yield entry("form-and-query", FORM, message, url=URL + query)
    yield entry("get", None, "", method="GET")
    yield entry("get-query", None, "", method="GET", url=URL + query)
    yield entry("rest-of-path", FORM, message, url=f"{URL}/status/a%2Fb//c;v=1/")

    # What Twilio signs may have the port or not: the library takes both.
    with_port = URL.replace(".com/", ".com:{}/")
    for name, url, signed_url in [
        ("port-443-signed", URL, with_port.format(443)),
        ("port-443-in-url", with_port.format(443), URL),
        ("port-443-in-both", with_port.format(443), with_port.format(443)),
        ("port-8443-in-url", with_port.format(8443), URL),
        ("port-8443-in-both", with_port.format(8443), with_port.format(8443)),
        ("port-80-signed", URL.replace("https", "http"), with_port.format(80).replace("https", "http")),
    ]:
        yield entry(name, FORM, message, url=url, signed_url=signed_url)
    yield entry("port-443-signed-query", FORM, message, url=URL + query, signed_url=with_port.format(443) + query)

    for name, content_type, text in BODIES:
        digest = f"bodySHA256={validator.compute_hash(text)}"
        yield entry(f"body-{name}", content_type, text, url=f"{URL}?{digest}")
    _, content_type, text = SMALL
    digest = f"bodySHA256={validator.compute_hash(text)}"
    yield entry("body-and-query", content_type, text, url=f"{URL}{query}&{digest}&last=1")
    yield entry(
        "body-port-443-signed",
        content_type,
        text,
        url=f"{URL}?{digest}",
        signed_url=f"{with_port.format(443)}?{digest}",
    )


write("slack_sdk", "slack_sdk", "slack_sdk", slack())
write("twilio", "twilio", "twilio", twilio())
write(
    "standardwebhooks-pypi",
    "standardwebhooks (PyPI)",
    "standardwebhooks",
    standard("standard_webhooks", standardwebhooks.Webhook, "webhook", json_parse=False),
)
write("svix-pypi", "svix (PyPI)", "svix", standard("svix", svix.webhooks.Webhook, "svix"))
