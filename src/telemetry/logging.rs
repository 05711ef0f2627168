//! The log on stderr.
//!
//! Invariant: only attache's own targets are ever written. The engine logs upstream headers at debug level and quotes
//! malformed heads in its errors, so no level may let its targets through; it logs by the `log` crate, for which no
//! bridge is installed, and the filter would refuse it besides.
//!
//! Rejected: `RUST_LOG`-style directives. They would let an operator switch on what must stay off.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// The prefix of every target that may be written.
const OURS: &str = "attache";

/// The log is on; its level can be changed.
#[derive(Debug, Clone)]
pub struct Logging {
    filter: reload::Handle<Targets, Registry>,
}

/// A log was installed before.
#[derive(Debug, thiserror::Error)]
#[error("the log of this process is already set up")]
pub struct AlreadySetUp;

/// Writes the log to stderr from here on, with colours if it is a terminal.
///
/// # Errors
/// The process has a log already.
pub fn init(level: LevelFilter) -> Result<Logging, AlreadySetUp> {
    let (filter, handle) = reload::Layer::new(ours_at(level));
    let layer = layer(io::stderr, io::stderr().is_terminal()).with_filter(filter);
    tracing_subscriber::registry().with(layer).try_init().map_err(|_| AlreadySetUp)?;
    Ok(Logging { filter: handle })
}

impl Logging {
    /// Changes the level, from the next event on.
    pub fn set_level(&self, level: LevelFilter) {
        // It fails only if the subscriber is gone, and then there is no log whose level could be wrong.
        let _ = self.filter.reload(ours_at(level));
    }
}

fn ours_at(level: LevelFilter) -> Targets {
    Targets::new().with_target(OURS, level)
}

/// Internal errors are not printed: that would panic when stderr itself is what fails.
fn layer<S, W>(writer: W, ansi: bool) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fmt::layer().with_writer(writer).with_ansi(ansi).log_internal_errors(false)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing::level_filters::LevelFilter;
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    use tracing_subscriber::reload;

    use super::{Logging, layer, ours_at};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_our_targets_are_written_and_the_level_can_change() {
        let written = Written::default();
        let writer = written.clone();
        let (filter, handle) = reload::Layer::new(ours_at(LevelFilter::INFO));
        let logging = Logging { filter: handle };
        let subscriber =
            tracing_subscriber::registry().with(layer(move || writer.clone(), false).with_filter(filter));
        let events = || {
            tracing::info!(target: "attache::proxy", "ours at info");
            tracing::debug!(target: "attache::proxy", "ours at debug");
            tracing::error!(target: "pingora_proxy", "the engine's");
            tracing::error!(target: "hyper", "a library's");
        };
        tracing::subscriber::with_default(subscriber, || {
            events();
            let text = written.take();
            assert!(text.contains("INFO attache::proxy: ours at info\n"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            let time = text.split(' ').next().unwrap();
            assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");

            logging.set_level(LevelFilter::DEBUG);
            events();
            assert_eq!(written.take().lines().count(), 2);

            logging.set_level(LevelFilter::OFF);
            events();
            assert_eq!(written.take(), "");
        });
    }
}
