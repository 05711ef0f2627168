//! Issuers of tokens, and where their public keys are.

use super::forward_proxy::Proxies;
use super::{oauth2, optional, tls};
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::model::{Issuer, Jwks, JwksUrl, PresentedToken, ServerUrl, UnreadSecret};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::tree::View;
use crate::jwt::key_set::KeySet;

pub(super) fn issuer(decoder: &Decoder<'_>, at: &At<'_>, key: &str, proxies: &Proxies) -> Option<Issuer> {
    let map = decoder.mapping(at)?;
    let issuer = decoder.required(&map, "issuer").and_then(|at| decoder.string(&at));
    let audiences = decoder.required(&map, "audience").and_then(|at| audiences(decoder, &at));
    let jwks = decoder.required(&map, "jwks");
    let jwks = jwks.map(|at| decoder.secrets.owned(at.to_string(), || key_set(decoder, &at, proxies)));
    let (jwks, unread) = jwks?;
    let jwks = jwks?;
    let unread = UnreadSecret::worse(unread.as_ref(), unread_proxy(&jwks)).cloned();
    Some(Issuer {
        key: key.to_owned(),
        issuer: issuer?.to_owned(),
        audiences: audiences?,
        jwks: available(jwks, unread.as_ref().is_some_and(|unread| unread.blocks)),
        unread,
    })
}

/// Returns the unreadable password of the proxy on the way to the keys.
fn unread_proxy(jwks: &Jwks) -> Option<&UnreadSecret> {
    let Jwks::Url(source) = jwks else { return None };
    source.proxy.unread_for(&ServerUrl::of(&source.url)?)
}

/// Drops what is only a placeholder. A token in a file is read for each fetch, so it may be there by then.
fn available(jwks: Jwks, is_blocked: bool) -> Jwks {
    match jwks {
        Jwks::Url(url) if is_blocked => {
            let lacks_ca = url.ca.as_ref().is_some_and(|ca| ca.certificates.is_empty());
            let lacks_token = matches!(url.token, Some(PresentedToken::Fixed(_)));
            let jwks = Jwks::Url(url);
            let lacks_password = unread_proxy(&jwks).is_some_and(|unread| unread.blocks);
            if lacks_ca || lacks_token || lacks_password { Jwks::Unavailable } else { jwks }
        }
        jwks => jwks,
    }
}

/// Reads one audience, or a list of different ones.
fn audiences(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<String>> {
    let View::Sequence(_) = decoder.tree.view(at.node) else {
        return Some(vec![decoder.string(at)?.to_owned()]);
    };
    let (mut all, mut is_fine) = (Vec::new(), true);
    for item in decoder.sequence(at)? {
        match decoder.string(&item) {
            Some(text) => all.push(text.to_owned()),
            None => is_fine = false,
        }
    }
    if all.is_empty() && is_fine {
        return decoder.empty(at);
    }
    is_fine.then_some(all)
}

fn key_set(decoder: &Decoder<'_>, at: &At<'_>, proxies: &Proxies) -> Option<Jwks> {
    let map = decoder.mapping(at)?;
    match (map.get("url"), map.get("file")) {
        (Some(url), None) => from_url(decoder, &map, &url, proxies),
        (None, Some(file)) => {
            for at in [map.get("ca"), map.get("token")].into_iter().flatten() {
                decoder.no_use(&at, "a file", "this is about the request to a `url`", "remove it");
            }
            from_file(decoder, &file)
        }
        (Some(_), Some(file)) => {
            let message = format!("{at} has a `url` and a `file`");
            let finding = Finding::error("conflicting_keys", decoder.key(&file), message);
            decoder.reject(finding.label("set only one of `url` and `file`"))
        }
        (None, None) if decoder.is_misspelt(&map, "url") || decoder.is_misspelt(&map, "file") => None,
        (None, None) => {
            let message = format!("{at} has no `url` and no `file`");
            let finding = Finding::error("missing_key", decoder.place(at), message);
            let help = "`url` is the `jwks_uri` of the issuer's `/.well-known/openid-configuration`";
            decoder.reject(finding.label("one of `url` and `file` is missing").help(help))
        }
    }
}

fn from_url(decoder: &Decoder<'_>, map: &Map<'_>, at: &At<'_>, proxies: &Proxies) -> Option<Jwks> {
    let url = decoder.parsed(at, "invalid_url", "a valid URL", scalar::jwks_url);
    if url.as_ref().is_some_and(oauth2::is_public) {
        let message = format!("{at} would be fetched over http, where the keys can be replaced");
        let finding = Finding::error("plaintext_keys", decoder.place(at), message);
        decoder.report(finding.label("use https, or a loopback address such as 127.0.0.1"));
    }
    let ca = optional(map.get("ca"), |ca| {
        if url.as_ref().is_some_and(|url| url.scheme() == "http") {
            let help = "use an https `url`, or remove it";
            decoder.no_use(ca, "an http url", "this connection does not use TLS", help);
        }
        tls::bundle(decoder, ca)
    });
    let token = optional(map.get("token"), |at| decoder.presented(at));
    let (ca, token): (Given<_>, Given<_>) = (ca, token);
    Some(Jwks::Url(Box::new(JwksUrl {
        url: url?,
        ca: ca.checked().ok()?,
        token: token.checked().ok()?,
        proxy: proxies.inherited()?,
    })))
}

fn from_file(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Jwks> {
    let path = tls::path(decoder, at)?;
    let found = decoder.deliver_file(at, &path, |bytes| {
        let keys = KeySet::parse(bytes).map_err(|error| {
            let mut failure =
                tls::unusable(bytes, "invalid_jwks", format!("{at} has no keys that can be used"));
            failure.label = error.to_string();
            failure
        })?;
        Ok((keys, crate::secret::sha256(bytes)))
    });
    let Some((keys, digest)) = found else {
        if !decoder.secrets.offline {
            decoder.secrets.block();
            return Some(Jwks::Unavailable);
        }
        return Some(Jwks::File { path, keys: KeySet::empty() });
    };
    decoder.secrets.digest(&digest);
    for skipped in keys.skipped() {
        let finding = Finding::warning("unusable_key", decoder.place(at), format!("{at}: a key is not used"));
        decoder.report(finding.label(format!("{skipped}")));
    }
    Some(Jwks::File { path, keys })
}
