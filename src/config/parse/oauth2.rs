//! `oauth2`: how an account obtains its tokens.
//!
//! The combination of keys depends on `grant` and `client_auth`: [`grant`] and [`client`] have a table each. A value
//! may come from another part (the token URL is the default of an audience, and a service account's key contains the
//! token URL), so this function determines the order of reading.

mod assertion;
mod client;
mod custom;
mod grant;
mod key;
mod request;

use super::forward_proxy::Proxies;
use super::{optional, tls, urls};
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::model::{BearerTokenType, OAuth2, TokenTls, UnreadSecret};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::source::Span;
use crate::secret::{Secret, sha256};
use assertion::FromKey;
pub(super) use assertion::jwt;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Requirements of accounts with refresh tokens on the whole file: a store, and a different token for each account.
pub(super) struct RefreshTokens {
    kept: bool,
    /// The unreadable key of the store, if any.
    pub(super) sealed_with: Option<UnreadSecret>,
    /// The file's forward proxy, for accounts without their own.
    proxies: Arc<Proxies>,
    seen: HashMap<[u8; 32], (Span, String)>,
}

impl RefreshTokens {
    /// `kept`: true if the file configures the store.
    pub(super) fn new(kept: bool, sealed_with: Option<UnreadSecret>, proxies: Arc<Proxies>) -> Self {
        Self { kept, sealed_with, proxies, seen: HashMap::new() }
    }

    /// Reports that a grant needs the store. Reported once: one `state` solves it for all.
    fn need(&mut self, decoder: &Decoder<'_>, grant: &At<'_>) {
        if std::mem::replace(&mut self.kept, true) {
            return;
        }
        let message =
            format!("{grant} has a refresh token to keep, and there is no `state.key` to seal it with");
        decoder.report(
            Finding::error("missing_key", decoder.place(grant), message)
                .label("its refresh token must survive a restart")
                .help("write at the top level `state: { key: { file: PATH } }`, with a key from `openssl rand -base64 32`"),
        );
    }

    /// Records a refresh token of the file. A rotating one is valid for one use, by one account.
    fn claim(&mut self, decoder: &Decoder<'_>, at: &At<'_>, token: &Secret, token_url: &str) -> Option<()> {
        let mut both = token.sha256().to_vec();
        both.extend_from_slice(token_url.as_bytes());
        let digest = sha256(&both);
        let place = decoder.place(at);
        if let Some((first, path)) = self.seen.get(&digest) {
            let message = format!("{at} is the same token as {path}");
            let finding = Finding::error("duplicate_refresh_token", place, message);
            return decoder.reject(
                finding
                    .label("used again here")
                    .help("a refresh token belongs to one account: let the services share that account")
                    .secondary(*first, "first used here"),
            );
        }
        self.seen.insert(digest, (place, at.to_string()));
        Some(())
    }
}

