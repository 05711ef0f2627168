//! The keys of a token request that is not of RFC 6749.

use super::{Kind, SECRET, Shape, key};

pub(super) static CUSTOM_REQUEST: Shape = Shape {
    name: "oauth2.request",
    doc: "A token request that is not of RFC 6749.",
    example: "{ method: POST, format: json, params: { account: ID }, auth: assertion }",
    keys: &[
        key("method", Kind::Word(&["POST", "GET", "PUT"]), "The method.").default("POST").also(&["verb"]),
        key(
            "format",
            Kind::Word(&["form", "json", "none"]),
            "The content: a form, a JSON object, or none. With `none`, `params` are sent in the query. \
             Default: `form`; for GET `none`.",
        )
        .also(&["content_type", "body"]),
        key(
            "params",
            Kind::Names(&Kind::OneOf(&[Kind::Json, Kind::Map(&SECRET)])),
            "The parameters. With `format: json` of any JSON type, else texts, of which a list repeats the name. A \
             mapping with `env`, `file`, `credential` or `literal` is a secret.",
        )
        .also(&["parameters", "query"]),
        key("headers", Kind::Names(&Kind::Secret), "Headers. An `Accept` replaces attache's."),
        key(
            "auth",
            Kind::Word(&["none", "basic", "assertion"]),
            "`basic`: HTTP Basic with `client_id` and `client_secret`. `assertion`: the account's `assertion` \
             as a bearer token. Default: the one whose key is there, else `none`.",
        ),
    ],
    extends: None,
    elsewhere: &[("url", "it is the account's `token_url`"), ("assertion", "it belongs beside `request`")],
};

pub(super) static CUSTOM_RESPONSE: Shape = Shape {
    name: "oauth2.response",
    doc: "The members of a token answer, as JSON Pointers (RFC 6901).",
    example: "{ token: /token, expires_at: /expires_at }",
    keys: &[
        key("token", Kind::Text, "The token.").default("/access_token").also(&["access_token"]),
        key("expires_in", Kind::Text, "Its lifetime in seconds.").default("/expires_in"),
        key(
            "expires_at",
            Kind::Text,
            "Its end: RFC 3339, or seconds since 1970. It counts before `expires_in`.",
        ),
        key("error", Kind::Text, "Any value there but null, false, 0 and an empty text is a refusal.")
            .default("/error"),
    ],
    extends: None,
    elsewhere: &[],
};
