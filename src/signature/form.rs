//! The form of signatures in a header: one after a prefix, or pairs of a key and a value.

use super::Fault;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::HeaderName;
use std::borrow::Cow;

/// The encoding of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 with `+`, `/` and padding.
    Base64,
    /// Base64 with `-` and `_`; padding may be left out.
    Base64Url,
}

impl Encoding {
    /// Every encoding, by its name in the file.
    pub const ALL: [(&str, Self); 3] =
        [("hex", Self::Hex), ("base64", Self::Base64), ("base64url", Self::Base64Url)];

    pub(super) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Base64 => BASE64_STANDARD.decode(text).ok(),
            Self::Base64Url => BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok(),
            Self::Hex => {
                let digits: Option<Vec<u8>> =
                    text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
                let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
                Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            }
        }
    }
}

/// The form of the signatures in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// One, after this text.
    Prefixed(Cow<'static, str>),
    /// Pairs of a key and a value.
    Pairs(Pairs),
}

/// Pairs in a header: `t=TIME,v1=SIGNATURE,v1=…`. Pairs with other keys are ignored: they are other versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// The character between two pairs.
    pub separator: char,
    /// The character between key and value.
    pub assign: char,
    /// The keys of signatures.
    pub signatures: Vec<Cow<'static, str>>,
    /// The key of signatures by Ed25519, beside those of a MAC.
    pub ed25519: Option<Cow<'static, str>>,
}

/// The text of a signature.
#[derive(Debug)]
pub(super) struct SignatureText<'d> {
    pub(super) text: Cow<'d, str>,
    pub(super) is_ed25519: bool,
}

impl Form {
    /// Adds the signatures of a header's value, and takes the time, if it is among them.
    pub(super) fn read<'d>(
        &self,
        header: &HeaderName,
        value: &'d str,
        time_key: Option<&str>,
        signatures: &mut Vec<SignatureText<'d>>,
        time: &mut Option<&'d str>,
    ) -> Result<(), Fault> {
        let malformed = |what| Fault::Malformed(header.clone(), what);
        let pairs = match self {
            Self::Prefixed(prefix) => {
                let text = value.strip_prefix(&**prefix).ok_or_else(|| {
                    malformed("does not have the scheme's prefix (another algorithm or version?)")
                })?;
                signatures.push(SignatureText { text: Cow::Borrowed(text), is_ed25519: false });
                return Ok(());
            }
            Self::Pairs(pairs) => pairs,
        };
        for pair in value.split(pairs.separator).map(str::trim) {
            if pair.is_empty() && pairs.separator == ' ' {
                continue;
            }
            let (key, text) =
                pair.split_once(pairs.assign).ok_or_else(|| malformed("is not a list of pairs"))?;
            let is_ed25519 = pairs.ed25519.as_deref() == Some(key);
            if time_key == Some(key) {
                if time.replace(text).is_some() {
                    return Err(malformed("has more than one time"));
                }
            } else if is_ed25519 || pairs.signatures.iter().any(|known| known == key) {
                signatures.push(SignatureText { text: Cow::Borrowed(text), is_ed25519 });
            }
        }
        if time_key.is_some() && time.is_none() {
            return Err(malformed("has no time among its pairs"));
        }
        Ok(())
    }
}
