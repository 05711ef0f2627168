//! The way in: from a key in the path to the user it stands for.

pub mod identity;
pub mod keys;

use crate::error_code::ErrorCode;
use crate::outbound::UNMATCHED;
use crate::outbound::path::{Target, has_dot_segment};
use crate::plan::{Plan, Refusal};
use http::Method;
use keys::{Key, KeyTable};
use std::sync::Arc;
use std::time::SystemTime;

/// The first path segment of every webhook URL.
const PREFIX: &[u8] = b"/webhooks/";

/// The key in a request target, and what follows it. `None`: the target is no webhook URL.
fn split(raw_target: &[u8]) -> Option<(&[u8], &[u8], Target<'_>)> {
    let target = Target::parse(raw_target)?;
    let after = target.path.strip_prefix(PREFIX)?;
    let (key, rest) = after.split_at(after.iter().position(|&b| b == b'/').unwrap_or(after.len()));
    (!key.is_empty()).then_some((key, rest, target))
}

/// A call that is not let in, and the key it came with, if that is a valid one.
pub struct Refused {
    /// What is answered.
    pub refusal: Refusal,
    /// To log and count the call under its service and key.
    pub key: Option<Arc<Key>>,
}

/// What to do with a webhook call, at `now`. Pure; the work is the same for keys that are unknown, expired and not yet
/// valid, and so is the answer.
pub fn plan(
    keys: &KeyTable,
    method: &Method,
    raw_target: &[u8],
    now: SystemTime,
) -> Result<Plan, Box<Refused>> {
    let (key, rest, target) = split(raw_target).ok_or_else(unknown)?;
    let key = keys.find_at(key, now).ok_or_else(unknown)?;
    if let Some(refusal) = refusal(&key, method, rest) {
        return Err(Box::new(Refused { refusal: refusal.of(&key.route.service), key: Some(key) }));
    }
    let tail = &raw_target[raw_target.len() - rest.len() - target.query.len()..];
    Ok(Plan { route: Arc::clone(&key.route), target: key.route.upstream.target(tail), key: Some(key) })
}

fn unknown() -> Box<Refused> {
    let detail = "no webhook has this URL; check it against the one you were given";
    Box::new(Refused { refusal: Refusal::new(ErrorCode::WebhookUnknown, detail), key: None })
}

/// Why a call with a valid key is not let in all the same.
fn refusal(key: &Key, method: &Method, rest: &[u8]) -> Option<Refusal> {
    let methods = &key.route.methods;
    if !key.user.active {
        let detail = "the webhook is known, but the user it belongs to is not active";
        Some(Refusal::new(ErrorCode::UserInactive, detail))
    } else if !methods.contains(method) {
        let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let refusal = Refusal::new(ErrorCode::MethodDenied, format!("this webhook takes {allow}"));
        Some(Refusal { allow: Some(allow), ..refusal })
    } else if has_dot_segment(rest) {
        let detail = "the path has a dot segment (`.` or `..`, in some spelling)";
        Some(Refusal::new(ErrorCode::RequestInvalid, detail))
    } else {
        None
    }
}

/// The path as the access log may show it: what stood where a key belongs is not shown, known or not.
pub fn log_path(raw_target: &[u8], key_known: bool) -> Vec<u8> {
    match split(raw_target) {
        // The rest is shown too, unless the key stands there once more.
        Some((key, rest, _)) if key_known && !rest.windows(key.len()).any(|part| part == key) => {
            [PREFIX, b"{key}", rest].concat()
        }
        // A stranger chose the rest as well, and may have put a key there.
        Some(_) => [PREFIX, b"{key}"].concat(),
        None => UNMATCHED.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_url_has_its_key_after_the_prefix() {
        let key = |raw: &'static str| split(raw.as_bytes()).map(|(key, rest, _)| (key, rest));
        assert_eq!(key("/webhooks/k1/a/b?c"), Some((&b"k1"[..], &b"/a/b"[..])));
        assert_eq!(key("/webhooks/k1?c"), Some((&b"k1"[..], &b""[..])));
        for raw in ["/k1", "/WEBHOOKS/k1", "/webhooks", "/webhooks/", "/webhooks//k1", "//webhooks/k1", "*"] {
            assert_eq!(key(raw), None, "{raw}");
        }
    }

    #[test]
    fn the_log_never_shows_what_stands_where_a_key_belongs() {
        assert_eq!(log_path(b"/webhooks/k1/a?b", true), b"/webhooks/{key}/a");
        assert_eq!(log_path(b"/webhooks/k1/a", false), b"/webhooks/{key}");
        assert_eq!(log_path(b"/webhooks/k1/a/k1", true), b"/webhooks/{key}");
        assert_eq!(log_path(b"/k1", false), b"{unmatched}");
    }
}
