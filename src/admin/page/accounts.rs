//! The accounts and their tokens.

use super::query::{PagedTable, Query};
use super::section::{Section, SectionParts};
use super::table::{self, TablePage, Tone, mark};
use super::{anchor, words};
use crate::admin::report::{AccountReport, Report, TokenReport};
use maud::{Markup, html};
use std::time::{Duration, SystemTime};

pub(super) fn section(report: &Report, query: &Query) -> Section {
    let rows = report.parts.accounts.iter();
    let page =
        TablePage::new(PagedTable::Accounts, query, rows, |(name, account)| is_wanted(query, name, account));
    let mut parts = SectionParts::default();
    let element = html! {
        section #accounts aria-labelledby="accounts-title" {
            (page.heading("Accounts", query, &mut parts))
            @if page.rows.is_empty() { (page.nothing("account")) } @else {
                table.accounts role="table" aria-labelledby="accounts-title" {
                    (table::head(&["Account", "Kind", "State", "Token expires", "Last token request"]))
                    tbody role="rowgroup" {
                        @for (name, account) in &page.rows {
                            (parts.add(anchor("account", name), row(name, account, report.at)))
                        }
                    }
                }
                (page.pager(query))
            }
        }
    };
    Section::new(element, parts)
}

fn is_wanted(query: &Query, name: &str, account: &AccountReport) -> bool {
    let state = account.token.as_ref().map_or("", |token| token.state);
    query.matches(&[name, account.authorization, state])
        && (!query.only_problems() || account.trouble().is_some())
}

fn row(name: &str, account: &AccountReport, now: SystemTime) -> Markup {
    html! {
        tr role="row" id=(anchor("account", name)) {
            th scope="row" role="rowheader" { b { (name) } (table::unread(account.credential.as_ref())) }
            td role="cell" data-label="Kind" { (account.authorization) }
            @match &account.token {
                Some(token) => (token_cells(token, now)),
                None => {
                    td role="cell" data-label="State" {
                        @match account.trouble() {
                            Some((tone, state)) => (mark(tone, state)),
                            None => (mark(Tone::Good, "ready")),
                        }
                    }
                    td role="cell" data-label="Token expires" { span.dim { "–" } }
                    td role="cell" data-label="Last token request" { span.dim { "–" } }
                }
            }
        }
    }
}

fn token_cells(token: &TokenReport, now: SystemTime) -> Markup {
    let tone = match token.state {
        _ if token.renewal_failed() => Tone::Warning,
        "valid" => Tone::Good,
        "failing" | "needs_login" => Tone::Bad,
        _ => Tone::Neutral,
    };
    // Before the first request there is no token, which is no fault.
    let state = if token.state == "none" { "not requested" } else { token.state };
    html! {
        td role="cell" data-label="State" {
            (mark(tone, state))
            @if token.renewal_failed() {
                div {
                    "renewal failed; the token serves "
                    @match token.expires_at {
                        Some(at) => { "until " (words::clock(at)) },
                        None => "while the provider takes it",
                    }
                }
            }
            @if token.refused > 0 { div.dim { (words::counted(token.refused, "token")) " refused" } }
        }
        td role="cell" data-label="Token expires" {
            @match token.expires_at {
                Some(at) => (words::moment(now, at)),
                None => span.dim { "–" },
            }
        }
        td role="cell" data-label="Last token request" {
            @if let Some(last) = &token.last_request {
                div {
                    @if last.result == "ok" { "ok" } @else { b.is-bad { (last.result) } }
                    @if let Some(millis) = last.duration_ms {
                        ", " (words::duration(Duration::from_millis(millis)))
                    }
                    " " span.dim { (words::moment(now, last.at)) }
                }
                @if let Some(reason) = &last.reason { div { (reason) } }
            } @else { span.dim { "none" } }
        }
    }
}

impl TokenReport {
    /// Returns true if the token serves, and the last request for the next one failed.
    pub(super) fn renewal_failed(&self) -> bool {
        self.state == "valid" && self.last_request.as_ref().is_some_and(|last| last.result != "ok")
    }
}
