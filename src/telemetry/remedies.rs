//! The cause behind each `code` and `reason` of the access log, and what an operator does about it.
//!
//! The table is the one source: `attache explain --request` prints its rows, and the table in `docs/access-log.md` is
//! written from them.

mod table;

use crate::error_code::ErrorCode;

pub use table::REMEDIES;

/// One kind of failure.
#[derive(Debug)]
pub struct Remedy {
    /// The code of the answer; `None` where attache sent none.
    pub code: Option<ErrorCode>,
    /// The reasons; empty stands for every other reason of the code.
    pub reasons: &'static [&'static str],
    /// The cause of the failure.
    pub cause: &'static str,
    /// The remedy.
    pub action: &'static str,
    /// The page and heading in `docs/` that has more; empty for none.
    pub see: &'static str,
}

/// Returns what a request was doing in a phase of the access log.
pub fn phase(phase: &str) -> Option<&'static str> {
    Some(match phase {
        "token" => "waiting for the account's token",
        "connect" => "resolving, connecting, TLS",
        "send" => "being sent, or its body was still being read",
        "wait" => "waiting for the response head",
        "idle" => "cut, because the response or the tunnel was silent",
        "body" => "passing on the response body",
        _ => return None,
    })
}

/// Returns the row of a code and a reason as they stand in the access log.
pub fn find(code: Option<&str>, reason: &str) -> Option<&'static Remedy> {
    let of_code = || REMEDIES.iter().filter(|row| row.code.map(ErrorCode::as_str) == code);
    let exact = of_code().find(|row| row.reasons.contains(&reason));
    exact.or_else(|| of_code().find(|row| row.reasons.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{CallerRefusal, Phase, WebhookRefusal};
    use std::fmt::Write as _;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/access-log.md");
    const MARKS: [&str; 2] = ["<!-- remedies -->\n", "<!-- /remedies -->\n"];

    fn rendered() -> String {
        let mut out =
            String::from("\n| `code` | `reason` | cause | what to do |\n| --- | --- | --- | --- |\n");
        for row in REMEDIES {
            let code = row.code.map_or("none".to_owned(), |code| format!("`{}`", code.as_str()));
            let reasons: Vec<_> = row.reasons.iter().map(|reason| format!("`{reason}`")).collect();
            let is_only_row = REMEDIES.iter().filter(|other| other.code == row.code).count() == 1;
            let reasons = match reasons.is_empty() {
                true => if is_only_row { "any" } else { "any other" }.to_owned(),
                false => reasons.join(", "),
            };
            let see = if row.see.is_empty() { String::new() } else { format!(" ([more]({}))", row.see) };
            writeln!(out, "| {code} | {reasons} | {} | {}{see} |", row.cause, row.action).expect("a String");
        }
        out.push('\n');
        out
    }

    #[test]
    fn the_page_has_the_table() {
        let page = std::fs::read_to_string(PAGE).expect("the page");
        let (before, rest) = page.split_once(MARKS[0]).expect("the first mark");
        let (table, after) = rest.split_once(MARKS[1]).expect("the second mark");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let page = [before, MARKS[0], &rendered(), MARKS[1], after].concat();
            return std::fs::write(PAGE, page).expect("write");
        }
        assert_eq!(table, rendered(), "UPDATE_GOLDEN=1 cargo test --lib remedies");
    }

    #[test]
    fn every_code_and_every_refusal_has_a_row() {
        for code in ErrorCode::ALL {
            assert!(REMEDIES.iter().any(|row| row.code == Some(code)), "{}", code.as_str());
        }
        for refusal in CallerRefusal::ALL {
            let reason = refusal.as_str();
            assert!(
                REMEDIES.iter().any(|row| row.code.is_some() && row.reasons.contains(&reason)),
                "{reason}"
            );
        }
        for refusal in WebhookRefusal::ALL {
            // Their reasons in the log say more: that of the secret, or of the limit.
            if !matches!(refusal, WebhookRefusal::Unavailable | WebhookRefusal::Overloaded) {
                let reason = refusal.as_str();
                assert!(REMEDIES.iter().any(|row| row.reasons.contains(&reason)), "{reason}");
            }
        }
    }

    #[test]
    fn a_code_and_a_reason_lead_to_one_row() {
        for row in REMEDIES {
            let code = row.code.map(ErrorCode::as_str);
            for reason in row.reasons {
                let rows = REMEDIES.iter().filter(|other| other.code == row.code);
                assert_eq!(rows.filter(|other| other.reasons.contains(reason)).count(), 1, "{reason}");
                assert_eq!(find(code, reason).map(|found| found.cause), Some(row.cause));
            }
            assert!(!row.cause.is_empty() && !row.action.is_empty());
        }
        let other = find(Some("token_rejected"), "a_code_of_the_provider").expect("a row");
        assert!(other.reasons.is_empty());
        assert!(find(None, "never").is_none());
        let phases = Phase::TIMED.into_iter().chain([Phase::Body]);
        assert!(phases.into_iter().all(|it| phase(it.as_str()).is_some()));
    }
}
