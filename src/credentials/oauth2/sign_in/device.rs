//! Waiting for a person who confirms a device (RFC 8628 section 3.5).

use super::super::error::{Cause, Failure, Unavailability};
use super::super::exchange::Answer;
use super::super::login::{DeviceAuthorization, Polled};
use super::SignInError;
use crate::secret::Secret;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use url::Url;

/// What each `slow_down` adds to the interval.
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// However long an endpoint is down: a person is waiting.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A device's code, which a person confirms at a URL.
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

    /// Where the person goes.
    pub fn url(&self) -> &Url {
        &self.authorization.verification_uri
    }

    /// The same with the user code in it, if the provider has such a one.
    pub fn complete_url(&self) -> Option<&Url> {
        self.authorization.verification_uri_complete.as_ref()
    }

    /// What the person types in there: printable ASCII.
    pub fn user_code(&self) -> &str {
        &self.authorization.user_code
    }

    /// How long the person has.
    pub fn expires_in(&self) -> Duration {
        self.authorization.expires_in
    }

    pub(super) fn code(&self) -> &Secret {
        &self.authorization.device_code
    }

    /// Asks once an interval until there is an answer. Trouble on the way doubles the pause and ends with it; a token that
    /// can't be used is final, since the code is spent.
    pub(super) async fn poll(
        &self,
        mut ask: impl AsyncFnMut() -> Result<Polled, Failure>,
    ) -> Result<Answer, SignInError> {
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
