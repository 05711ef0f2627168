//! The keys of a webhook's signature.

use super::handshake::BROUGHT;
use super::{Kind, Shape, key};
use crate::signature::Scheme;

pub(super) static VERIFY: Shape = Shape {
    name: "verify",
    doc: "The required signature of a call.",
    example: "{ scheme: github, secret: { env: NAME } }",
    keys: &[
        key(
            "scheme",
            Kind::Word(Scheme::NAMES),
            "The provider's scheme, or `custom` with the keys below from `header` on (`hmac` is another name for it).",
        )
        .required()
        .also(&["type", "provider"]),
        key(
            "secret",
            Kind::OneOf(&[Kind::Map(&BROUGHT), Kind::Secret, Kind::List(&Kind::Secret)]),
            "The signing secret, or several.",
        )
        .also(&["key", "signing_secret"]),
        key("secrets", Kind::OneOf(&[Kind::Secret, Kind::List(&Kind::Secret)]), "Another name for `secret`."),
        key(
            "public_key",
            Kind::OneOf(&[Kind::SecretText, Kind::List(&Kind::SecretText)]),
            "The provider's public key, or several, where a public key verifies: PEM (a key or a certificate), \
             base64 of DER, or the key's bytes.",
        ),
        key(
            "topics",
            Kind::OneOf(&[Kind::Text, Kind::List(&Kind::Text)]),
            "The ARNs of the topics whose messages are let in.",
        )
        .with("scheme", "sns"),
        key(
            "issuer",
            Kind::Reference("issuers"),
            "The issuer of the token that a call shows, where the algorithm is `jwt`.",
        ),
        key(
            "claims",
            Kind::Names(&Kind::OpenJson),
            "The claims that this token must have, with their values, beside those that attache checks by itself: `iss`, `aud`, \
             and the times.",
        ),
        key(
            "tolerance",
            Kind::Duration,
            "The maximum difference between a signed time and now, in both directions. Default: `5m`; Box and Twitch \
             `10m`, SNS `1h10m`.",
        ),
        key("verify_token", Kind::Secret, "The token that Meta sends in its handshake: `handshake.meta.verify_token`.")
            .with("scheme", "meta"),
        key("webhook_id", Kind::Text, "The id of the webhook, which PayPal signs.").with("scheme", "paypal"),
        key(
            "header",
            Kind::OneOf(&[Kind::Header, Kind::List(&Kind::Header)]),
            "The header that holds the signature, or several of which one is enough.",
        ),
        key("signature_member", Kind::Text, "Instead of `header`: the JSON Pointer of the body's member that holds it."),
        key("prefix", Kind::Text, "Text before the signature."),
        key("pairs", Kind::Map(&PAIRS), "The header holds pairs like `t=TIME,v1=SIGNATURE`."),
        key("encoding", Kind::Word(&["hex", "base64", "base64url"]), "The signature's encoding. Default: `hex`."),
        key("timestamp_header", Kind::Header, "The header that holds the signed time."),
        key("timestamp_member", Kind::Text, "The JSON Pointer of the body's member that holds it."),
        key("time_format", Kind::Word(&["seconds", "milliseconds", "rfc3339"]), "The format of the signed time. Default: `seconds`."),
        key("id_header", Kind::Header, "The header that holds the signed id."),
        key("id_member", Kind::Text, "The JSON Pointer of the body's member that holds it."),
        key("require", Kind::Names(&Kind::Text), "Headers that must have this value, such as a version."),
        key("secret_encoding", Kind::Word(&["raw", "hex", "base64", "whsec_"]), "The secret's encoding. Default: `raw`."),
        key(
            "signed",
            Kind::Text,
            "The signed text, made of `{body}`, `{timestamp}`, `{id}`, `{method}`, `{target}`, `{url}`, \
             `{header:NAME}`, `{headers:NAME}`, `{body:/MEMBER}`, `{body:sha256}` and `{body:crc32}`. \
             Default: `{body}`.",
        ),
        key("partial_body", Kind::Bool, "True accepts that parts of the body are not signed."),
        key(
            "algorithm",
            Kind::Word(&[
                "sha256",
                "sha512",
                "sha384",
                "sha1",
                "ed25519",
                "ecdsa_p256",
                "ecdsa_p256_raw",
                "rsa_sha256",
                "rsa_pss_sha256",
                "token",
                "jwt",
            ]),
            "The hash of an HMAC; the algorithm of a public key; `token`, if the call holds the secret itself; or \
             `jwt`, if it holds a token of an issuer. Default: `sha256`.",
        ),
    ],
    extends: None,
    elsewhere: &[],
};

static PAIRS: Shape = Shape {
    name: "pairs",
    doc: "Pairs in the header of the signature. Other keys than these are ignored.",
    example: "{ time: t, version: v1 }",
    keys: &[
        key("separator", Kind::Text, "The character between two pairs.").default("\",\""),
        key("time", Kind::Text, "The key of the signed time, if it is among them."),
        key(
            "version",
            Kind::OneOf(&[Kind::Text, Kind::List(&Kind::Text)]),
            "The key of a signature, such as `v1`, or several.",
        )
        .required(),
    ],
    extends: None,
    elsewhere: &[],
};
