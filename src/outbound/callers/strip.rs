//! The fields that hold a proof, which are not forwarded.
//!
//! Not only the field that counts is removed: every field that holds a token of any caller, alone, behind a scheme, in a
//! list, in a path or as a part of Basic credentials, valid or not; every field that holds the text that was shown; and a JWT that
//! names an issuer and an audience of attache, verified or not.

use super::proof::ProofField;
use super::{Callers, looks_like_jwt};
use crate::issuers::Issuers;
use crate::message::Field;
use crate::message::authorization::{basic, is_token68_byte};

/// Minimum length of a token in a field that is no place for one; the parser refuses shorter values. Fewer texts are
/// hashed.
const SHORTEST: usize = 22;

impl Callers {
    /// Returns true if the field must not be forwarded. `shown` is the text of the proof that counts.
    pub fn holds_proof(&self, issuers: &Issuers, field: &Field<'_>, shown: Option<&[u8]>) -> bool {
        // The usual case, before names are compared.
        if shown.is_some_and(|text| text.len() >= SHORTEST && field.value.ends_with(text)) {
            return true;
        }
        let is_place = match ProofField::named(field) {
            // Nothing but a proof belongs into these.
            Some(ProofField::Token | ProofField::ProxyAuthorization) => return true,
            Some(ProofField::Authorization) => true,
            None => false,
        };
        let shortest = if is_place { 1 } else { SHORTEST };
        if field.value.len() < shortest {
            return false;
        }
        if shown.is_some_and(|text| text.len() >= shortest && contains(field.value, text)) {
            return true;
        }
        let is_proof = |text: &[u8]| {
            text.len() >= shortest && (self.tokens().find(text).is_some() || is_jwt(issuers, text))
        };
        let is_part = |word: &[u8]| {
            // `name=TOKEN`, as in a cookie.
            let after = word.iter().position(|&b| b == b'=').map(|at| &word[at + 1..]);
            is_proof(word)
                || after.is_some_and(|after| !after.is_empty() && is_proof(after))
                // A segment of a path, as in `Referer`.
                || word.contains(&b'/') && word.split(|&b| b == b'/').any(is_proof)
        };
        let mut words = field.value.split(|&b| !is_token68_byte(b) && b != b'=');
        words.any(is_part)
            || is_place
                && basic(field.value)
                    .is_some_and(|pair| is_proof(pair.user()) || pair.password().is_some_and(is_proof))
    }
}

fn contains(value: &[u8], text: &[u8]) -> bool {
    !text.is_empty() && memchr::memmem::find(value, text).is_some()
}

/// Returns true if a text is a JWT for attache, by its own word: while the issuer's keys are not known, or are older than
/// the token, a good one can't be told from a forged one. One for another audience may be the client's own.
fn is_jwt(issuers: &Issuers, text: &[u8]) -> bool {
    !issuers.is_empty() && looks_like_jwt(text) && issuers.is_addressed_by(text)
}
