//! The keys of a webhook.

use super::handshake::HANDSHAKE;
use super::rights::SET_HEADERS;
use super::top::RATE;
use super::verify::VERIFY;
use super::{Kind, Shape, key};

/// The calls of a third party.
pub(super) static WEBHOOK: Shape = Shape {
    name: "webhook",
    doc: "The calls that a third party makes to `/webhooks/API_KEY`.",
    example: "{ user: NAME, forward_to: http://127.0.0.1:3000/hooks, api_keys: [] }",
    keys: &[
        key("forward_to", Kind::Url, "The receiver.").required().also(&[
            "url",
            "target",
            "upstream",
            "receiver",
            "destination",
        ]),
        key(
            "api_keys",
            Kind::List(&Kind::Map(&API_KEY)),
            "The keys that third parties call with: `attache keys new` creates one.",
        )
        .required()
        .also(&["keys", "api_key", "tokens"]),
    ],
    extends: Some(&WEBHOOK_SETTINGS),
    elsewhere: &[
        ("secret", "the secret of a signature belongs below `verify`"),
        ("scheme", "it belongs below `verify`"),
    ],
};

/// The keys of `defaults.webhook`.
pub(super) static WEBHOOK_SETTINGS: Shape = Shape {
    name: "defaults.webhook",
    doc: "Settings of a webhook.",
    example: "{ timeout: 10s }",
    keys: &[
        key("user", Kind::Reference("users"), "The user as whom its calls are accepted.")
            .also(&["as", "identity"]),
        key(
            "key_in",
            Kind::OneOf(&[Kind::Map(&KEY_IN), Kind::Word(&["path"])]),
            "The place of the key in a call.",
        )
        .default("path"),
        key("methods", Kind::List(&Kind::Method), "The allowed methods.").default("[POST]").also(&["method"]),
        key("max_body", Kind::Size, "The maximum size of a body.")
            .default("1MiB")
            .also(&["max_size", "body_limit"]),
        key(
            "timeout",
            Kind::Duration,
            "Time limit up to the receiver's response headers, and for the client's upload.",
        )
        .default("10s"),
        key(
            "allow_from",
            Kind::OneOf(&[Kind::List(&Kind::Network), Kind::Network]),
            "The addresses and networks that calls may come from. Default: all.",
        )
        .absent("all")
        .also(&["allow", "allowlist", "whitelist", "ip_allowlist"]),
        key(
            "rate_limit",
            Kind::Map(&RATE),
            "The rate of each key. Only deliveries that would be forwarded count. Default: none.",
        )
        .absent("none")
        .also(&["rate", "limit"]),
        key(
            "max_concurrent",
            Kind::Integer(1, 1 << 20),
            "The maximum number of calls that are being forwarded at the same time; tunnels are not counted. \
             Default: none.",
        )
        .absent("none")
        .also(&["max_connections", "concurrency", "max_requests"]),
        SET_HEADERS.absent("none"),
        key("verify", Kind::Map(&VERIFY), "The signature that a call needs in addition to its key.")
            .absent("none")
            .also(&["signature", "hmac"]),
        key(
            "handshake",
            HANDSHAKE,
            "The provider's question before its first delivery, which attache answers. Default: the one of `verify.scheme`.",
        )
        .also(&["challenge", "validation"]),
        key("replay", Kind::Map(&REPLAY), "The treatment of duplicate deliveries.")
            .absent("none")
            .also(&["dedup"]),
        key(
            "refusals",
            Kind::Map(&REFUSALS),
            "Changed answers to refused calls, if a provider requires them.",
        )
        .absent("none"),
    ],
    extends: None,
    elsewhere: &[],
};

static KEY_IN: Shape = Shape {
    name: "key_in",
    doc: "The place of the key, if not in the path. Exactly one of these; the URL \
             is then `/webhooks/SERVICE`.",
    example: "{ header: X-API-Key }",
    keys: &[
        key("header", Kind::Header, "A header; in `Authorization` with or without `Bearer ` before the key."),
        key("query", Kind::Text, "A query parameter.").also(&["param", "parameter"]),
    ],
    extends: None,
    elsewhere: &[],
};

const KEY_HASH: &str =
    "write `sha256: …`, the hash of the key; `attache keys new` prints a new key and its hash";

static API_KEY: Shape = Shape {
    name: "api_key",
    doc: "A key that third parties call with: `attache keys new` prints the lines.",
    example: "{ id: 2026-11, sha256: … }",
    keys: &[
        key("id", Kind::Text, "The name of the key in logs and metrics.").required().also(&["name"]),
        key("sha256", Kind::Sha256, "The SHA-256 of the key.").also(&["hash"]),
        key("value", Kind::Secret, "Instead of `sha256`: the key itself, of at least 22 characters."),
        key("not_before", Kind::Time, "The key is valid from this time, rounded up to the second.")
            .also(&["valid_from"]),
        key("expires_at", Kind::Time, "The key is valid until this time, rounded down to the second.")
            .also(&["expires", "not_after", "valid_until", "expiry"]),
        key("disabled", Kind::Bool, "True refuses the key at any time.").default("false").also(&["revoked"]),
    ],
    extends: None,
    elsewhere: &[("key", KEY_HASH), ("secret", KEY_HASH), ("token", KEY_HASH)],
};

static REPLAY: Shape = Shape {
    name: "replay",
    doc: "The treatment of a delivery that was accepted before: it is not \
             forwarded again.",
    example: "{ window: 10m }",
    keys: &[
        key("window", Kind::Duration, "The time for which a delivery is remembered.").default("10m"),
        key("answer", Kind::Word(&["409", "200"]), "The status of the answer.").default("409"),
        key(
            "distinguish_by",
            Kind::OneOf(&[Kind::List(&Kind::Header), Kind::Header]),
            "The headers that tell events apart, if the provider signs neither their type nor their id.",
        ),
    ],
    extends: None,
    elsewhere: &[],
};

static REFUSALS: Shape = Shape {
    name: "refusals",
    doc: "Changed answers to refused calls.",
    example: "{ statuses: { signature_invalid: 400 } }",
    keys: &[
        key("statuses", Kind::Map(&STATUSES), "Changed statuses, by error code."),
        key("body", Kind::Bool, "False removes the body.").default("true"),
    ],
    extends: None,
    elsewhere: &[],
};

const STATUS: Kind = Kind::Integer(200, 599);

static STATUSES: Shape = Shape {
    name: "refusals.statuses",
    doc: "Statuses from 200 to 299 or 400 to 599, by the error code they stand for.",
    example: "{ signature_invalid: 400 }",
    keys: &[
        key("signature_invalid", STATUS, "The signature is wrong. Default: `401`."),
        key("user_inactive", STATUS, "The user is not active. Default: `403`."),
        key("request_denied", STATUS, "The address is not allowed. Default: `403`."),
        key("rate_limited", STATUS, "The rate limit is exceeded. Default: `429`."),
        key("method_denied", STATUS, "The method is not allowed. Default: `405`."),
        key("request_too_large", STATUS, "The body is too large. Default: `413`."),
    ],
    extends: None,
    elsewhere: &[],
};
