//! The requests of `attache login` to the identity provider: the exchange of a code (RFC 6749 section 4.1.3), and the two
//! requests of the device grant (RFC 8628).
//!
//! Each is sent as a token request is: with the same client authentication, `token_headers` and `token_params` (servers
//! that need an `audience` or a `resource` need it here as well), the same limits, no redirects.

use super::error::{Failure, Unavailability};
use super::exchange::{Posted, ReceivedToken};
use super::form::FormBody;
use super::response;
use super::verdict::{EndpointReply, Presented};
use super::wire::TokenClient;
use crate::config::model::{Grant, OAuth2};
use crate::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The interval of an answer without one (RFC 8628 section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);

/// The lifetime of an answer without `expires_in`, which the RFC requires: about as long as a user needs.
const DEVICE_LIFETIME: Duration = Duration::from_secs(600);

/// Maximum length of a code that the user enters.
const MAX_USER_CODE: usize = 64;

/// The place at which a user confirms a device, and the time for it.
#[derive(Debug)]
pub(super) struct DeviceAuthorization {
    pub(super) device_code: Secret,
    /// Printable ASCII, to be entered at `verification_uri`.
    pub(super) user_code: String,
    pub(super) verification_uri: Url,
    /// It contains the user code, for a link or a QR code.
    pub(super) verification_uri_complete: Option<Url>,
    pub(super) expires_in: Duration,
    /// Between two polls: 1 s to 5 min.
    pub(super) interval: Duration,
}

/// The answer to one poll.
#[derive(Debug)]
pub(super) enum Polled {
    /// The user agreed.
    Granted(Box<ReceivedToken>),
    /// Not yet decided: the next poll follows after the interval.
    Pending,
    /// Not yet decided, and the interval grows by 5 s from now on (RFC 8628 section 3.5).
    SlowDown,
}

impl TokenClient {
    /// Exchanges the authorization code for tokens. `redirect_uri` is that of the authorization request, `verifier` the
    /// origin of its PKCE challenge (RFC 7636).
    ///
    /// # Errors
    ///
    /// As [`super::exchange::Exchange::exchange`]; an `invalid_grant` means a code that has expired or was used.
    pub(super) async fn exchange_code(
        &self,
        config: &OAuth2,
        code: &Secret,
        redirect_uri: &str,
        verifier: &Secret,
    ) -> Result<ReceivedToken, Failure> {
        let form = FormBody::new("authorization_code")
            .with_secret("code", code.clone())
            .with("redirect_uri", redirect_uri)
            .with_secret("code_verifier", verifier.clone())
            .with_params(&config.token_params);
        self.post(config, &config.token_url, &form).await?.into_login_answer(config)
    }

    /// Requests a device code (RFC 8628 section 3.1). For the grant `device_code` only.
    ///
    /// # Errors
    ///
    /// As for a token; also if the answer lacks a code or a URL that a browser can open.
    pub(super) async fn device_authorization(&self, config: &OAuth2) -> Result<DeviceAuthorization, Failure> {
        let Grant::DeviceCode { device_authorization_url } = &config.grant else {
            return Err(lacks("the account's grant is not device_code"));
        };
        let form = FormBody::default().with_scopes(config).with_params(&config.token_params);
        let Posted { reply, secrets, .. } = self.post(config, device_authorization_url, &form).await?;
        let members = match reply {
            EndpointReply::Members(members) => members,
            EndpointReply::Refused(refusal) => return Err(refusal.judge(Presented::Other, &secrets)),
        };
        let text = |name| response::text(&members, name);
        let url = |name| text(name).and_then(|url| Url::parse(url).ok()).filter(is_web);
        let seconds = |name| members.get(name).and_then(response::seconds).map(Duration::from_secs);
        let user_code = text("user_code").filter(|code| {
            code.len() <= MAX_USER_CODE && code.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        });
        Ok(DeviceAuthorization {
            device_code: text("device_code").map(Secret::new).ok_or_else(|| lacks("no device_code"))?,
            user_code: user_code.ok_or_else(|| lacks("no user_code that can be entered"))?.to_owned(),
            // Google uses the name of a draft.
            verification_uri: url("verification_uri")
                .or_else(|| url("verification_url"))
                .ok_or_else(|| lacks("no verification_uri"))?,
            verification_uri_complete: url("verification_uri_complete")
                .or_else(|| url("verification_url_complete")),
            expires_in: seconds("expires_in").unwrap_or(DEVICE_LIFETIME),
            interval: seconds("interval").map_or(INTERVAL, |interval| {
                interval.clamp(Duration::from_secs(1), Duration::from_secs(300))
            }),
        })
    }

    /// Polls once for the user's decision (RFC 8628 section 3.4).
    ///
    /// # Errors
    ///
    /// [`Cause::Rejected`](super::error::Cause::Rejected) with `access_denied` or `expired_token` ends the login; so does any other refusal. After
    /// [`Cause::Unavailable`](super::error::Cause::Unavailable) another poll may succeed, later than the interval says.
    pub(super) async fn poll_device(&self, config: &OAuth2, device_code: &Secret) -> Result<Polled, Failure> {
        let form = FormBody::new("urn:ietf:params:oauth:grant-type:device_code")
            .with_secret("device_code", device_code.clone())
            .with_params(&config.token_params);
        let posted = self.post(config, &config.token_url, &form).await?;
        match &posted.reply {
            EndpointReply::Refused(refusal) if refusal.code() == Some("authorization_pending") => {
                Ok(Polled::Pending)
            }
            EndpointReply::Refused(refusal) if refusal.code() == Some("slow_down") => Ok(Polled::SlowDown),
            _ => posted.into_login_answer(config).map(|answer| Polled::Granted(Box::new(answer))),
        }
    }
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "http")
}

fn lacks(what: &str) -> Failure {
    Failure::from(Unavailability::NoDeviceCode).with_words(Arc::from(what))
}

#[cfg(test)]
mod tests;
