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
    doc: "The admin listener with TLS.",
    example: "{ address: 0.0.0.0:9090, tls: { certificate: PATH, key: PATH } }",
    keys: &[],
    extends: Some(&WITH_TLS),
    elsewhere: &[],
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
