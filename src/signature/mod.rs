//! Webhook signatures: pure functions over a request's bytes, the secrets, and the time.
//!
//! A signature has four [`Parts`]: its place ([`place`]), the encoding of its secret ([`key`]), the signed text
//! ([`template`]), and the algorithm ([`algorithm`]). A scheme is data: a row of [`presets`], or the parts that the file
//! spells out. Twilio's, which signs a sorted form, and [`sns`] have code of their own, and so has a token of an issuer
//! ([`bearer`]). The last two need keys that are fetched ([`FetchedKeys`]). All of them
//! work on the received bytes: a body that is parsed and written again has other bytes.
//!
//! A value that occurs twice is refused, because attache and the receiver could each take another one: a signature
//! would then be valid for a value that it does not cover. For the same reason the parts of the signed text must have
//! certain ends ([`boundary`]). Signatures are compared in constant time, one computation a secret, however many
//! signatures a request holds. Neither [`Fault`] nor [`Trace`] holds a secret or a signature: the expected signature is
//! as sensitive as the secret for this one body.

mod algorithm;
mod bearer;
mod boundary;
mod crc32;
mod fetched;
mod form;
mod key;
mod member;
mod parts;
mod place;
mod presets;
mod public_key;
mod row;
mod scheme;
pub mod sns;
mod template;
mod time;
mod trace;
mod twilio;

pub use algorithm::Algorithm;
pub use bearer::RequiredToken;
pub use fetched::{FetchedKeys, KeyName, Lookup, NeededKey, NoKeys, TokenRefused};
pub use form::{Encoding, Form, Pairs};
pub use key::{SecretEncoding, SecretFault};
pub use member::Pointer;
pub use parts::Parts;
pub use place::{Field, Place, SignatureAt};
pub use presets::Scheme;
pub use scheme::KeySource;
pub use template::{Template, TemplateFault};
pub use time::TimeFormat;
pub use trace::{Mark, Trace, TraceStep};

use crate::jwt::verify::JwtRefusal;
use http::{HeaderMap, HeaderName, HeaderValue};
use key::SignatureKey;
use sns::CertificateFault;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::header_name::alike;
use crate::secret::Secret;

/// A request, as the provider sent it.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The request method.
    pub method: &'a str,
    /// Path and query as the provider sent them, with the key.
    pub target: &'a [u8],
    /// The external URL without a path, for schemes that sign the URL.
    pub public_url: Option<&'a str>,
    /// The headers that the receiver will see. Removed ones (hop-by-hop fields, reserved names, the key's own) are not among
    /// them, so that no signature rests on a header that the receiver does not get. Fields that hold a copy of the key, or
    /// the secret itself, are removed after the check.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// The values beside the body that a valid signature covers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signed {
    /// The provider's id of the delivery, if it is signed.
    pub id: Option<String>,
    /// The time of signing in Unix seconds, if it is signed.
    pub timestamp: Option<u64>,
}

