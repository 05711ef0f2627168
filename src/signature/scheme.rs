//! A scheme: a preset, or the parts that the file spells out.

use super::Verifier;
use super::algorithm::Algorithm;
use super::form::Form;
use super::key::SecretFault;
use super::parts::Parts;
use super::place::SignatureAt;
use super::presets::Scheme;
use crate::secret::Secret;
use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// The kind of key that verifies a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// Secrets of the file.
    Secret,
    /// Public keys of the file.
    PublicKey,
    /// The keys of an issuer, which are fetched or in a file of their own.
    Issuer,
    /// The certificate that a message of a listed topic names.
    Topics,
}

impl Scheme {
    /// Returns the names of the presets that may have signed a request with these headers.
    pub fn of_headers(headers: &HeaderMap) -> Vec<&'static str> {
        let has_signature = |parts: &Parts| match &parts.place.signature {
            SignatureAt::Headers(names, Form::Prefixed(prefix)) => names.iter().any(|name| {
                headers.get(name).is_some_and(|value| value.as_bytes().starts_with(prefix.as_bytes()))
            }),
            SignatureAt::Headers(..) => parts.place.is_in(headers),
            SignatureAt::Member(_) => false,
        };
        let presets = Self::NAMES.iter().filter_map(|name| Some((*name, Self::by_name(name)?)));
        presets.filter(|(_, scheme)| scheme.ways().iter().any(has_signature)).map(|(name, _)| name).collect()
    }

    /// Checks that a secret can be one of this scheme.
    ///
    /// # Errors
    ///
    /// The reason why it can't.
    pub fn fits(&self, secret: &Secret) -> Result<(), SecretFault> {
        let new = Verifier::new(self.clone(), std::slice::from_ref(secret), Verifier::DEFAULT_TOLERANCE);
        new.map(drop).map_err(|(_, fault)| fault)
    }

    /// Returns the ways to sign. Of several, the one whose header is sent counts.
    pub fn ways(&self) -> Vec<Parts> {
        match (self, self.preset()) {
            (Self::Custom(parts), _) => vec![(**parts).clone()],
            (_, Some(preset)) => preset.parts(""),
            (_, None) => Vec::new(),
        }
    }

    /// Returns true if the time of signing is signed, so that a tolerance has an effect.
    pub fn has_timestamp(&self) -> bool {
        self.ways().iter().any(Parts::has_timestamp)
    }

    /// Returns true if the external URL is signed, which must then be known.
    pub fn has_url(&self) -> bool {
        self.ways().iter().any(|parts| parts.signed.has_url())
    }

    /// Returns true if public keys verify the signature, and there is no secret.
    pub fn has_public_key(&self) -> bool {
        self.ways().iter().all(|parts| parts.algorithm.is_public_key())
    }

    /// Returns true if a secret may also be the public key of Standard Webhooks, `whpk_…`.
    pub fn takes_whpk(&self) -> bool {
        self.ways().iter().any(|parts| parts.place.has_ed25519())
    }

    /// Returns the kind of key that verifies the signature.
    pub fn key_source(&self) -> KeySource {
        let ways = self.ways();
        match ways.first().map(|parts| parts.algorithm) {
            Some(Algorithm::Jwt) => KeySource::Issuer,
            Some(Algorithm::Sns) => KeySource::Topics,
            Some(algorithm) if algorithm.is_public_key() => KeySource::PublicKey,
            _ => KeySource::Secret,
        }
    }

    /// Returns the claims that the file must require of the token, and those that have to be true.
    pub fn claims(&self) -> (&'static [&'static str], &'static [&'static str]) {
        self.preset().map_or((&[], &[]), |preset| (preset.needed_claims, preset.true_claims))
    }

    /// Returns every header that decides.
    pub fn headers(&self) -> Vec<HeaderName> {
        self.ways().iter().flat_map(|parts| parts.headers().cloned().collect::<Vec<_>>()).collect()
    }

    /// Returns the header that holds the secret itself. The receiver does not need it.
    pub fn token_header(&self) -> Option<HeaderName> {
        match self {
            Self::Custom(parts) => parts.token_header().cloned(),
            _ => self.preset()?.token_header().map(HeaderName::from_static),
        }
    }

    /// Returns true if equal deliveries are usual, so that a new one can't be told from a repeated one.
    pub fn repeats_itself(&self) -> bool {
        self.preset().is_some_and(|preset| preset.repeats_itself)
    }

    /// Returns true if only JSON objects are deliveries.
    pub(super) fn signs_objects_only(&self) -> bool {
        self.preset().is_some_and(|preset| preset.objects_only)
    }

    /// Returns true if the file must give the webhook's id.
    pub fn needs_webhook_id(&self) -> bool {
        self.preset().is_some_and(|preset| preset.needs_webhook_id)
    }

    /// Returns the name of the handshake that is answered if the file does not say it. One that brings the secret is
    /// answered only if the file says that the secret comes from it.
    pub fn handshake(&self) -> Option<&'static str> {
        self.preset()?.handshake
    }

    /// Returns the default tolerance.
    pub fn default_tolerance(&self) -> Duration {
        self.preset().map_or(Verifier::DEFAULT_TOLERANCE, |preset| Duration::from_secs(preset.tolerance))
    }

    /// Returns the top-level member of the signed JSON body that holds the provider's id of the delivery: `id` or
    /// `event_id`.
    pub fn id_member(&self) -> Option<&'static str> {
        self.preset().and_then(|preset| preset.id_member)
    }
}
