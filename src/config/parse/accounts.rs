//! Accounts: the credentials of services.

use super::oauth2::{self, RefreshTokens};
use crate::config::decode::{At, Decoder, list};
use crate::config::header::Purpose;
use crate::config::model::{Account, Authorization, ServerUrl, UnreadSecret};
use crate::config::problem::Finding;
use crate::config::schema::{Shape, may_be_secret};
use crate::config::secrets::{Failure, PlainText, placeholder};
use crate::config::tree::View;
use crate::header_name::{FieldName, alike};
use crate::secret::Secret;
use base64::Engine as _;
use http::HeaderValue;
use zeroize::Zeroizing;

/// Headers with fixed values.
type Headers = Vec<(FieldName, HeaderValue)>;

pub(super) fn account(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    name: String,
    refresh_tokens: &mut RefreshTokens,
) -> Option<Account> {
    let map = decoder.mapping(at)?;
    let authorization = decoder.required(&map, "authorization")?;
    let (credential, unread) =
        decoder.secrets.owned(at.to_string(), || read(decoder, &authorization, refresh_tokens));
    let (mut authorization, mut headers) = credential?;
    let sealed_with = refresh_tokens.sealed_with.as_ref().filter(|_| keeps_a_grant(&authorization));
    let unread = UnreadSecret::worse(unread.as_ref(), sealed_with);
    let unread = UnreadSecret::worse(unread, unread_proxy(&authorization)).cloned();
    if unread.as_ref().is_some_and(|unread| unread.blocks) {
        // Drops the placeholders in it.
        authorization = Authorization::Unavailable;
        headers.clear();
    }
    Some(Account { name, authorization, headers: headers.into(), unread })
}

/// Returns the unreadable password of the proxy on the way to the token endpoint.
fn unread_proxy(authorization: &Authorization) -> Option<&UnreadSecret> {
    let Authorization::OAuth2(oauth2) = authorization else { return None };
    oauth2.proxy.unread_for(&ServerUrl::of(&oauth2.token_url)?)
}

fn keeps_a_grant(authorization: &Authorization) -> bool {
    matches!(authorization, Authorization::OAuth2(oauth2) if oauth2.grant.refreshes())
}

/// Reads the credential, and the headers beside it.
fn read(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    refresh_tokens: &mut RefreshTokens,
) -> Option<(Authorization, Headers)> {
    if decoder.is_null(at) {
        let finding = Finding::error("empty_value", decoder.place(at), format!("{at} is empty"));
        return decoder.reject(
            finding.label("a value is missing").help("write `none` for a service that needs no credential"),
        );
    }
    match decoder.tree.view(at.node) {
        View::Scalar { text: "none", .. } => return Some((Authorization::None, Vec::new())),
        View::Mapping(_) => {}
        View::Scalar { .. } | View::Sequence(_) => {
            return decoder.wrong_type(at, &format!("`none`, or a mapping with one of {}", kinds(at)));
        }
    }
    let map = decoder.mapping(at)?;
    // `headers` is the one kind that may stand beside another.
    let (beside, given): (Vec<_>, Vec<_>) = map.known_entries().partition(|(kind, _)| *kind == "headers");
    let plain_text = if given.is_empty() { |_: &str| PlainText::WARN } else { plain_text_of };
    let beside = beside.first().map(|(_, at)| (at, headers(decoder, at, plain_text)));
    let all: Vec<Option<Authorization>> =
        given.iter().map(|(kind, at)| of_kind(decoder, kind, at, refresh_tokens)).collect();
    match given.as_slice() {
        [(_, at)] => {
            let authorization = all.into_iter().next().flatten()?;
            match beside {
                Some((beside, headers)) => combine(decoder, (at, authorization), (beside, headers?)),
                None => Some((authorization, Vec::new())),
            }
        }
        [] if let Some((_, headers)) = beside => Some((Authorization::Headers(headers?), Vec::new())),
        [] if map.len() > 0 => None,
        [] => {
            let finding = Finding::error("missing_key", decoder.place(at), format!("{at} is empty"));
            decoder.reject(finding.label(format!("one of {} is missing", kinds(at))))
        }
        [_, (_, second), ..] => {
            let message = format!("{at} has more than one kind");
            let finding = Finding::error("conflicting_keys", decoder.key(second), message);
            decoder.reject(
                finding
                    .label("an account has one authorization")
                    .help("only `headers` may stand beside another kind"),
            )
        }
    }
}

