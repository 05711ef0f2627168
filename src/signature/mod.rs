//! Whether a third party signed what came: pure functions over a request's bytes, the secrets, and the time.
//!
//! A scheme is data: a [`Recipe`] says where the signature stands, how it is spelt, and what was signed. The few that no
//! recipe fits (a token, a form, a member of the body) are one small function each. Everything works on the raw bytes as
//! they came: a body that is parsed and written again is another body.
//!
//! Whatever is said twice is refused, not chosen from: two programs that choose differently is how a signature gets to
//! stand for something else. Signatures are compared in constant time, one computation a secret, however many
//! signatures a header holds. Neither [`Fault`] nor [`Trace`] holds a secret or a signature: an expected signature is as
//! good as the secret for this one body.

mod graph;
mod key;
mod recipe;
mod scheme;
mod trace;
mod twilio;

pub use key::SecretFault;
pub use recipe::{Algorithm, Encoding, Form, Recipe, Template, TemplateFault};
pub use scheme::Scheme;
pub use trace::{Mark, Step, Trace};

use http::{HeaderMap, HeaderName, HeaderValue};
use key::Key;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::header_name::alike;
use crate::secret::Secret;

const GITLAB_TOKEN: HeaderName = HeaderName::from_static("x-gitlab-token");

/// What came.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The request method.
    pub method: &'a str,
    /// Path and query as the third party sent them, key and all.
    pub target: &'a [u8],
    /// The outside address, for what is signed over the URL.
    pub public_url: Option<&'a str>,
    /// The headers that our program will see. What never gets to it (hop-by-hop fields, reserved names, the key) is not
    /// among them, so that nothing is vouched for by what is taken out.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// What a good signature vouches for, beyond the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signed {
    /// The provider's own id of the delivery, if it signs one.
    pub id: Option<String>,
    /// When it was signed, in Unix seconds, if that is signed.
    pub timestamp: Option<u64>,
}

