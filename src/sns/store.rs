//! The certificates that are known, and when another may be fetched. Pure: the time is an argument.
//!
//! A message names its certificate before anything of it is verified, so a client may name any number of them. The
//! fetches that it can cause are bounded: [`RATE`] of certificates that are not known, [`MAX_RUNNING`] at the same
//! time, one for each URL. A URL is not fetched again for [`FAILED`] after no answer, for [`REFUSED`] if SNS has no such
//! certificate, and for [`FRESH`] if it has, whether the clients that named it wait for the answer or leave.
//!
//! An address names at most [`MAX_NAMED`] in [`NAMED`] that are being fetched or that SNS does not have, so that it does
//! not use [`RATE`] up. More than one, because many clients behind a proxy may have one address, and a client that names
//! nothing good must not keep the certificate of the others from being fetched.

use crate::config::model::Rate;
use crate::limits::{RateLimit, network_of};
use crate::signature::Lookup;
use crate::signature::sns::{CertificateFault, CertificateUrl, SigningCertificate};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Maximum number of certificates and refusals that are remembered.
const MAX_ENTRIES: usize = 64;
/// Maximum number of fetches at the same time.
const MAX_RUNNING: usize = 4;
/// Maximum number of confirmations at the same time.
const MAX_CONFIRMATIONS: usize = 4;
/// Number of confirmed subscriptions that are remembered.
const MAX_CONFIRMED: usize = 64;
/// Rate of fetches of certificates that are not known.
const RATE: Rate = Rate { requests: 30, per: Duration::from_secs(60), burst: 10 };
/// Age at which a certificate is fetched again: one that SNS withdraws is refused after it.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// Time for which a certificate that SNS does not have is not asked for again.
const REFUSED: Duration = Duration::from_secs(5 * 60);
/// Pause after a fetch without an answer.
const FAILED: Duration = Duration::from_secs(10);
/// Number of certificates that SNS does not have and that an address may name in [`NAMED`].
const MAX_NAMED: usize = 3;
/// See [`MAX_NAMED`].
const NAMED: Duration = Duration::from_secs(60);

/// The certificates, their fetches, and the confirmed subscriptions.
pub(super) struct CertificateStore {
    entries: HashMap<CertificateUrl, Entry>,
    rate: RateLimit,
    bucket: AtomicU64,
    began: Option<Instant>,
    /// The network of each client that named a certificate which is being fetched, or which SNS does not have, and when.
    /// As many as [`RATE`] allows.
    named: VecDeque<(u128, Instant)>,
    confirmations: usize,
    /// The hashes of the URLs that were requested last: a question that SNS repeats is not confirmed again.
    confirmed: VecDeque<[u8; 32]>,
}

/// A certificate that was asked for.
struct Entry {
    certificate: Option<Arc<SigningCertificate>>,
    refused: Option<CertificateFault>,
    /// Not fetched again before this time.
    next: Instant,
    used: Instant,
    /// The fetch under way.
    ended: Option<watch::Receiver<()>>,
}

/// The next step for a certificate that is needed.
pub(super) enum Begin {
    /// Fetch it, and notify the requests that wait. Followed by [`CertificateStore::end`].
    Fetch(watch::Sender<()>),
    /// Wait for the end of the fetch under way.
    Wait(watch::Receiver<()>),
    /// Do not fetch: no fetch may begin now.
    NotNow,
}

impl Default for CertificateStore {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            rate: RateLimit::new(&RATE),
            bucket: AtomicU64::new(0),
            began: None,
            named: VecDeque::new(),
            confirmations: 0,
            confirmed: VecDeque::new(),
        }
    }
}

impl CertificateStore {
    /// Returns what is known of a certificate.
    pub(super) fn lookup(&mut self, url: &CertificateUrl, now: Instant) -> Lookup {
        let Some(entry) = self.entries.get_mut(url) else { return Lookup::Needed };
        entry.used = now;
        match (&entry.certificate, entry.refused) {
            _ if entry.next <= now => Lookup::Needed,
            (Some(certificate), _) => Lookup::Known(Arc::clone(certificate)),
            (None, Some(fault)) => Lookup::Refused(fault),
            (None, None) => Lookup::Needed,
        }
    }

