//! `webhook.verify`: the required signature.

use crate::secret::Secret;
use crate::signature::Verifier;

/// The values of `webhook.verify`.
#[derive(Debug, Clone, PartialEq)]
pub struct Verify {
    /// The signature that a call needs.
    pub verifier: Verifier,
    /// `verify_token`: the token that Meta sends in its handshake.
    pub verify_token: Option<Secret>,
    /// `secret: { handshake: true }`: the provider brings the secret.
    pub is_brought: bool,
}
