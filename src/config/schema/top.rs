//! The keys at the top of the file, and those of its small sections.

use super::accounts::ACCOUNT;
use super::callers::CALLER;
use super::forward_proxy::PROXY as FORWARD_PROXY;
use super::issuers::ISSUER;
use super::listen::LISTEN;
use super::services::{SERVICE, SERVICE_SETTINGS};
use super::webhooks::WEBHOOK_SETTINGS;
use super::{Kind, Shape, key};

/// The whole file.
pub(in crate::config) static ROOT: Shape = Shape {
    name: "file",
    doc: "The top of the file. In a folder each key is in one file; `issuers`, \
             `accounts`, `users`, `callers` and `services` may be divided among several. Keys that begin with \
             `x-` are ignored.",
    example: "{ services: { … } }",
    keys: &[
        key("version", Kind::Integer(1, 1), "The version of this schema.").default("1"),
        key("$schema", Kind::Text, "The JSON Schema of the file, for editors."),
        key("listen", Kind::Map(&LISTEN), "The listeners. Another address needs a restart."),
        key("public_url", Kind::Url, "The external URL of `listen.webhooks`, which `attache urls` prints.")
            .also(&["base_url", "external_url"]),
        key(
            "threads",
            Kind::Integer(1, 1024),
            "Worker threads. A change needs a restart. Default: one per core.",
        )
        .also(&["workers"]),
        key(
            "identity_headers",
            Kind::Map(&IDENTITY_HEADERS),
            "The headers that tell a receiver the user, the service and the key.",
        ),
        key("identity", Kind::Map(&IDENTITY), "A signed assertion of the identity of webhook calls."),
        key(
            "trusted_proxies",
            Kind::OneOf(&[Kind::List(&PROXY), PROXY]),
            "The proxies in front of the webhook listener whose `X-Forwarded-For` and \
             `X-Forwarded-Proto` are trusted: addresses, networks, and `unix` for \
             connections over a unix socket.",
        ),
        key("limits", Kind::Map(&LIMITS), "Limits of the process."),
        key("shutdown", Kind::Map(&SHUTDOWN), "The shutdown of the process."),
        key("log", Kind::Map(&LOG), "The access log and the log on stderr."),
        key("state", Kind::Map(&STATE), "The store of refresh tokens. Required by the grants that use one."),
        key(
            "allow_anonymous_callers",
            Kind::Bool,
            "True allows a `listen.outbound` that other machines can reach, without `callers`. Every \
             client that reaches it may use every credential.",
        )
        .default("false"),
        key(
            "via",
            Kind::Bool,
            "True adds `Via: 1.1 attache` to outbound requests (RFC 9110 §7.6.3), as to all \
             webhook calls. Some servers, such as nginx, then do not compress their \
             response.",
        )
        .default("false"),
        key("proxy", Kind::Map(&FORWARD_PROXY), "The forward proxy of all services, accounts and issuers.")
            .also(&["forward_proxy", "https_proxy", "outbound_proxy"]),
        key(
            "http_proxy",
            Kind::Bool,
            "True lets programs use `listen.outbound` as their HTTP proxy: `GET http://HOST/PATH` is sent to the service \
             whose `server_url` has that host and the longest such path, by https if that says so.",
        )
        .default("false"),
        key("defaults", Kind::Map(&DEFAULTS), "Defaults for keys that services and webhooks leave out."),
        key(
            "issuers",
            Kind::Names(&Kind::Map(&ISSUER)),
            "The issuers of tokens (JWT) that prove who a client is, by name.",
        )
        .also(&["jwt_issuers", "jwt_providers"]),
        key("accounts", Kind::Names(&Kind::Map(&ACCOUNT)), "Reusable credentials by name.")
            .also(&["credentials"]),
        key(
            "users",
            Kind::OneOf(&[Kind::Null, Kind::Names(&Kind::OneOf(&[Kind::Map(&USER), Kind::Null]))]),
            "The identities of webhook calls, by name.",
        ),
        key(
            "callers",
            Kind::Names(&Kind::Map(&CALLER)),
            "The internal programs that may use `listen.outbound`, by name. With it, a request without a \
             proof or a right is refused.",
        )
        .also(&["clients", "consumers"]),
        key(
            "caller_rules",
            Kind::Word(&["enforce", "report"]),
            "`report` forwards a request that lacks a proof or a right, and logs and counts it. Default: \
             `enforce`.",
        ),
        key("services", Kind::Names(&Kind::Map(&SERVICE)), "Connected services by name.").also(&[
            "routes",
            "upstreams",
            "backends",
            "endpoints",
        ]),
    ],
    extends: None,
    elsewhere: &[
        ("webhook", "it belongs under `services.NAME`"),
        ("webhooks", "it belongs under `services.NAME`, as `webhook`"),
        ("tls", TLS),
        ("ssl", TLS),
        ("https", TLS),
    ],
};

const TLS: &str = "for a listener it belongs below `listen.NAME`, beside `address`; for a service below \
                   `services.NAME`";

/// One of `trusted_proxies`.
const PROXY: Kind = Kind::OneOf(&[Kind::Network, Kind::Word(&["unix"])]);

static IDENTITY_HEADERS: Shape = Shape {
    name: "identity_headers",
    doc: "The names of the headers that tell a receiver the identity of a call.",
    example: "{ user: X-Attache-User }",
    keys: &[
        key("user", Kind::Header, "The user.").default("X-Attache-User"),
        key("service", Kind::Header, "The service.").default("X-Attache-Service"),
        key("key_id", Kind::Header, "The id of the API key.").default("X-Attache-Key-Id"),
    ],
    extends: None,
    elsewhere: &[],
};

