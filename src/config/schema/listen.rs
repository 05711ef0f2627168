//! The keys of the listeners.

use super::{Kind, Shape, key};

/// `listen`.
pub(super) static LISTEN: Shape = Shape {
    name: "listen",
    doc: "The listeners: each an address, `ADDRESS:PORT` or `unix:/path`, or a mapping.",
    example: "{ outbound: 127.0.0.1:8080 }",
    keys: &[
        key("outbound", LISTENER, "The listener for internal programs.").default("127.0.0.1:8080"),
        key("webhooks", LISTENER, "The listener for third parties.").default("127.0.0.1:8081"),
        key(
            "admin",
            Kind::OneOf(&[Kind::Listener, Kind::Map(&ADMIN)]),
            "The listener for metrics, health and status.",
        )
        .default("127.0.0.1:9090"),
    ],
    extends: None,
    elsewhere: &[("tls", TLS), ("ssl", TLS), ("https", TLS)],
};

const TLS: &str =
    "each listener has its own: `outbound: { address: …, tls: { certificate: PATH, key: PATH } }`";

const LISTENER: Kind = Kind::OneOf(&[Kind::Listener, Kind::Map(&WITH_TLS)]);

static WITH_TLS: Shape = Shape {
    name: "listener",
    doc: "A listener with TLS.",
    example: "{ address: 0.0.0.0:8443, tls: { certificate: PATH, key: PATH } }",
    keys: &[
        key("address", Kind::Listener, "The address. A change needs a restart.")
            .required()
            .also(&["addr", "bind"]),
        key("tls", Kind::Map(&LISTEN_TLS), "The certificate of the listener, which then speaks TLS only.")
            .also(&["ssl", "https"]),
    ],
    extends: None,
    elsewhere: &[],
};

static ADMIN: Shape = Shape {
    name: "listener.admin",
    doc: "The admin listener with TLS, or with tokens.",
    example: "{ address: 0.0.0.0:9090, tokens: [{ id: ops, sha256: … }] }",
    keys: &[key(
        "tokens",
        Kind::List(&Kind::Map(&ADMIN_TOKEN)),
        "The tokens of operators. With them, or with `tls.client_ca`, everything but `/livez`, `/readyz`, `/metrics` \
             and the JWKS asks for one.",
    )
    .also(&["token", "api_keys"])],
    extends: Some(&WITH_TLS),
    elsewhere: &[("password", TOKEN_HASH), ("users", TOKEN_HASH)],
};

const TOKEN_HASH: &str =
    "give the hash of a token: `tokens: [{ id: NAME, sha256: … }]`; `printf %s TOKEN | sha256sum` prints it";

static ADMIN_TOKEN: Shape = Shape {
    name: "listener.admin.token",
    doc: "A token of an operator, sent as `Authorization: Bearer TOKEN`, or as the password of `Basic`.",
    example: "{ id: ops, sha256: … }",
    keys: &[
        key("id", Kind::Text, "The name of the token.").required().also(&["name"]),
        key("sha256", Kind::Sha256, "The SHA-256 of the token.").also(&["hash"]),
        key("value", Kind::Secret, "Instead of `sha256`: the token itself, of at least 22 characters."),
        key("not_before", Kind::Time, "The token is valid from this time.").also(&["valid_from"]),
        key("expires_at", Kind::Time, "The token is valid until this time.").also(&[
            "expires",
            "not_after",
            "valid_until",
            "expiry",
        ]),
        key("disabled", Kind::Bool, "True refuses the token at any time.")
            .default("false")
            .also(&["revoked"]),
    ],
    extends: None,
    elsewhere: &[("key", TOKEN_HASH), ("secret", TOKEN_HASH), ("token", TOKEN_HASH)],
};

static LISTEN_TLS: Shape = Shape {
    name: "listener.tls",
    doc: "TLS 1.2 and 1.3 with HTTP/1.1. The files are watched; a change takes effect for new connections.",
    example: "{ certificate: PATH, key: PATH }",
    keys: &[
        key(
            "certificate",
            Kind::Path,
            "The PEM file of the certificate chain, the listener's own certificate first. It is served for every name.",
        )
        .required()
        .also(&["cert", "certificate_file", "chain", "tls_cert"]),
        key(
            "key",
            Kind::Path,
            "The PEM file of its private key: RSA, ECDSA with P-256 or P-384, or Ed25519, without a passphrase.",
        )
        .required()
        .also(&["private_key", "key_file", "tls_key"]),
        key(
            "client_ca",
            Kind::Path,
            "The PEM file of the authorities of client certificates, and of their revocation lists, if any. A client may \
             have none; one of another authority fails the handshake.",
        )
        .also(&["ca", "client_cas", "trusted_ca"]),
    ],
    extends: None,
    elsewhere: &[
        ("min_version", "TLS 1.2 and 1.3 are spoken"),
        ("ciphers", "the cipher suites of rustls are used; none of them is weak"),
    ],
};
