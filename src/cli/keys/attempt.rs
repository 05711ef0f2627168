//! The `curl` line by which a new webhook key is tried on this machine.

use super::from_here;
use crate::cli::brought;
use crate::config::model::{Config, KeyIn, ListenAddr, Listener};
use http::{HeaderName, Method};
use ipnet::IpNet;
use std::net::IpAddr;

/// The settings of a webhook that decide how it is called, and whether a call from this machine passes.
pub(super) struct Attempt<'c> {
    /// The listener; without one, nothing can be tried.
    listener: Option<&'c Listener>,
    /// The place of the key.
    pub(super) key_in: KeyIn,
    methods: &'c [Method],
    allow_from: &'c [IpNet],
    /// The first header of `replay.distinguish_by`, which a delivery must have.
    told_apart_by: Option<&'c HeaderName>,
    is_signed: bool,
    /// The provider has not brought the secret yet.
    awaits_secret: bool,
    is_user_active: bool,
}

impl<'c> Attempt<'c> {
    /// Takes the settings of the service's webhook. One that the file does not have yet will be called as
    /// `defaults.webhook` says.
    pub(super) fn of(config: Option<&'c Config>, service: &str) -> Self {
        let listener = config.map(|config| &config.listen.webhooks);
        match config.and_then(|config| config.services.get(service)?.webhook.as_ref()) {
            Some(webhook) => Self {
                listener,
                key_in: webhook.key_in.clone(),
                methods: &webhook.methods,
                allow_from: &webhook.allow_from,
                told_apart_by: webhook.replay.as_ref().and_then(|replay| replay.distinguish_by.first()),
                is_signed: webhook.verify.is_some(),
                awaits_secret: config.is_some_and(|config| awaits_secret(config, service)),
                is_user_active: webhook.user.active,
            },
            None => {
                let defaults = config.map(|config| &config.webhook_defaults);
                Self {
                    listener,
                    key_in: defaults.map(|it| it.key_in.clone()).unwrap_or_default(),
                    methods: defaults.map_or(&[], |it| &it.methods),
                    allow_from: defaults.map_or(&[], |it| &it.allow_from),
                    told_apart_by: defaults.and_then(|it| it.distinguish_by.first()),
                    is_signed: defaults.is_some_and(|it| it.is_signed),
                    awaits_secret: false,
                    is_user_active: true,
                }
            }
        }
    }

    /// Returns the header that holds the key, if one does.
    pub(super) fn header(&self, key: &str) -> Option<String> {
        match &self.key_in {
            KeyIn::Header(name) => Some(format!("{name}: {key}")),
            KeyIn::Path | KeyIn::Query(_) => None,
        }
    }

    /// Returns the line, and what comes of it.
    pub(super) fn line(&self, service: &str, key: &str) -> Option<(String, &'static str)> {
        let listener = self.listener?;
        let mut line = "try: curl".to_owned();
        let (host, from) = match &listener.address {
            ListenAddr::Unix(path) => {
                line.push_str(&format!(" --unix-socket '{}'", path.display()));
                ("localhost".to_owned(), None)
            }
            address => {
                let address = from_here(address)?;
                (address.to_string(), Some(address.ip()))
            }
        };
        let scheme = if listener.tls.is_some() {
            // The certificate is for the name that the provider calls.
            line.push_str(" -k");
            "https"
        } else {
            "http"
        };
        line.push_str(&self.method());
        if let Some(header) = self.header(key) {
            line.push_str(&format!(" -H '{header}'"));
        }
        if let Some(name) = self.told_apart_by {
            line.push_str(&format!(" -H '{name}: try-1'"));
        }
        let url = self.key_in.url(&format!("{scheme}://{host}"), service, key);
        Some((format!("{line} '{url}'\n"), self.outcome(from)))
    }

    /// Returns the arguments for a method that the webhook allows, and for a body if the method has one.
    fn method(&self) -> String {
        const BODY: &str = " -d '{}'";
        match self.methods.first() {
            None => BODY.to_owned(),
            Some(_) if self.methods.contains(&Method::POST) => BODY.to_owned(),
            Some(&Method::GET) => String::new(),
            Some(&Method::HEAD) => " -I".to_owned(),
            Some(method) => format!(" -X {method}{BODY}"),
        }
    }

