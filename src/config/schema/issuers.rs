//! The keys of an issuer of tokens.

use super::{Kind, Shape, key};

/// An issuer of tokens.
pub(super) static ISSUER: Shape = Shape {
    name: "issuer",
    doc: "An issuer of tokens (JWT) that prove who a client is.",
    example: "{ issuer: https://id.example, audience: attache, jwks: { url: https://id.example/keys } }",
    keys: &[
        key("issuer", Kind::Text, "The claim `iss` of its tokens, to the letter.").required().also(&["iss"]),
        key(
            "audience",
            Kind::OneOf(&[Kind::Text, Kind::List(&Kind::Text)]),
            "The claim `aud` of its tokens: one of these.",
        )
        .required()
        .also(&["aud", "audiences"]),
        key("jwks", Kind::Map(&JWKS), "Its public keys.").required().also(&["keys", "jwks_uri", "jwks_url"]),
    ],
    extends: None,
    elsewhere: &[
        ("algorithms", ALGORITHMS),
        ("algorithm", ALGORITHMS),
        ("subject", "it belongs below `callers.NAME.jwt`"),
    ],
};

const ALGORITHMS: &str = "each key determines its algorithms; remove it";

static JWKS: Shape = Shape {
    name: "jwks",
    doc: "The public keys of an issuer, a JSON Web Key Set (RFC 7517): `url` or `file`.",
    example: "{ url: https://id.example/keys }",
    keys: &[
        key(
            "url",
            Kind::Url,
            "The URL of the key set. It is fetched every 10 min, and for an unknown key every 10 s at most.",
        )
        .also(&["uri"]),
        key("ca", Kind::Path, "PEM: the only certificates trusted for `url`."),
        key(
            "token",
            Kind::Secret,
            "The bearer token of the request to `url`. A `file` is read again for each request.",
        ),
        key("file", Kind::Path, "The file of the key set. It is watched.").also(&["path"]),
    ],
    extends: None,
    elsewhere: &[("tls", "write `ca` directly below `jwks`")],
};
