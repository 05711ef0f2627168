//! The last failures.

use super::query::Query;
use super::section::{Section, SectionParts};
use super::{anchor, table, words};
use crate::admin::report::{FailureReport, Report};
use crate::telemetry::remedies;
use maud::{Markup, html};
use std::time::{Duration, UNIX_EPOCH};

const COLUMNS: [&str; 6] = ["Time", "Service", "Answer", "Cause", "Took", "Request id"];

pub(super) fn section(report: &Report, query: &Query) -> Section {
    let rows: Vec<_> = report.failures.iter().filter(|failure| is_wanted(query, failure)).collect();
    let mut parts = SectionParts::default();
    let element = html! {
        section #failures aria-labelledby="failures-title" {
            h2 #failures-title { "Last failures" }
            @if rows.is_empty() {
                p.nothing {
                    @if report.failures.is_empty() { "No request has failed." }
                    @else { "No failure matches the filter." }
                }
            } @else {
                table.failures role="table" aria-labelledby="failures-title" {
                    (table::head(&COLUMNS))
                    tbody role="rowgroup" {
                        @for failure in rows {
                            (parts.add(id(failure), row(failure)))
                        }
                    }
                }
            }
        }
    };
    Section::new(element, parts)
}

fn is_wanted(query: &Query, failure: &FailureReport) -> bool {
    query.matches(&[
        failure.service.as_deref().unwrap_or_default(),
        failure.account.as_deref().unwrap_or_default(),
        failure.caller.as_deref().unwrap_or_default(),
        failure.key_id.as_deref().unwrap_or_default(),
        failure.code.unwrap_or_default(),
        failure.reason.as_deref().unwrap_or_default(),
        &failure.request_id,
    ])
}

/// A client may send the same request id twice.
fn id(failure: &FailureReport) -> String {
    let since = failure.at.0.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", anchor("failure", &failure.request_id), since.as_nanos())
}

fn row(failure: &FailureReport) -> Markup {
    html! {
        tr role="row" id=(id(failure)) {
            td role="cell" data-label="Time" {
                (words::clock(failure.at))
                @if failure.count > 1 {
                    div.dim { (words::count(failure.count)) " times since " (words::clock(failure.first_at)) }
                }
            }
            td role="cell" data-label="Service" {
                @match &failure.service {
                    Some(service) => b { (service) },
                    None => span.dim { "none matched" },
                }
                div.dim {
                    (failure.direction)
                    @if let Some(account) = &failure.account { ", account " (account) }
                    @if let Some(caller) = &failure.caller { ", caller " (caller) }
                    @if let Some(key) = &failure.key_id { ", key " (key) }
                }
            }
            td role="cell" data-label="Answer" {
                b { (failure.status) } " " (failure.code.unwrap_or("client left"))
            }
            td role="cell" data-label="Cause" {
                (cause(failure))
                div.dim {
                    @if let Some(phase) = failure.phase { "phase " (phase) " " }
                    @if let Some(upstream) = failure.upstream { "to " (upstream) " " }
                    @if let Some(client) = failure.client { "from " (client) }
                }
            }
            td.number role="cell" data-label="Took" { (words::duration(Duration::from_millis(failure.duration_ms))) }
            td role="cell" data-label="Request id" { code.id { (failure.request_id) } }
        }
    }
}

/// The reason, what it means, and what to do about it.
fn cause(failure: &FailureReport) -> Markup {
    let reason = failure.reason.as_deref().unwrap_or_default();
    html! {
        @if !reason.is_empty() { div { (reason) } }
        @if let Some(remedy) = remedies::find(failure.code, reason) {
            details {
                summary { (words::prose(remedy.cause)) }
                p { (words::prose(remedy.action)) }
            }
        }
    }
}
