//! The webhook of one service, made ready for the request path: who may call, with what, and as whom.

use super::replay::Deliveries;
use crate::config::model::{KeyIn, Refusals, Replay, User, Webhook};
use crate::limits::RateLimit;
use crate::plan::Refusal;
use crate::route::Route;
use crate::secret::Secret;
use crate::signature::Verifier;
use http::HeaderValue;
use ipnet::IpNet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// See the module's documentation.
pub struct Endpoint {
    /// Where calls go.
    pub route: Arc<Route>,
    /// As whom they are let in.
    pub user: Arc<User>,
    /// The identity but for the key's id, ready to be sent: user, service.
    pub identity: [HeaderValue; 2],
    /// Where a call has its key.
    pub key_in: KeyIn,
    /// From where calls may come; empty is from everywhere.
    pub allow_from: Vec<IpNet>,
    /// How often each key may be used.
    pub limit: Option<RateLimit>,
    /// What a call has to be signed with.
    pub verifier: Option<Verifier>,
    /// What Meta has to show.
    pub verify_token: Option<Secret>,
    /// What becomes of a delivery that comes again, and those that came.
    pub replay: Option<(Replay, Arc<Deliveries>)>,
    /// Time of the last logged refusal, in milliseconds since the start.
    pub last_warning: AtomicU64,
    /// Number of refusals since then that were not logged.
    pub not_logged: AtomicU64,
    refusals: Refusals,
}

impl Endpoint {
    /// Prepares `webhook`. Deliveries that have been here are taken over from before a reload.
    pub fn new(route: Arc<Route>, webhook: &Webhook, deliveries: Option<Arc<Deliveries>>) -> Self {
        // Names are checked by the parser to hold nothing a header can't.
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        Self {
            user: Arc::clone(&webhook.user),
            identity: [value(&webhook.user.key), value(&route.service)],
            key_in: webhook.key_in.clone(),
            allow_from: webhook.allow_from.clone(),
            limit: webhook.rate_limit.as_ref().map(RateLimit::new),
            verifier: webhook.verify.clone(),
            verify_token: webhook.verify_token.clone(),
            replay: webhook.replay.map(|replay| (replay, deliveries.unwrap_or_default())),
            last_warning: AtomicU64::new(0),
            not_logged: AtomicU64::new(0),
            refusals: webhook.refusals.clone(),
            route,
        }
    }

    /// Its service's key.
    pub fn service(&self) -> &str {
        &self.route.service
    }

    /// Returns true if calls have their key elsewhere than in the path.
    pub fn key_is_elsewhere(&self) -> bool {
        self.key_in != KeyIn::Path
    }

    /// Returns true if the body has to be read before our program sees a byte.
    pub fn reads_body(&self) -> bool {
        self.verifier.is_some() || self.replay.is_some()
    }

    /// `refusal` as the service's `refusals` want it. A 2xx refusal has no body.
    pub fn apply_refusal_overrides(&self, refusal: Refusal) -> Refusal {
        let other = self.refusals.statuses.iter().find(|(code, _)| *code == refusal.code);
        let status = other.map(|(_, status)| *status).or(refusal.status);
        let bodiless = self.refusals.bodiless || status.is_some_and(|status| status.is_success());
        Refusal { status, bodiless, ..refusal.of(self.service()) }
    }
}
