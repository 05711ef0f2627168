//! The keys of an account.

use super::custom::{CUSTOM_REQUEST, CUSTOM_RESPONSE};
use super::forward_proxy::OWN_PROXY;
use super::signed::{CLIENT_ASSERTION, GRANT_ASSERTION, JWT};
use super::{Kind, SECRET, Shape, key};

/// Reusable credentials.
pub(super) static ACCOUNT: Shape = Shape {
    name: "account",
    doc: "Reusable credentials. Services that share an account share its token.",
    example: "{ authorization: { header: { name: X-API-Key, value: { env: NAME } } } }",
    keys: &[key(
        "authorization",
        Kind::OneOf(&[Kind::Word(&["none"]), Kind::Map(&AUTHORIZATION)]),
        "The credential: `none`, or exactly one kind.",
    )
    .required()],
    extends: None,
    elsewhere: &[
        ("header", "it belongs below `authorization`"),
        ("headers", "it belongs below `authorization`"),
        ("basic", "it belongs below `authorization`"),
        ("bearer", "it belongs below `authorization`"),
        ("query", "it belongs below `authorization`"),
        ("jwt", "it belongs below `authorization`"),
        ("oauth2", "it belongs below `authorization`"),
        ("token", "write `authorization: { bearer: { env: NAME } }`"),
        ("api_key", "write `authorization: { header: { name: X-API-Key, value: { env: NAME } } }`"),
        ("key", "write `authorization: { header: { name: X-API-Key, value: { env: NAME } } }`"),
        ("secret", "write `authorization: { header: { name: X-API-Key, value: { env: NAME } } }`"),
    ],
};

static AUTHORIZATION: Shape = Shape {
    name: "authorization",
    doc: "The credential of an account. Exactly one of these; `headers` may stand beside another.",
    example: "{ header: { name: X-API-Key, value: { env: NAME } } }",
    keys: &[
        key("header", Kind::Map(&HEADER), "A header with a fixed value."),
        key(
            "headers",
            Kind::List(&Kind::Map(&HEADER)),
            "Several such headers, or further headers beside another kind.",
        ),
        key("basic", Kind::Map(&BASIC), "HTTP Basic (RFC 7617)."),
        key("bearer", Kind::Secret, "A fixed bearer token: `Authorization: Bearer TOKEN` (RFC 6750).")
            .also(&["token"]),
        key("query", Kind::Map(&QUERY), "A query parameter with a fixed value."),
        key(
            "path",
            Kind::Secret,
            "A secret that replaces `{credential}` in the path of the service's `server_url`, percent-encoded.",
        ),
        key("jwt", Kind::Map(&JWT), "A token that attache signs (RFC 7519)."),
        key("oauth2", Kind::Map(&OAUTH2), "A token that attache requests, stores and renews."),
    ],
    extends: None,
    elsewhere: &[
        ("api_key", "write `header: { name: X-API-Key, value: { env: NAME } }`"),
        ("key", "write `header: { name: X-API-Key, value: { env: NAME } }`"),
        ("secret", "write `header: { name: X-API-Key, value: { env: NAME } }`"),
        ("name", "write `header: { name: X-API-Key, value: { env: NAME } }`"),
        ("value", "write `header: { name: X-API-Key, value: { env: NAME } }`"),
        ("none", "write `authorization: none`"),
        ("grant", "it belongs below `oauth2`"),
        ("token_url", "it belongs below `oauth2`"),
        ("client_id", "it belongs below `oauth2`"),
        ("username", "write `basic: { username: NAME, password: { env: NAME } }`"),
        ("password", "write `basic: { username: NAME, password: { env: NAME } }`"),
    ],
};

static HEADER: Shape = Shape {
    name: "header",
    doc: "A header with a fixed value.",
    example: "{ name: X-API-Key, value: { env: NAME } }",
    keys: &[
        key("name", Kind::Header, "Its name. On HTTP/1 it is sent in the case in which it is written here.")
            .required(),
        key("value", Kind::Secret, "Its value.").required().also(&["secret", "token", "key"]),
    ],
    extends: None,
    elsewhere: &[],
};

