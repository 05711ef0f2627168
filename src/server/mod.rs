//! The composition root: binds the listeners, starts the tasks, follows the file and the signals, and drains.
//!
//! Everything started here is owned here and ends before [`run`] returns: the runtime is dropped with its tasks.

mod acceptors;
mod activation;
mod admin_thread;
mod grants;
mod issuers;
mod listen;
mod reload;
mod service_manager;
mod unread;

use crate::admin::report::{Build, ConfigReport, Moment, ReloadReport, Report};
use crate::admin::{Access, View, status};
use crate::config::model::{AccessLog as AccessLogTo, Config, ListenAddr, LogFormat, LogLevel};
use crate::config::watch::Watcher;
use crate::config::{self, Files, Mode, Problems};
use crate::credentials::oauth2::{TokenClient, Tokens};
use crate::error_chain::Chain;
use crate::limits::buffered::BodyMemory;
use crate::proxy::{Entrance, Listener, Proxy, Table, serve};
use crate::snapshot::{Handle, Snapshot};
use crate::socket::SettingsError;
use crate::state::StateError;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::failures::RecentFailures;
use crate::telemetry::logging::{self, Logging};
use crate::telemetry::metrics::{Direction, Exposition, ReloadResult, Reloads};
use crate::transport::Transport;
use acceptors::Acceptors;
use activation::{ActivationError, PassedSockets};
use admin_thread::AdminThread;
use grants::Grants;
use issuers::KeyFetches;
use listen::bind;
use reload::{Fixed, Reloader};
use serde_json::{Value, json};
use service_manager::ServiceManager;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;

/// Interval at which changes without an event (NFS, a Kubernetes volume) are found.
const POLL: Duration = Duration::from_secs(10);
/// Maximum number of idle connections to upstreams.
const POOL_SIZE: usize = 4096;

/// Time for which an unused thread for blocking work is kept.
const KEEP_ALIVE: Duration = Duration::from_millis(1100);

/// The arguments of [`run`].
#[derive(Debug)]
pub struct Options {
    /// The file or folder.
    pub config: PathBuf,
    /// An unreadable secret prevents the start.
    pub strict: bool,
}