static IDENTITY: Shape = Shape {
    name: "identity",
    doc: "The proof of the identity that a receiver is told.",
    example: "{ assertion: { key: { file: PATH }, audience: orders } }",
    keys: &[key("assertion", Kind::Map(&ASSERTION), "A signed token about each webhook call.")],
    extends: None,
    elsewhere: &[],
};

static ASSERTION: Shape = Shape {
    name: "identity.assertion",
    doc: "A JWT about each webhook call, so that a receiver knows that it came through \
             attache unaltered.",
    example: "{ key: { file: PATH }, audience: orders }",
    keys: &[
        key(
            "key",
            Kind::OneOf(&[Kind::SecretText, Kind::List(&Kind::SecretText)]),
            "The private key in PEM, P-256 or Ed25519. In a list, the first signs, and all \
             are published.",
        )
        .required(),
        key("issuer", Kind::Text, "The claim `iss`. Default: `public_url`."),
        key("audience", Kind::Text, "The claim `aud`.").required(),
        key("ttl", Kind::Duration, "The lifetime, from `1s` to `60s`.").default("60s"),
        key("header", Kind::Header, "The header that carries the token.").default("X-Attache-Assertion"),
    ],
    extends: None,
    elsewhere: &[],
};

static LIMITS: Shape = Shape {
    name: "limits",
    doc: "Limits of the process.",
    example: "{ connections: 4096 }",
    keys: &[
        key(
            "wrong_keys",
            Kind::OneOf(&[Kind::Map(&RATE), Kind::Word(&["off"])]),
            "The rate of webhook calls with an unknown key per client address, before it \
             gets 429.",
        )
        .default("{ requests: 300, per: 1m }"),
        // The maximum number of descriptors that Linux allows one process (`fs.nr_open`).
        key(
            "connections",
            Kind::Integer(1, 1 << 20),
            "Maximum number of connections of each listener. Default: a quarter of the process's \
             descriptors.",
        ),
        key(
            "buffered",
            Kind::Size,
            "Maximum memory of all request bodies that webhooks with `verify`, `replay` or `handshake` read before they \
             forward them. One client address alone gets a quarter.",
        )
        .default("256MiB"),
    ],
    extends: None,
    elsewhere: &[],
};

/// `{requests, per, burst}`.
pub(super) static RATE: Shape = Shape {
    name: "rate",
    doc: "A rate.",
    example: "{ requests: 100, per: 1s }",
    keys: &[
        key("requests", Kind::Integer(1, 1_000_000_000), "The number of requests, on average.")
            .required()
            .also(&["limit", "rate"]),
        key("per", Kind::Duration, "The time for that number.")
            .required()
            .also(&["window", "interval", "period"]),
        key("burst", Kind::Integer(1, 1_000_000_000), "The maximum number at once. Default: `requests`."),
    ],
    extends: None,
    elsewhere: &[],
};

static SHUTDOWN: Shape = Shape {
    name: "shutdown",
    doc: "The shutdown of the process.",
    example: "{ drain: 30s }",
    keys: &[
        key("drain", Kind::Duration, "The maximum time for requests in flight after SIGTERM.").default("30s")
    ],
    extends: None,
    elsewhere: &[],
};

static LOG: Shape = Shape {
    name: "log",
    doc: "The access log and the log on stderr.",
    example: "{ access: stdout, level: info }",
    keys: &[
        key(
            "access",
            Kind::OneOf(&[Kind::Word(&["stdout", "off"]), Kind::Path]),
            "The destination of the access log: `stdout`, `off`, or a path with a `/` in it. A \
             change needs a restart.",
        )
        .default("stdout"),
        key(
            "format",
            Kind::Word(&["text", "json"]),
            "The format of the log on stderr: plain lines, or one JSON object per \
             line.",
        )
        .default("text"),
        key("level", Kind::Word(&["error", "warn", "info", "debug"]), "The level of the log on stderr.")
            .default("info"),
    ],
    extends: None,
    elsewhere: &[],
};

static STATE: Shape = Shape {
    name: "state",
    doc: "The store of refresh tokens, which are sealed.",
    example: "{ key: { file: PATH } }",
    keys: &[
        key(
            "dir",
            Kind::Path,
            "The folder. Default: `$STATE_DIRECTORY` (systemd), else `state` beside the \
             file. A change needs a restart.",
        ),
        key(
            "key",
            Kind::OneOf(&[Kind::Secret, Kind::List(&Kind::Secret)]),
            "The key that seals the entries: `openssl rand -base64 32`. In a list, the first \
             one seals, and all open.",
        )
        .required(),
    ],
    extends: None,
    elsewhere: &[],
};

static DEFAULTS: Shape = Shape {
    name: "defaults",
    doc: "Values for keys that are left out. A service's own value replaces the default as a whole; `none`, or `all` \
          where a key restricts, has the effect of a file without that default.",
    example: "{ service: { timeout: 10s } }",
    keys: &[
        key("service", Kind::Map(&SERVICE_SETTINGS), "For services with a `server_url`."),
        key("webhook", Kind::Map(&WEBHOOK_SETTINGS), "For webhooks."),
    ],
    extends: None,
    elsewhere: &[],
};

static USER: Shape = Shape {
    name: "user",
    doc: "The identity of webhook calls.",
    example: "{ name: Mailer integration }",
    keys: &[
        key("name", Kind::Text, "A display name."),
        key("active", Kind::Bool, "False refuses the calls of its webhooks.")
            .default("true")
            .also(&["enabled"]),
    ],
    extends: None,
    elsewhere: &[],
};
