//! The parts that all tables have: the heading with its counts, the pages, and the marks.

use super::query::{PagedTable, Query, ROWS};
use super::section::SectionParts;
use super::words;
use crate::admin::report::{ErrorReport, UnreadReport};
use crate::telemetry::metrics::Activity;
use maud::{Markup, html};
use std::time::{Duration, SystemTime};

/// The rows of one page of a table.
pub(super) struct TablePage<T> {
    table: PagedTable,
    pub(super) rows: Vec<T>,
    /// Rows that the query leaves, on all pages.
    matching: usize,
    /// Rows without the query.
    all: usize,
    number: usize,
}

impl<T> TablePage<T> {
    /// Takes the rows that the query asks for. `wanted` is asked for every row.
    pub(super) fn new(
        table: PagedTable,
        query: &Query,
        rows: impl Iterator<Item = T>,
        wanted: impl Fn(&T) -> bool,
    ) -> Self {
        let mut all = 0;
        let mut matching: Vec<T> = rows.inspect(|_| all += 1).filter(wanted).collect();
        let count = matching.len();
        let number = query.page(table, count);
        matching.truncate((number + 1) * ROWS);
        Self { table, rows: matching.split_off(number * ROWS), matching: count, all, number }
    }

    /// The heading, which says how many there are and how many are shown.
    pub(super) fn heading(&self, title: &str, query: &Query, parts: &mut SectionParts) -> Markup {
        let id = format!("{}-count", self.table.id());
        let count = html! {
            span.count id=(id) {
                @if query.narrows() {
                    (words::count(self.matching as u64)) " of "
                }
                (words::count(self.all as u64))
            }
        };
        html! { h2 id={ (self.table.id()) "-title" } { (title) " " (parts.add(id, count)) } }
    }

    /// The text in place of a table without rows.
    pub(super) fn nothing(&self, noun: &str) -> Markup {
        html! {
            p.nothing {
                @if self.all == 0 { "The configuration has no " (noun) "." }
                @else { "No " (noun) " matches the filter." }
            }
        }
    }

    /// Links to the other pages.
    pub(super) fn pager(&self, query: &Query) -> Markup {
        let pages = self.matching.div_ceil(ROWS);
        let (first, last) = (self.number * ROWS + 1, self.number * ROWS + self.rows.len());
        html! {
            @if pages > 1 {
                nav.pager aria-label={ "Pages of " (self.table.id()) } {
                    @if self.number > 0 {
                        a href=(query.link(self.table, self.number - 1)) rel="prev" { "Previous" }
                    }
                    span {
                        (words::count(first as u64)) "–" (words::count(last as u64)) " of "
                        (words::count(self.matching as u64))
                    }
                    @if self.number + 1 < pages {
                        a href=(query.link(self.table, self.number + 1)) rel="next" { "Next" }
                    }
                }
            }
        }
    }
}

/// The head of a table.
pub(super) fn head(columns: &[&str]) -> Markup {
    html! {
        thead role="rowgroup" {
            tr role="row" {
                @for column in columns { th scope="col" role="columnheader" { (column) } }
            }
        }
    }
}

/// The weight of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Neutral,
    Warning,
    Bad,
}

/// A word with a colour. The word says all that the colour does.
pub(super) fn mark(tone: Tone, word: &str) -> Markup {
    let class = match tone {
        Tone::Good => "mark good",
        Tone::Neutral => "mark",
        Tone::Warning => "mark warning",
        Tone::Bad => "mark bad",
    };
    html! { span class=(class) { (word.replace('_', " ")) } }
}

/// A secret that can't be read.
pub(super) fn unread(unread: Option<&UnreadReport>) -> Markup {
    html! {
        @if let Some(unread) = unread {
            p.note {
                (mark(if unread.state == "degraded" { Tone::Warning } else { Tone::Bad }, unread.state))
                " " code { (unread.at) } " " (unread.reason.replace('_', " "))
            }
        }
    }
}

/// The cells of requests, errors and latency.
pub(super) fn activity(activity: &Activity, in_flight: i64) -> Markup {
    let total = activity.total();
    let (requests, errors) = (total.requests(), u64::from(total.errors));
    let quantile = |q| total.quantile(q).map(|at: Duration| words::duration(at));
    html! {
        td.narrow role="cell" data-label="Requests" {
            @if requests > 0 || in_flight > 0 {
                div.figures {
                    (super::chart::requests(activity))
                    div {
                        b { (words::count(requests)) } " "
                        span.dim { (words::rate(activity.rate())) }
                        @if in_flight > 0 { div.dim { (words::count(in_flight.unsigned_abs())) " in flight" } }
                    }
                }
            } @else { span.dim { "none" } }
        }
        td.number.narrow role="cell" data-label="Errors" {
            @if errors > 0 {
                b.is-bad { (words::count(errors)) } " " span.dim { (words::percent(errors, requests)) }
            } @else if requests > 0 { "0" } @else { span.dim { "–" } }
        }
        td.narrow role="cell" data-label="Latency" {
            @if let (Some(p50), Some(p99)) = (quantile(0.5), quantile(0.99)) {
                div.figures {
                    (super::chart::latency(activity))
                    dl.pair {
                        dt.key-p50 { "p50" } dd { (p50) }
                        dt.key-p99 { "p99" } dd { (p99) }
                    }
                }
            } @else { span.dim { "–" } }
        }
    }
}

/// The cell of the last error.
pub(super) fn last_error(error: Option<&ErrorReport>, now: SystemTime) -> Markup {
    html! {
        td role="cell" data-label="Last error" {
            @if let Some(error) = error {
                div { b { (error.code) } " " span.dim { (words::moment(now, error.at)) } }
                @if let Some(reason) = &error.reason { div { (reason) } }
                code.id { (error.request_id) }
            } @else { span.dim { "none" } }
        }
    }
}
