//! The composition root: binds the listeners, starts the tasks, follows the file and the signals, and drains.
//!
//! Everything started here is owned here and ends before [`run`] returns: the runtime is dropped with its tasks.

mod acceptors;
mod activation;
mod admin_thread;
mod bound;
mod grants;
mod issuers;
mod listen;
mod reload;
mod service_manager;
mod serving;
mod signals;
mod state;
mod unread;

use crate::config::model::{Config, LogFormat, LogLevel};
use crate::config::{self, Files, Mode, Problems};
use crate::error_chain::Chain;
use crate::socket::SettingsError;
use crate::state::StateError;
use crate::telemetry::logging::{self, Logging};
use activation::{ActivationError, PassedSockets};
use bound::BoundServer;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
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
        let server = BoundServer::new(path, config, problems, log, passed).await?;
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
