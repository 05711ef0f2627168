//! The keys at the top of the file, and those of its small sections.

use super::accounts::ACCOUNT;
use super::services::{SERVICE, SERVICE_SETTINGS};
use super::webhooks::WEBHOOK_SETTINGS;
use super::{Kind, Shape, key};

/// The whole file.
pub(in crate::config) static ROOT: Shape = Shape {
    name: "file",
    doc: "The top of the file. In a folder each key stands in one file; `accounts`, \
             `users` and `services` may be divided among several. Keys that begin with \
             `x-` are ignored.",
    example: "{ services: { … } }",
    keys: &[
        key("version", Kind::Integer(1, 1), "The version of this schema.").default("1"),
        key("$schema", Kind::Text, "The JSON Schema of the file, for editors."),
        key("listen", Kind::Map(&LISTEN), "Where attache listens. A change needs a restart."),
        key("public_url", Kind::Url, "The outside address of `listen.webhooks`: what `attache urls` prints.")
            .also(&["base_url", "external_url"]),
        key(
            "threads",
            Kind::Integer(1, 1024),
            "Worker threads. A change needs a restart. Default: one a core.",
        )
        .also(&["workers"]),
        key("identity_headers", Kind::Map(&IDENTITY_HEADERS), "The headers that tell a receiver who called."),
        key("identity", Kind::Map(&IDENTITY), "A signed statement of who called."),
        key(
            "trusted_proxies",
            Kind::OneOf(&[Kind::List(&PROXY), PROXY]),
            "The proxies before the webhook listener whose `X-Forwarded-For` and \
             `X-Forwarded-Proto` are believed: addresses, networks, and `unix` for \
             connections by a unix socket.",
        ),
        key("limits", Kind::Map(&LIMITS), "Limits of the process."),
        key("shutdown", Kind::Map(&SHUTDOWN), "How the process ends."),
        key("log", Kind::Map(&LOG), "What is logged, and where."),
        key("state", Kind::Map(&STATE), "Where refresh tokens are kept. Needed by the grants that have one."),
        key(
            "allow_anonymous_callers",
            Kind::Bool,
            "Whether `listen.outbound` may be an address that other machines reach. \
             Everyone who reaches it may use every credential.",
        )
        .default("false"),
        key(
            "via",
            Kind::Bool,
            "Whether outbound requests carry `Via: 1.1 attache` (RFC 9110 §7.6.3), as \
             webhook calls always do. Some servers, such as nginx, do not compress their \
             answer then.",
        )
        .default("false"),
        key(
            "defaults",
            Kind::Map(&DEFAULTS),
            "What services and webhooks use for a key that they leave out.",
        ),
        key("accounts", Kind::Names(&Kind::Map(&ACCOUNT)), "Reusable credentials by name.")
            .also(&["credentials"]),
        key(
            "users",
            Kind::OneOf(&[Kind::Null, Kind::Names(&Kind::OneOf(&[Kind::Map(&USER), Kind::Null]))]),
            "The identities under which webhook calls are let in, by name.",
        ),
        key("services", Kind::Names(&Kind::Map(&SERVICE)), "Connected services by name.").also(&[
            "routes",
            "upstreams",
            "backends",
            "endpoints",
        ]),
    ],
    extends: None,
    elsewhere: &[],
};

/// One of `trusted_proxies`.
const PROXY: Kind = Kind::OneOf(&[Kind::Network, Kind::Word(&["unix"])]);

static LISTEN: Shape = Shape {
    name: "listen",
    doc: "Where attache listens: `ADDRESS:PORT` or `unix:/path`.",
    example: "{ outbound: 127.0.0.1:8080 }",
    keys: &[
        key("outbound", Kind::Listener, "Internal programs send here.").default("127.0.0.1:8080"),
        key("webhooks", Kind::Listener, "Third parties call here.").default("127.0.0.1:8081"),
        key("admin", Kind::Listener, "Metrics, health and status.").default("127.0.0.1:9090"),
    ],
    extends: None,
    elsewhere: &[],
};

static IDENTITY_HEADERS: Shape = Shape {
    name: "identity_headers",
    doc: "The names under which a receiver is told who called.",
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
    doc: "What vouches for the identity that a receiver is told.",
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
            "The private key in PEM, P-256 or Ed25519. Of a list the first signs, and all \
             are published.",
        )
        .required(),
        key("issuer", Kind::Text, "The claim `iss`. Default: `public_url`."),
        key("audience", Kind::Text, "The claim `aud`.").required(),
        key("ttl", Kind::Duration, "The lifetime, from `1s` to `60s`.").default("60s"),
        key("header", Kind::Header, "The header that carries it.").default("X-Attache-Assertion"),
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
            "How many webhook calls with an unknown key one client address has before it \
             gets 429.",
        )
        .default("{ requests: 300, per: 1m }"),
        // The maximum number of descriptors that Linux allows one process (`fs.nr_open`).
        key(
            "connections",
            Kind::Integer(1, 1 << 20),
            "The most connections of each listener. Default: a quarter of the process's \
             descriptors.",
        ),
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
        key("requests", Kind::Integer(1, 1_000_000_000), "How many, on the average.")
            .required()
            .also(&["limit", "rate"]),
        key("per", Kind::Duration, "In which time.").required().also(&["window", "interval", "period"]),
        key("burst", Kind::Integer(1, 1_000_000_000), "How many at once. Default: `requests`."),
    ],
    extends: None,
    elsewhere: &[],
};

static SHUTDOWN: Shape = Shape {
    name: "shutdown",
    doc: "How the process ends.",
    example: "{ drain: 30s }",
    keys: &[
        key("drain", Kind::Duration, "How long requests in flight may go on after SIGTERM.").default("30s")
    ],
    extends: None,
    elsewhere: &[],
};

static LOG: Shape = Shape {
    name: "log",
    doc: "What is logged, and where.",
    example: "{ access: stdout, level: info }",
    keys: &[
        key(
            "access",
            Kind::OneOf(&[Kind::Word(&["stdout", "off"]), Kind::Path]),
            "Where the access log goes: `stdout`, `off`, or a path with a `/` in it. A \
             change needs a restart.",
        )
        .default("stdout"),
        key(
            "format",
            Kind::Word(&["text", "json"]),
            "How the log on stderr is written: lines for people, or one JSON object a \
             line.",
        )
        .default("text"),
        key("level", Kind::Word(&["error", "warn", "info", "debug"]), "How much the log on stderr says.")
            .default("info"),
    ],
    extends: None,
    elsewhere: &[],
};

static STATE: Shape = Shape {
    name: "state",
    doc: "Where refresh tokens are kept, sealed.",
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
            "What the entries are sealed with: `openssl rand -base64 32`. Of a list the \
             first seals, and all open.",
        )
        .required(),
    ],
    extends: None,
    elsewhere: &[],
};

static DEFAULTS: Shape = Shape {
    name: "defaults",
    doc: "Values for keys that are left out. A service's own value replaces the \
             default as a whole.",
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
    doc: "An identity under which webhook calls are let in.",
    example: "{ name: Mailer integration }",
    keys: &[
        key("name", Kind::Text, "Its name for people."),
        key("active", Kind::Bool, "Whether its webhooks are open.").default("true").also(&["enabled"]),
    ],
    extends: None,
    elsewhere: &[],
};