static BASIC: Shape = Shape {
    name: "basic",
    doc: "HTTP Basic.",
    example: "{ username: shop, password: { env: NAME } }",
    keys: &[
        key("username", Kind::Secret, "The user name. Plain text is fine.")
            .required()
            .also(&["user", "login"]),
        key("password", Kind::Secret, "The password.").required().also(&["secret", "pass"]),
    ],
    extends: None,
    elsewhere: &[],
};

static QUERY: Shape = Shape {
    name: "query",
    doc: "A query parameter with a fixed value. It replaces every parameter of that \
             name.",
    example: "{ name: key, value: { env: NAME } }",
    keys: &[
        key("name", Kind::Text, "Its name, not percent-encoded.").required(),
        key("value", Kind::Secret, "Its value, not percent-encoded.")
            .required()
            .also(&["secret", "token", "key"]),
    ],
    extends: None,
    elsewhere: &[],
};

static OAUTH2: Shape = Shape {
    name: "oauth2",
    doc: "The token requests of an account (RFC 6749).",
    example: "{ grant: client_credentials, token_url: …, client_id: …, client_secret: { \
             env: NAME } }",
    keys: &[
        key(
            "grant",
            Kind::Word(&[
                "client_credentials",
                "password",
                "refresh_token",
                "authorization_code",
                "device_code",
                "jwt_bearer",
                "token_exchange",
                "custom",
            ]),
            "The grant type.",
        )
        .required()
        .also(&["grant_type", "type", "flow"]),
        key("token_url", Kind::Url, "The token endpoint. Optional only with a Google service account.")
            .also(&["access_token_uri", "token_uri", "token_endpoint", "url"]),
        key("client_id", Kind::Text, "The client's id. Optional only for `jwt_bearer`, `token_exchange` and `custom`."),
        key(
            "client_secret",
            Kind::OneOf(&[Kind::Secret, Kind::List(&Kind::Secret)]),
            "The client's secret, or the new one and the old one: the first is tried \
             first.",
        )
        .also(&["secret"]),
        key(
            "client_auth",
            Kind::Word(&["basic", "basic_raw", "post", "client_secret_jwt", "private_key_jwt", "none"]),
            "The client authentication. `basic_raw`: HTTP Basic without form-encoding. \
             Default: `basic`; without a `client_secret` `none` for the grants \
             `jwt_bearer`, `token_exchange`, `authorization_code` and `device_code`.",
        )
        .unless("grant", "custom")
        .also(&["auth_method", "auth_style", "token_endpoint_auth_method"]),
        key(
            "client_assertion",
            Kind::Map(&CLIENT_ASSERTION),
            "The client's signed assertion (RFC 7523 §2.2).",
        )
        .unless("grant", "custom"),
        key(
            "scopes",
            Kind::OneOf(&[Kind::List(&Kind::Text), Kind::Text]),
            "A list, or one string separated by commas or spaces.",
        )
        .unless("grant", "custom")
        .also(&["scope"]),
        key(
            "scope_separator",
            Kind::Text,
            "The text between two scopes in a request: a space, `,`, `;` or `+`.",
        )
        .unless("grant", "custom")
        .default("\" \""),
        key(
            "bearer_token_type",
            Kind::Word(&["access_token", "id_token"]),
            "The member of the token endpoint's answer that is sent.",
        )
        .unless("grant", "custom")
        .default("access_token"),
        key(
            "token_params",
            Kind::Names(&Kind::OneOf(&[PARAM, Kind::List(&PARAM)])),
            "Extra members of the token request. A list sends the member once for each of \
             its values.",
        )
        .unless("grant", "custom")
        .also(&["params", "extra_params", "endpoint_params"]),
        key("token_headers", Kind::Names(&Kind::Secret), "Extra headers of the token request.")
            .unless("grant", "custom")
            .also(&["headers"]),
        key("header", Kind::Header, "The header that carries the token.").default("Authorization"),
        key("prefix", Kind::Text, "Text before the token; may be empty.").default("\"Bearer \""),
        key("default_lifetime", Kind::Duration, "The lifetime of a token whose answer does not state it.")
            .default("5m"),
        key("token_timeout", Kind::Duration, "The maximum duration of one token request.")
            .default("10s")
            .also(&["timeout"]),
        key(
            "retry_on",
            Kind::List(&Kind::Integer(400, 599)),
            "The statuses by which the provider refuses a token; a service's \
             `retry_on_401` says whether its requests are sent again. An empty list: none.",
        )
        .default("[401]"),
        key(
            "login_required_on",
            Kind::List(&Kind::Text),
            "Further error codes by which the token endpoint says that a refresh token or a password is refused \
             for good. `invalid_grant` is always one.",
        ),
        key("tls", Kind::Map(&TOKEN_TLS), "TLS of the connections to the token endpoint."),
        key("proxy", OWN_PROXY, "The forward proxy to the authorization server in place of the file's, or `direct`."),
        key("allow_plaintext", Kind::Bool, "True allows a `token_url` with http to another machine.")
            .default("false"),
        key("username", Kind::Secret, "The resource owner's name. Plain text is fine.")
            .with("grant", "password"),
        key("password", Kind::Secret, "The resource owner's password.").with("grant", "password"),
        key("refresh_token", Kind::Secret, "The first refresh token. Its successors are stored in `state`.")
            .with("grant", "refresh_token"),
        key("authorization_url", Kind::Url, "The page on which the account's owner signs in.")
            .with("grant", "authorization_code")
            .also(&["auth_url", "authorize_url", "authorization_endpoint"]),
        key(
            "redirect_url",
            Kind::Url,
            "The URL to which the provider sends the browser. `attache login` listens on one with a loopback address; \
             of one with https the address is pasted. Default: a loopback address with any free port.",
        )
        .with("grant", "authorization_code")
        .also(&["redirect_uri", "callback_url"]),
        key(
            "authorization_params",
            Kind::Names(&Kind::Sensitive),
            "Extra parameters of the authorization request.",
        )
        .with("grant", "authorization_code"),
        key(
            "issuer",
            Kind::Url,
            "The issuer that the redirect of a login has to name if it names one (RFC 9207). Default: one of the \
             origin of `authorization_url`.",
        )
        .with("grant", "authorization_code"),
        key("device_authorization_url", Kind::Url, "The endpoint that issues device codes (RFC 8628).")
            .with("grant", "device_code"),
        key(
            "assertion",
            Kind::Map(&GRANT_ASSERTION),
            "The assertion: with `grant: jwt_bearer` that of RFC 7523 §2.1, with `grant: custom` the bearer \
             token of `request: { auth: assertion }`.",
        ),
        key(
            "subject_token",
            Kind::Secret,
            "The token to exchange (RFC 8693). A file is read again for each token \
             request.",
        )
        .with("grant", "token_exchange"),
        key("subject_token_type", TOKEN_TYPE, "Its type: a short name or a URI.")
            .with("grant", "token_exchange")
            .default("jwt"),
        key("actor_token", Kind::Secret, "The token of the acting party.").with("grant", "token_exchange"),
        key("actor_token_type", TOKEN_TYPE, "Its type. Default: `jwt`.").with("grant", "token_exchange"),
        key("requested_token_type", TOKEN_TYPE, "The requested type.").with("grant", "token_exchange"),
        key("request", Kind::Map(&CUSTOM_REQUEST), "The request to `token_url`. Default: an empty form by POST.")
            .with("grant", "custom"),
        key("response", Kind::Map(&CUSTOM_RESPONSE), "Where the answer has the token.")
            .with("grant", "custom"),
    ],
    extends: None,
    elsewhere: &[
        ("audience", "write `token_params: { audience: … }`"),
        ("resource", "write `token_params: { resource: … }`"),
    ],
};

/// A text, which may be a secret.
const PARAM: Kind = Kind::OneOf(&[Kind::Sensitive, Kind::Map(&SECRET)]);

const TOKEN_TYPE: Kind = Kind::OneOf(&[
    Kind::Word(&["jwt", "access_token", "id_token", "refresh_token", "saml1", "saml2"]),
    Kind::Text,
]);

static TOKEN_TLS: Shape = Shape {
    name: "oauth2.tls",
    doc: "TLS of the connections to a token endpoint.",
    example: "{ ca: PATH }",
    keys: &[
        key("ca", Kind::Path, "PEM: the only certificates trusted. Default: the system's."),
        key("client_certificate", Kind::Path, "PEM: the client's certificate (RFC 8705).")
            .also(&["cert", "certificate"]),
        key("client_key", Kind::Path, "PEM: its private key.").also(&["key", "private_key"]),
    ],
    extends: None,
    elsewhere: &[],
};
