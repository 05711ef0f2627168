//! The keys of a right, and those of a service that say which requests it takes and how they are changed.

use super::top::RATE;
use super::{Key, Kind, Shape, key};

/// The methods and paths of a service, or of a caller on it.
pub(super) static RIGHTS: Shape = Shape {
    name: "allow",
    doc: "The requests that are allowed. A key that is left out allows all.",
    example: "{ methods: [GET], paths: [/contacts*] }",
    keys: &[METHODS, PATHS],
    extends: None,
    elsewhere: &[],
};

/// The allowed methods of a right.
pub(super) const METHODS: Key =
    key("methods", Kind::List(&Kind::Method), "The allowed methods. `HEAD` is one of its own. Default: all.")
        .also(&["method"]);

/// The allowed paths of a right.
pub(super) const PATHS: Key = key(
    "paths",
    Kind::List(&Kind::PathPattern),
    "The allowed paths below `server_url`; `*` at the end stands for any rest. Default: all.",
)
.also(&["path"]);

pub(super) const ALLOW: Key =
    key("allow", Kind::Map(&RIGHTS), "The methods and paths that may be used. Default: all.");

pub(super) const SET_HEADERS: Key =
    key("set_headers", Kind::Names(&Kind::Secret), "Headers that replace the client's of the same name.")
        .also(&["add_headers", "request_headers"]);

pub(super) const REMOVE_HEADERS: Key = key(
    "remove_headers",
    Kind::List(&Kind::Header),
    "The client's headers that are not forwarded, in any spelling.",
)
.also(&["drop_headers", "strip_headers"]);

pub(super) const MAX_BODY: Key =
    key("max_body", Kind::Size, "The maximum size of a request's body. Default: no limit.").also(&[
        "max_size",
        "body_limit",
        "client_max_body_size",
    ]);

pub(super) const RATE_LIMIT: Key =
    key("rate_limit", Kind::Map(&RATE), "The rate of all requests to the service. Default: no limit.")
        .also(&["rate", "limit"]);

pub(super) const MAX_CONCURRENT: Key = key(
    "max_concurrent",
    Kind::Integer(1, 1 << 20),
    "The maximum number of requests at the same time; tunnels are not counted. Default: half of \
             `limits.connections`.",
)
.also(&["max_connections", "concurrency", "max_requests"]);
