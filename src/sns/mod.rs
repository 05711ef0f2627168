//! The SNS hosts of Amazon: certificates are fetched from them, and subscriptions confirmed.
//!
//! Verification asks [`Sns::lookup`], which does no I/O. A request whose certificate is missing may wait for
//! [`Sns::fetch`] and be verified again.
//!
//! Invariants:
//! - Only the URLs of [`crate::signature::sns`] are requested: https, an SNS host of a listed topic's region, and no
//!   redirect is followed. The egress guard and the file's `proxy` hold as for every server.
//! - A client that knows the URL of a webhook can cause few fetches: see [`store`]. No lock is held during one.
//! - A fetch belongs to no request: it goes on when the request that began it has gone. Otherwise a client that leaves
//!   would cause more fetches, or none for the others.

mod client;
mod store;

use crate::config::model::UsedProxy;
use crate::error_chain::Chain;
use crate::log_limit::LogLimit;
use crate::secret::sha256;
use crate::signature::Lookup;
use crate::signature::sns::{CertificateFault, CertificateUrl, SigningCertificate, Subscription};
use crate::transport::Transport;
use client::{SnsClient, SnsError};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use store::{Begin, CertificateStore};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The client of the SNS hosts, with the certificates that it fetched. It outlives snapshots; dropping it ends the
/// fetches.
#[derive(Default)]
pub struct Sns {
    shared: Arc<Shared>,
    fetches: Mutex<JoinSet<()>>,
}

/// The parts that a fetch uses.
#[derive(Default)]
struct Shared {
    store: Mutex<CertificateStore>,
    /// The log lines about fetches that failed: a client may name other certificates without end.
    log_limit: LogLimit,
}

/// The way to the SNS hosts.
#[derive(Clone)]
pub struct Way {
    /// Connections.
    pub transport: Arc<Transport>,
    /// The file's `proxy`.
    pub proxy: UsedProxy,
}

/// A subscription could not be confirmed.
#[derive(Debug, thiserror::Error)]
#[error("the subscription could not be confirmed")]
pub struct Unconfirmed;

impl Sns {
    /// Returns what is known of a certificate.
    pub fn lookup(&self, url: &CertificateUrl) -> Lookup {
        self.store().lookup(url, Instant::now())
    }

    /// Fetches a certificate for `client`, or waits for the fetch that is under way. Returns at once if none may begin
    /// now. Dropping the future ends the waiting and nothing else.
    pub async fn fetch(&self, url: &CertificateUrl, client: Option<IpAddr>, way: &Way) {
        let begin = self.store().begin(url, client, Instant::now());
        let mut ended = match begin {
            Begin::NotNow => return,
            Begin::Wait(ended) => ended,
            Begin::Fetch(end) => {
                let (ended, shared) = (end.subscribe(), Arc::clone(&self.shared));
                let fetch = Fetch { shared, url: url.clone(), client, end, has_ended: false };
                let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
                while fetches.try_join_next().is_some() {}
                fetches.spawn(fetch.run(way.clone()));
                ended
            }
        };
        // An error: the fetch panicked.
        let _ = ended.changed().await;
    }

    /// Confirms a subscription whose message was verified.
    ///
    /// # Errors
    ///
    /// If SNS does not say that it is confirmed. The reason is logged.
    pub async fn confirm(&self, subscription: &Subscription, way: &Way) -> Result<(), Unconfirmed> {
        let topic = &*subscription.topic;
        let hash = sha256(subscription.confirm.as_str().as_bytes());
        if self.store().is_confirmed(&hash) {
            return Ok(());
        }
        let Some(_permit) = self.permit() else { return Err(Unconfirmed) };
        match SnsClient::new(way).await.confirm(&subscription.confirm).await {
            Ok(()) => {
                self.store().confirmed(hash);
                tracing::info!(target: "attache", topic, "the subscription of a webhook to a topic of SNS is confirmed");
                Ok(())
            }
            Err(failure) => {
                let (reason, help) = (Chain(&failure).to_string(), failure.help());
                let what =
                    "the subscription of a webhook to a topic of SNS can't be confirmed; SNS asks again";
                tracing::error!(target: "attache", topic, reason, help, "{what}");
                Err(Unconfirmed)
            }
        }
    }

    fn permit(&self) -> Option<Confirmation<'_>> {
        self.store().begin_confirmation().then_some(Confirmation(self))
    }

    fn store(&self) -> MutexGuard<'_, CertificateStore> {
        self.shared.store()
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, CertificateStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A confirmation under way, counted until it is dropped.
struct Confirmation<'s>(&'s Sns);

impl Drop for Confirmation<'_> {
    fn drop(&mut self) {
        self.0.store().end_confirmation();
    }
}

/// A fetch under way. Dropping it notifies the requests that wait.
struct Fetch {
    shared: Arc<Shared>,
    url: CertificateUrl,
    client: Option<IpAddr>,
    end: watch::Sender<()>,
    has_ended: bool,
}

impl Fetch {
    async fn run(self, way: Way) {
        let result = SnsClient::new(&way).await.certificate(&self.url, SystemTime::now()).await;
        self.end(result);
    }

    fn end(mut self, result: Result<Result<SigningCertificate, CertificateFault>, SnsError>) {
        let (url, log_limit) = (self.url.as_str(), &self.shared.log_limit);
        let result = match result {
            Ok(Ok(certificate)) => {
                tracing::info!(target: "attache", url, "a certificate of SNS was fetched");
                Ok(Ok(Arc::new(certificate)))
            }
            Ok(Err(fault)) => {
                let reason = fault.to_string();
                let help = "a message named it; if it was one of SNS, look at the certificate";
                if let Some(not_logged) = log_limit.take() {
                    let what = "a certificate of SNS is not usable";
                    tracing::warn!(target: "attache", url, reason, help, not_logged, "{what}");
                }
                Ok(Err(fault))
            }
            Err(failure) => {
                let (reason, help) = (Chain(&failure).to_string(), failure.help());
                let what = "a certificate of SNS can't be fetched; its messages get 503";
                if let Some(not_logged) = log_limit.take() {
                    tracing::error!(target: "attache", url, reason, help, not_logged, "{what}");
                }
                Err(())
            }
        };
        self.shared.store().end(&self.url, self.client, result, Instant::now());
        self.has_ended = true;
        self.end.send_replace(());
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if !self.has_ended {
            self.shared.store().end(&self.url, self.client, Err(()), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
