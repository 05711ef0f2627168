//! The log's lines about secrets that can't be read.

use crate::config::Problems;

/// Lines at most: one missing folder may hold thousands of secrets.
const MOST: usize = 50;

/// Logs each secret that can't be read.
pub(super) fn log(problems: &Problems) {
    let mut unread = problems.unread();
    for problem in unread.by_ref().take(MOST) {
        tracing::error!(
            problem = %problem.message,
            help = problem.help.as_deref(),
            file = %problem.file,
            line = problem.line(),
            "a secret can't be read: what needs it keeps the last value, or answers 503 credential_unavailable"
        );
    }
    match unread.count() {
        0 => {}
        more => {
            tracing::error!(more, "further secrets can't be read: `attache check` and `/status` list them")
        }
    }
}
