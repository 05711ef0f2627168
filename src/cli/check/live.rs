//! `attache check --live`: requests a token for every OAuth2 account, fetches the keys of every issuer and connects to
//! every service, as `attache run` would.
//!
//! Refresh tokens are spent under the store's lock and their successors stored, so a running attache is not affected;
//! Ctrl-C waits for such an exchange, since interrupting it would lose the grant. No request is sent to a service.

mod finding;

pub(super) use finding::{LiveFinding, failure};

use super::super::file;
use crate::config::model::{Config, Grant, Jwks, OAuth2, ServerUrl, ServiceTls, UsedProxy};
use crate::credentials::oauth2::{Failure, TokenClient, Tokens, inspect};
use crate::issuers::JwksClient;
use crate::state::FileStore;
use crate::telemetry::logging;
use crate::transport::reach::reach;
use crate::transport::{Transport, Upstream};
use finding::FindingSubject;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::level_filters::LevelFilter;

/// Maximum number of accounts and services that are tried at the same time.
const AT_ONCE: usize = 16;
/// Time limit for reaching a service.
const REACH: Duration = Duration::from_secs(5);

/// Tries everything. Blocks until it is done.
///
/// # Errors
///
/// If the runtime or the clients can't be created, or the operator interrupted it.
pub(super) fn run(config: &Config) -> Result<Vec<LiveFinding>, String> {
    // Logs failures besides the result, such as a refresh token that can't be stored.
    let _ = logging::init(LevelFilter::WARN, false);
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = built.map_err(|e| format!("can't start: {e}"))?;
    let found = runtime.block_on(try_all(config));
    runtime.shutdown_background();
    found
}

async fn try_all(config: &Config) -> Result<Vec<LiveFinding>, String> {
    let transport = Arc::new(Transport::new(1));
    let tokens = Tokens::new(TokenClient::new(&transport), Handle::current());
    let mut tasks = Tasks::default();
    tokens_of(config, &tokens, &mut tasks);
    keys_of(config, &transport, &mut tasks);
    reach_all(config, &transport, &mut tasks);
    let found = tokio::select! {
        found = tasks.all() => Ok(found),
        () = broken_off() => Err("broken off".to_owned()),
    };
    // The answer to a request that spent a refresh token must not be lost: it holds the next token.
    if !tokens.finish().await {
        return Err(
            "ended while a refresh token was being exchanged: its account may need a login".to_owned()
        );
    }
    found
}

/// Resolves on Ctrl-C or SIGTERM.
async fn broken_off() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Concurrent attempts, up to a limit.
struct Tasks {
    running: JoinSet<LiveFinding>,
    permits: Arc<Semaphore>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { running: JoinSet::new(), permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Tasks {
    fn add(&mut self, task: impl Future<Output = LiveFinding> + Send + 'static) {
        let permits = Arc::clone(&self.permits);
        self.running.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire().await;
            task.await
        });
    }

    async fn all(self) -> Vec<LiveFinding> {
        let mut found = self.running.join_all().await;
        found.sort();
        found
    }
}

fn tokens_of(config: &Config, tokens: &Tokens, tasks: &mut Tasks) {
    let asking: Vec<(String, OAuth2)> = file::accounts(config)
        .into_iter()
        .filter_map(|(name, account)| Some((name.to_owned(), file::oauth2(account)?.clone())))
        .collect();
    let grants = open_grants(config, &asking, tokens);
    for (name, oauth2) in asking {
        let tokens = tokens.clone();
        let grants = if oauth2.grant.refreshes() { grants.clone() } else { GrantAccess::Usable };
        tasks.add(async move {
            match grants {
                GrantAccess::Usable => {
                    LiveFinding::of_token(&name, &oauth2, inspect(&name, &oauth2, &tokens).await)
                }
                GrantAccess::NoneYet => LiveFinding::of_token(&name, &oauth2, Err(Failure::needs_login())),
                GrantAccess::Closed(text) => LiveFinding::failed(FindingSubject::Account, &name, text),
            }
        });
    }
}

/// The access to refresh tokens in the state store.
#[derive(Clone)]
enum GrantAccess {
    Usable,
    /// There is no folder yet, and nothing to store: it may have to belong to another user than this one.
    NoneYet,
    /// Why the store can't be used.
    Closed(String),
}

fn open_grants(config: &Config, asking: &[(String, OAuth2)], tokens: &Tokens) -> GrantAccess {
    let needed = asking.iter().any(|(_, oauth2)| oauth2.grant.refreshes());
    let Some(state) = config.state.as_ref().filter(|_| needed) else { return GrantAccess::Usable };
    let new = !state.dir.exists();
    if new && !asking.iter().any(|(_, oauth2)| matches!(oauth2.grant, Grant::RefreshToken { .. })) {
        return GrantAccess::NoneYet;
    }
    match FileStore::open(&state.dir, &state.keys) {
        Ok(store) => {
            tokens.store.set(Arc::new(store));
            if new {
                file::warn_of_new_folder(&state.dir);
            }
            GrantAccess::Usable
        }
        Err(error) => GrantAccess::Closed(format!("can't store refresh tokens (state.dir): {error}")),
    }
}

/// Fetches the keys of every issuer that has them at a URL.
fn keys_of(config: &Config, transport: &Arc<Transport>, tasks: &mut Tasks) {
    for (name, issuer) in &config.issuers {
        if let Jwks::Url(source) = &issuer.jwks {
            let (name, client) = (name.clone(), JwksClient::new(transport, source));
            tasks.add(async move { LiveFinding::of_keys(&name, client.fetch().await) });
        }
    }
}

fn reach_all(config: &Config, transport: &Arc<Transport>, tasks: &mut Tasks) {
    let mut add = |kind, name: &str, url: &ServerUrl, upstream: Upstream| {
        let (name, url, transport) = (name.to_owned(), url.clone(), Arc::clone(transport));
        tasks.add(async move {
            let reached = reach(&transport, &upstream, REACH).await;
            LiveFinding::of_upstream(kind, &name, &url, reached)
        });
    };
    for (name, service) in &config.services {
        if let Some(outbound) = &service.outbound {
            let url = &outbound.server_url;
            let upstream =
                transport.upstream("", url, &outbound.tls, &outbound.proxy, outbound.private_network);
            add(FindingSubject::Service, name, url, upstream);
        }
        // The receiver's address may be private, and its TLS is not checked.
        if let Some(webhook) = &service.webhook {
            let url = &webhook.forward_to;
            let plain = ServerUrl { tls: false, ..url.clone() };
            add(
                FindingSubject::Webhook,
                name,
                url,
                transport.upstream("", &plain, &ServiceTls::default(), &UsedProxy::default(), true),
            );
        }
    }
}