/// The reason for a refusal. Quotes nothing of the delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A header that the scheme needs is missing.
    #[error("the header {0} is missing")]
    Missing(HeaderName),
    /// A header occurs more than once, possibly in another spelling.
    #[error("the header {0} occurs more than once, possibly in another spelling")]
    Duplicate(HeaderName),
    /// A header has a value that the scheme does not allow.
    #[error("the header {0} {1}")]
    Malformed(HeaderName, &'static str),
    /// The time of signing is too long ago.
    #[error("it was signed {}s ago, and the tolerance is {}s", .0.as_secs(), .1.as_secs())]
    Stale(Duration, Duration),
    /// The time of signing is too far in the future.
    #[error("it was signed {}s in the future, and the tolerance is {}s", .0.as_secs(), .1.as_secs())]
    Future(Duration, Duration),
    /// No secret made this signature of this request.
    #[error("the signature does not match")]
    Mismatch,
    /// The scheme can't check this body or URL.
    #[error("{0}")]
    Content(&'static str),
    /// The token is not valid.
    #[error("the token is not valid: {0}")]
    Token(JwtRefusal),
    /// A claim of the token is missing, or has another value than the required one.
    #[error("the token's claim `{0}` does not have the required value")]
    Claim(String),
    /// The message can't be verified with its certificate.
    #[error("{0}")]
    Certificate(CertificateFault),
    /// A key is not known, and the request may wait for it.
    #[error("{}", .0.otherwise)]
    NeedsKey(NeededKey),
    /// A key is not known, and can't be fetched now. The delivery may be good.
    #[error("{0} can't be fetched now")]
    KeyUnavailable(&'static str),
}

/// A scheme with its secrets.
#[derive(Clone)]
pub struct Verifier {
    scheme: Scheme,
    /// The ways in which the scheme may sign, each with the secrets for it.
    ways: Vec<SigningWay>,
    tolerance: Duration,
    /// The hashes of the secrets, for comparisons of verifiers.
    digests: Vec<[u8; 32]>,
}

#[derive(Clone)]
struct SigningWay {
    parts: Parts,
    /// Keys, with their numbers among the secrets.
    keys: Vec<(usize, SignatureKey)>,
}

impl Verifier {
    /// The default tolerance of a signed time.
    pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

    /// Returns a verifier. With no secret, no delivery passes.
    ///
    /// # Errors
    ///
    /// The index of the secret that can't be one of this scheme, and why.
    pub fn new(
        scheme: Scheme,
        secrets: &[Secret],
        tolerance: Duration,
    ) -> Result<Self, (usize, SecretFault)> {
        let mut ways: Vec<SigningWay> =
            scheme.ways().into_iter().map(|parts| SigningWay { parts, keys: Vec::new() }).collect();
        for (index, secret) in secrets.iter().enumerate() {
            SigningWay::add(&mut ways, index + 1, secret).map_err(|fault| (index, fault))?;
        }
        Ok(Self { scheme, ways, tolerance, digests: secrets.iter().map(Secret::sha256).collect() })
    }

    /// Returns the same verifier with these secrets in place of its own.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`].
    pub fn with_secrets(&self, secrets: &[Secret]) -> Result<Self, (usize, SecretFault)> {
        let mut ways = self.ways.clone();
        ways.iter_mut().for_each(|way| way.keys.clear());
        for (index, secret) in secrets.iter().enumerate() {
            SigningWay::add(&mut ways, index + 1, secret).map_err(|fault| (index, fault))?;
        }
        let digests = secrets.iter().map(Secret::sha256).collect();
        Ok(Self { scheme: self.scheme.clone(), ways, tolerance: self.tolerance, digests })
    }

    /// Sets the id of the webhook, for a scheme that signs it.
    #[must_use]
    pub fn with_webhook_id(mut self, webhook_id: &str) -> Self {
        if let Some(preset) = self.scheme.preset() {
            for (way, parts) in self.ways.iter_mut().zip(preset.parts(webhook_id)) {
                way.parts = parts;
            }
        }
        self
    }

    /// Returns true if a delivery can pass.
    pub fn has_secrets(&self) -> bool {
        self.ways.iter().any(|way| !way.keys.is_empty())
    }

    /// Returns the scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Returns headers of which one tells deliveries apart, if the signature covers neither the type nor the id of an event.
    /// If the scheme signs in several ways, those with a secret count.
    pub fn unsigned_event_headers(&self) -> &'static [&'static str] {
        let Some(preset) = self.scheme.preset() else { return &[] };
        let ways = || self.ways.iter().zip(preset.event_headers());
        let mut used = ways().filter(|(way, _)| !way.keys.is_empty()).map(|(_, headers)| headers);
        if self.has_secrets() {
            return used.find(|headers| !headers.is_empty()).unwrap_or(&[]);
        }
        if ways().all(|(_, headers)| !headers.is_empty()) {
            return ways().next().map_or(&[], |(_, headers)| headers);
        }
        &[]
    }

    /// Returns true if every signature covers an id of the delivery.
    pub fn signs_id(&self) -> bool {
        self.ways
            .iter()
            .filter(|way| !way.keys.is_empty() || !self.has_secrets())
            .all(|way| way.parts.signed.has_id())
    }

    /// Returns the tolerance of a signed time, if the scheme signs one.
    pub fn tolerance(&self) -> Option<Duration> {
        self.scheme.has_timestamp().then_some(self.tolerance)
    }

    /// As [`Self::verify_with`], for a scheme that needs no fetched key.
    ///
    /// # Errors
    ///
    /// The fault of the delivery.
    pub fn verify_at(
        &self,
        delivery: &Delivery<'_>,
        now: SystemTime,
        trace: &mut Trace,
    ) -> Result<Signed, Fault> {
        self.verify_with(delivery, &NoKeys, now, trace)
    }

    /// Checks that one of the secrets signed `delivery`, at `now`. One pass over the body for each secret, and no copy of
    /// it but for public keys.
    ///
    /// # Errors
    ///
    /// The fault of the delivery, or [`Fault::NeedsKey`] if a key may be fetched first.
    pub fn verify_with(
        &self,
        delivery: &Delivery<'_>,
        fetched: &dyn FetchedKeys,
        now: SystemTime,
        trace: &mut Trace,
    ) -> Result<Signed, Fault> {
        let verdict = match self.way(delivery) {
            // An answer to X's challenge is a signature of a text that the client chose; that text has no brace.
            Some(_) if self.scheme.signs_objects_only() && !delivery.body.starts_with(b"{") => {
                Err(Fault::Content("the body is not a JSON object"))
            }
            Some(way) if way.parts.signed.has_form() => twilio::verify(&way.keys, delivery, trace),
            Some(way) if way.parts.algorithm == Algorithm::Sns => {
                let topics = self.topics().unwrap_or_default();
                sns::verify(topics, delivery, fetched, (now, self.tolerance), trace)
            }
            Some(way) => way.parts.verify(&way.keys, (delivery, fetched), (now, self.tolerance), trace),
            None => Err(Fault::Mismatch),
        };
        if let Err(fault) = &verdict {
            trace.failed(|| fault.to_string());
        }
        verdict
    }

    /// Returns the SHA-256 of the signed bytes. Deliveries with the same digest are the same delivery: a client may have
    /// changed everything else, and the place at which one part is said to end.
    pub fn digest(&self, delivery: &Delivery<'_>, _: &Signed) -> [u8; 32] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        match self.way(delivery) {
            Some(way) if way.parts.signed.has_form() => twilio::feed(delivery, |part| context.update(part)),
            Some(way) if way.parts.algorithm == Algorithm::Sns => {
                sns::feed(delivery, |part| context.update(part));
            }
            Some(way) => way.parts.feed(delivery, |part| context.update(part)),
            None => context.update(delivery.body),
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }

    /// Returns true if the call is signed: it does not only show a credential.
    pub fn signs(&self, delivery: &Delivery<'_>) -> bool {
        self.way(delivery).is_some_and(|way| !way.parts.algorithm.shows_credential())
    }

    /// Returns the HMAC of X's challenge, which X asks for before it sends anything.
    pub fn sign_challenge(&self, challenge: &[u8]) -> Option<Vec<u8>> {
        let (_, key) = self.ways.first()?.keys.first()?;
        key.hmac(|context| context.update(challenge)).map(|tag| tag.as_ref().to_vec())
    }

    /// Returns the HMAC of Zoom's challenge, with the secret that signed the question. Another one could be the next or the
    /// previous secret, which Zoom does not know.
    pub fn sign_challenge_of(
        &self,
        question: &Delivery<'_>,
        now: SystemTime,
        challenge: &[u8],
    ) -> Option<Vec<u8>> {
        let way = self.way(question)?;
        let has_signed = |key: &&(usize, SignatureKey)| {
            let key = std::slice::from_ref(*key);
            way.parts.verify(key, (question, &NoKeys), (now, self.tolerance), &mut Trace::off()).is_ok()
        };
        let (_, key) = way.keys.iter().find(has_signed)?;
        key.hmac(|context| context.update(challenge)).map(|tag| tag.as_ref().to_vec())
    }

    /// Returns the way whose header was sent, of those that have a secret; else the first of them.
    fn way(&self, delivery: &Delivery<'_>) -> Option<&SigningWay> {
        let mut usable = self.ways.iter().filter(|way| !way.keys.is_empty());
        let sent = usable.clone().find(|way| way.parts.place.is_in(delivery.headers));
        sent.or_else(|| usable.next()).or(self.ways.first())
    }
}

impl SigningWay {
    /// Adds a secret to each way that it fits. Where a scheme signs or shows a token, a secret with `whsec_` signs.
    fn add(ways: &mut [Self], number: usize, secret: &Secret) -> Result<(), SecretFault> {
        let signs = secret.expose().starts_with("whsec_");
        let is_token = |way: &Self| way.parts.algorithm == Algorithm::Token;
        let either = ways.iter().any(is_token) && !ways.iter().all(is_token);
        for way in ways.iter_mut().filter(|way| !either || is_token(way) != signs) {
            way.keys.push((number, SignatureKey::new(&way.parts, secret)?));
        }
        Ok(())
    }
}

/// Returns the only value of a header, if no other spelling of its name is beside it: the receiver may read that one.
///
/// # Errors
///
/// The header is missing, or occurs more than once.
pub fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a HeaderValue, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            let other = |key: &HeaderName| key != name && alike(key.as_str(), name.as_str());
            if headers.keys().any(other) { Err(Fault::Duplicate(name.clone())) } else { Ok(value) }
        }
        (None, _) => Err(Fault::Missing(name.clone())),
        (Some(_), Some(_)) => Err(Fault::Duplicate(name.clone())),
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({}, {} secrets)", self.scheme.as_str(), self.digests.len())
    }
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        let parts = |verifier: &Self| verifier.ways.iter().map(|way| way.parts.clone()).collect::<Vec<_>>();
        self.scheme == other.scheme
            && self.tolerance == other.tolerance
            && self.digests == other.digests
            && parts(self) == parts(other)
    }
}

impl Eq for Verifier {}

#[cfg(test)]
mod tests;
