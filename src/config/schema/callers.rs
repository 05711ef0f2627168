//! The keys of callers.

use super::top::RATE;
use super::{Kind, Shape, key};

/// An internal program with rights of its own.
pub(super) static CALLER: Shape = Shape {
    name: "caller",
    doc: "An internal program with a name and rights of its own on `listen.outbound`. \
             Any one of `tokens`, `jwt` and `certificate` proves it.",
    example: "{ tokens: [{ id: 2026-11, sha256: … }], services: [NAME] }",
    keys: &[
        key(
            "tokens",
            Kind::List(&Kind::Map(&TOKEN)),
            "The tokens that prove the caller: `attache keys new --caller NAME` creates one.",
        )
        .also(&["token", "keys", "api_keys"]),
        key("jwt", Kind::Map(&CALLER_JWT), "The JWT that proves the caller."),
        key(
            "certificate",
            Kind::Map(&CERTIFICATE),
            "The client certificate that proves the caller. It needs \
             `listen.outbound.tls.client_ca`.",
        )
        .also(&["cert", "mtls"]),
        key(
            "services",
            Kind::OneOf(&[
                Kind::Names(&Kind::OneOf(&[Kind::Map(&GRANT), Kind::Null])),
                Kind::List(&Kind::Reference("services")),
                Kind::Word(&["*"]),
            ]),
            "The services that the caller may use: a list, `\"*\"` for all, or a mapping from \
             names to rights.",
        )
        .required()
        .also(&["allow", "rights", "permissions"]),
        key("rate_limit", Kind::Map(&RATE), "The rate of the caller's requests. Default: none.")
            .also(&["rate", "limit"]),
        key(
            "max_concurrent",
            Kind::Integer(1, 1 << 20),
            "The maximum number of the caller's requests at a time; tunnels are not counted. Default: none.",
        ),
    ],
    extends: None,
    elsewhere: &[
        ("methods", "the rights on a service belong below it: `services: { NAME: { methods: [GET] } }`"),
        ("paths", "the rights on a service belong below it: `services: { NAME: { paths: [/x*] } }`"),
        ("account", "it belongs below a service: `services: { NAME: { account: NAME } }`"),
    ],
};

const TOKEN_HASH: &str = "give the token's hash as `sha256`: `attache keys new --caller NAME` prints both";

static TOKEN: Shape = Shape {
    name: "token",
    doc: "A token of a caller: `attache keys new --caller NAME` prints the lines.",
    example: "{ id: 2026-11, sha256: … }",
    keys: &[
        key("id", Kind::Text, "The name of the token in logs and metrics.").required().also(&["name"]),
        key("sha256", Kind::Sha256, "The SHA-256 of the token.").also(&["hash"]),
        key("value", Kind::Secret, "Instead of `sha256`: the token itself, of at least 22 characters."),
        key("not_before", Kind::Time, "The token is valid from this time, rounded up to the second.")
            .also(&["valid_from"]),
        key("expires_at", Kind::Time, "The token is valid until this time, rounded down to the second.")
            .also(&["expires", "not_after", "valid_until", "expiry"]),
        key("disabled", Kind::Bool, "True refuses the token at any time.")
            .default("false")
            .also(&["revoked"]),
    ],
    extends: None,
    elsewhere: &[("key", TOKEN_HASH), ("secret", TOKEN_HASH), ("token", TOKEN_HASH)],
};

static CALLER_JWT: Shape = Shape {
    name: "caller.jwt",
    doc: "A JWT that proves a caller.",
    example: "{ issuer: NAME, subject: \"system:serviceaccount:billing:default\" }",
    keys: &[
        key("issuer", Kind::Reference("issuers"), "The name of the issuer.").required().also(&["iss"]),
        key("subject", Kind::Text, "The claim `sub`, compared exactly.").required().also(&["sub"]),
    ],
    extends: None,
    elsewhere: &[
        ("audience", "it belongs to the issuer"),
        ("aud", "it belongs to the issuer, as `audience`"),
    ],
};

static CERTIFICATE: Shape = Shape {
    name: "caller.certificate",
    doc: "A client certificate that proves a caller.",
    example: "{ san: \"spiffe://corp/billing\" }",
    keys: &[key(
        "san",
        Kind::Text,
        "A subject alternative name of the certificate, compared exactly: a URI, a DNS name or an e-mail \
             address.",
    )
    .required()
    .also(&["uri", "dns", "name"])],
    extends: None,
    elsewhere: &[(
        "subject",
        "a certificate is known by its subject alternative name: `san: \"spiffe://corp/billing\"`",
    )],
};

static GRANT: Shape = Shape {
    name: "caller.service",
    doc: "The rights of a caller on one service.",
    example: "{ methods: [GET], paths: [/contacts*] }",
    keys: &[
        key("methods", Kind::List(&Kind::Method), "The allowed methods. Default: all.").also(&["method"]),
        key(
            "paths",
            Kind::List(&Kind::Text),
            "The allowed paths below the service; `*` at the end matches any rest. Default: all.",
        )
        .also(&["path"]),
        key(
            "account",
            Kind::Reference("accounts"),
            "The account that opens the service for this caller. Default: the service's own.",
        ),
    ],
    extends: None,
    elsewhere: &[],
};
