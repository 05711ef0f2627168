//! The operational log on stderr.
//!
//! Invariant: only attache's own targets are ever written. The engine logs upstream headers at debug level and quotes
//! malformed heads in its errors, so no level may enable its targets; it logs through the `log` crate, for which no
//! bridge is installed, and the filter would refuse it as well.
//!
//! Rejected: `RUST_LOG` directives. They would let an operator enable targets that must stay off.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt as lines, reload};

/// The prefix of every target that is written.
const OURS: &str = "attache";

/// The field whose text is JSON: the list of a configuration's problems.
const PROBLEMS: &str = "problems";

/// The installed log; its level and its format can be changed.
#[derive(Debug, Clone)]
pub struct Logging {
    filter: reload::Handle<Targets, Registry>,
    json: Arc<AtomicBool>,
}

/// The process has a log already.
#[derive(Debug, thiserror::Error)]
#[error("the log of this process is already set up")]
pub struct AlreadySetUp;

/// Returns true if `stream` may get colours: it is a terminal, and `NO_COLOR` is not set.
pub fn may_color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Starts writing the log to stderr: plain lines, or one JSON object per line.
///
/// # Errors
/// The process has a log already.
pub fn init(level: LevelFilter, json: bool) -> Result<Logging, AlreadySetUp> {
    let (filter, handle) = reload::Layer::new(ours_at(level));
    let json = Arc::new(AtomicBool::new(json));
    let layer = layer(io::stderr, may_color(&io::stderr()), Arc::clone(&json)).with_filter(filter);
    tracing_subscriber::registry().with(layer).try_init().map_err(|_| AlreadySetUp)?;
    Ok(Logging { filter: handle, json })
}

impl Logging {
    /// Changes the level, from the next event on.
    pub fn set_level(&self, level: LevelFilter) {
        // Fails only if the subscriber is gone, and then there is no log whose level could be wrong.
        let _ = self.filter.reload(ours_at(level));
    }

    /// Changes the format, from the next event on.
    pub fn set_json(&self, json: bool) {
        self.json.store(json, Relaxed);
    }

    /// Returns true if each line is a JSON object.
    pub fn is_json(&self) -> bool {
        self.json.load(Relaxed)
    }
}

fn ours_at(level: LevelFilter) -> Targets {
    Targets::new().with_target(OURS, level)
}

/// Internal errors are not printed: that would panic when stderr itself fails.
fn layer<S, W>(writer: W, ansi: bool, json: Arc<AtomicBool>) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    let form = EventFormat { text: lines::format(), json };
    lines::layer().event_format(form).with_writer(writer).with_ansi(ansi).log_internal_errors(false)
}

/// Writes an event in the current format.
struct EventFormat {
    text: lines::format::Format,
    json: Arc<AtomicBool>,
}

impl<S, N> FormatEvent<S, N> for EventFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.json.load(Relaxed) {
            write_json(writer, event)
        } else {
            self.text.format_event(context, writer, event)
        }
    }
}

/// Writes `{"time","level","target","message",…}`, then the event's own fields.
fn write_json(mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let mut fields = EventFields::default();
    event.record(&mut fields);
    let time = jiff::Timestamp::now();
    let level = event.metadata().level().as_str().to_ascii_lowercase();
    let target = event.metadata().target();
    write!(writer, r#"{{"time":"{time:.6}","level":"{level}","target":{}"#, Value::from(target))?;
    write!(writer, r#","message":{}"#, Value::from(fields.message))?;
    for (name, value) in fields.others {
        write!(writer, ",{}:{value}", Value::from(name))?;
    }
    writeln!(writer, "}}")
}

/// The fields of one event.
#[derive(Default)]
struct EventFields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl EventFields {
    fn add(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            PROBLEMS => {
                let list = serde_json::from_str(&text).unwrap_or(Value::String(text));
                self.others.push((PROBLEMS, list));
            }
            name => self.others.push((name, Value::String(text))),
        }
    }
}

impl Visit for EventFields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::atomic::AtomicBool;
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
        let json = Arc::new(AtomicBool::new(false));
        let logging = Logging { filter: handle, json: Arc::clone(&json) };
        let subscriber = tracing_subscriber::registry()
            .with(layer(move || writer.clone(), false, json).with_filter(filter));
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

            logging.set_json(true);
            let problems = r#"[{"code":"unknown_key"}]"#;
            tracing::warn!(target: "attache::server", count = 2, service = "a\"b", problems, cause = ?"c", "not\ngood");
            let line = written.take();
            assert_eq!(line.lines().count(), 1, "{line}");
            let mut line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let time = line.as_object_mut().unwrap().remove("time").unwrap();
            assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{time}");
            let expected = serde_json::json!({
                "level": "warn", "target": "attache::server", "message": "not\ngood", "count": 2, "service": "a\"b",
                "problems": [{ "code": "unknown_key" }], "cause": "\"c\"",
            });
            assert_eq!(line, expected);

            logging.set_level(LevelFilter::OFF);
            events();
            assert_eq!(written.take(), "");
        });
    }
}