/// Why a delivery is not let in. Quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A header that the scheme needs is not there.
    #[error("the header {0} is missing")]
    Missing(HeaderName),
    /// A header that may be there once is there twice, perhaps in another spelling.
    #[error("the header {0} occurs more than once, possibly in another spelling")]
    Duplicate(HeaderName),
    /// A header says something that the scheme has no place for.
    #[error("the header {0} {1}")]
    Malformed(HeaderName, &'static str),
    /// Signed too long ago.
    #[error("it was signed {}s ago, and the tolerance is {}s", .0.as_secs(), .1.as_secs())]
    Stale(Duration, Duration),
    /// Signed at a time that is still to come.
    #[error("it was signed {}s in the future, and the tolerance is {}s", .0.as_secs(), .1.as_secs())]
    Future(Duration, Duration),
    /// No secret makes this signature of this request.
    #[error("the signature does not match")]
    Mismatch,
    /// The body is not what the scheme can check.
    #[error("{0}")]
    Content(&'static str),
}

/// A scheme and its secrets, ready to be asked.
#[derive(Clone)]
pub struct Verifier {
    scheme: Scheme,
    recipes: Vec<Recipe>,
    keys: Vec<Key>,
    tolerance: Duration,
    /// Stands for the secrets where two verifiers have to be compared.
    digests: Vec<[u8; 32]>,
}

impl Verifier {
    /// How old, or how far in the future, a signed timestamp may be if nothing is said about it.
    pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

    /// Takes in the secrets of a scheme. With none, no delivery passes.
    ///
    /// # Errors
    ///
    /// The number of the secret that is none of this scheme, and why.
    pub fn new(
        scheme: Scheme,
        secrets: &[Secret],
        tolerance: Duration,
    ) -> Result<Self, (usize, SecretFault)> {
        let keys =
            secrets.iter().enumerate().map(|(i, secret)| Key::new(&scheme, secret).map_err(|e| (i, e)));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            recipes: scheme.recipes(),
            digests: secrets.iter().map(Secret::sha256).collect(),
            scheme,
            tolerance,
        })
    }

    /// Returns true if a delivery can pass.
    pub fn has_secrets(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Its scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// How far a signed timestamp may be from now, if the scheme signs one.
    pub fn tolerance(&self) -> Option<Duration> {
        self.scheme.has_timestamp().then_some(self.tolerance)
    }

    /// Whether `delivery` is signed with one of the secrets, at `now`. One pass over the body for each secret, and no
    /// copy of it.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn verify_at(
        &self,
        delivery: &Delivery<'_>,
        now: SystemTime,
        trace: &mut Trace,
    ) -> Result<Signed, Fault> {
        let verdict = match &self.scheme {
            Scheme::Twilio => twilio::verify(&self.keys, delivery, trace),
            Scheme::MicrosoftGraph => graph::verify(&self.keys, delivery, trace),
            Scheme::Gitlab if !self.is_signed_form(delivery) => self.token(delivery, trace),
            // The answer to X's challenge is made with the same secret over a text that anybody may choose; it has no brace.
            Scheme::X if !delivery.body.starts_with(b"{") => {
                Err(Fault::Content("the body is not a JSON object"))
            }
            _ => self.recipe(delivery).verify(&self.keys, delivery, (now, self.tolerance), trace),
        };
        if let Err(fault) = &verdict {
            trace.failed(|| fault.to_string());
        }
        verdict
    }

    /// SHA-256 over the very bytes that the scheme signs: two deliveries with the same are the same delivery, whatever else
    /// differs and wherever one part of it is said to end, which anybody may have changed.
    pub fn digest(&self, delivery: &Delivery<'_>, signed: &Signed) -> [u8; 32] {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        match &self.scheme {
            Scheme::Twilio => twilio::feed(delivery, |part| context.update(part)),
            Scheme::MicrosoftGraph => context.update(delivery.body),
            Scheme::Gitlab if !self.is_signed_form(delivery) => context.update(delivery.body),
            _ => self.recipe(delivery).feed(delivery, signed, |part| context.update(part)),
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }

    /// What X wants to see signed before it sends anything (its "challenge response check").
    pub fn sign_challenge(&self, challenge: &[u8]) -> Option<Vec<u8>> {
        self.keys.first().and_then(|key| key.hmac(Algorithm::Sha256, |context| context.update(challenge)))
    }

    /// GitLab sends a signature if it has a signing token, and the plain token if it has that.
    fn is_signed_form(&self, delivery: &Delivery<'_>) -> bool {
        let can = self.keys.iter().any(|key| !matches!(key, Key::Token(_)));
        let only = !self.keys.iter().any(|key| matches!(key, Key::Token(_)));
        only || (can && self.recipes.iter().any(|recipe| delivery.headers.contains_key(&recipe.header)))
    }

    fn token(&self, delivery: &Delivery<'_>, trace: &mut Trace) -> Result<Signed, Fault> {
        let token = one(delivery.headers, &GITLAB_TOKEN)?;
        trace.passed(|| format!("{GITLAB_TOKEN} is there, once"));
        key::any_token(&self.keys, token.as_bytes(), trace)?;
        Ok(Signed::default())
    }

    /// Of several header families, the one whose signature is there.
    fn recipe(&self, delivery: &Delivery<'_>) -> &Recipe {
        let sent = self.recipes.iter().find(|recipe| delivery.headers.contains_key(&recipe.header));
        // Every scheme that gets here has a recipe.
        sent.or(self.recipes.first()).unwrap_or(&recipe::NOTHING)
    }
}

/// The only value of a header, which no other spelling of its name comes beside: our program may read that one.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a HeaderValue, Fault> {
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

/// Unix seconds: digits and nothing else, no more of them than this side of the year 33658. Without a zero before them: a
/// time that can be said in one way only ends where it ends, whatever is signed beside it.
fn unix_seconds(text: &str) -> Option<u64> {
    let plain = (1..=12).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Whether `timestamp` is within the tolerance, both ways.
fn fresh(timestamp: u64, (now, tolerance): (SystemTime, Duration), trace: &mut Trace) -> Result<(), Fault> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let signed = Duration::from_secs(timestamp);
    let (age, ahead) = (now.saturating_sub(signed), signed.saturating_sub(now));
    if age > tolerance {
        Err(Fault::Stale(age, tolerance))
    } else if ahead > tolerance {
        Err(Fault::Future(ahead, tolerance))
    } else {
        let (age, tolerance) = (now.as_secs().abs_diff(timestamp), tolerance.as_secs());
        trace.passed(|| format!("signed {age}s from now; the tolerance is {tolerance}s"));
        Ok(())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({}, {} secrets)", self.scheme.as_str(), self.keys.len())
    }
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.tolerance == other.tolerance && self.digests == other.digests
    }
}

impl Eq for Verifier {}

#[cfg(test)]
mod tests;
