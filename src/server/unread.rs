//! Log lines about unreadable secrets.

use crate::config::Problems;
use crate::config::model::Config;

/// Maximum number of lines: one missing folder may hold thousands of secrets.
const MOST: usize = 50;

/// Calls [`log`] after a reload that changed which secrets can be read.
pub(super) fn log_change(problems: &Problems, before: &Config, now: &Config) {
    let unread = |config: &Config| {
        let (accounts, services) = (config.unread_accounts(), config.unread_services());
        let callers = config.unread_callers();
        let all = accounts.into_iter().chain(config.unread_issuers()).chain(services).chain(callers);
        let all = all.chain(config.unread_listeners());
        all.map(|(name, unread)| (name.to_owned(), unread.clone())).collect()
    };
    let (before, now): (Vec<_>, Vec<_>) = (unread(before), unread(now));
    if now.is_empty() && !before.is_empty() {
        tracing::info!("every secret can be read again");
    } else if now != before {
        log(problems);
    }
}

/// Logs each secret that can't be read.
pub(super) fn log(problems: &Problems) {
    let mut unread = problems.unread();
    for problem in unread.by_ref().take(MOST) {
        tracing::error!(
            problem = %problem.message,
            help = problem.help.as_deref(),
            file = %problem.file,
            line = problem.line(),
            "a secret can't be read: its account, issuer, webhook, caller or listener keeps the last value, or is unavailable"
        );
    }
    match unread.count() {
        0 => {}
        more => {
            tracing::error!(more, "further secrets can't be read: `attache check` and `/status` list them")
        }
    }
}
