//! Discord's PING, which its signature covers.

use super::{MAX_BODY, Outcome};
use crate::plan::Reply;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Answers the PING of interactions (type 1) and of webhook events (type 0). A webhook event has type 1 as well, and an
/// `event`.
pub(super) fn answer(body: &[u8]) -> Option<Outcome> {
    #[derive(Deserialize)]
    struct Ping {
        r#type: u64,
        event: Option<IgnoredAny>,
    }
    if body.len() > MAX_BODY {
        return None;
    }
    let ping: Ping = serde_json::from_slice(body).ok()?;
    match (ping.r#type, ping.event) {
        (0, _) => Some(Outcome::Answer(Reply::no_content())),
        (1, None) => Some(Outcome::Answer(Reply::json(r#"{"type":1}"#.to_owned()))),
        _ => None,
    }
}
