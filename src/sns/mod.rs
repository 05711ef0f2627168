//! The SNS hosts of Amazon: certificates are fetched from them, and subscriptions confirmed.
//!
//! Verification asks [`Sns::lookup`], which does no I/O. A request whose certificate is missing may wait for
//! [`Sns::fetch`] and be verified again.
//!
//! Invariants:
//! - Only the URLs of [`crate::signature::sns`] are requested: https, an SNS host of a listed topic's region, and no
//!   redirect is followed. The egress guard and the file's `proxy` hold as for every server.
//! - A client that knows the URL of a webhook can cause few fetches: see [`store`]. No lock is held during one.
//! - A fetch belongs to the request that began it. If that request ends first, one of those that wait begins anew.

mod client;
mod store;

use crate::config::model::UsedProxy;
use crate::error_chain::Chain;
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
use tokio::time::Instant;

/// The client of the SNS hosts, with the certificates that it fetched. It outlives snapshots.
#[derive(Default)]
pub struct Sns(Mutex<CertificateStore>);

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
    /// now. Dropping the future ends its own fetch.
    pub async fn fetch(&self, url: &CertificateUrl, client: Option<IpAddr>, way: &Way) {
        loop {
            let begin = self.store().begin(url, client, Instant::now());
            match begin {
                Begin::NotNow => return,
                Begin::Wait(mut ended) => {
                    // An error: the request that fetched has ended, and this one takes over.
                    if ended.changed().await.is_ok() {
                        return;
                    }
                }
                Begin::Fetch(end) => {
                    let fetch = Fetch { sns: self, url, client, end: Some(end) };
                    let result = SnsClient::new(way).await.certificate(url, SystemTime::now()).await;
                    fetch.end(result);
                    return;
                }
            }
        }
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
struct Fetch<'f> {
    sns: &'f Sns,
    url: &'f CertificateUrl,
    client: Option<IpAddr>,
    end: Option<watch::Sender<()>>,
}

impl Fetch<'_> {
    fn end(mut self, result: Result<Result<SigningCertificate, CertificateFault>, SnsError>) {
        let url = self.url.as_str();
        let result = match result {
            Ok(Ok(certificate)) => {
                tracing::info!(target: "attache", url, "a certificate of SNS was fetched");
                Ok(Ok(Arc::new(certificate)))
            }
            Ok(Err(fault)) => {
                let reason = fault.to_string();
                let help = "a message named it; if it was one of SNS, look at the certificate";
                tracing::warn!(target: "attache", url, reason, help, "a certificate of SNS is not usable");
                Ok(Err(fault))
            }
            Err(failure) => {
                let (reason, help) = (Chain(&failure).to_string(), failure.help());
                let what = "a certificate of SNS can't be fetched; its messages get 503";
                tracing::error!(target: "attache", url, reason, help, "{what}");
                Err(())
            }
        };
        let mut store = self.sns.store();
        store.end(self.url, self.client, result, Instant::now());
        if let Some(end) = self.end.take() {
            end.send_replace(());
        }
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        if self.end.is_some() {
            self.sns.store().abandon(self.url, self.client, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
