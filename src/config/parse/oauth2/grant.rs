//! The grants, and the keys of each.

use super::assertion::{self, FromKey};
use super::{RefreshTokens, custom, endpoint, request};
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::model::Grant;
use crate::config::parse::optional;
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::secrets::PlainText;

/// A value of `grant`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ClientCredentials,
    Password,
    RefreshToken,
    AuthorizationCode,
    DeviceCode,
    JwtBearer,
    TokenExchange,
    Custom,
}

const KINDS: [(&str, Kind); 8] = [
    ("client_credentials", Kind::ClientCredentials),
    ("password", Kind::Password),
    ("refresh_token", Kind::RefreshToken),
    ("authorization_code", Kind::AuthorizationCode),
    ("device_code", Kind::DeviceCode),
    ("jwt_bearer", Kind::JwtBearer),
    ("token_exchange", Kind::TokenExchange),
    ("custom", Kind::Custom),
];

/// Each grant's own keys, and the label for them under another grant.
const OWN: [(&str, Kind, &str); 16] = [
    ("username", Kind::Password, "this grant sends no user name and password"),
    ("password", Kind::Password, "this grant sends no user name and password"),
    ("refresh_token", Kind::RefreshToken, "this grant does not start from a refresh token"),
    ("authorization_url", Kind::AuthorizationCode, "this grant uses no browser"),
    ("redirect_url", Kind::AuthorizationCode, "this grant uses no browser"),
    ("authorization_params", Kind::AuthorizationCode, "this grant uses no browser"),
    ("issuer", Kind::AuthorizationCode, "this grant has no redirect that could name an issuer"),
    ("device_authorization_url", Kind::DeviceCode, "this grant requests no device code"),
    ("assertion", Kind::JwtBearer, "this grant sends no assertion"),
    ("subject_token", Kind::TokenExchange, "this grant exchanges no token"),
    ("subject_token_type", Kind::TokenExchange, "this grant exchanges no token"),
    ("actor_token", Kind::TokenExchange, "this grant exchanges no token"),
    ("actor_token_type", Kind::TokenExchange, "this grant exchanges no token"),
    ("requested_token_type", Kind::TokenExchange, "this grant exchanges no token"),
    ("request", Kind::Custom, "this grant's request is that of its RFC"),
    ("response", Kind::Custom, "this grant's response is that of RFC 6749"),
];

/// The token types of RFC 8693 section 3, by short names.
const TOKEN_TYPES: [(&str, &str); 6] = [
    ("jwt", "urn:ietf:params:oauth:token-type:jwt"),
    ("access_token", "urn:ietf:params:oauth:token-type:access_token"),
    ("id_token", "urn:ietf:params:oauth:token-type:id_token"),
    ("refresh_token", "urn:ietf:params:oauth:token-type:refresh_token"),
    ("saml1", "urn:ietf:params:oauth:token-type:saml1"),
    ("saml2", "urn:ietf:params:oauth:token-type:saml2"),
];

/// Parameters of the authorization request that `attache login` sets.
const AUTHORIZATION_PARAMS: [&str; 7] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
];

/// Values of the account that a grant needs.
pub(super) struct Account<'a> {
    pub(super) map: &'a Map<'a>,
    pub(super) plaintext: bool,
    /// `request.auth` of a custom grant.
    pub(super) auth: Option<custom::Auth>,
    pub(super) client_id: Given<&'a str>,
    /// True if the account works without a client.
    pub(super) nameless: bool,
    /// The token URL as written.
    pub(super) token_url: Given<&'a str>,
}

/// Reads the grant's name. Reports keys of other grants, and the missing store if the grant needs one.
pub(super) fn kind(decoder: &Decoder<'_>, map: &Map<'_>, refresh_tokens: &mut RefreshTokens) -> Option<Kind> {
    let at = decoder.required(map, "grant")?;
    let kind = decoder.one_of(&at, &KINDS)?;
    let word = |kind| KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word);
    for (key, owner, label) in OWN {
        if let Some(at) = map.get(key)
            && owner != kind
            && (key, kind) != ("assertion", Kind::Custom)
        {
            let mut help = format!("remove it, or use `grant: {}`", word(owner));
            if key == "assertion" {
                help.push_str("; the client's own is `client_assertion`");
            }
            decoder.no_use(&at, &format!("`grant: {}`", word(kind)), label, &help);
        }
    }
    let refreshes = matches!(kind, Kind::RefreshToken | Kind::AuthorizationCode | Kind::DeviceCode);
    if refreshes {
        refresh_tokens.need(decoder, &at);
    }
    if let Some(codes) = map.get("login_required_on")
        && !refreshes
        && kind != Kind::Password
    {
        let label = "this grant has neither a refresh token nor a password that could be refused for good";
        decoder.no_use(&codes, &format!("`grant: {}`", word(kind)), label, "remove it");
    }
    Some(kind)
}

