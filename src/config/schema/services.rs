//! The keys of a service.

use super::accounts::ACCOUNT;
use super::forward_proxy::OWN_PROXY;
use super::retries::RETRIES;
use super::rights::{ALLOW, MAX_BODY, MAX_CONCURRENT, RATE_LIMIT, REMOVE_HEADERS, SET_HEADERS};
use super::webhooks::WEBHOOK;
use super::{Kind, Shape, key};

const CREDENTIAL: &str = "a credential belongs to an account: `account: { authorization: { bearer: { \
             env: NAME } } }`";

/// A connected service.
pub(super) static SERVICE: Shape = Shape {
    name: "service",
    doc: "A connected service: requests to `/NAME/…` go to its `server_url`, and its \
             webhook receives its calls. It has a `server_url`, a `webhook`, or both.",
    example: "{ account: NAME, server_url: https://api.example.com/v3 }",
    keys: &[
        key("name", Kind::Text, "A display name.").also(&["title", "description"]),
        key(
            "account",
            Kind::OneOf(&[Kind::Reference("accounts"), Kind::Map(&ACCOUNT)]),
            "The name of an account, or an account written in place. Needed with a \
             `server_url`.",
        ),
        key("server_url", Kind::Url, "The URL of the service. No request leaves its path.").also(&[
            "url",
            "base_url",
            "upstream",
            "target",
            "host",
            "endpoint",
            "proxy_pass",
            "backend",
        ]),
        key(
            "hosts",
            Kind::List(&Kind::Text),
            "Names by which a request's `Host` reaches the service as well: the whole path is then below its \
             `server_url`. Each name belongs to one service.",
        )
        .also(&["server_names", "domains", "hostnames", "virtual_hosts"]),
        key("webhook", Kind::Map(&WEBHOOK), "The calls that it sends to a receiver.").also(&["webhooks"]),
    ],
    extends: Some(&SERVICE_SETTINGS),
    elsewhere: &[
        ("authorization", CREDENTIAL),
        ("auth", CREDENTIAL),
        ("token", CREDENTIAL),
        ("bearer", CREDENTIAL),
        ("secret", CREDENTIAL),
        ("key", CREDENTIAL),
        ("api_key", CREDENTIAL),
        ("api_keys", "the keys of a webhook belong below `webhook`"),
        ("headers", CREDENTIAL),
        ("header", CREDENTIAL),
        ("oauth2", CREDENTIAL),
        ("credentials", CREDENTIAL),
        ("forward_to", "it belongs below `webhook`"),
        ("user", "it belongs below `webhook`"),
        ("verify", "it belongs below `webhook`"),
    ],
};

/// The keys of `defaults.service`.
pub(super) static SERVICE_SETTINGS: Shape = Shape {
    name: "defaults.service",
    doc: "Settings of a service.",
    example: "{ timeout: 10s }",
    keys: &[
        key(
            "timeout",
            Kind::Duration,
            "Time limit from the request's arrival to the provider's response headers. It includes the upload: raise it for \
             large files or slow links.",
        )
        .default("30s")
        .also(&["timeout_ms", "deadline", "read_timeout", "request_timeout", "proxy_read_timeout"]),
        key(
            "connect_timeout",
            Kind::Duration,
            "Time limit for one connection to the service: its name, TCP, TLS, and the proxy before it. Default: what is \
             left of `timeout`.",
        )
        .absent("none")
        .also(&["connection_timeout", "connect_timeout_ms", "proxy_connect_timeout"]),
        key(
            "timeout_message",
            Kind::Text,
            "The detail of the answer on timeout. Default: a sentence of attache's.",
        ),
        key(
            "timeout_response",
            Kind::Map(&TIMEOUT_RESPONSE),
            "The whole answer on timeout, instead of attache's.",
        )
        .absent("none"),
        key(
            "idle_timeout",
            Kind::Duration,
            "The maximum pause within a response, or of a WebSocket without traffic.",
        )
        .default("60s"),
        key(
            "retry_on_401",
            Kind::Bool,
            "True sends a request whose token was refused once more, with another \
             token.",
        )
        .default("true"),
        ALLOW.absent("all"),
        SET_HEADERS.absent("none"),
        REMOVE_HEADERS.absent("none"),
        MAX_BODY.absent("none"),
        RATE_LIMIT.absent("none"),
        MAX_CONCURRENT,
        key("retries", Kind::Map(&RETRIES), "The repetition of requests that failed. Off by default.")
            .absent("none")
            .also(&["retry"]),
        key("proxy", OWN_PROXY, "The forward proxy to the service in place of the file's, or `direct`."),
        key("tls", Kind::Map(&SERVICE_TLS), "TLS of the connections to the service."),
        key(
            "rewrite_links",
            Kind::Bool,
            "True rewrites the links in `Location`, `Content-Location`, `Refresh` and `Link` that lead below \
             `server_url`, so that a client that follows them comes back through attache.",
        )
        .default("true"),
        key(
            "redact_responses",
            Kind::Word(&["headers", "body"]),
            "Replaces copies of the credential in responses by `[redacted]`: in header fields, or also in bodies of text. \
             Best effort. The credential has at least 8 characters.",
        )
        .absent("none"),
        key(
            "private_network",
            Kind::Bool,
            "True allows the host's name to resolve to a loopback, private or link-local \
             address.",
        )
        .default("false"),
        key(
            "allow_plaintext",
            Kind::Bool,
            "True allows sending the credential over http to another machine.",
        )
        .default("false"),
    ],
    extends: None,
    elsewhere: &[],
};

static TIMEOUT_RESPONSE: Shape = Shape {
    name: "timeout_response",
    doc: "The whole answer on timeout.",
    example: "{ status: 503, body: \"…\" }",
    keys: &[
        key("status", Kind::Integer(200, 599), "Its status.").default("504").also(&["code"]),
        key("content_type", Kind::Text, "Its `Content-Type`.").default("text/plain; charset=utf-8"),
        key("body", Kind::Text, "Its body. Default: `timeout_message`."),
        key("headers", Kind::Names(&Kind::Text), "Further headers."),
    ],
    extends: None,
    elsewhere: &[],
};

static SERVICE_TLS: Shape = Shape {
    name: "service.tls",
    doc: "TLS of the connections to a service.",
    example: "{ ca: PATH }",
    keys: &[
        key(
            "ca",
            Kind::Path,
            "PEM: the only certificates trusted for this service, or the server's own \
             self-signed one. Default: the system's.",
        ),
        key("client_certificate", Kind::Path, "PEM: attache's certificate for this service (mutual TLS).")
            .also(&["cert", "certificate"]),
        key("client_key", Kind::Path, "PEM: its private key.").also(&["key", "private_key"]),
        key(
            "server_name",
            Kind::Text,
            "The name for SNI and in the server's certificate, instead of the host of `server_url`; `Host` stays.",
        )
        .also(&["sni", "servername"]),
    ],
    extends: None,
    elsewhere: &[
        ("insecure", "verification cannot be switched off; give the server's certificate as `ca`"),
        ("verify", "verification cannot be switched off; give the server's certificate as `ca`"),
        (
            "insecure_skip_verify",
            "verification cannot be switched off; give the server's certificate as `ca`",
        ),
    ],
};