/// Puts `headers` beside a credential, which must set none of them.
fn combine(
    decoder: &Decoder<'_>,
    (at, authorization): (&At<'_>, Authorization),
    (beside, headers): (&At<'_>, Headers),
) -> Option<(Authorization, Headers)> {
    let sets = |name: &FieldName| authorization.header_names().any(|own| alike(own.as_str(), name.as_str()));
    if let Some((name, _)) = headers.iter().find(|(name, _)| sets(name)) {
        let name = String::from_utf8_lossy(name.spelling());
        let message = format!("{beside} sets `{name}`, and so does {at}");
        let finding = Finding::error("duplicate_header", decoder.key(beside), message);
        return decoder.reject(
            finding
                .label("the names must differ in more than case and separators")
                .secondary(decoder.key(at), "set here too"),
        );
    }
    Some((authorization, headers))
}

/// Returns the kinds of authorization, for a message.
fn kinds(at: &At<'_>) -> String {
    let names: Vec<&str> = at.kind.shape().into_iter().flat_map(Shape::keys).map(|key| key.name).collect();
    list(&names)
}

fn of_kind(
    decoder: &Decoder<'_>,
    kind: &str,
    at: &At<'_>,
    refresh_tokens: &mut RefreshTokens,
) -> Option<Authorization> {
    match kind {
        "header" => Some(Authorization::Headers(vec![fixed_header(decoder, at, |_| PlainText::WARN)?])),
        "basic" => basic(decoder, at),
        "bearer" => bearer(decoder, at),
        "query" => query(decoder, at),
        "path" => path(decoder, at),
        "jwt" => oauth2::jwt(decoder, at).map(Box::new).map(Authorization::Jwt),
        "oauth2" => oauth2::oauth2(decoder, at, refresh_tokens).map(Box::new).map(Authorization::OAuth2),
        _ => {
            debug_assert!(false, "{at}: a kind that is declared and not read");
            None
        }
    }
}

fn fixed_header(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    plain_text: impl Fn(&str) -> PlainText<'static>,
) -> Option<(FieldName, HeaderValue)> {
    let map = decoder.mapping(at)?;
    let name = decoder.required(&map, "name").and_then(|at| Purpose::Sent.read_beside_secret(decoder, &at));
    let plain_text = name.as_ref().map_or(PlainText::WARN, |name| plain_text(name.as_str()));
    let value = decoder.required(&map, "value").and_then(|at| header_value(decoder, &at, plain_text));
    Some((name?, value?))
}

/// Returns the treatment of a header's value in plain text, where the header need not be a credential: a version, a tenant
/// or the type of a token is none.
pub(super) fn plain_text_of(name: &str) -> PlainText<'static> {
    let describes = ["-id", "-type", "-version"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    if may_be_secret(name) && !describes { PlainText::WARN } else { PlainText::Fine }
}

/// Reads a secret that is sent in a header.
pub(super) fn header_value(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    plain_text: PlainText<'_>,
) -> Option<HeaderValue> {
    let found = decoder.secret_as(at, plain_text, &|text| {
        sensitive(text).ok_or_else(|| {
            let message = format!("the secret of {at} can't be sent in a header");
            Failure::malformed("invalid_secret", message, "it contains a control character", None)
        })
    });
    decoder.or_block(found, || HeaderValue::from_static(""))
}

/// Returns a sensitive header value; `None` if the text has a control character.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn headers(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    plain_text: fn(&str) -> PlainText<'static>,
) -> Option<Headers> {
    let mut set = Headers::new();
    let mut fine = true;
    for item in decoder.sequence(at)? {
        match fixed_header(decoder, &item, plain_text) {
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
    fine.then_some(set)
}

fn basic(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Authorization> {
    let map = decoder.mapping(at)?;
    let username = decoder.required(&map, "username").and_then(|at| {
        let found = decoder.secret_as(&at, PlainText::Fine, &|text| {
            if !text.contains(':') {
                return Ok(Secret::new(text));
            }
            let message = format!("{at} has a `:` in it, where the password would begin");
            Err(Failure::malformed("invalid_secret", message, "a user name has no `:`", None))
        });
        decoder.or_block(found, || Secret::new(placeholder(&at)))
    });
    let password = decoder.required(&map, "password").and_then(|at| decoder.secret(&at, PlainText::WARN));
    let value = basic_value(username?.expose(), password?.expose())?;
    Some(Authorization::Headers(vec![(FieldName::from_static("Authorization"), value)]))
}

/// Returns the value of a header with these credentials (RFC 7617).
pub(super) fn basic_value(username: &str, password: &str) -> Option<HeaderValue> {
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair.as_bytes()));
    sensitive(&Zeroizing::new(format!("Basic {}", *encoded)))
}

fn bearer(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Authorization> {
    let found = decoder.secret_as(at, PlainText::WARN, &|token| {
        // RFC 6750 section 2.1: `Bearer` is the scheme, not part of a token.
        if token.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")) {
            let message = format!("the secret of {at} begins with `Bearer`, which attache adds");
            let (label, help) = ("only the token belongs here", Some("remove `Bearer `"));
            return Err(Failure::malformed("invalid_secret", message, label, help));
        }
        sensitive(&Zeroizing::new(format!("Bearer {token}"))).ok_or_else(|| {
            let message = format!("the secret of {at} can't be sent in a header");
            Failure::malformed("invalid_secret", message, "it contains a control character", None)
        })
    });
    let value = decoder.or_block(found, || HeaderValue::from_static(""))?;
    Some(Authorization::Headers(vec![(FieldName::from_static("Authorization"), value)]))
}

fn query(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Authorization> {
    let map = decoder.mapping(at)?;
    let name = decoder.required(&map, "name").and_then(|at| decoder.string(&at)).map(str::to_owned);
    let value = decoder.required(&map, "value").and_then(|at| decoder.secret(&at, PlainText::WARN));
    Some(Authorization::Query { name: name?, value: value? })
}

fn path(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Authorization> {
    let found = decoder.secret_as(at, PlainText::WARN, &|text| {
        if !text.bytes().all(|b| b == b'.') {
            return Ok(Secret::new(text));
        }
        let message = format!("the secret of {at} can't be sent in a path");
        Err(Failure::malformed("invalid_secret", message, "a segment of dots leads to another path", None))
    });
    decoder.or_block(found, || Secret::new(placeholder(at))).map(Authorization::Path)
}
