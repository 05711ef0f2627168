//! The webhook of one service, prepared for the request path: the clients that may call, their proofs, and the user.

use super::handshake::Responder;
use super::replay::Deliveries;
use crate::config::model::{KeyIn, Refusals, Replay, User, Webhook};
use crate::handshake_secrets::HandshakeSecret;
use crate::limits::RateLimit;
use crate::log_limit::LogLimit;
use crate::plan::Refusal;
use crate::route::Route;
use crate::signature::Verifier;
use http::HeaderValue;
use ipnet::IpNet;
use std::sync::Arc;

/// The reason of a webhook whose provider brought a secret that can't be used.
const UNUSABLE: &str = "handshake_unusable";

/// The prepared webhook of one service.
pub struct Endpoint {
    /// The route to the receiver.
    pub route: Arc<Route>,
    /// The user of its calls.
    pub user: Arc<User>,
    /// The identity without the key's id, ready to be sent: user, service.
    pub identity: [HeaderValue; 2],
    /// The place of the key in a call.
    pub key_in: KeyIn,
    /// The networks that calls may come from. Empty: all.
    pub allow_from: Vec<IpNet>,
    /// The rate of each key.
    pub limit: Option<RateLimit>,
    /// The signature that a call needs.
    pub verifier: Option<Verifier>,
    /// Answers the provider's question before its first delivery.
    pub responder: Option<Box<Responder>>,
    /// The secret that the provider brings in its handshake.
    pub brought: Option<Arc<HandshakeSecret>>,
    /// The treatment of duplicates, and the remembered deliveries.
    pub replay: Option<(Replay, Arc<Deliveries>)>,
    /// The log lines about refused calls.
    pub log_limit: LogLimit,
    refusals: Refusals,
}

impl Endpoint {
    /// Prepares `webhook`. The remembered `deliveries` carry over a reload.
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
            responder: webhook
                .handshake
                .as_ref()
                .map(|handshake| Box::new(Responder::new(handshake, webhook.rate_limit.as_ref()))),
            brought: None,
            replay: webhook.replay.clone().map(|replay| (replay, deliveries.unwrap_or_default())),
            log_limit: LogLimit::default(),
            refusals: webhook.refusals.clone(),
            route,
        }
    }

    /// Sets the secret that the provider brings.
    #[must_use]
    pub fn with_brought(self, brought: Option<Arc<HandshakeSecret>>) -> Self {
        Self { brought, ..self }
    }

    /// Returns true if the provider has brought a secret that can't be used.
    pub fn has_unusable_secret(&self) -> bool {
        self.lacks_secret() == Some(UNUSABLE)
    }

    /// Returns the reason for which no delivery can be verified: the provider has not brought its secret yet, or the
    /// secret can't be used.
    pub fn lacks_secret(&self) -> Option<&'static str> {
        match self.brought.as_ref().filter(|brought| brought.signs())?.status().state {
            "waiting" => Some("handshake_awaited"),
            "unusable" => Some(UNUSABLE),
            _ => None,
        }
    }

    /// Returns the key of its service.
    pub fn service(&self) -> &str {
        &self.route.service
    }

    /// Returns true if the key of a call is not in its path.
    pub fn key_is_elsewhere(&self) -> bool {
        self.key_in != KeyIn::Path
    }

    /// Returns true if the body has to be read before the receiver gets a byte.
    pub fn reads_body(&self) -> bool {
        self.verifier.is_some() || self.replay.is_some()
    }

    /// Returns `refusal` with the overrides of `refusals`. A 2xx refusal has no body.
    pub fn apply_refusal_overrides(&self, refusal: Refusal) -> Refusal {
        let other = self.refusals.statuses.iter().find(|(code, _)| *code == refusal.code);
        let status = other.map(|(_, status)| *status).or(refusal.status);
        let bodiless = self.refusals.bodiless || status.is_some_and(|status| status.is_success());
        Refusal { status, bodiless, ..refusal.of(self.service()) }
    }
}