    /// Returns what comes of a call from this machine: the first check that fails is the answer.
    fn outcome(&self, from: Option<IpAddr>) -> &'static str {
        let is_allowed = self.allow_from.is_empty()
            || from.is_some_and(|from| self.allow_from.iter().any(|network| network.contains(&from)));
        if !is_allowed {
            " `try` is 403 here: `allow_from` does not have this machine."
        } else if !self.is_user_active {
            " `try` is 403 here: the user is not active."
        } else if self.awaits_secret {
            " `try` is 503 here until the provider's handshake has brought its secret."
        } else if self.is_signed {
            " `try` is 401 here: it has no signature."
        } else {
            " `try` works here once the lines are saved."
        }
    }
}

fn awaits_secret(config: &Config, service: &str) -> bool {
    config.brought_secrets().any(|(name, _)| name == service) && brought::is_awaited(config, service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attache.yaml");
        std::fs::write(&path, text).unwrap();
        crate::config::load(&path, Mode::Offline).config.unwrap()
    }

    fn tried(top: &str, webhook: &str) -> (String, &'static str) {
        let yaml = format!(
            "{top}
users: {{ bot: {{}}, former: {{ active: false }} }}
services:
  mailer:
    webhook:
      user: bot
      forward_to: http://127.0.0.1:3000/hooks
      api_keys: [{{ id: a, sha256: 5e20dfe2397513938b8ab7dbcfd225179d6d504189012a286364ce0a37da168f }}]
      {webhook}
"
        );
        let config = config(&yaml);
        Attempt::of(Some(&config), "mailer").line("mailer", "KEY").unwrap()
    }

    #[test]
    fn the_line_is_a_call_that_the_webhook_takes() {
        for (webhook, arguments) in [
            ("methods: [GET, POST]", " -d '{}'"),
            ("methods: [GET]", ""),
            ("methods: [HEAD]", " -I"),
            ("methods: [PUT, PATCH]", " -X PUT -d '{}'"),
            ("replay: { distinguish_by: X-Event-Id }", " -d '{}' -H 'x-event-id: try-1'"),
        ] {
            let (line, outcome) = tried("", webhook);
            assert_eq!(line, format!("try: curl{arguments} 'http://127.0.0.1:8081/webhooks/KEY'\n"));
            assert_eq!(outcome, " `try` works here once the lines are saved.", "{webhook}");
        }
    }

    #[test]
    fn a_refusal_here_is_foretold() {
        let unix = "listen: { webhooks: 'unix:/run/a.sock' }";
        for (top, webhook, begins) in [
            ("", "verify: { scheme: github, secret: s3cret-of-the-test }", " `try` is 401"),
            ("", "allow_from: [203.0.113.0/24]", " `try` is 403 here: `allow_from`"),
            ("", "allow_from: [203.0.113.0/24, 127.0.0.0/8]", " `try` works"),
            (unix, "allow_from: [127.0.0.0/8]", " `try` is 403 here: `allow_from`"),
            (
                "defaults: { webhook: { allow_from: [203.0.113.0/24] } }",
                "",
                " `try` is 403 here: `allow_from`",
            ),
        ] {
            let (_, outcome) = tried(top, webhook);
            assert!(outcome.starts_with(begins), "{webhook}: {outcome}");
        }
    }

    #[test]
    fn a_webhook_that_is_not_there_yet_is_called_as_the_defaults_say() {
        let config = config(
            "defaults: { webhook: { methods: [PUT], allow_from: [203.0.113.0/24] } }
services: { echo: { account: { authorization: none }, server_url: https://echo.example } }",
        );
        let (line, outcome) = Attempt::of(Some(&config), "mailer").line("mailer", "KEY").unwrap();
        assert!(line.contains("curl -X PUT -d '{}' 'http"), "{line}");
        assert!(outcome.contains("403"), "{outcome}");
    }
}
