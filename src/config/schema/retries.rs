//! The keys of `retries`.

use super::{Kind, Shape, key};

/// The repetition of requests that failed.
pub(super) static RETRIES: Shape = Shape {
    name: "retries",
    doc: "The repetition of requests that failed, within the deadline and a budget: 20 % of the service's requests, and 10 \
          a second.",
    example: "{ attempts: 3, on: [connect, reset, 503] }",
    keys: &[
        key("attempts", Kind::Integer(1, 10), "The maximum, the first included; 1 switches retries off.")
            .default("2")
            .also(&["max_attempts", "num_retries", "count", "max"]),
        key(
            "on",
            Kind::List(&Kind::OneOf(&[Kind::Word(&["connect", "reset"]), Kind::Integer(502, 504)])),
            "The failures: `connect` (no connection), `reset` (the connection ended before a response), and the statuses \
             502, 503 and 504.",
        )
        .default("[connect, reset]")
        .also(&["retry_on", "conditions", "codes", "statuses"]),
        key(
            "methods",
            Kind::List(&Kind::Method),
            "The only methods that are repeated. Default: GET, HEAD, PUT, DELETE, OPTIONS, and any method with an \
             `Idempotency-Key`, or of which nothing was sent.",
        ),
    ],
    extends: None,
    elsewhere: &[
        ("backoff", "the pause is fixed: 25 ms, doubling, and what `Retry-After` asks for"),
        ("budget", "it is fixed: 20 % of the service's requests, and 10 a second"),
        ("per_try_timeout", "`timeout` covers all attempts; `connect_timeout` limits one connection"),
    ],
};
