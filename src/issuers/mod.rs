//! The issuers of one snapshot: whose token this is, and whether it is good.
//!
//! [`Issuers::verify`] decides with the keys that are known; it does no I/O. If the token may be signed with a key that is
//! newer than they are, the refusal says so ([`Refused::newer_keys`]), and the request may wait for a fetch and ask again.
//!
//! Keys by URL are in [`Fetched`], which outlives snapshots as long as `jwks.url`, `ca` and `token` stay the same. With
//! another forward proxy, the keys go on in another one. The server runs one task for each (`FetchTask`).
//!
//! A discovery document (`/.well-known/openid-configuration`) is not read: it would let the issuer's web server choose the
//! place of the keys, and need a second fetch that can fail.

mod fetch;
mod fetched;
mod schedule;

pub(crate) use fetch::{FetchFailure, JwksClient};
pub(crate) use fetched::FetchTask;
pub use fetched::{FetchStatus, Fetched, IssuerStats};

use crate::config::model::{self, Config, Jwks};
use crate::jwt::key_set::KeySet;
use crate::jwt::verify::{Claims, JwtRefusal, UnverifiedToken};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// See the module's documentation.
#[derive(Default)]
pub struct Issuers(Vec<Issuer>);

/// An issuer of the snapshot.
pub struct Issuer {
    key: Arc<str>,
    issuer: String,
    audiences: Vec<String>,
    keys: Keys,
}

enum Keys {
    Fixed(Arc<KeySet>),
    Fetched(Arc<Fetched>),
    Unavailable,
}

/// A token that was verified.
pub struct Verified {
    /// The key under `issuers` of its issuer.
    pub issuer: Arc<str>,
    /// Its claims.
    pub claims: Claims,
    keys: Arc<KeySet>,
}

/// A token that proves nothing. No `Debug` is needed, and none would show more than the reason.
pub struct Refused {
    /// Why.
    pub reason: JwtRefusal,
    /// The key under `issuers` of the issuer that the token names.
    pub issuer: Option<Arc<str>>,
    /// Present if newer keys may make the token good.
    pub newer_keys: Option<NewerKeys>,
}

/// The issuers whose newer keys may make a token good.
pub struct NewerKeys(Vec<Arc<Fetched>>);

impl Issuers {
    /// Prepares the issuers of `config`, taking over the keys of `previous`.
    pub fn new(config: &Config, previous: Option<&Self>) -> Self {
        let prepare = |configured: &Arc<model::Issuer>| {
            let before = previous.and_then(|previous| previous.get(&configured.key));
            Issuer::new(configured, before)
        };
        Self(config.issuers.values().map(prepare).collect())
    }

    /// Prepares these issuers.
    pub fn of<'i>(all: impl Iterator<Item = &'i Arc<model::Issuer>>) -> Self {
        Self(all.map(|configured| Issuer::new(configured, None)).collect())
    }

    /// Returns true if the file has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns every issuer, by its key under `issuers`.
    pub fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.0.iter()
    }

    /// Returns the issuer with this key under `issuers`.
    pub fn get(&self, key: &str) -> Option<&Issuer> {
        self.0.iter().find(|issuer| &*issuer.key == key)
    }

    /// Returns the key sets that are fetched.
    pub(crate) fn fetched(&self) -> impl Iterator<Item = &Arc<Fetched>> {
        self.0.iter().filter_map(Issuer::fetched)
    }

    /// Has every key set fetched now.
    pub(crate) fn nudge(&self) {
        self.fetched().for_each(|fetched| fetched.nudge());
    }

    /// Verifies a token in compact form with the keys that are known. Several issuers may have the same `iss`; one that
    /// accepts the token is enough.
    ///
    /// # Errors
    ///
    /// The reason of the issuer that came closest to accepting it.
    pub fn verify(&self, token: &[u8], now: SystemTime) -> Result<Verified, Refused> {
        let refused = |reason| Refused { reason, issuer: None, newer_keys: None };
        let token = UnverifiedToken::parse(token).map_err(refused)?;
        let Some(named) = token.issuer() else { return Err(refused(JwtRefusal::MissingClaim)) };
        let mut closest: Option<Refused> = None;
        let mut newer = Vec::new();
        for issuer in self.0.iter().filter(|issuer| issuer.issuer == named) {
            let reason = match issuer.verify(&token, now) {
                Ok((claims, keys)) => return Ok(Verified { issuer: Arc::clone(&issuer.key), claims, keys }),
                Err(reason) => reason,
            };
            if let Keys::Fetched(fetched) = &issuer.keys
                && token.has_subject()
                && token.may_be_of_newer_key(reason, &issuer.issuer, &issuer.audiences, now)
            {
                newer.push(Arc::clone(fetched));
            }
            if closest.as_ref().is_none_or(|before| before.reason < reason) {
                closest = Some(Refused { issuer: Some(Arc::clone(&issuer.key)), ..refused(reason) });
            }
        }
        let closest = closest.unwrap_or_else(|| refused(JwtRefusal::WrongIssuer));
        Err(Refused { newer_keys: (!newer.is_empty()).then_some(NewerKeys(newer)), ..closest })
    }

    /// Returns true if a token that these issuers verified still proves the same at `now`: its issuer's keys are the same
    /// ones, its times allow it, and no issuer with the same `iss` is asked before, which may accept it meanwhile.
    pub fn still_accept(&self, verified: &Verified, now: SystemTime) -> bool {
        let Some(issuer) = self.get(&verified.issuer) else { return false };
        let first = self.0.iter().find(|one| one.issuer == issuer.issuer);
        first.is_some_and(|first| first.key == issuer.key)
            && issuer.keys.known().is_some_and(|keys| Arc::ptr_eq(&keys, &verified.keys))
            && verified.claims.times.check_at(now).is_ok()
    }

    /// Verifies a token of the issuer with this key under `issuers`, with the keys that are known. It need not have a
    /// `sub`. Returns its claims.
    ///
    /// # Errors
    ///
    /// Why it proves nothing.
    pub fn verify_of(&self, key: &str, token: &[u8], now: SystemTime) -> Result<Map<String, Value>, Refused> {
        let refused = |reason| Refused { reason, issuer: None, newer_keys: None };
        let token = UnverifiedToken::parse(token).map_err(refused)?;
        let Some(issuer) = self.get(key) else { return Err(refused(JwtRefusal::WrongIssuer)) };
        let (named, audiences) = (&issuer.issuer, &issuer.audiences);
        let known = issuer.keys.known().ok_or(JwtRefusal::KeysUnavailable);
        let verified = known.and_then(|keys| token.verify_without_subject(&keys, named, audiences, now));
        verified.map_err(|reason| Refused {
            issuer: Some(Arc::clone(&issuer.key)),
            newer_keys: issuer
                .newer_keys()
                .filter(|_| token.may_be_of_newer_key(reason, named, audiences, now)),
            ..refused(reason)
        })
    }

    /// Returns true if a token in compact form names one of the issuers and its audience. Nothing is proven: its
    /// signature is not looked at.
    pub fn is_addressed_by(&self, token: &[u8]) -> bool {
        UnverifiedToken::parse(token).is_ok_and(|token| {
            self.0.iter().any(|issuer| token.is_between(&issuer.issuer, &issuer.audiences))
        })
    }

    /// Verifies a token, and waits until `deadline` for newer keys if they may make it good. The clock is read again
    /// after the wait.
    ///
    /// # Errors
    ///
    /// As [`Self::verify`].
    pub async fn verify_by(
        &self,
        token: &[u8],
        deadline: Instant,
        clock: impl Fn() -> SystemTime,
    ) -> Result<Verified, Refused> {
        let mut refused = match self.verify(token, clock()) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        let Some(newer) = refused.newer_keys.take() else { return Err(refused) };
        match timeout_at(deadline, newer.fetched()).await {
            Ok(true) => self.verify(token, clock()),
            Ok(false) | Err(_) => Err(refused),
        }
    }
}

