//! Decides if and when another attempt follows a failed one, as the service's `retries` say.
//!
//! A retry needs, beside the settings: the part of the body that was read so far; a client that was sent nothing of a
//! response; time for another attempt as long as this one; and the budget, which is asked last. The rules of [`super::resend`]
//! come first and need no setting.

use super::attempt::{Answering, Upload};
use super::connect::NoConnection;
use super::request::{Planned, Request};
use super::resend::BrokenConnection;
use super::{Exchange, NotForwarded, Tries};
use crate::config::model::RetryOn;
use crate::message::retry_after;
use crate::route::retries::{FailedRequest, Retries, pause};
use http::StatusCode;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant, SystemTime};

/// An attempt that failed. Made only if `began` is known, which it is if the service has retries.
pub(super) struct FailedAttempt {
    pub(super) on: RetryOn,
    pub(super) began: Instant,
    /// A 1xx other than 100 was forwarded to the client.
    pub(super) forwarded_1xx: bool,
    /// The pause that the upstream asks for.
    pub(super) retry_after: Option<Duration>,
}

impl FailedAttempt {
    /// Returns the failure of an attempt without a connection, if another attempt may fare better.
    pub(super) fn of_connection(error: &NoConnection, began: Option<Instant>) -> Option<Self> {
        let on = error.is_passing().then_some(RetryOn::Connect)?;
        Some(Self { on, began: began?, forwarded_1xx: false, retry_after: None })
    }

    /// Returns the failure of an attempt whose response has one of the statuses of `retries`.
    pub(super) fn of_response(answering: &Answering, began: Option<Instant>) -> Option<Self> {
        let (head, forwarded_1xx) = (&answering.head, answering.attempt.forwarded_1xx);
        if !matches!(head.status, 502..=504) {
            return None;
        }
        let value = head.fields.get("retry-after");
        Some(Self {
            on: RetryOn::Status(StatusCode::from_u16(head.status).ok()?),
            began: began?,
            forwarded_1xx,
            retry_after: value.and_then(|value| retry_after(value, SystemTime::now())),
        })
    }

    /// Returns the failure of an attempt whose connection ended before a response head.
    pub(super) fn of_broken(broken: &BrokenConnection, began: Option<Instant>) -> Option<Self> {
        let forwarded_1xx = broken.forwarded_1xx;
        Some(Self { on: RetryOn::Reset, began: began?, forwarded_1xx, retry_after: None })
    }
}

impl Exchange<'_> {
    /// Counts a request towards the budget of the service's retries.
    pub(super) fn count_for_retries(planned: &Planned) {
        if let Some(retries) = &planned.plan.route.retries {
            retries.budget.request(crate::proxy::uptime(Instant::now()));
        }
    }

    /// Waits for the next attempt, and returns true; false if there is none.
    pub(super) async fn retries(
        &mut self,
        request: &Request,
        planned: &Planned,
        upload: &Upload,
        tries: &mut Tries,
        failed: FailedAttempt,
    ) -> Result<bool, NotForwarded> {
        let Some(retries) = &planned.plan.route.retries else { return Ok(false) };
        tries.failed += 1;
        let Some(pause) = next(retries, &failed, request, planned, upload, tries.failed) else {
            return Ok(false);
        };
        tries.is_fresh |= failed.on == RetryOn::Reset;
        // Boxed, because otherwise every request would hold its memory.
        tokio::select! {
            biased;
            left = self.client.left() => Err(NotForwarded::Client(left)),
            () = Box::pin(tokio::time::sleep(pause)) => Ok(true),
        }
    }
}

/// Returns the pause before the next attempt, which is taken from the budget; `None` if there is none.
fn next(
    retries: &Retries,
    failed: &FailedAttempt,
    request: &Request,
    planned: &Planned,
    upload: &Upload,
    attempts: u32,
) -> Option<Duration> {
    let settings = FailedRequest {
        on: failed.on,
        attempts,
        method: &request.head.method,
        is_idempotent: planned.is_idempotent,
        has_key: request.head.fields.contains("idempotency-key"),
    };
    if failed.forwarded_1xx || !upload.replay.is_whole() || !retries.allow(&settings) {
        return None;
    }
    let now = Instant::now();
    let pause = pause(attempts, random()).max(failed.retry_after.unwrap_or_default());
    let left = planned.deadline.into_std().saturating_duration_since(now);
    // An attempt that took as long as this one would end after the deadline.
    if pause.saturating_add(now - failed.began) >= left {
        return None;
    }
    let stats = &planned.plan.route.stats;
    let is_within = retries.budget.take(crate::proxy::uptime(now));
    stats.retried(is_within);
    is_within.then_some(pause)
}

/// Returns a number from 0 to 1, for the pauses only.
fn random() -> f64 {
    RandomState::new().hash_one(0_u8) as f64 / u64::MAX as f64
}
