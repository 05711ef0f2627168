//! Common parts of the tables: a time limit for each step, and a report of all failing rows.

use std::fmt::Display;
use std::time::Duration;

/// The time limit of one step of a row. It is shorter than the harness's own patience, so a step that hangs fails its
/// row and not its table.
const STEP: Duration = Duration::from_secs(4);

/// Awaits `step`, or returns an error that names it.
pub(crate) async fn limited<T>(what: &str, step: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(STEP, step).await.map_err(|_elapsed| format!("no {what} within {STEP:?}"))
}

/// As [`limited`], for a step that can fail by itself.
pub(crate) async fn tried<T, E: Display>(
    what: &str,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    limited(what, step).await?.map_err(|error| format!("{what}: {error}"))
}

/// Returns an error if the two differ.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{what}: got {got:?}, wanted {wanted:?}")) }
}

/// Returns true if `needle` is in `haystack`.
pub(crate) fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

/// The results of a table's rows.
#[derive(Default)]
pub(crate) struct Report {
    names: Vec<String>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn add(&mut self, name: &str, section: &str, result: Result<(), String>) {
        assert!(!self.names.iter().any(|known| known == name), "two rows are named {name:?}");
        assert!(section.starts_with("RFC "), "{name:?} cites no RFC");
        self.names.push(name.to_owned());
        if let Err(error) = result {
            self.failures.push(format!("  {name} ({section}): {error}"));
        }
    }

    /// Fails the test if a row failed, or if there are fewer than `least` rows.
    #[track_caller]
    pub(crate) fn finish(self, least: usize) {
        let (rows, failed) = (self.names.len(), self.failures.len());
        println!("{rows} rows, {failed} failed");
        assert!(self.failures.is_empty(), "{failed} of {rows} rows failed:\n{}", self.failures.join("\n"));
        assert!(rows >= least, "only {rows} rows");
    }
}
