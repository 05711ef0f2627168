//! The services.

use super::query::{PagedTable, Query};
use super::section::{Section, SectionParts};
use super::table::{self, TablePage, Tone, mark};
use super::{anchor, words};
use crate::admin::report::{AccountReport, OutboundReport, Report, ServiceReport, TokenReport};
use crate::admin::status::describe_last_error;
use crate::telemetry::metrics::Direction;
use maud::{Markup, html};
use std::time::Duration;

const COLUMNS: [&str; 7] = ["Service", "Account", "Deadline", "Requests", "Errors", "Latency", "Last error"];

pub(super) fn section(report: &Report, query: &Query) -> Section {
    let rows = report.parts.services.iter();
    let page = TablePage::new(PagedTable::Services, query, rows, |(key, service)| {
        is_wanted(report, query, key, service)
    });
    let mut parts = SectionParts::default();
    let element = html! {
        section #services aria-labelledby="services-title" {
            (page.heading("Services", query, &mut parts))
            @if page.rows.is_empty() { (page.nothing("service")) } @else {
                table.services role="table" aria-labelledby="services-title" {
                    (table::head(&COLUMNS))
                    tbody role="rowgroup" {
                        @for (key, service) in &page.rows {
                            (parts.add(anchor("service", key), row(report, key, service)))
                        }
                    }
                }
                (page.pager(query))
            }
        }
    };
    Section::new(element, parts)
}

fn is_wanted(report: &Report, query: &Query, key: &str, service: &ServiceReport) -> bool {
    let outbound = service.outbound.as_ref();
    let fields = [
        key,
        service.name.as_deref().unwrap_or_default(),
        outbound.map_or("", |outbound| &outbound.account),
        outbound.map_or("", |outbound| &outbound.server),
        service.last_error.as_ref().map_or("", |error| error.code),
        service.last_error.as_ref().map_or("", |error| &error.request_id),
    ];
    let account = || report.parts.accounts.get(&outbound?.account);
    let needs_attention = || {
        service.credential.is_some()
            || service.last_5_minutes.errors > 0
            || account().is_some_and(AccountReport::needs_attention)
    };
    query.matches(&fields) && (!query.only_problems() || needs_attention())
}

fn row(report: &Report, key: &str, service: &ServiceReport) -> Markup {
    let account = service.outbound.as_ref().and_then(|outbound| report.parts.accounts.get(&outbound.account));
    // The failure is of this direction, as the figures beside it.
    let error = service
        .outbound
        .as_ref()
        .and_then(|outbound| describe_last_error(Direction::Outbound, &outbound.stats));
    html! {
        tr role="row" id=(anchor("service", key)) {
            th scope="row" role="rowheader" {
                b { (key) }
                @if let Some(name) = &service.name { div { (name) } }
                @match &service.outbound {
                    Some(outbound) => div.dim { (outbound.server) },
                    None => div.dim { "webhook only" },
                }
                (table::unread(service.credential.as_ref()))
            }
            @match &service.outbound {
                Some(outbound) => (outbound_cells(outbound, account, service.in_flight)),
                None => @for label in &COLUMNS[1..6] { td role="cell" data-label=(label) { span.dim { "–" } } },
            }
            (table::last_error(error.as_ref(), report.at))
        }
    }
}

fn outbound_cells(outbound: &OutboundReport, account: Option<&AccountReport>, in_flight: i64) -> Markup {
    html! {
        td role="cell" data-label="Account" {
            (outbound.account)
            @if let Some((tone, state)) = account.and_then(AccountReport::trouble) {
                div { (mark(tone, state)) }
            }
        }
        td.number.narrow role="cell" data-label="Deadline" { (words::duration(Duration::from_millis(outbound.timeout_ms))) }
        (table::activity(&outbound.stats.activity(), in_flight))
    }
}

impl AccountReport {
    /// Returns what keeps the account from working, if anything does, or will once its token has expired.
    pub(super) fn trouble(&self) -> Option<(Tone, &'static str)> {
        match (&self.credential, self.token.as_ref().map(|token| token.state)) {
            (Some(unread), _) if unread.state != "degraded" => Some((Tone::Bad, unread.state)),
            (_, Some(state @ ("failing" | "needs_login"))) => Some((Tone::Bad, state)),
            (Some(unread), _) => Some((Tone::Warning, unread.state)),
            _ if self.token.as_ref().is_some_and(TokenReport::renewal_failed) => {
                Some((Tone::Warning, "renewal failed"))
            }
            _ => None,
        }
    }

    fn needs_attention(&self) -> bool {
        self.trouble().is_some()
    }
}
