//! The parts that all token sources of a process share.

use super::clock::Clock;
use super::error::{Failure, Unavailability};
use super::exchange::{Exchange, ReceivedToken};
use super::memory::AccountMemories;
use super::refresh::{EXCHANGE_LIMIT, STORE_TIME, store_key};
use super::unsaved::Unsaved;
use super::wire::TokenClient;
use crate::config::model::{Config, OAuth2};
use crate::secret::Secret;
use crate::state::StoreSlot;
use async_trait::async_trait;
use std::error::Error as _;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// The parts that accounts need to request tokens.
#[derive(Clone)]
pub struct Tokens {
    /// Sends requests to token endpoints.
    pub client: Arc<TokenClient>,
    /// Runs the accounts' tasks.
    pub runtime: Handle,
    /// Keeps grants.
    pub store: StoreSlot,
    /// The exchanges that spend a refresh token: each runs to its end, whatever becomes of its account, and the process
    /// waits for them before it ends.
    pub(super) spending: TaskTracker,
    /// The newest entries that could not be written.
    pub(super) unsaved: Unsaved,
    /// The memory of each account, whichever source serves it.
    pub(super) memories: AccountMemories,
    pub(super) clock: Clock,
}

impl Tokens {
    /// Returns what accounts need, with an empty slot for the store.
    pub fn new(client: TokenClient, runtime: Handle) -> Self {
        Self::with_clock(client, runtime, Clock::system())
    }

    pub(super) fn with_clock(client: TokenClient, runtime: Handle, clock: Clock) -> Self {
        Self {
            client: Arc::new(client),
            runtime,
            store: StoreSlot::default(),
            spending: TaskTracker::new(),
            unsaved: Unsaved::default(),
            memories: AccountMemories::default(),
            clock,
        }
    }

    /// Lets no further exchange of a refresh token begin, and waits for those under way, 65 s at most. Returns false if
    /// one is still under way, or its result could not be stored: the grant may be lost.
    pub async fn finish(&self) -> bool {
        self.spending.close();
        let all_ended = timeout(EXCHANGE_LIMIT + STORE_TIME, self.spending.wait()).await.is_ok();
        all_ended && timeout(STORE_TIME, self.store_unsaved()).await.is_ok_and(|stored| stored)
    }

    /// Tries a last time to store what could not be stored. Returns false if some of it is lost.
    async fn store_unsaved(&self) -> bool {
        match self.store.get() {
            Some(store) => self.unsaved.store_all(&store, STORE_TIME).await,
            // No store, no grant.
            None => true,
        }
    }

    /// Returns the names under which the store keeps the grants of a configuration.
    pub fn grants(config: &Config) -> Vec<String> {
        config.rotating().map(|(account, oauth2)| store_key(account, oauth2)).collect()
    }

    /// Returns the way to the account's token endpoint.
    pub(super) fn wire(&self, account: &str, config: &OAuth2) -> Arc<dyn Exchange> {
        match self.client.of_account(config) {
            Ok(client) => Arc::new(client),
            Err(error) => {
                let error = error.source().map_or_else(String::new, ToString::to_string);
                tracing::error!(target: "attache", account, error, "the account's TLS settings can't be used");
                Arc::new(NoClient)
            }
        }
    }
}

struct NoClient;

#[async_trait]
impl Exchange for NoClient {
    async fn exchange(&self, _: &OAuth2, _: Option<&Secret>) -> Result<ReceivedToken, Failure> {
        Err(Unavailability::Tls.into())
    }
}
