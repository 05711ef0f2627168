//! The requests that attache sends for a webhook call before it forwards anything: for a key, and for the confirmation
//! of a subscription to a topic of SNS. Each ends at the call's deadline, and with its client.

use super::NotForwarded;
use super::admit::within;
use super::request::{Planned, Request, refuse_valid, replied};
use crate::config::model::UsedProxy;
use crate::error_code::ErrorCode;
use crate::plan::{Refusal, Reply};
use crate::proxy::downstream::client::Client;
use crate::signature::NeededKey;
use crate::signature::sns::Subscription;
use crate::sns::Way;
use crate::telemetry::metrics::WebhookRefusal;
use std::sync::Arc;

/// Fetches a key that a signature needs. After the deadline, or if it may not be fetched now, the admission decides
/// without it.
pub(super) async fn key(
    needed: &NeededKey,
    request: &Request,
    planned: &Planned,
    client: &mut Client,
) -> Result<(), NotForwarded> {
    let record = &request.record;
    let (snapshot, way) = (&record.snapshot, way(request));
    let known = snapshot.webhooks().fetched;
    within(planned.deadline, client, known.fetch(needed, record.client, &way)).await.map(drop)
}

/// Confirms a subscription. Returns the answer to SNS, which repeats its question after a refusal.
pub(super) async fn confirm(
    subscription: &Subscription,
    request: &mut Request,
    planned: &Planned,
    client: &mut Client,
) -> NotForwarded {
    let (sns, way) = (request.record.snapshot.sns.clone(), way(request));
    let confirming = async {
        match &sns {
            Some(sns) => sns.confirm(subscription, &way).await.is_ok(),
            None => false,
        }
    };
    match within(planned.deadline, client, confirming).await {
        Err(left) => return left,
        Ok(Some(true)) => return replied(&mut request.record, Reply::empty()),
        Ok(Some(false) | None) => {}
    }
    let detail = "the subscription could not be confirmed; the operator's log says why";
    let refusal = Refusal::new(ErrorCode::ServiceUnreachable, detail).proxy_status("destination_unavailable");
    let refusal = refusal.retry_later();
    refuse_valid(&mut request.record, refusal, WebhookRefusal::Unconfirmed)
}

fn way(request: &Request) -> Way {
    let record = &request.record;
    let rules = record.snapshot.config.proxy.clone();
    Way { transport: Arc::clone(record.transport()), proxy: UsedProxy { rules, is_own: false } }
}
