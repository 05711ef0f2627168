//! The way in: from a key to the user it stands for.
//!
//! A key is in the path, where a third party can put it; or in a header or a parameter of the query, and then the path
//! names the service. Keys that are unknown, expired, switched off or in the wrong place all get the same answer after the
//! same work.

pub mod address;
pub mod assertion;
pub mod endpoint;
pub mod fetched_keys;
pub mod handshake;
pub mod identity;
pub mod keys;
pub mod rate;
pub mod replay;

use crate::config::model::{KeyIn, Rate, Validity};
use crate::error_code::ErrorCode;
use crate::limits::RateLimit;
use crate::message::Fields;
use crate::outbound::path::{Target, has_dot_segment};
use crate::outbound::{SHORTEST_KEY, UNMATCHED};
use crate::plan::{Form, Plan, Refusal, Reply};
use crate::telemetry::metrics::WebhookRefusal;
use address::Client;
use endpoint::Endpoint;
use http::{Method, header};
use keys::{Key, KeyNumber, KeyTable};
use rate::Budgets;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The first path segment of every webhook URL.
const PREFIX: &[u8] = b"/webhooks/";

/// What of a webhook call decides about it.
pub struct Call<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target as it came.
    pub target: &'a [u8],
    /// All header fields as they came.
    pub fields: &'a Fields,
    /// Who calls.
    pub client: Client,
    /// The time of the clock.
    pub now: SystemTime,
    /// The time since the process began, which goes forwards only.
    pub uptime: Duration,
}

/// A call that is let in.
pub struct Admitted {
    /// With which key, and so as whom.
    pub key: KeyNumber,
    /// What is done with it.
    pub action: Action,
}

/// What is done with a call that is let in.
pub enum Action {
    /// It goes to our program, once what [`Endpoint::reads_body`] asks for is done.
    Forward(Plan),
    /// It is a question to us.
    Reply(Reply),
}

/// A call that is not let in.
pub struct Refused {
    /// What is answered.
    pub refusal: Refusal,
    /// To log and count the call under its service and key, if that is a valid one.
    pub key: Option<KeyNumber>,
    /// Why, more finely than the answer says.
    pub reason: WebhookRefusal,
    /// Under which service it counts, where that is known though the caller is not told.
    pub counts_for: Option<Arc<Endpoint>>,
    /// A key that is known and not good, for the access log. The client is told nothing of it.
    pub known_key: Option<KeyNumber>,
}

/// Limits guesses at keys: each client address has a budget, then gets 429. A valid key uses up none of it.
pub struct UnknownKeyLimiter {
    limit: Option<RateLimit>,
    budgets: Arc<Budgets>,
}

impl UnknownKeyLimiter {
    /// Without a `rate`, guesses are not limited. Budgets carry over a reload.
    pub fn new(rate: Option<&Rate>, budgets: Option<&Arc<Budgets>>) -> Self {
        Self { limit: rate.map(RateLimit::new), budgets: budgets.cloned().unwrap_or_default() }
    }

    /// The budgets.
    pub fn budgets(&self) -> &Arc<Budgets> {
        &self.budgets
    }

    /// Of whatever is no good key: the work and the answer are the same, what is counted is not.
    fn refuse(
        &self,
        call: &Call<'_>,
        mut reason: WebhookRefusal,
        counts_for: Option<&Arc<Endpoint>>,
    ) -> Box<Refused> {
        let used_up = |limit: &RateLimit| self.budgets.take_at(limit, call.client.address, call.uptime).err();
        let refusal = match self.limit.as_ref().and_then(used_up) {
            Some(wait) => {
                reason = WebhookRefusal::TooManyWrongKeys;
                let detail = "too many calls from this address to webhooks that do not exist";
                Refusal::new(ErrorCode::RateLimited, detail).retry_after(wait)
            }
            None => {
                let detail = "no webhook has this URL; compare it with the URL that you received";
                Refusal::new(ErrorCode::WebhookUnknown, detail)
            }
        };
        Box::new(Refused { refusal, key: None, reason, counts_for: counts_for.cloned(), known_key: None })
    }
}

/// The segment after the prefix, and what follows it. `None`: the target is no webhook URL.
fn split(raw_target: &[u8]) -> Option<(&[u8], &[u8], Target<'_>)> {
    let target = Target::parse(raw_target)?;
    let after = target.path.strip_prefix(PREFIX)?;
    let (segment, rest) = after.split_at(after.iter().position(|&b| b == b'/').unwrap_or(after.len()));
    (!segment.is_empty()).then_some((segment, rest, target))
}

