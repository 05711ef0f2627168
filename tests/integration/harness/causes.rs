//! The causes of failures: each that the access log names has a row in its documentation.

use serde_json::Value;
use std::collections::HashSet;
use std::sync::OnceLock;

const PAGE: &str = include_str!("../../../docs/access-log.md");

/// The rows of the page: a code (`none` for no code) and a reason, which is empty in the row for any other reason.
fn rows() -> &'static HashSet<(&'static str, &'static str)> {
    static ROWS: OnceLock<HashSet<(&str, &str)>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let table = PAGE.split("<!-- remedies -->").nth(1).and_then(|rest| rest.split("<!--").next());
        let cells = table.expect("the table").lines().filter_map(|line| {
            let mut cells = line.split(" | ");
            Some((cells.next()?.trim_start_matches("| ").trim_matches('`'), cells.next()?))
        });
        let rows = cells.flat_map(|(code, reasons)| {
            let reasons = reasons
                .split(", ")
                .map(|reason| if reason.starts_with('`') { reason.trim_matches('`') } else { "" });
            reasons.map(move |reason| (code, reason))
        });
        rows.collect()
    })
}

/// Asserts that each failure in the access log has a reason that is documented.
pub(super) fn assert_have_causes(log: &str) {
    for line in log.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let (code, reason) = (line["code"].as_str(), line["reason"].as_str());
        // Without a response head, 499 is attache's own.
        let has_left = line["status"] == 499 && line["response_headers_ms"].is_null();
        if code.is_none() && reason.is_none() && !has_left {
            continue;
        }
        let (code, reason) = (code.unwrap_or("none"), reason.unwrap_or("no reason"));
        let is_known = rows().contains(&(code, reason)) || rows().contains(&(code, ""));
        assert!(is_known, "{code} and {reason} have no row in docs/access-log.md: {line:#}");
    }
}