pub(super) fn oauth2(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    refresh_tokens: &mut RefreshTokens,
) -> Option<OAuth2> {
    const BEARER: [(&str, BearerTokenType); 2] =
        [("access_token", BearerTokenType::AccessToken), ("id_token", BearerTokenType::IdToken)];
    let map = decoder.mapping(at)?;
    let plaintext = map.get("allow_plaintext").and_then(|at| decoder.bool(&at)).unwrap_or(false);
    let kind = grant::kind(decoder, &map, refresh_tokens);
    let is_custom = kind == Some(grant::Kind::Custom);
    let auth = if is_custom { custom::auth(decoder, &map) } else { None };
    let method = match is_custom {
        true => auth.map(custom::method),
        false => client::method(decoder, &map, kind),
    };
    let client_id = client::id(decoder, &map, kind, method);
    let written_url = optional(map.get("token_url"), |at| {
        let what = if map.get("client_secret").is_some() { "the client's secret" } else { "the token" };
        Some((endpoint(decoder, at, plaintext, what)?, decoder.string(at)?))
    });
    let account = grant::Account {
        map: &map,
        plaintext,
        auth,
        client_id,
        nameless: client::is_optional(kind, method),
        token_url: written_url.as_ref().map(|(_, text)| *text),
    };
    let (grant, from_key) = match kind {
        Some(kind) => grant::grant(decoder, &account, kind, refresh_tokens),
        None => (None, FromKey::Nothing),
    };
    let token_url = match (&written_url, &from_key) {
        (Given::Value((url, text)), _) => Some((url.clone(), (*text).to_owned())),
        (Given::Invalid, _) => None,
        (Given::Absent, FromKey::TokenUrl(text)) => service_account_url(decoder, &map, text, plaintext),
        (Given::Absent, FromKey::Unknown) => scalar::token_url("https://offline.invalid/").ok().map(|url| {
            let text = url.as_str().to_owned();
            (url, text)
        }),
        (Given::Absent, FromKey::Nothing) => decoder.required(&map, "token_url").and(None),
    };
    let audience = token_url.as_ref().map(|(_, text)| text.as_str());
    let client_auth = match is_custom {
        true => auth.and_then(|auth| custom::client_auth(decoder, &map, auth)),
        false => client::auth(decoder, &map, method, client_id.value(), audience),
    };
    let tls = map.get("tls").map(|at| {
        if let Some((url, _)) = &token_url
            && url.scheme() == "http"
        {
            let help = "use an https `token_url`, or remove it";
            decoder.no_use(&at, "an http token_url", "this connection does not use TLS", help);
        }
        tls::token_tls(decoder, &at)
    });
    let proxy = refresh_tokens.proxies.of_part(decoder, map.get("proxy"));
    let duration =
        |key, default| map.get(key).map_or(Some(default), |at: At<'_>| decoder.duration(&at, false));
    let default_lifetime = duration("default_lifetime", DEFAULT_LIFETIME);
    let token_timeout = duration("token_timeout", DEFAULT_TIMEOUT);
    let bearer = map.get("bearer_token_type").and_then(|at| decoder.one_of(&at, &BEARER));
    let scopes = map.get("scopes").and_then(|at| request::scopes(decoder, &at)).unwrap_or_default();
    let scope_separator = request::scope_separator(decoder, &map);
    let token_params = map.get("token_params").and_then(|at| request::token_params(decoder, &at));
    let token_headers = map.get("token_headers").and_then(|at| request::token_headers(decoder, &at));
    let header = request::header(decoder, &map);
    let prefix = request::prefix(decoder, &map);
    let retry_on = request::retry_on(decoder, &map);
    let login_required_on = map.get("login_required_on").map(|at| request::login_required_on(decoder, &at));
    Some(OAuth2 {
        grant: grant?,
        token_url: token_url?.0,
        client_id: client_id.value().map(str::to_owned),
        client_auth: client_auth?,
        tls: tls.unwrap_or_else(|| Some(TokenTls::default()))?,
        proxy: proxy?,
        scopes,
        scope_separator: scope_separator?,
        bearer_token_type: bearer.unwrap_or(BearerTokenType::AccessToken),
        token_params: token_params.unwrap_or_default(),
        token_headers: token_headers.unwrap_or_default(),
        header: header?,
        prefix: prefix?,
        default_lifetime: default_lifetime?,
        token_timeout: token_timeout?,
        retry_on: retry_on?,
        login_required_on: login_required_on.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

/// Reads a URL of the authorization server, to which `what` is sent.
fn endpoint(decoder: &Decoder<'_>, at: &At<'_>, plaintext: bool, what: &str) -> Option<url::Url> {
    // The secret parts of a URL are hidden in any case. Other text may be the secret, misplaced by one line.
    let is_url = decoder.string(at)?.contains("://");
    let parsed = if is_url { Decoder::parsed } else { Decoder::parsed_or_hidden };
    let url = parsed(decoder, at, "invalid_url", "a valid URL", scalar::token_url)?;
    if !plaintext && is_public(&url) {
        urls::require_tls(decoder, at, what, "on the oauth2 account");
    }
    Some(url)
}

/// Reads the `token_uri` of a service account's key, if the file has no `token_url`.
fn service_account_url(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    text: &str,
    plaintext: bool,
) -> Option<(url::Url, String)> {
    let assertion = map.get("assertion")?;
    let url = scalar::token_url(text).ok().filter(|url| plaintext || !is_public(url));
    if url.is_none() {
        let message = format!("the service account of {assertion} has a token_uri that can't be used");
        let finding = Finding::error("invalid_url", decoder.key(&assertion), message);
        decoder.report(
            finding.label("this is not an https URL").help("set `token_url`, which takes precedence"),
        );
    }
    Some((url?, text.to_owned()))
}

/// Returns true for http to another machine.
pub(super) fn is_public(url: &url::Url) -> bool {
    url.scheme() == "http" && !scalar::is_loopback(url.host().as_ref())
}

#[cfg(test)]
mod tests;