/// The key that a call shows, if it stands where its endpoint wants it. `named` is the endpoint that the path names.
fn shown<'t>(
    keys: &'t KeyTable,
    named: Option<&Arc<Endpoint>>,
    call: &Call<'_>,
    segment: &[u8],
    target: &Target<'_>,
) -> Option<Key<'t>> {
    let Some(endpoint) = named else {
        // A key may hold characters that a path can't.
        let text: Cow<'_, [u8]> = percent_encoding::percent_decode(segment).into();
        return keys.find(&text).filter(|key| !key.endpoint().key_is_elsewhere());
    };
    let key = match &endpoint.key_in {
        KeyIn::Path => None,
        KeyIn::Header(name) => {
            let mut values = call.fields.all(name.as_str());
            match (values.next(), values.next()) {
                (Some(value), None) if *name == header::AUTHORIZATION => keys.find(bearer(value)),
                (Some(value), None) => keys.find(value),
                _ => None,
            }
        }
        KeyIn::Query(name) => {
            let query = target.query.strip_prefix(b"?").unwrap_or_default();
            let mut values = url::form_urlencoded::parse(query).filter(|(found, _)| found == name);
            match (values.next(), values.next()) {
                (Some((_, value)), None) => keys.find(value.as_bytes()),
                _ => None,
            }
        }
    };
    key.filter(|key| Arc::ptr_eq(key.endpoint(), endpoint))
}

/// What `Authorization` holds, with `Bearer ` before it or without.
fn bearer(value: &[u8]) -> &[u8] {
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii_start(),
        _ => value,
    }
}

/// What to do with a webhook call. No I/O; of state, only the budgets of rate limits and when a key was last refused.
///
/// # Errors
///
/// What is answered instead, and what is counted.
pub fn plan(
    keys: &KeyTable,
    unknown_keys: &UnknownKeyLimiter,
    call: &Call<'_>,
) -> Result<Admitted, Box<Refused>> {
    let Some((segment, rest, target)) = split(call.target) else {
        return Err(unknown_keys.refuse(call, WebhookRefusal::UnknownKey, None));
    };
    let named = keys.named(segment);
    let Some(key) = shown(keys, named, call, segment, &target) else {
        return Err(unknown_keys.refuse(call, WebhookRefusal::UnknownKey, named));
    };
    let endpoint = key.endpoint();
    let not_good = match key.validity_at(call.now) {
        Validity::Valid => None,
        Validity::NotYetValid => Some(WebhookRefusal::NotYetValid),
        Validity::Expired => Some(WebhookRefusal::Expired),
        Validity::Disabled => Some(WebhookRefusal::Disabled),
    };
    if let Some(reason) = not_good {
        key.stats().refused_at(call.now);
        let refused = unknown_keys.refuse(call, reason, Some(endpoint));
        return Err(Box::new(Refused { known_key: Some(key.number()), ..*refused }));
    }
    let refused = |(refusal, reason): (Refusal, WebhookRefusal)| {
        let refusal = endpoint.apply_refusal_overrides(refusal);
        Box::new(Refused {
            refusal,
            key: Some(key.number()),
            reason,
            counts_for: Some(Arc::clone(endpoint)),
            known_key: None,
        })
    };
    entrance(key, call).map_err(refused)?;
    if let Some(verifier) = &endpoint.verifier
        && let Some(answer) =
            handshake::in_query(verifier, endpoint.verify_token.as_ref(), call.method, target.query)
    {
        let reason = |refusal: &Refusal| match refusal.code {
            ErrorCode::SignatureInvalid => WebhookRefusal::SignatureMismatch,
            _ => WebhookRefusal::Request,
        };
        let reply = answer.map_err(|refusal| {
            let reason = reason(&refusal);
            refused((refusal, reason))
        })?;
        return Ok(Admitted { key: key.number(), action: Action::Reply(reply) });
    }
    passable(endpoint, call.method, rest).map_err(refused)?;
    let tail = &call.target[call.target.len() - rest.len() - target.query.len()..];
    let target = match &endpoint.key_in {
        KeyIn::Query(name) => endpoint.route.upstream.target(&[rest, &without(target.query, name)].concat()),
        KeyIn::Path | KeyIn::Header(_) => endpoint.route.upstream.target(tail),
    };
    let plan = Plan { route: Arc::clone(&endpoint.route), target, form: Form::Path };
    Ok(Admitted { key: key.number(), action: Action::Forward(plan) })
}

