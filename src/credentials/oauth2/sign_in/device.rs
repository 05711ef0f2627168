//! Waiting for a user who confirms a device (RFC 8628 section 3.5).

use super::super::error::{Cause, Failure, Unavailability};
use super::super::exchange::ReceivedToken;
use super::super::login::{DeviceAuthorization, Polled};
use super::SignInError;
use crate::secret::Secret;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use url::Url;

/// The growth of the interval with each `slow_down`.
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// Maximum pause while the endpoint is down: a user is waiting.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A device code, which a user confirms at a URL.
#[derive(Debug)]
pub struct Device {
    authorization: DeviceAuthorization,
    expires_at: Instant,
}

impl Device {
    pub(super) fn new(authorization: DeviceAuthorization) -> Self {
        let expires_at = Instant::now() + authorization.expires_in;
        Self { authorization, expires_at }
    }

    /// Returns the URL that the user opens.
    pub fn url(&self) -> &Url {
        &self.authorization.verification_uri
    }

    /// Returns the same with the user code in it, if the provider has one.
    pub fn complete_url(&self) -> Option<&Url> {
        self.authorization.verification_uri_complete.as_ref()
    }

    /// Returns the code that the user enters there: printable ASCII.
    pub fn user_code(&self) -> &str {
        &self.authorization.user_code
    }

    /// Returns the time limit for the user.
    pub fn expires_in(&self) -> Duration {
        self.authorization.expires_in
    }

    pub(super) fn code(&self) -> &Secret {
        &self.authorization.device_code
    }

    /// Polls once an interval until there is a decision. An outage doubles the pause until it ends; a token that can't be
    /// used is final, since the code is spent.
    pub(super) async fn poll(
        &self,
        mut ask: impl AsyncFnMut() -> Result<Polled, Failure>,
    ) -> Result<ReceivedToken, SignInError> {
        let mut interval = self.authorization.interval;
        let mut pause = interval;
        loop {
            let next = Instant::now() + pause;
            if next >= self.expires_at {
                sleep_until(self.expires_at).await;
                return Err(SignInError::Expired);
            }
            sleep_until(next).await;
            match ask().await {
                Ok(Polled::Granted(answer)) => return Ok(*answer),
                Ok(Polled::Pending) => pause = interval,
                Ok(Polled::SlowDown) => {
                    interval += SLOW_DOWN;
                    pause = interval;
                }
                Err(Failure { cause: Cause::Rejected { code }, .. }) if &*code == "expired_token" => {
                    return Err(SignInError::Expired);
                }
                Err(Failure { cause: Cause::Unavailable(reason), retry_after, .. }) if !is_final(reason) => {
                    pause = (pause * 2).min(LONGEST_PAUSE).max(interval);
                    pause = pause.max(retry_after.unwrap_or_default().min(LONGEST_PAUSE));
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }
}

fn is_final(reason: Unavailability) -> bool {
    use Unavailability::{Assertion, NoIdToken, NoToken, Redirect, TokenCharacters, TokenType};
    matches!(reason, NoToken | NoIdToken | TokenType | TokenCharacters | Assertion | Redirect)
}
