//! What all token sources of a process share.

use super::error::{Failure, Unavailability};
use super::exchange::{Answer, Exchange};
use super::rotating::Rotating;
use super::wire::TokenClient;
use crate::config::model::{Config, OAuth2};
use crate::secret::Secret;
use crate::state::{Entry, Store};
use async_trait::async_trait;
use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// For what comes before and after the token request of a rotation.
const TO_DISK: Duration = Duration::from_secs(5);

/// What accounts need to ask for tokens.
#[derive(Clone)]
pub struct Tokens {
    /// Speaks with token endpoints.
    pub client: Arc<TokenClient>,
    /// Runs renewals.
    pub runtime: Handle,
    /// Keeps refresh tokens.
    pub store: StoreSlot,
    /// The exchanges that spend a refresh token: each runs to its end, whatever becomes of its account, and the process
    /// waits for them before it ends.
    pub rotations: TaskTracker,
    /// By the store's name for it: the newest entry, if it could not be written. It outlives its token source, as the store does.
    pub(super) unsaved: Unsaved,
}

pub(super) type Unsaved = Arc<Mutex<HashMap<Box<str>, Entry>>>;

impl Tokens {
    /// With an empty slot.
    pub fn new(client: TokenClient, runtime: Handle) -> Self {
        Self {
            client: Arc::new(client),
            runtime,
            store: StoreSlot::default(),
            rotations: TaskTracker::new(),
            unsaved: Unsaved::default(),
        }
    }

    /// Lets no further exchange of a refresh token begin, and waits for those under way: as long as the slowest of the
    /// accounts may take, and a little for the disk. False if one is still under way: its successor may be lost.
    pub async fn finish(&self, config: &Config) -> bool {
        self.rotations.close();
        timeout(longest(config), self.rotations.wait()).await.is_ok()
    }

    /// How this account's tokens are asked for.
    pub(super) fn exchange(&self, account: &str, config: &OAuth2) -> Arc<dyn Exchange> {
        let wire: Arc<dyn Exchange> = match self.client.with_tls(&config.tls) {
            Ok(client) => Arc::new(client),
            Err(error) => {
                let error = error.source().map_or_else(String::new, ToString::to_string);
                tracing::error!(target: "attache", account, error, "the account's TLS settings can't be used");
                Arc::new(NoClient)
            }
        };
        if config.grant.refreshes() { Arc::new(Rotating::new(account, wire, self)) } else { wire }
    }
}

/// The store in use; empty as long as no account needs one. A reload may put another one in.
#[derive(Clone, Default)]
pub struct StoreSlot(Arc<RwLock<Option<Arc<dyn Store>>>>);

impl StoreSlot {
    /// The store, if there is one.
    pub fn get(&self) -> Option<Arc<dyn Store>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one.
    pub fn set(&self, store: Arc<dyn Store>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
    }
}

fn longest(config: &Config) -> Duration {
    config.rotating().map(|oauth2| oauth2.token_timeout).max().unwrap_or_default() + TO_DISK
}

struct NoClient;

#[async_trait]
impl Exchange for NoClient {
    async fn exchange(&self, _: &OAuth2, _: Option<&Secret>) -> Result<Answer, Failure> {
        Err(Unavailability::Tls.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mode, load};

    #[test]
    fn the_end_waits_for_the_slowest_account_that_rotates() {
        let account = |name: &str, grant: &str, timeout: &str| {
            format!(
                "  {name}: {{ authorization: {{ oauth2: {{ {grant}, token_url: 'https://id.example/t', client_id: a, \
                 client_secret: {{ env: PATH }}, token_timeout: {timeout} }} }} }}\n"
            )
        };
        let refresh = "grant: refresh_token, refresh_token: { env: PATH }";
        let accounts = [
            account("other", "grant: client_credentials", "50s"),
            account("fast", refresh, "3s"),
            account("slow", refresh, "40s"),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attache.yaml");
        let accounts = accounts.concat();
        std::fs::write(
            &path,
            format!("state: {{ key: 0123456789abcdefghijklmnop }}\naccounts:\n{accounts}services: {{}}\n"),
        )
        .unwrap();
        let config = load(&path, Mode::Offline).config.unwrap();
        assert_eq!(longest(&config), Duration::from_secs(45));
    }
}