/// Serves until SIGTERM or SIGINT, then drains. Returns the exit status: 0, or 1 if the file is invalid or a listener
/// can't be bound, which is reported on stderr.
pub fn run(options: Options) -> i32 {
    // Loaded in a separate thread, as every later configuration is: after a reload another thread frees this memory,
    // and the allocator could not reuse it while the allocating thread lives.
    let loaded = std::thread::scope(|scope| scope.spawn(|| config::load(&options.config, Mode::Full)).join());
    let loaded = loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let problems = loaded.problems;
    // If the process has a log already (a test, the demo), its level and format stay unchanged.
    let init = |config: &Config| logging::init(level(config.log.level), is_json(config)).ok();
    let log = loaded.config.as_ref().and_then(init);
    let config = loaded.config;
    let starts = config.is_some() && !(options.strict && problems.has_errors());
    // If the process starts, each unreadable secret gets its own line in the log.
    let shown = if starts { &problems.without_unread() } else { &problems };
    if !log.as_ref().is_some_and(Logging::is_json) {
        eprint!("{}", shown.render_human(logging::may_color(&io::stderr())));
    } else if !shown.is_empty() {
        tracing::warn!(problems = %shown.to_short_json(), "the configuration has problems");
    }
    let Some(config) = config else { return 1 };
    if !starts {
        eprintln!("error: not started: `--strict` requires every secret to be readable");
        return 1;
    }
    match start(&options.config, config, &problems, loaded.files, log.clone()) {
        Ok(()) => 0,
        Err(error) if log.is_some_and(|log| log.is_json()) => {
            tracing::error!(%error, "can't start");
            1
        }
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("can't listen on {address}: {cause}; `listen.{listener}` sets the address")]
    Bind { listener: &'static str, address: String, cause: io::Error },
    #[error("can't speak TLS on `listen.{listener}`: {}", Chain(cause))]
    Tls { listener: &'static str, cause: SettingsError },
    #[error("can't use the socket that was passed for `listen.{listener}`: {cause}")]
    Passed { listener: &'static str, cause: ActivationError },
    #[error("can't use the sockets that were passed: {0}")]
    Activation(#[from] ActivationError),
    #[error("can't start: {0}")]
    Io(#[from] io::Error),
    #[error("can't open the access log {}: {cause}", path.display())]
    AccessLog { path: PathBuf, cause: io::Error },
    #[error("can't store refresh tokens (state.dir): {0}")]
    State(#[from] StateError),
}

fn start(
    path: &Path,
    config: Config,
    problems: &Problems,
    files: Files,
    log: Option<Logging>,
) -> Result<(), StartError> {
    unread::log(problems);
    let passed = PassedSockets::take()?;
    let threads = config
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("attache")
        // The allocator returns memory that has been free for a second to the system when a thread ends.
        .thread_keep_alive(KEEP_ALIVE)
        .enable_all()
        .build()?;
    let drain = runtime.block_on(async {
        let server = Server::new(path, config, problems, log, passed).await?;
        server.serve(files).await
    });
    // Blocking work (reading a file) must not delay the exit.
    runtime.shutdown_background();
    drain
}

fn is_json(config: &Config) -> bool {
    config.log.format == LogFormat::Json
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

/// State that the tasks share.
struct State {
    snapshots: Handle,
    transport: Arc<Transport>,
    /// The connections of the outbound listener and of the webhook listener.
    tables: [Arc<Table>; 2],
    acceptors: Acceptors,
    /// Maximum number of file descriptors of the process.
    descriptors: usize,
    access_log: Arc<AccessLog>,
    failures: Arc<RecentFailures>,
    /// The memory of webhook bodies that are read ahead.
    body_memory: Arc<BodyMemory>,
    reloads: Reloads,
    loaded_at: Mutex<SystemTime>,
    last_reload: Mutex<ReloadReport>,
    draining: watch::Receiver<bool>,
}

impl State {
    /// Returns the counts of what is served and the outcome of the last reload, in one line.
    fn summary(&self) -> String {
        let config = Arc::clone(&self.snapshots.load().config);
        let hash = config.hash.get(..12).unwrap_or(&config.hash);
        let services = match config.services.len() {
            1 => "1 service".to_owned(),
            count => format!("{count} services"),
        };
        let last_reload = self.last_reload.lock().unwrap_or_else(PoisonError::into_inner).result;
        format!("{services}, hash {hash}, last reload {last_reload}")
    }
}

struct Server {
    path: PathBuf,
    state: Arc<State>,
    tokens: Tokens,
    grants: Grants,
    log: Option<Logging>,
    drain: watch::Sender<bool>,
    outbound: Listener,
    webhooks: Listener,
    admin: Listener,
    /// Unix sockets, which are removed at the end.
    sockets: Vec<PathBuf>,
}

impl Server {
    /// Binds every listener before anything is served: an occupied port is an error, not a partial start.
    async fn new(
        path: &Path,
        config: Config,
        problems: &Problems,
        log: Option<Logging>,
        mut passed: PassedSockets,
    ) -> Result<Self, StartError> {
        let access_log = match &config.log.access {
            AccessLogTo::Off => AccessLog::off(),
            AccessLogTo::Stdout => AccessLog::stdout()?,
            AccessLogTo::File(path) => {
                AccessLog::file(path).map_err(|cause| StartError::AccessLog { path: path.clone(), cause })?
            }
        };
        // As many as allowed: each request in flight takes two, and the soft limit is often 1024.
        let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let listen = &config.listen;
        let acceptors = Acceptors::new(listen)?;
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
        let Ok([outbound, webhooks, admin]) = <[Listener; 3]>::try_from(listeners) else {
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
        let state = Arc::new(State {
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
        Ok(Self {
            path: path.to_owned(),
            state,
            tokens,
            grants,
            log,
            drain,
            outbound,
            webhooks,
            admin,
            sockets,
        })
    }

    async fn serve(self, files: Files) -> Result<(), StartError> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let state = Arc::clone(&self.state);
        let proxy = Arc::new(Proxy {
            snapshots: state.snapshots.clone(),
            transport: Arc::clone(&state.transport),
            access_log: Arc::clone(&state.access_log),
            failures: Arc::clone(&state.failures),
            body_memory: Arc::clone(&state.body_memory),
            verifications: Semaphore::new(tokio::runtime::Handle::current().metrics().num_workers()),
        });

        // Started before readiness is announced, so that every later change causes an event.
        let mut watcher = Watcher::start(files, POLL, Arc::clone(&state.reloads.watch_failed));
        let mut background = JoinSet::new();
        background.spawn(grants::watch(state.snapshots.clone()));
        background.spawn(self.grants.seal_again(&state.snapshots.load().config));
        let mut key_fetches = KeyFetches::default();
        key_fetches.follow(&state.snapshots.load(), &state.transport);
        let view: Arc<dyn View> = Arc::clone(&state) as _;
        let admin = AdminThread::start(self.admin, Arc::clone(&state.acceptors.admin), view)?;
        let mut serving = JoinSet::new();
        let cut = CancellationToken::new();
        let Acceptors { outbound, webhooks, admin: _ } = &state.acceptors;
        let listeners =
            [(self.outbound, Direction::Outbound, outbound), (self.webhooks, Direction::Webhook, webhooks)];
        for ((listener, direction, acceptor), table) in listeners.into_iter().zip(&state.tables) {
            let (proxy, table) = (Arc::clone(&proxy), Arc::clone(table));
            let (address, acceptor) = (listener.address(), Arc::clone(acceptor));
            let entrance = Arc::new(Entrance { proxy, direction, address, table, acceptor });
            let cut = cut.clone().cancelled_owned();
            serving.spawn(serve(listener, entrance, state.draining.clone(), cut));
        }
        announce(&self.path, &state.snapshots.load().config);
        tracing::info!("ready");
        let manager = ServiceManager::from_environment();
        manager.ready(&state.summary());

        let mut reloader = Reloader {
            path: self.path,
            state: Arc::clone(&state),
            tokens: self.tokens.clone(),
            grants: self.grants,
            log: self.log,
            fixed: Fixed::of(&state.snapshots.load().config),
            background: JoinSet::new(),
        };
        loop {
            let mut is_asked = false;
            tokio::select! {
                () = watcher.changed() => manager.reloading(),
                Some(()) = hangup.recv() => {
                    // At once: systemd waits for the end of a reload only if it knows of it when ExecReload= ends.
                    manager.reloading();
                    let next_read = watcher.next_read();
                    tokio::select! {
                        () = join(&mut hangup, next_read) => {}
                        () = ended(&mut terminate, &mut interrupt) => break,
                    }
                    tracing::info!("SIGHUP: reading the configuration");
                    is_asked = true;
                }
                () = ended(&mut terminate, &mut interrupt) => break,
            }
            // Must not block signal handling: a file system may hang.
            tokio::select! {
                files = reloader.reload() => {
                    if let Some(files) = files {
                        watcher.reread(files);
                    }
                    key_fetches.follow(&state.snapshots.load(), &state.transport);
                    if is_asked {
                        state.snapshots.load().issuers.nudge();
                        // After the reload, so that a mended secret is tried and not the one before it.
                        state.snapshots.load().token_sources().for_each(|source| source.nudge());
                    }
                    manager.ready(&state.summary());
                }
                () = ended(&mut terminate, &mut interrupt) => break,
            }
        }

        let limit = state.snapshots.load().config.drain;
        tracing::info!(limit = ?limit, "draining");
        manager.stopping();
        // Readiness goes down and the listeners close at the same moment.
        self.drain.send_replace(true);
        for socket in &self.sockets {
            // The socket file may be gone already.
            let _ = std::fs::remove_file(socket);
        }
        let all_ended = tokio::select! {
            ended = tokio::time::timeout(limit, async { while serving.join_next().await.is_some() {} }) => ended.is_ok(),
            // A second signal aborts the drain.
            () = ended(&mut terminate, &mut interrupt) => false,
        };
        if !all_ended {
            tracing::warn!("ended with requests in flight");
            cut.cancel();
            // Their access log lines are written when this ends.
            while serving.join_next().await.is_some() {}
        }
        // The answer to a request that spent a refresh token must not be lost: it holds the next token.
        if !self.tokens.finish().await {
            tracing::error!("ended while a refresh token was being exchanged: its account may need a login");
        }
        let log = Arc::clone(&state.access_log);
        // Writes the lines of the last requests; waits for the reader of the log for at most two seconds.
        let _ = tokio::task::spawn_blocking(move || log.flush(Duration::from_secs(2))).await;
        drop(admin);
        tracing::info!("stopped");
        Ok(())
    }
}

/// Logs what is served.
fn announce(path: &Path, config: &Config) {
    let webhooks = config.services.values().filter_map(|service| service.webhook.as_ref());
    tracing::info!(
        path = %path.display(),
        hash = config.hash,
        services = config.services.len(),
        accounts = config.count_accounts(),
        users = config.users.len(),
        callers = config.callers.as_ref().map(|callers| callers.len()),
        keys = webhooks.map(|webhook| webhook.api_keys.len()).sum::<usize>(),
        "attache {} serving",
        env!("CARGO_PKG_VERSION")
    );
}

/// Waits until the files may be read, and consumes the signals received meanwhile: one read covers all of them.
async fn join(hangup: &mut Signal, next_read: Instant) {
    sleep_until(next_read).await;
    poll_fn(|context| {
        let _joined = hangup.poll_recv(context);
        Poll::Ready(())
    })
    .await;
}

async fn ended(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Returns the maximum number of connections of each of the two listeners.
fn connection_limit(config: &Config, descriptors: usize) -> usize {
    config.max_connections.map_or(descriptors / 4, usize::from)
}

impl View for State {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> bool {
        !*self.draining.borrow()
    }

    fn report(&self) -> Report {
        let snapshot = self.snapshots.load();
        let (last_reload, at) = (&self.last_reload, SystemTime::now());
        Report {
            build: Build { version: env!("CARGO_PKG_VERSION"), commit: env!("ATTACHE_COMMIT") },
            config: ConfigReport {
                hash: snapshot.config.hash.clone(),
                loaded_at: Moment(*self.loaded_at.lock().unwrap_or_else(PoisonError::into_inner)),
                restart_needed: self.reloads.restart_needed(),
                last_reload: last_reload.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            },
            parts: status::describe(&snapshot, at),
            failures: status::describe_failures(&self.failures.newest_first()),
            at,
            ready: self.ready(),
        }
    }

    fn access(&self) -> Access {
        Access::of(&self.snapshots.load().config.listen)
    }

    fn key_set(&self) -> Value {
        let snapshot = self.snapshots.load();
        snapshot.assertion.as_ref().map_or_else(|| json!({ "keys": [] }), |signer| signer.key_set())
    }

    fn end_step(&self) {
        self.snapshots.load().statistics().for_each(|stats| stats.end_step());
    }

    fn metrics(&self) -> String {
        let snapshot = self.snapshots.load();
        let mut exposition = Exposition::new();
        status::expose(&snapshot, &mut exposition);
        for table in &self.tables {
            let counts = table.counts();
            exposition.connections(table.listener, counts.active, counts.idle, counts.refused);
        }
        for (listener, acceptor) in self.acceptors.with_tls() {
            for (reason, count) in acceptor.failures().counts() {
                exposition.handshakes_failed(listener, reason, count);
            }
        }
        exposition.buffered(self.body_memory.in_use(), snapshot.config.buffered);
        exposition.reloads(&self.reloads).access_log_dropped(self.access_log.dropped());
        exposition.render()
    }
}
