//! Client authentication: `client_auth`, and the keys that each method requires or excludes.

use super::assertion;
use super::grant::Kind;
use crate::config::decode::{Decoder, Given, Map};
use crate::config::model::ClientAuth;
use crate::config::problem::Finding;
use crate::secret::Secret;

/// A value of `client_auth`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    None,
    Basic,
    BasicRaw,
    Post,
    ClientSecretJwt,
    PrivateKeyJwt,
}

const METHODS: [(&str, Method); 6] = [
    ("basic", Method::Basic),
    ("basic_raw", Method::BasicRaw),
    ("post", Method::Post),
    ("client_secret_jwt", Method::ClientSecretJwt),
    ("private_key_jwt", Method::PrivateKeyJwt),
    ("none", Method::None),
];

/// A new secret and the previous one.
pub(super) const MAX_SECRETS: usize = 2;

/// Keys that have no effect with certain methods: label and help.
const UNUSED: [(&str, &[Method], &str, &str); 3] = [
    (
        "client_secret",
        &[Method::None],
        "it would not be sent",
        "remove it, or use `client_auth: basic` or `post`",
    ),
    (
        "client_secret",
        &[Method::PrivateKeyJwt],
        "the client authenticates with a private key",
        "remove it, or use `client_auth: client_secret_jwt`",
    ),
    (
        "client_assertion",
        &[Method::None, Method::Basic, Method::BasicRaw, Method::Post],
        "the client sends no assertion",
        "remove it, or use `client_auth: private_key_jwt`",
    ),
];

/// Reads `client_auth`, or determines its default. `None` also if the default depends on an invalid grant.
pub(super) fn method(decoder: &Decoder<'_>, map: &Map<'_>, kind: Option<Kind>) -> Option<Method> {
    if let Some(at) = map.get("client_auth") {
        return decoder.one_of(&at, &METHODS);
    }
    if map.get("client_secret").is_some() || decoder.is_misspelt(map, "client_secret") {
        return Some(Method::Basic);
    }
    if decoder.is_misspelt(map, "client_auth") {
        return None;
    }
    if let Some(at) = map.get("client_assertion") {
        let message = format!("{at} is not used: the account has no client authentication");
        let finding = Finding::error("missing_key", decoder.key(&at), message);
        return decoder
            .reject(finding.label("`client_auth` is missing").help("write `client_auth: private_key_jwt`"));
    }
    match kind {
        Some(Kind::JwtBearer | Kind::TokenExchange | Kind::AuthorizationCode | Kind::DeviceCode) => {
            Some(Method::None)
        }
        None if map.get("grant").is_some() => None,
        _ => Some(Method::Basic),
    }
}

/// Returns true if the grant works without a client.
pub(super) fn is_optional(kind: Option<Kind>, method: Option<Method>) -> bool {
    matches!(kind, Some(Kind::JwtBearer | Kind::TokenExchange | Kind::Custom))
        && matches!(method, Some(Method::None) | None)
}

/// Reads `client_id`.
pub(super) fn id<'t>(
    decoder: &Decoder<'t>,
    map: &Map<'_>,
    kind: Option<Kind>,
    method: Option<Method>,
) -> Given<&'t str> {
    match map.get("client_id") {
        Some(at) => decoder.string(&at).into(),
        None if is_optional(kind, method) => Given::Absent,
        None => {
            decoder.required(map, "client_id");
            Given::Invalid
        }
    }
}

/// Reads `client_auth` with its keys. `audience` is the token URL as written.
pub(super) fn auth(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    method: Option<Method>,
    id: Option<&str>,
    audience: Option<&str>,
) -> Option<ClientAuth> {
    let word = METHODS.iter().find(|(_, known)| Some(*known) == method).map_or("", |(word, _)| word);
    for (key, methods, label, help) in UNUSED {
        if let Some(at) = map.get(key)
            && method.is_some_and(|method| methods.contains(&method))
        {
            decoder.no_use(&at, &format!("`client_auth: {word}`"), label, help);
        }
    }
    // Read even if it has no effect, so that its problems are reported.
    let secrets = map.get("client_secret").map(|at| {
        let secrets = decoder.secrets(&at, MAX_SECRETS, |_, _| Ok(()))?;
        Some(secrets.into_iter().map(|(secret, _)| secret).collect::<Vec<Secret>>())
    });
    let needs_secret =
        matches!(method?, Method::Basic | Method::BasicRaw | Method::Post | Method::ClientSecretJwt);
    if needs_secret && secrets.is_none() {
        let help = match map.get("client_auth") {
            Some(_) => None,
            None => Some("or set `client_auth` to another method"),
        };
        decoder.required_or(map, "client_secret", help);
    }
    let secrets = secrets.flatten();
    Some(match method? {
        Method::None => ClientAuth::None,
        Method::Basic => ClientAuth::Basic(secrets?),
        Method::BasicRaw => ClientAuth::BasicRaw(secrets?),
        Method::Post => ClientAuth::Post(secrets?),
        Method::ClientSecretJwt => {
            let given = map.get("client_assertion").map(|at| assertion::audience_only(decoder, &at));
            let audience = given.unwrap_or_else(|| audience.map(str::to_owned));
            ClientAuth::ClientSecretJwt { secrets: secrets?, audience: audience? }
        }
        Method::PrivateKeyJwt => {
            let help = "write `client_assertion: { key: { file: PATH } }`";
            let at = decoder.required_or(map, "client_assertion", Some(help))?;
            ClientAuth::PrivateKeyJwt(assertion::client(decoder, &at, id, audience)?)
        }
    })
}