    /// Begins a fetch for `client`, unless one is under way or may not begin.
    pub(super) fn begin(&mut self, url: &CertificateUrl, client: Option<IpAddr>, now: Instant) -> Begin {
        let running = self.entries.values().filter(|entry| entry.ended.is_some()).count();
        let is_known = match self.entries.get(url) {
            Some(Entry { ended: Some(ended), .. }) => return Begin::Wait(ended.clone()),
            Some(entry) if now < entry.next => return Begin::NotNow,
            entry => entry.is_some_and(|entry| entry.certificate.is_some()),
        };
        if running >= MAX_RUNNING || (!is_known && !self.may_fetch_unknown(client, now)) {
            return Begin::NotNow;
        }
        self.make_room(url);
        let (sender, ended) = watch::channel(());
        let new = Entry { certificate: None, refused: None, next: now, used: now, ended: None };
        self.entries.entry(url.clone()).or_insert(new).ended = Some(ended);
        Begin::Fetch(sender)
    }

    fn may_fetch_unknown(&mut self, client: Option<IpAddr>, now: Instant) -> bool {
        self.named.retain(|(_, at)| now < *at + NAMED);
        let client = client.map(network_of);
        let named = self.named.iter().filter(|(network, _)| Some(*network) == client).count();
        let uptime = now.saturating_duration_since(*self.began.get_or_insert(now));
        let may_fetch = named < MAX_NAMED && self.rate.take_at(&self.bucket, uptime).is_ok();
        self.named.extend(client.filter(|_| may_fetch).map(|client| (client, now)));
        may_fetch
    }

    /// Makes room for `url`: refusals are removed before certificates, and the least recently used entry first.
    fn make_room(&mut self, url: &CertificateUrl) {
        if self.entries.len() < MAX_ENTRIES || self.entries.contains_key(url) {
            return;
        }
        let idle = self.entries.iter().filter(|(_, entry)| entry.ended.is_none());
        let oldest = idle.min_by_key(|(_, entry)| (entry.certificate.is_some(), entry.used));
        if let Some(oldest) = oldest.map(|(url, _)| url.clone()) {
            self.entries.remove(&oldest);
        }
    }

    /// Takes the result of a fetch for `client`. `Err`: there was no answer, and a certificate that is known stays.
    pub(super) fn end(
        &mut self,
        url: &CertificateUrl,
        client: Option<IpAddr>,
        result: Result<Result<Arc<SigningCertificate>, CertificateFault>, ()>,
        now: Instant,
    ) {
        let Some(entry) = self.entries.get_mut(url) else { return };
        entry.ended = None;
        // A fetch of a known one was not counted.
        let is_cleared = entry.certificate.is_none() && !matches!(result, Ok(Err(_)));
        match result {
            Ok(Ok(certificate)) => {
                (entry.certificate, entry.refused, entry.next) = (Some(certificate), None, now + FRESH);
            }
            Ok(Err(fault)) => {
                (entry.certificate, entry.refused, entry.next) = (None, Some(fault), now + REFUSED);
            }
            Err(()) => entry.next = now + FAILED,
        }
        let client = client.map(network_of).filter(|_| is_cleared);
        if let Some(at) = self.named.iter().rposition(|(network, _)| Some(*network) == client) {
            self.named.remove(at);
        }
    }

    /// Begins a confirmation. Returns false if too many are under way.
    pub(super) fn begin_confirmation(&mut self) -> bool {
        let begins = self.confirmations < MAX_CONFIRMATIONS;
        self.confirmations += usize::from(begins);
        begins
    }

    /// Ends a confirmation.
    pub(super) fn end_confirmation(&mut self) {
        self.confirmations = self.confirmations.saturating_sub(1);
    }

    /// Returns true if the subscription with this hash was confirmed.
    pub(super) fn is_confirmed(&self, hash: &[u8; 32]) -> bool {
        self.confirmed.contains(hash)
    }

    /// Records that the subscription with this hash is confirmed.
    pub(super) fn confirmed(&mut self, hash: [u8; 32]) {
        self.confirmed.truncate(MAX_CONFIRMED - 1);
        self.confirmed.push_front(hash);
    }
}

#[cfg(test)]
mod tests;
