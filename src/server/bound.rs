//! A server that is bound and not yet serving.

use super::acceptors::Acceptors;
use super::activation::PassedSockets;
use super::grants::Grants;
use super::listen::bind;
use super::state::ServerState;
use super::{POOL_SIZE, StartError};
use crate::admin::report::{Moment, ReloadReport};
use crate::config::Problems;
use crate::config::model::{AccessLog as AccessLogTo, Config, Listen, ListenAddr};
use crate::credentials::oauth2::{TokenClient, Tokens};
use crate::proxy::{BoundListener, Table};
use crate::snapshot::{Handle, Snapshot};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::logging::Logging;
use crate::telemetry::metrics::{ReloadResult, Reloads};
use crate::transport::Transport;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::sync::watch;

/// The listeners of one process.
pub(super) struct BoundListeners {
    pub(super) outbound: BoundListener,
    pub(super) webhooks: BoundListener,
    pub(super) admin: BoundListener,
    /// Unix sockets, which are removed at the end.
    pub(super) sockets: Vec<PathBuf>,
}

impl BoundListeners {
    /// Takes the sockets that were passed and binds the others.
    fn bind(listen: &Listen, passed: &mut PassedSockets) -> Result<Self, StartError> {
        let (mut listeners, mut own) = (Vec::new(), Vec::new());
        for (name, configured) in listen.all() {
            let passed = passed.listener(name, &configured.address)?;
            if passed.is_none() {
                own.push(&configured.address);
            }
            listeners.push(match passed {
                Some(listener) => listener,
                None => bind(name, &configured.address)?,
            });
        }
        let Ok([outbound, webhooks, admin]) = <[BoundListener; 3]>::try_from(listeners) else {
            unreachable!("there are three listeners")
        };
        // A socket of the service manager stays for the next process.
        let sockets = own
            .into_iter()
            .filter_map(|address| match address {
                ListenAddr::Unix(path) => Some(path.clone()),
                ListenAddr::Tcp(_) => None,
            })
            .collect();
        Ok(Self { outbound, webhooks, admin, sockets })
    }
}

/// A server that is bound and not yet serving.
pub(super) struct BoundServer {
    pub(super) path: PathBuf,
    pub(super) state: Arc<ServerState>,
    pub(super) tokens: Tokens,
    pub(super) grants: Grants,
    pub(super) log: Option<Logging>,
    pub(super) drain: watch::Sender<bool>,
    pub(super) listeners: BoundListeners,
}

impl BoundServer {
    /// Binds every listener before anything is served: an occupied port is an error, not a partial start.
    pub(super) async fn new(
        path: &Path,
        config: Config,
        problems: &Problems,
        log: Option<Logging>,
        mut passed: PassedSockets,
    ) -> Result<Self, StartError> {
        let access_log = open_access_log(&config.log.access)?;
        // As many as allowed: each request in flight takes two, and the soft limit is often 1024.
        let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let acceptors = Acceptors::new(&config.listen)?;
        let listeners = BoundListeners::bind(&config.listen, &mut passed)?;
        // Idle connections to upstreams may hold an eighth of the descriptors.
        let transport = Arc::new(Transport::new((descriptors / 8).clamp(8, POOL_SIZE)));
        let tokens = Tokens::new(TokenClient::new(&transport), tokio::runtime::Handle::current());
        let grants = Grants::open(&config, &tokens)?;
        let (drain, draining) = watch::channel(false);
        let now = SystemTime::now();
        let limit = connection_limit(&config, descriptors);
        let hash = config.hash.clone();
        let (for_build, connections) = (tokens.clone(), Arc::clone(&transport));
        let build = move || Snapshot::build(config, None, &for_build, &connections, limit);
        let snapshot = tokio::task::spawn_blocking(build).await.map_err(io::Error::from)?;
        let state = Arc::new(ServerState {
            snapshots: Handle::new(snapshot),
            tables: ["outbound", "webhooks"].map(|listener| Arc::new(Table::new(listener, limit))),
            acceptors,
            transport,
            descriptors,
            access_log: Arc::new(access_log),
            failures: Arc::default(),
            body_memory: Arc::default(),
            reloads: Reloads::new(now),
            loaded_at: Mutex::new(now),
            last_reload: Mutex::new(ReloadReport {
                at: Moment(now),
                result: ReloadResult::Applied.as_str(),
                problems: problems.to_short_json(),
                drawn: problems.render_human(false),
                hash: Some(hash),
            }),
            draining,
        });
        Ok(Self { path: path.to_owned(), state, tokens, grants, log, drain, listeners })
    }
}

fn open_access_log(to: &AccessLogTo) -> Result<AccessLog, StartError> {
    Ok(match to {
        AccessLogTo::Off => AccessLog::off(),
        AccessLogTo::Stdout => AccessLog::stdout()?,
        AccessLogTo::File(path) => {
            AccessLog::file(path).map_err(|cause| StartError::AccessLog { path: path.clone(), cause })?
        }
    })
}

/// Returns the maximum number of connections of each of the two listeners.
pub(super) fn connection_limit(config: &Config, descriptors: usize) -> usize {
    config.max_connections.map_or(descriptors / 4, usize::from)
}
