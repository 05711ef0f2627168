//! The usual topology of a webhook: a third party with a key and possibly a secret, attache, and the receiver.

use super::attache::{Attache, Setup, attache};
use super::client::{Request, post};
use super::leaks::{secret, sha256_hex, webhook_key};
use super::stub::{Stub, app};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// See the module's documentation. The service is `vendor`, its user `bot`, its key `k1`.
pub(crate) struct Vendor {
    pub(crate) attache: Attache,
    pub(crate) app: Stub,
    pub(crate) key: String,
    pub(crate) secret: String,
}

/// Starts it with these further lines under `webhook`. `VENDOR_SECRET` in the environment has the secret,
/// `VENDOR_WHSEC` the same in the form of Standard Webhooks.
pub(crate) async fn vendor(lines: &str) -> Vendor {
    vendor_with(&secret("vendor"), lines).await
}

/// The same, with this secret.
pub(crate) async fn vendor_with(secret: &str, lines: &str) -> Vendor {
    let (app, key) = (app().answers(202, "accepted"), webhook_key());
    let setup = attache().given("app", app.url()).given("sha256", sha256_hex(&key));
    let setup =
        setup.env("VENDOR_SECRET", secret).env("VENDOR_WHSEC", format!("whsec_{}", STANDARD.encode(secret)));
    let attache = Setup::with(setup, &vendor_yaml(lines)).await;
    Vendor { attache, app, key, secret: secret.to_owned() }
}

/// Returns the file of [`vendor`].
pub(crate) fn vendor_yaml(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("      {}\n", line.trim())).collect();
    format!(
        "public_url: https://hooks.example.com\n\
         users: {{ bot: {{}} }}\n\
         services:\n  vendor:\n    webhook:\n      user: bot\n      forward_to: '{{{{app}}}}/hooks'\n      \
         api_keys: [{{ id: k1, sha256: {{{{sha256}}}} }}]\n{lines}"
    )
}

impl Vendor {
    /// Sends a call with the key, without a signature.
    pub(crate) fn call(&self, rest: &str, body: impl Into<Vec<u8>>) -> Request {
        post(format!("/webhooks/{}{rest}", self.key), body)
    }

    /// Returns the HMAC-SHA256 with the secret.
    pub(crate) fn mac(&self, message: &[u8]) -> Vec<u8> {
        mac(&self.secret, message)
    }

    /// Sends a call with GitHub's signature.
    pub(crate) fn github(&self, rest: &str, body: &[u8]) -> Request {
        self.call(rest, body).header("X-Hub-Signature-256", format!("sha256={}", hex(&self.mac(body))))
    }

    /// Waits until this number of calls was refused for this reason.
    pub(crate) async fn refused(&self, reason: &str) -> f64 {
        let labels = [("service", "vendor"), ("reason", reason)];
        self.attache.metrics().await.value("attache_webhook_refused_total", &labels).unwrap_or(0.0)
    }
}

/// Returns an HMAC-SHA256.
pub(crate) fn mac(secret: &str, message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message).as_ref().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
