//! Accounts: how a service is opened.

use super::urls;
use crate::config::decode::{At, Decoder, Map};
use crate::config::model::{Account, Authorization, BearerTokenType, ClientAuth, Grant, OAuth2};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::secrets::PlainText;
use crate::config::tree::View;
use base64::Engine as _;
use http::{HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

const KINDS: [&str; 5] = ["header", "headers", "basic", "query", "oauth2"];

pub(super) fn account(decoder: &Decoder<'_>, at: &At<'_>, name: String) -> Option<Account> {
    let map = decoder.mapping(at, &["authorization"])?;
    let authorization = decoder.required(&map, "authorization")?;
    Some(Account { name, authorization: read(decoder, &authorization)? })
}

fn read(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Authorization> {
    if decoder.is_null(at) {
        let finding = Finding::error("empty_value", decoder.place(at), format!("{at} is empty"));
        return decoder.reject(
            finding.label("a value is missing").help("write `none` for a service that needs no credential"),
        );
    }
    match decoder.tree.view(at.node) {
        View::Scalar { text: "none", .. } => return Some(Authorization::None),
        View::Mapping(_) => {}
        View::Scalar { .. } | View::Sequence(_) => {
            return decoder.wrong_type(
                at,
                "`none`, or a mapping with one of `header`, `headers`, `basic`, `query` and `oauth2`",
            );
        }
    }
    let map = decoder.mapping(at, &KINDS)?;
    let given: Vec<(&str, At<'_>)> = map.entries().filter(|(name, _)| KINDS.contains(name)).collect();
    let all: Vec<Option<Authorization>> = given.iter().map(|(kind, at)| of_kind(decoder, kind, at)).collect();
    match given.as_slice() {
        [_] => all.into_iter().next().flatten(),
        [] if map.len() > 0 => None,
        [] => {
            let finding = Finding::error("missing_key", decoder.place(at), format!("{at} says no kind"));
            decoder
                .reject(finding.label("one of `header`, `headers`, `basic`, `query` and `oauth2` is missing"))
        }
        [_, (_, second), ..] => {
            let message = format!("{at} has more than one kind");
            let finding = Finding::error("conflicting_keys", decoder.key(second), message);
            decoder.reject(
                finding.label("an account has one authorization").help("`headers` sets several headers"),
            )
        }
    }
}

fn of_kind(decoder: &Decoder<'_>, kind: &str, at: &At<'_>) -> Option<Authorization> {
    match kind {
        "header" => Some(Authorization::Headers(vec![fixed_header(decoder, at)?])),
        "headers" => headers(decoder, at),
        "basic" => basic(decoder, at),
        "query" => query(decoder, at),
        _ => oauth2(decoder, at).map(Authorization::OAuth2),
    }
}

fn fixed_header(decoder: &Decoder<'_>, at: &At<'_>) -> Option<(HeaderName, HeaderValue)> {
    let map = decoder.mapping(at, &["name", "value"])?;
    let name = decoder.required(&map, "name").and_then(|at| {
        decoder.parsed_or_hidden(&at, "invalid_header", "a header name that can be set", scalar::header_name)
    });
    let value = decoder.required(&map, "value").and_then(|at| {
        let secret = decoder.secret(&at, PlainText::WARN)?;
        sensitive(decoder, &at, secret.expose())
    });
    Some((name?, value?))
}

fn sensitive(decoder: &Decoder<'_>, at: &At<'_>, text: &str) -> Option<HeaderValue> {
    match HeaderValue::from_bytes(text.as_bytes()) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Some(value)
        }
        Err(_) => {
            let message = format!("the secret of {at} can't be sent in a header");
            let finding = Finding::error("invalid_secret", decoder.place(at), message);
            decoder.reject(finding.label("it has a control character in it"))
        }
    }
}

fn headers(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Authorization> {
    let mut set: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let mut fine = true;
    for item in decoder.sequence(at)? {
        match fixed_header(decoder, &item) {
            Some((name, _)) if set.iter().any(|(before, _)| *before == name) => {
                let message = format!("{item} sets a header that is set already");
                decoder.report(
                    Finding::error("duplicate_header", decoder.place(&item), message).label("set again here"),
                );
                fine = false;
            }
            Some(header) => set.push(header),
            None => fine = false,
        }
    }
    if set.is_empty() && fine {
        return decoder.empty(at);
    }
    fine.then_some(Authorization::Headers(set))
}

fn basic(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Authorization> {
    let map = decoder.mapping(at, &["username", "password"])?;
    let username = decoder.required(&map, "username").and_then(|at| {
        let username = decoder.secret(&at, PlainText::Fine)?;
        if username.expose().contains(':') {
            let message = format!("{at} has a `:` in it, where the password would begin");
            return decoder.reject(
                Finding::error("invalid_secret", decoder.place(&at), message).label("a user name has no `:`"),
            );
        }
        Some(username)
    });
    let password = decoder.required(&map, "password").and_then(|at| decoder.secret(&at, PlainText::WARN));
    let pair = Zeroizing::new(format!("{}:{}", username?.expose(), password?.expose()));
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
    let value = sensitive(decoder, at, &format!("Basic {encoded}"))?;
    Some(Authorization::Headers(vec![(header::AUTHORIZATION, value)]))
}

fn query(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Authorization> {
    let map = decoder.mapping(at, &["name", "value"])?;
    let name = decoder.required(&map, "name").and_then(|at| decoder.string(&at)).map(str::to_owned);
    let value = decoder.required(&map, "value").and_then(|at| decoder.secret(&at, PlainText::WARN));
    Some(Authorization::Query { name: name?, value: value? })
}

fn oauth2(decoder: &Decoder<'_>, at: &At<'_>) -> Option<OAuth2> {
    const KEYS: [&str; 11] = [
        "grant",
        "token_url",
        "client_id",
        "client_secret",
        "client_auth",
        "scopes",
        "bearer_token_type",
        "token_params",
        "username",
        "password",
        "allow_plaintext",
    ];
    const CLIENT_AUTH: [(&str, ClientAuth); 2] = [("basic", ClientAuth::Basic), ("post", ClientAuth::Post)];
    const BEARER: [(&str, BearerTokenType); 2] =
        [("access_token", BearerTokenType::AccessToken), ("id_token", BearerTokenType::IdToken)];
    let map = decoder.mapping(at, &KEYS)?;
    let grant = grant(decoder, &map);
    let plaintext = map.get("allow_plaintext").and_then(|at| decoder.bool(&at)).unwrap_or(false);
    let token_url = decoder.required(&map, "token_url").and_then(|at| {
        let url = decoder.parsed(&at, "invalid_url", "a valid URL", scalar::token_url)?;
        if url.scheme() == "http" && !plaintext && !scalar::is_loopback(url.host().as_ref()) {
            urls::require_tls(decoder, &at, "the client's secret", "on the oauth2 account");
        }
        Some(url)
    });
    let client_id = decoder.required(&map, "client_id").and_then(|at| decoder.string(&at)).map(str::to_owned);
    let client_secret =
        decoder.required(&map, "client_secret").and_then(|at| decoder.secret(&at, PlainText::WARN));
    let client_auth = map.get("client_auth").and_then(|at| decoder.one_of(&at, &CLIENT_AUTH));
    let bearer = map.get("bearer_token_type").and_then(|at| decoder.one_of(&at, &BEARER));
    let scopes = map.get("scopes").and_then(|at| scopes(decoder, &at)).unwrap_or_default();
    let token_params = map.get("token_params").and_then(|at| token_params(decoder, &at)).unwrap_or_default();
    Some(OAuth2 {
        grant: grant?,
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        client_auth: client_auth.unwrap_or(ClientAuth::Basic),
        scopes,
        bearer_token_type: bearer.unwrap_or(BearerTokenType::AccessToken),
        token_params,
    })
}

fn grant(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<Grant> {
    let at = decoder.required(map, "grant")?;
    let password = decoder.one_of(&at, &[("client_credentials", false), ("password", true)])?;
    if password {
        let username = decoder.required(map, "username").and_then(|at| decoder.secret(&at, PlainText::Fine));
        let password = decoder.required(map, "password").and_then(|at| decoder.secret(&at, PlainText::WARN));
        return Some(Grant::Password { username: username?, password: password? });
    }
    for key in ["username", "password"] {
        if let Some(at) = map.get(key) {
            let message = format!("{at} has no use with `grant: client_credentials`");
            let finding = Finding::error("conflicting_keys", decoder.key(&at), message);
            decoder.report(finding.label("nobody signs in").help("leave it out, or use `grant: password`"));
        }
    }
    Some(Grant::ClientCredentials)
}

/// A list, or one string separated by commas, spaces or both.
fn scopes(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<String>> {
    let refuse = |at: &At<'_>| {
        let finding =
            Finding::error("invalid_scope", decoder.place(at), format!("{at} is not a valid scope"));
        decoder.report(finding.label("a scope has no spaces, commas, quotes or `\\`"));
    };
    let mut all = Vec::new();
    if let View::Sequence(_) = decoder.tree.view(at.node) {
        for item in decoder.sequence(at)? {
            match decoder.string(&item) {
                Some(scope) if scalar::is_scope(scope) && !scope.contains(',') => all.push(scope.to_owned()),
                Some(_) => refuse(&item),
                None => {}
            }
        }
    } else {
        let text = decoder.string(at)?;
        let words = || text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        if !words().all(scalar::is_scope) {
            refuse(at);
        }
        all.extend(words().map(str::to_owned));
    }
    Some(all)
}

/// Extra members of the token request's form, none of which may be one that is sent anyway.
fn token_params(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<(String, String)>> {
    const OURS: [&str; 6] = ["grant_type", "client_id", "client_secret", "scope", "username", "password"];
    let mut all = Vec::new();
    for (name, at) in decoder.names(at)?.entries() {
        if OURS.contains(&name) || name.is_empty() {
            let finding =
                Finding::error("conflicting_keys", decoder.key(&at), format!("{at} is sent anyway"));
            decoder.report(finding.label("not an extra parameter").help("use the key of the oauth2 account"));
        } else if let Some(value) = decoder.string_or_empty(&at) {
            all.push((name.to_owned(), value.to_owned()));
        }
    }
    Some(all)
}
