//! The four parts of a signature: its place, the encoding of its secret, the signed text, and the algorithm.

use super::algorithm::Algorithm;
use super::key::{SecretEncoding, SignatureKey, any_token};
use super::member::{self, Pointer};
use super::place::{Candidates, Field, LocatedTexts, Place, SignatureAt, text};
use super::template::Template;
use super::time::fresh;
use super::trace::Trace;
use super::{Delivery, Fault, FetchedKeys, Signed, bearer};
use http::HeaderName;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};
use subtle::ConstantTimeEq as _;

/// The four parts of a provider's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The places of the signature, and of the time and id beside it.
    pub place: Place,
    /// The encoding of the secret.
    pub secret: SecretEncoding,
    /// The signed text.
    pub signed: Template,
    /// The algorithm.
    pub algorithm: Algorithm,
}

impl Parts {
    /// Returns every header that decides.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.place.headers().chain(self.signed.headers())
    }

    /// Returns true if the time of signing is signed: by itself, or as a member of a body that is signed.
    pub fn has_timestamp(&self) -> bool {
        match &self.place.time {
            Some((Field::Member(_), _)) if self.signed.covers_body() => true,
            Some((Field::Header(_), _)) if self.signed.header_list().is_some() => true,
            _ => self.signed.has_timestamp(),
        }
    }

    /// Returns the headers that hold the secret itself.
    pub fn token_header(&self) -> Option<&HeaderName> {
        match &self.place.signature {
            SignatureAt::Headers(names, _) if self.algorithm.shows_credential() => names.first(),
            _ => None,
        }
    }

    /// Finds the signatures, the time, the id and the members that the scheme needs.
    pub(super) fn locate<'d, 'p>(&'p self, delivery: &Delivery<'d>) -> Result<LocatedTexts<'d, 'p>, Fault> {
        let mut pointers: Vec<&Pointer> = Vec::new();
        pointers.extend(self.place.members().chain(self.signed.members()));
        let members = member::find(delivery.body, pointers).map_err(Fault::Content)?;
        self.place.locate(delivery, members)
    }

    pub(super) fn verify(
        &self,
        keys: &[(usize, SignatureKey)],
        (delivery, fetched): (&Delivery<'_>, &dyn FetchedKeys),
        when: (SystemTime, Duration),
        trace: &mut Trace,
    ) -> Result<Signed, Fault> {
        let located = self.locate(delivery)?;
        trace.passed(|| format!("found: {}", self.place.found_in(delivery.headers)));
        if self.algorithm == Algorithm::Token {
            return token(keys, &located, trace);
        }
        if self.algorithm == Algorithm::Jwt {
            return bearer::verify(keys, &located, fetched, when.0, trace);
        }
        let mut signed = Signed { id: located.id.as_deref().map(str::to_owned), timestamp: None };
        if let (Some((_, format)), Some(text)) = (&self.place.time, &located.time) {
            let seconds = format
                .parse(text, self.signed.boundaries.pinned_time)
                .ok_or_else(|| self.place.time_fault(*format))?;
            self.check_listed(delivery)?;
            trace.passed(|| format!("signed at {seconds} (Unix seconds)"));
            fresh(seconds, when, trace)?;
            signed.timestamp = Some(seconds);
        }
        self.signed.boundaries.check(&self.place, delivery, &located, trace)?;
        let candidates = self.place.decode(&located.signatures, self.algorithm.is_public_key())?;
        trace.passed(|| {
            let (macs, others) = (candidates.macs.len(), candidates.by_public_key.len());
            format!("signatures found: {macs} by a MAC, {others} by a public key's owner")
        });
        trace.note(|| format!("algorithm: {}", self.algorithm.title()));
        trace.note(|| format!("signed text: {}", self.signed.describe(delivery)));
        self.compare(keys, (delivery, &located), &candidates, trace)?;
        Ok(signed)
    }

    /// Checks that the header of the time is among the signed ones, if the request says which ones are.
    fn check_listed(&self, delivery: &Delivery<'_>) -> Result<(), Fault> {
        let (Some(list), Some((Field::Header(name), _)), false) =
            (self.signed.header_list(), &self.place.time, self.signed.has_timestamp())
        else {
            return Ok(());
        };
        let is_listed = text(delivery.headers, list)?.split(',').any(|listed| listed == name.as_str());
        if is_listed {
            Ok(())
        } else {
            Err(Fault::Malformed(list.clone(), "does not list the header of the time"))
        }
    }

    /// Tries every secret, and compares every signature, regardless of those before.
    fn compare(
        &self,
        keys: &[(usize, SignatureKey)],
        (delivery, located): (&Delivery<'_>, &LocatedTexts<'_, '_>),
        candidates: &Candidates,
        trace: &mut Trace,
    ) -> Result<(), Fault> {
        let mut found = false;
        // A public key verifies a message in one piece.
        let has_public = keys.iter().any(|(_, key)| matches!(key, SignatureKey::Public(_)));
        let message = match has_public && !candidates.by_public_key.is_empty() {
            true => self.signed.message(delivery, located),
            false => Cow::Borrowed(&[][..]),
        };
        for (number, key) in keys {
            let same = match key {
                SignatureKey::Public(key) => {
                    candidates.by_public_key.iter().any(|signature| key.has_signed(&message, signature))
                }
                _ if candidates.macs.is_empty() => false,
                _ => key
                    .hmac(|context| self.signed.feed(delivery, located, |part| context.update(part)))
                    .is_some_and(|mac| {
                        let equal = |any, c: &Vec<u8>| any | bool::from(c.ct_eq(mac.as_ref()));
                        candidates.macs.iter().fold(false, equal)
                    }),
            };
            trace.note(|| format!("secret {number}: {}", if same { "it signed this" } else { "it did not" }));
            found |= same;
        }
        if found { Ok(()) } else { Err(Fault::Mismatch) }
    }

    /// Feeds the signed bytes, and nothing else: what is not signed must not tell two deliveries apart. A token signs
    /// nothing, and one may serve for many deliveries, so the body stands for the delivery.
    pub(super) fn feed(&self, delivery: &Delivery<'_>, mut sink: impl FnMut(&[u8])) {
        match self.locate(delivery) {
            Ok(located) if !self.algorithm.shows_credential() => self.signed.feed(delivery, &located, sink),
            _ => sink(delivery.body),
        }
    }
}

/// Checks that each of the texts is one of the tokens.
fn token(
    keys: &[(usize, SignatureKey)],
    located: &LocatedTexts<'_, '_>,
    trace: &mut Trace,
) -> Result<Signed, Fault> {
    trace.note(|| format!("algorithm: {}", Algorithm::Token.title()));
    let mut fine = !located.signatures.is_empty();
    for token in &located.signatures {
        fine &= any_token(keys, token.text.as_bytes(), trace);
    }
    if fine { Ok(Signed::default()) } else { Err(Fault::Mismatch) }
}