impl NewerKeys {
    /// Asks for a fetch and waits until it has ended. Returns false at once if none is allowed now: then the keys are as
    /// new as they get.
    pub async fn fetched(self) -> bool {
        let waiting: Vec<watch::Receiver<u64>> = self.0.iter().filter_map(|fetched| fetched.ask()).collect();
        let any = !waiting.is_empty();
        for mut ended in waiting {
            // Fails only if the issuer is gone.
            let _ = ended.changed().await;
        }
        any
    }
}

impl Issuer {
    fn new(configured: &model::Issuer, before: Option<&Self>) -> Self {
        Self {
            key: configured.key.as_str().into(),
            issuer: configured.issuer.clone(),
            audiences: configured.audiences.clone(),
            keys: Keys::new(configured, before.map(|before| &before.keys)),
        }
    }

    /// Returns its key under `issuers`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the number of keys that are known.
    pub fn count_keys(&self) -> usize {
        self.keys.known().map_or(0, |keys| keys.len())
    }

    /// Returns the outcome of the last fetches; `None` if its keys are in a file.
    pub fn status(&self) -> Option<(FetchStatus, &IssuerStats)> {
        self.fetched().map(|fetched| (fetched.status(), &*fetched.stats))
    }

    /// Returns what fetches newer keys; `None` if they are in a file.
    pub fn newer_keys(&self) -> Option<NewerKeys> {
        self.fetched().map(|fetched| NewerKeys(vec![Arc::clone(fetched)]))
    }

    fn fetched(&self) -> Option<&Arc<Fetched>> {
        match &self.keys {
            Keys::Fetched(fetched) => Some(fetched),
            Keys::Fixed(_) | Keys::Unavailable => None,
        }
    }

    /// Verifies a token. Returns its claims, and the keys that verified it.
    fn verify(
        &self,
        token: &UnverifiedToken<'_>,
        now: SystemTime,
    ) -> Result<(Claims, Arc<KeySet>), JwtRefusal> {
        let keys = self.keys.known().ok_or(JwtRefusal::KeysUnavailable)?;
        let claims = token.verify(&keys, &self.issuer, &self.audiences, now)?;
        Ok((claims, keys))
    }
}

impl Keys {
    fn new(configured: &model::Issuer, before: Option<&Self>) -> Self {
        let source = match &configured.jwks {
            Jwks::File { keys, .. } => return Self::Fixed(Arc::new(keys.clone())),
            Jwks::Unavailable => return Self::Unavailable,
            Jwks::Url(source) => source,
        };
        let stats = match before {
            Some(Self::Fetched(before)) if before.source == **source => {
                let is_same_way = before.source.forward_proxy() == source.forward_proxy();
                return Self::Fetched(match is_same_way {
                    true => Arc::clone(before),
                    false => Arc::new(before.through((**source).clone())),
                });
            }
            Some(Self::Fetched(before)) => Arc::clone(&before.stats),
            _ => Arc::default(),
        };
        Self::Fetched(Arc::new(Fetched::new(&configured.key, (**source).clone(), stats)))
    }

    fn known(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::Fixed(keys) => Some(Arc::clone(keys)),
            Self::Fetched(fetched) => fetched.keys(),
            Self::Unavailable => None,
        }
    }
}

#[cfg(test)]
mod tests;
