//! The callers, their tokens and their rights.

use super::query::{PagedTable, Query};
use super::section::{Section, SectionParts};
use super::table::{self, TablePage, Tone, mark};
use super::{anchor, words};
use crate::admin::report::{CallerReport, CallerTokenReport, Report, RightReport};
use maud::{Markup, html};
use std::time::{Duration, SystemTime};

/// A token that expires sooner needs attention.
const SOON: Duration = Duration::from_secs(7 * 86_400);
/// Tokens and services of one caller that are shown.
const SHOWN: usize = 20;

const COLUMNS: [&str; 5] = ["Caller", "Tokens", "Services", "Requests", "Refused"];

pub(super) fn section(report: &Report, query: &Query) -> Section {
    let mut parts = SectionParts::default();
    let Some(callers) = &report.parts.callers else {
        return Section::new(html! { section #callers hidden {} }, parts);
    };
    let page = TablePage::new(PagedTable::Callers, query, callers.iter(), |(name, caller)| {
        is_wanted(query, name, caller, report.at)
    });
    let element = html! {
        section #callers aria-labelledby="callers-title" {
            (page.heading("Callers", query, &mut parts))
            @if report.parts.caller_rules == Some("report") {
                p { (mark(Tone::Warning, "report")) " Requests without a proof or a right are forwarded." }
            }
            @if page.rows.is_empty() { (page.nothing("caller")) } @else {
                table.callers role="table" aria-labelledby="callers-title" {
                    (table::head(&COLUMNS))
                    tbody role="rowgroup" {
                        @for (name, caller) in &page.rows {
                            (parts.add(anchor("caller", name), row(name, caller, report.at)))
                        }
                    }
                }
                (page.pager(query))
            }
        }
    };
    Section::new(element, parts)
}

fn is_wanted(query: &Query, name: &str, caller: &CallerReport, now: SystemTime) -> bool {
    let mut fields = vec![name];
    fields.extend(caller.tokens.iter().map(|token| &*token.id));
    fields.extend(caller.services.keys().map(|service| &**service));
    fields.extend(caller.certificate.as_deref());
    fields.extend(caller.jwt.as_ref().map(|jwt| &*jwt.subject));
    let needs_attention = || {
        let is_bad = |token: &CallerTokenReport| tone(token, now) != Tone::Good && token.state != "disabled";
        !caller.refused.is_empty() || caller.credential.is_some() || caller.tokens.iter().any(is_bad)
    };
    query.matches(&fields) && (!query.only_problems() || needs_attention())
}

fn row(name: &str, caller: &CallerReport, now: SystemTime) -> Markup {
    html! {
        tr role="row" id=(anchor("caller", name)) {
            th scope="row" role="rowheader" {
                b { (name) }
                @if let Some(jwt) = &caller.jwt { div.dim { "JWT of " (jwt.issuer) ": " (jwt.subject) } }
                @if let Some(certificate) = &caller.certificate { div.dim { "certificate " (certificate) } }
                (table::unread(caller.credential.as_ref()))
            }
            td role="cell" data-label="Tokens" {
                ul.keys { @for token in caller.tokens.iter().take(SHOWN) { (item(token, now)) } }
                (more(caller.tokens.len()))
            }
            td role="cell" data-label="Services" {
                ul.keys { @for (name, right) in caller.services.iter().take(SHOWN) { (service(name, right)) } }
                (more(caller.services.len()))
            }
            td role="cell" data-label="Requests" {
                b { (words::count(caller.requests)) }
                @if caller.in_flight > 0 { div.dim { (words::count(caller.in_flight.into())) " in flight" } }
            }
            td role="cell" data-label="Refused" {
                @if caller.refused.is_empty() { span.dim { "none" } } @else {
                    @for (reason, count) in &caller.refused {
                        div { (words::count(*count)) " " code { (reason) } }
                    }
                }
            }
        }
    }
}

fn more(count: usize) -> Markup {
    html! {
        @if count > SHOWN { div.dim { "and " (words::count((count - SHOWN) as u64)) " more" } }
    }
}

fn service(name: &str, right: &RightReport) -> Markup {
    html! {
        li {
            code { (name) }
            @if !right.methods.is_empty() { " " (right.methods.join(", ")) }
            @if !right.paths.is_empty() { " " (right.paths.join(", ")) }
            @if let Some(account) = &right.account { div.dim { "with " (account) } }
        }
    }
}

fn item(token: &CallerTokenReport, now: SystemTime) -> Markup {
    html! {
        li {
            code { (token.id) } " " (mark(tone(token, now), token.state))
            div.dim {
                @match token.last_used_at {
                    Some(at) => { "used " (words::moment(now, at)) },
                    None => "never used",
                }
                @if let Some(at) = token.last_refused_at { ", refused " (words::moment(now, at)) }
                @if let Some(at) = token.expires_at {
                    @if at.0 > now { ", expires " } @else { ", expired " }
                    (words::moment(now, at))
                }
            }
        }
    }
}

fn tone(token: &CallerTokenReport, now: SystemTime) -> Tone {
    match token.state {
        "active" if token.expires_at.is_some_and(|at| at.0 <= now + SOON) => Tone::Warning,
        "active" => Tone::Good,
        "disabled" | "not_yet_valid" => Tone::Neutral,
        _ => Tone::Bad,
    }
}
