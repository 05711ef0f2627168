//! The body of a request to a token endpoint, which knows its secrets.
//!
//! The `oauth2` crate builds such requests too, but not for all grants and not with signed assertions; with one form
//! for every grant there is one place that says what was sent, and so what must not come back in an error.

use super::redact::Secrets;
use crate::secret::Secret;
use std::borrow::Cow;
use url::form_urlencoded::Serializer;

/// Names and values in the order in which they are sent (`application/x-www-form-urlencoded`).
#[derive(Debug, Clone, Default)]
pub(super) struct Form(Vec<(Cow<'static, str>, Value)>);

#[derive(Debug, Clone)]
enum Value {
    Plain(String),
    Secret(Secret),
}

impl Form {
    pub(super) fn new(grant_type: &str) -> Self {
        Self::default().with("grant_type", grant_type)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.push(name, value);
        self
    }

    pub(super) fn with_secret(mut self, name: &'static str, value: Secret) -> Self {
        self.0.push((name.into(), Value::Secret(value)));
        self
    }

    pub(super) fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.0.push((name.into(), Value::Plain(value.into())));
    }

    pub(super) fn push_secret(&mut self, name: &'static str, value: Secret) {
        self.0.push((name.into(), Value::Secret(value)));
    }

    /// The scopes as RFC 6749 section 3.3 has them; nothing if there are none.
    pub(super) fn with_scopes(mut self, scopes: &[String]) -> Self {
        if !scopes.is_empty() {
            self.push("scope", scopes.join(" "));
        }
        self
    }

    /// The operator's own members (`token_params`).
    pub(super) fn with_params(mut self, params: &[(String, String)]) -> Self {
        for (name, value) in params {
            self.push(name.clone(), value.clone());
        }
        self
    }

    /// As it is sent.
    pub(super) fn encode(&self) -> String {
        let mut encoded = Serializer::new(String::new());
        for (name, value) in &self.0 {
            encoded.append_pair(
                name,
                match value {
                    Value::Plain(text) => text,
                    Value::Secret(secret) => secret.expose(),
                },
            );
        }
        encoded.finish()
    }

    /// Adds the values that no text may hold.
    pub(super) fn secrets(&self, to: &mut Secrets) {
        for (_, value) in &self.0 {
            if let Value::Secret(secret) = value {
                to.add(secret);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_encoded_as_browsers_do_and_keeps_its_order() {
        let form = Form::new("password")
            .with_secret("password", Secret::new("a b&c=d+e%ü~*"))
            .with_scopes(&["x".into(), "y".into()])
            .with_params(&[("resource".into(), "1".into()), ("resource".into(), "2".into())]);
        assert_eq!(
            form.encode(),
            "grant_type=password&password=a+b%26c%3Dd%2Be%25%C3%BC%7E*&scope=x+y&resource=1&resource=2"
        );
    }

    #[test]
    fn it_does_not_print_its_secrets() {
        let printed = format!("{:?}", Form::default().with_secret("code", Secret::new("s3cret")));
        assert!(!printed.contains("s3cret"), "{printed}");
    }
}
