//! The keys of the tokens that attache signs.

use super::{Key, Kind, Shape, key};

/// The keys that all of them have.
static SIGNED: Shape = Shape {
    name: "signed",
    doc: "",
    example: "",
    keys: &[
        key(
            "key",
            Kind::SecretText,
            "The private key that signs, in PEM; for `grant: jwt_bearer` also a Google service \
             account's JSON.",
        )
        .also(&["private_key"]),
        key(
            "algorithm",
            Kind::Word(&["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"]),
            "The signature's algorithm. The default depends on the key.",
        )
        .also(&["alg"]),
        key("key_id", Kind::Text, "The header's `kid`.").also(&["kid"]),
        key("certificate", Kind::Path, "PEM: its SHA-256 becomes the header's `x5t#S256`."),
        key("lifetime", Kind::Duration, "The time from `iat` to `exp`, at most `1h`. Default: `5m`.")
            .also(&["ttl", "expiry"]),
        key("claims", Kind::Names(&Kind::Json), "Further claims, of any JSON type."),
    ],
    extends: None,
    elsewhere: &[],
};

/// The further keys of an assertion.
static ASSERTION: [Key; 4] = [
    key(
        "token",
        Kind::Secret,
        "Instead of `key`: an assertion that another program signs. A file is read again \
         for each token request.",
    ),
    key(
        "issuer",
        Kind::Text,
        "The claim `iss`. Default: `client_id`, or the service account's \
         `client_email`.",
    )
    .also(&["iss"]),
    key("subject", Kind::Text, "The claim `sub`. Default: `issuer`; for `client_assertion` `client_id`.")
        .also(&["sub"]),
    key("audience", Kind::Text, "The claim `aud`. Default: `token_url`.").also(&["aud"]),
];

pub(super) static CLIENT_ASSERTION: Shape = Shape {
    name: "client_assertion",
    doc: "The assertion that authenticates the client: `client_auth: \
             private_key_jwt`.",
    example: "{ key: { file: PATH } }",
    keys: &ASSERTION,
    extends: Some(&SIGNED),
    elsewhere: &[],
};

pub(super) static GRANT_ASSERTION: Shape = Shape {
    name: "assertion",
    doc: "The assertion that is exchanged for a token.",
    example: "{ key: { file: PATH } }",
    keys: &ASSERTION,
    extends: Some(&SIGNED),
    elsewhere: &[],
};

pub(super) static JWT: Shape = Shape {
    name: "jwt",
    doc: "A JSON Web Token that attache signs, sends with every request, and renews before its end. \
             The claims `iat` and `exp` are always there, the others if they are set.",
    example: "{ key: { file: PATH }, key_id: ID, issuer: ID, audience: TEXT }",
    keys: &[
        key("issuer", Kind::Text, "The claim `iss`.").also(&["iss"]),
        key("subject", Kind::Text, "The claim `sub`.").also(&["sub"]),
        key("audience", Kind::Text, "The claim `aud`.").also(&["aud"]),
        key("header", Kind::Header, "The header that carries the token.").default("Authorization"),
        key("prefix", Kind::Text, "Text before the token; may be empty.").default("\"Bearer \""),
    ],
    extends: Some(&SIGNED),
    elsewhere: &[("token", "a fixed token is `bearer: { env: NAME }`")],
};
