//! The handshake of Amazon SNS: a subscription is confirmed by a request of attache's own.
//!
//! SNS delivers nothing before that. The question is signed, and names the URL of the confirmation; only that of a listed
//! topic is requested, at the SNS host of its region.

use crate::signature::sns::{Subscription, subscription};
use crate::signature::{Delivery, Fault};
use crate::webhook::endpoint::Endpoint;

/// Returns the question of a new subscription, if `delivery` is one and the webhook answers it. Its signature has to be
/// verified before.
///
/// # Errors
///
/// If the URL of the confirmation is not one of SNS.
pub(in crate::webhook) fn subscription_of(
    endpoint: &Endpoint,
    delivery: &Delivery<'_>,
) -> Option<Result<Subscription, Fault>> {
    let responder = endpoint.responder.as_ref().filter(|responder| responder.confirms_subscriptions());
    responder.and_then(|_| subscription(delivery.body))
}