/// Reads the grant with its own keys, and the token URL if one of them contains it.
pub(super) fn grant(
    decoder: &Decoder<'_>,
    account: &Account<'_>,
    kind: Kind,
    refresh_tokens: &mut RefreshTokens,
) -> (Option<Grant>, FromKey) {
    let map = account.map;
    let grant = match kind {
        Kind::ClientCredentials => Some(Grant::ClientCredentials),
        Kind::Password => password(decoder, map),
        Kind::RefreshToken => refresh_token(decoder, account, refresh_tokens),
        Kind::AuthorizationCode => authorization_code(decoder, account),
        Kind::DeviceCode => device_code(decoder, account),
        Kind::JwtBearer => {
            let help = "write `assertion: { key: { file: PATH } }`";
            let Some(at) = decoder.required_or(map, "assertion", Some(help)) else {
                // The missing key may have been meant to contain the token URL.
                return (None, FromKey::Unknown);
            };
            let (assertion, from_key) = assertion::bearer(decoder, &at, account);
            return (assertion.map(Grant::JwtBearer), from_key);
        }
        Kind::TokenExchange => token_exchange(decoder, map),
        Kind::Custom => custom::grant(decoder, map, account.auth).map(|grant| Grant::Custom(Box::new(grant))),
    };
    (grant, FromKey::Nothing)
}

fn password(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<Grant> {
    let username = decoder.required(map, "username").and_then(|at| decoder.secret(&at, PlainText::Fine));
    let password = decoder.required(map, "password").and_then(|at| decoder.secret(&at, PlainText::WARN));
    Some(Grant::Password { username: username?, password: password? })
}

fn refresh_token(
    decoder: &Decoder<'_>,
    account: &Account<'_>,
    refresh_tokens: &mut RefreshTokens,
) -> Option<Grant> {
    let help =
        "give the first one; if there is none, `grant: authorization_code` and `attache login` obtain one";
    let at = decoder.required_or(account.map, "refresh_token", Some(help))?;
    let refresh_token = decoder.secret(&at, PlainText::WARN)?;
    let token_url = account.token_url.value().unwrap_or_default();
    refresh_tokens.claim(decoder, &at, &refresh_token, token_url)?;
    Some(Grant::RefreshToken { refresh_token })
}

fn authorization_code(decoder: &Decoder<'_>, account: &Account<'_>) -> Option<Grant> {
    const OURS: (&str, &str) = ("not an extra parameter", "remove it: `attache login` sets it");
    let map = account.map;
    let help =
        "the account's owner signs in there: it is the `authorization_endpoint` in the server's metadata";
    let authorization_url = decoder
        .required_or(map, "authorization_url", Some(help))
        .and_then(|at| endpoint(decoder, &at, account.plaintext, "the sign-in"));
    let redirect_url = optional(map.get("redirect_url"), |at| {
        let what = "a URL to which a browser can be redirected";
        decoder.parsed(at, "invalid_url", what, scalar::redirect_url)
    });
    let issuer = optional(map.get("issuer"), |at| {
        decoder.parsed(at, "invalid_url", "the URL of an issuer", scalar::issuer)
    });
    let authorization_params = map
        .get("authorization_params")
        .map_or(Some(Vec::new()), |at| request::texts(decoder, &at, &AUTHORIZATION_PARAMS, OURS));
    Some(Grant::AuthorizationCode {
        authorization_url: authorization_url?,
        redirect_url: redirect_url.checked().ok()?,
        issuer: issuer.checked().ok()?,
        authorization_params: authorization_params?,
    })
}

fn device_code(decoder: &Decoder<'_>, account: &Account<'_>) -> Option<Grant> {
    let help = "it is the `device_authorization_endpoint` in the server's metadata";
    let at = decoder.required_or(account.map, "device_authorization_url", Some(help))?;
    let url = endpoint(decoder, &at, account.plaintext, "the device code")?;
    Some(Grant::DeviceCode { device_authorization_url: url })
}

fn token_exchange(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<Grant> {
    let help = "write `subject_token: { file: PATH }`";
    let subject_token =
        decoder.required_or(map, "subject_token", Some(help)).and_then(|at| decoder.presented(&at));
    let typed = |key| match map.get(key) {
        Some(at) => token_type(decoder, &at),
        None => Some(TOKEN_TYPES[0].1.to_owned()),
    };
    let (subject_token_type, actor_token_type) = (typed("subject_token_type"), typed("actor_token_type"));
    let actor_token = optional(map.get("actor_token"), |at| decoder.presented(at));
    if let (Given::Absent, Some(at)) = (&actor_token, map.get("actor_token_type"))
        && !decoder.is_misspelt(map, "actor_token")
    {
        let message = format!("{at} has no effect without an actor_token");
        let finding = Finding::error("conflicting_keys", decoder.key(&at), message);
        decoder.report(finding.label("there is no actor token").help("add `actor_token`, or remove it"));
    }
    let requested = optional(map.get("requested_token_type"), |at| token_type(decoder, at));
    let actor_token_type = actor_token_type?;
    Some(Grant::TokenExchange {
        subject_token: subject_token?,
        subject_token_type: subject_token_type?,
        actor: actor_token.checked().ok()?.map(|token| (token, actor_token_type)),
        requested_token_type: requested.checked().ok()?,
    })
}

/// Reads a short name, or any URI.
fn token_type(decoder: &Decoder<'_>, at: &At<'_>) -> Option<String> {
    let text = decoder.string(at)?;
    if text.contains(':') && !text.contains(char::is_whitespace) {
        return Some(text.to_owned());
    }
    decoder.one_of(at, &TOKEN_TYPES).map(str::to_owned)
}
