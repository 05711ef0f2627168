//! The body of a request to a token endpoint, which knows its secrets.
//!
//! The `oauth2` crate builds such requests too, but not for all grants and not with signed assertions; with one form
//! for every grant there is one place that says what was sent, and so what must not come back in an error.

use super::redact::KnownSecrets;
use crate::config::model::{OAuth2, Param};
use crate::secret::Secret;
use std::borrow::Cow;
use url::form_urlencoded::Serializer;

/// Names and values in the order in which they are sent (`application/x-www-form-urlencoded`).
#[derive(Debug, Clone, Default)]
pub(super) struct FormBody(Vec<(Cow<'static, str>, Param)>);

impl FormBody {
    pub(super) fn new(grant_type: &str) -> Self {
        Self::default().with("grant_type", grant_type)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.push(name, value);
        self
    }

    pub(super) fn with_secret(mut self, name: &'static str, value: Secret) -> Self {
        self.push_secret(name, value);
        self
    }

    pub(super) fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.0.push((name.into(), Param::Text(value.into())));
    }

    pub(super) fn push_secret(&mut self, name: &'static str, value: Secret) {
        self.0.push((name.into(), Param::Secret(value)));
    }

    /// Adds the account's scopes (RFC 6749 section 3.3), if it has any.
    pub(super) fn with_scopes(mut self, config: &OAuth2) -> Self {
        if !config.scopes.is_empty() {
            self.push("scope", config.scope());
        }
        self
    }

    /// Adds the operator's own members (`token_params`).
    pub(super) fn with_params(mut self, params: &[(String, Param)]) -> Self {
        self.0.extend(params.iter().map(|(name, value)| (name.clone().into(), value.clone())));
        self
    }

    /// As it is sent.
    pub(super) fn encode(&self) -> String {
        let mut encoded = Serializer::new(String::new());
        for (name, value) in &self.0 {
            encoded.append_pair(name, value.expose());
        }
        encoded.finish()
    }

    /// Adds the values that no text may hold.
    pub(super) fn secrets(&self, to: &mut KnownSecrets) {
        for (_, value) in &self.0 {
            if let Param::Secret(secret) = value {
                to.add(secret);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub;
    use super::*;

    #[test]
    fn it_is_encoded_as_browsers_do_and_keeps_its_order() {
        let mut config = stub::config("https://idp.example/token");
        config.scopes = vec!["x".into(), "y".into()];
        let form = FormBody::new("password")
            .with_secret("password", Secret::new("a b&c=d+e%ü~*"))
            .with_scopes(&config)
            .with_params(&[("resource".into(), "1".into()), ("resource".into(), "2".into())]);
        assert_eq!(
            form.encode(),
            "grant_type=password&password=a+b%26c%3Dd%2Be%25%C3%BC%7E*&scope=x+y&resource=1&resource=2"
        );
    }

    #[test]
    fn scopes_are_separated_as_the_file_says() {
        let mut config = stub::config("https://idp.example/token");
        config.scopes = vec!["read".into(), "activity:read".into()];
        config.scope_separator = ",".into();
        assert_eq!(FormBody::default().with_scopes(&config).encode(), "scope=read%2Cactivity%3Aread");
    }

    #[test]
    fn an_operators_secret_is_sent_and_may_be_in_no_text() {
        let form = FormBody::default().with_params(&[("key".into(), Secret::new("s3cret-value").into())]);
        assert_eq!(form.encode(), "key=s3cret-value");
        let mut secrets = KnownSecrets::default();
        form.secrets(&mut secrets);
        assert!(!format!("{form:?} {:?}", secrets.text("s3cret-value")).contains("s3cret"));
    }

    #[test]
    fn it_does_not_print_its_secrets() {
        let printed = format!("{:?}", FormBody::default().with_secret("code", Secret::new("s3cret")));
        assert!(!printed.contains("s3cret"), "{printed}");
    }
}