/// Checks the address, the secrets of the webhook, the user and the rate of a call with a valid key.
fn entrance(key: Key<'_>, call: &Call<'_>) -> Result<(), (Refusal, WebhookRefusal)> {
    let endpoint = key.endpoint();
    if !call.client.is_within(&endpoint.allow_from) {
        let detail = "the webhook is known, but may not be called from this address";
        return Err((Refusal::new(ErrorCode::RequestDenied, detail), WebhookRefusal::Address));
    }
    if let Some(unread) = &endpoint.route.unavailable {
        let detail = "the webhook is known, but a secret that it needs can't be read";
        let refusal = Refusal::new(ErrorCode::CredentialUnavailable, detail).because(unread.fault.as_str());
        return Err((refusal, WebhookRefusal::Unavailable));
    }
    if !endpoint.user.active {
        let detail = "the webhook is known, but its user is not active";
        return Err((Refusal::new(ErrorCode::UserInactive, detail), WebhookRefusal::UserInactive));
    }
    // With a verifier, only signed calls count, or a client that knows only the URL could use the rate up.
    if let (Some(limit), None) = (&endpoint.limit, &endpoint.verifier)
        && let Err(wait) = limit.take_at(&key.stats().rate, call.uptime)
    {
        return Err((too_often(wait), WebhookRefusal::RateLimited));
    }
    Ok(())
}

/// The answer to one call too many with one key.
pub fn too_often(wait: Duration) -> Refusal {
    Refusal::new(ErrorCode::RateLimited, "the rate limit of this key is exceeded").retry_after(wait)
}

/// Checks that the method and the path are ones that the receiver takes.
fn passable(endpoint: &Endpoint, method: &Method, rest: &[u8]) -> Result<(), (Refusal, WebhookRefusal)> {
    let methods = &endpoint.route.methods;
    if !methods.contains(method) {
        let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let refusal = Refusal::new(ErrorCode::MethodDenied, format!("this webhook allows {allow}"));
        return Err((Refusal { allow: Some(allow.into()), ..refusal }, WebhookRefusal::Method));
    }
    if has_dot_segment(rest) {
        let detail = "the path has a dot segment (`.` or `..`, in some spelling)";
        let refusal = Refusal::new(ErrorCode::RequestInvalid, detail).because("dot_segment");
        return Err((refusal, WebhookRefusal::Request));
    }
    Ok(())
}

/// A query, with its question mark, without the parameter `name`; the rest keeps its bytes.
fn without(query: &[u8], name: &str) -> Vec<u8> {
    let pairs = query.strip_prefix(b"?").unwrap_or_default().split(|&b| b == b'&');
    let kept: Vec<&[u8]> =
        pairs.filter(|pair| url::form_urlencoded::parse(pair).all(|(found, _)| found != name)).collect();
    if kept.is_empty() { Vec::new() } else { [&b"?"[..], &kept.join(&b'&')].concat() }
}

/// The path as the access log may show it: no key is, whether it stands where a key belongs or elsewhere, alone or beside
/// what no key of `attache keys new` has in it. Without an
/// `endpoint`, no part that the client chose is shown. A hash for each further segment that is as long as a key.
pub fn log_path(keys: &KeyTable, raw_target: &[u8], endpoint: Option<&Endpoint>) -> Vec<u8> {
    let Some((segment, rest, _)) = split(raw_target) else { return UNMATCHED.to_vec() };
    let Some(endpoint) = endpoint else { return [PREFIX, KEY].concat() };
    let is_known = |text: &[u8]| text.len() >= SHORTEST_KEY && keys.find(text).is_some();
    let is_key = |part: &[u8]| {
        if part == segment && !endpoint.key_is_elsewhere() {
            return true;
        }
        let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode(part).into();
        let mut words = decoded.split(|b| !(b.is_ascii_alphanumeric() || b"-_".contains(b)));
        part.len() >= SHORTEST_KEY && (is_known(&decoded) || words.any(is_known))
    };
    let shown = rest.split(|&b| b == b'/').map(|part| if is_key(part) { KEY } else { part });
    let shown: Vec<&[u8]> = shown.collect();
    [template_head(endpoint).as_slice(), &shown.join(&b'/')].concat()
}

/// The path of a call for our program, which has to know all of it but the key.
pub fn template(raw_target: &[u8], endpoint: &Endpoint) -> Vec<u8> {
    let rest = split(raw_target).map_or(&[][..], |(_, rest, _)| rest);
    [template_head(endpoint).as_slice(), rest].concat()
}

/// Stands for a key.
const KEY: &[u8] = b"{key}";

fn template_head(endpoint: &Endpoint) -> Vec<u8> {
    [PREFIX, if endpoint.key_is_elsewhere() { endpoint.service().as_bytes() } else { KEY }].concat()
}

#[cfg(test)]
mod tests;
