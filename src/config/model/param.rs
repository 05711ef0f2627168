//! Values that a token request carries besides those of its grant.

use crate::secret::Secret;

/// A member of a token request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Param {
    /// A text of the file.
    Text(String),
    /// A text from a source of secrets.
    Secret(Secret),
}

impl Param {
    /// Returns the value. Call it at the point of use, as [`Secret::expose`].
    pub fn expose(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Secret> for Param {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}
