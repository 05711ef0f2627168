//! Microsoft Graph signs nothing: it sends back, with every notification, the `clientState` it was given.

use super::key::{Key, any_token};
use super::trace::Trace;
use super::{Delivery, Fault, Signed};
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Notifications<'a> {
    #[serde(borrow)]
    value: Vec<Notification<'a>>,
}

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow, rename = "clientState")]
    client_state: Option<Cow<'a, str>>,
}

pub(super) fn verify(keys: &[Key], delivery: &Delivery<'_>, trace: &mut Trace) -> Result<Signed, Fault> {
    let notifications: Notifications<'_> = serde_json::from_slice(delivery.body)
        .map_err(|_| Fault::Content("the body is not JSON with a list `value` of notifications"))?;
    let count = notifications.value.len();
    if count == 0 {
        return Err(Fault::Content("the body has no notification"));
    }
    trace.passed(|| format!("the body has {count} notifications"));
    for notification in &notifications.value {
        let Some(state) = &notification.client_state else {
            return Err(Fault::Content("a notification has no clientState"));
        };
        any_token(keys, state.as_bytes(), trace)?;
    }
    Ok(Signed::default())
}
