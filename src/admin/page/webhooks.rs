//! The webhooks and their keys.

use super::query::{PagedTable, Query};
use super::section::{Section, SectionParts};
use super::table::{self, TablePage, Tone, mark};
use super::{anchor, words};
use crate::admin::report::{EndpointReport, KeyReport, Report};
use crate::admin::status::describe_last_error;
use crate::telemetry::metrics::Direction;
use maud::{Markup, html};
use std::time::{Duration, SystemTime};

/// A key that expires sooner needs attention.
const SOON: Duration = Duration::from_secs(7 * 86_400);
/// Keys of one webhook that are shown.
const KEYS: usize = 20;

const COLUMNS: [&str; 6] = ["Webhook", "Keys", "Requests", "Errors", "Latency", "Last error"];

struct Hook<'r> {
    service: &'r str,
    endpoint: &'r EndpointReport,
    keys: &'r [KeyReport],
}

pub(super) fn section(report: &Report, query: &Query) -> Section {
    let hooks = report.parts.endpoints.iter().map(|(service, endpoint)| {
        // The keys are sorted by their service.
        let keys = &report.parts.webhooks;
        let first = keys.partition_point(|key| key.service < *service);
        let count = keys[first..].partition_point(|key| key.service == *service);
        Hook { service, endpoint, keys: &keys[first..first + count] }
    });
    let page = TablePage::new(PagedTable::Webhooks, query, hooks, |hook| is_wanted(query, hook, report.at));
    let mut parts = SectionParts::default();
    let element = html! {
        section #webhooks aria-labelledby="webhooks-title" {
            (page.heading("Webhooks", query, &mut parts))
            @if page.rows.is_empty() { (page.nothing("webhook")) } @else {
                table.webhooks role="table" aria-labelledby="webhooks-title" {
                    (table::head(&COLUMNS))
                    tbody role="rowgroup" {
                        @for hook in &page.rows {
                            (parts.add(anchor("webhook", hook.service), row(report, hook)))
                        }
                    }
                }
                (page.pager(query))
            }
        }
    };
    Section::new(element, parts)
}

fn is_wanted(query: &Query, hook: &Hook<'_>, now: SystemTime) -> bool {
    let mut fields = vec![hook.service, &hook.endpoint.user, &hook.endpoint.url, &hook.endpoint.receiver];
    fields.extend(hook.keys.iter().map(|key| &*key.key_id));
    let needs_attention = || {
        hook.endpoint.stats.activity().total().errors > 0
            || hook.keys.iter().any(|key| tone(key, now) != Tone::Good && key.state != "disabled")
    };
    query.matches(&fields) && (!query.only_problems() || needs_attention())
}

fn row(report: &Report, hook: &Hook<'_>) -> Markup {
    let (endpoint, now) = (hook.endpoint, report.at);
    let user = report.parts.users.get(&endpoint.user);
    let error = describe_last_error(Direction::Webhook, &endpoint.stats);
    html! {
        tr role="row" id=(anchor("webhook", hook.service)) {
            th scope="row" role="rowheader" {
                b { (hook.service) }
                div {
                    "as " (endpoint.user)
                    @if user.is_some_and(|user| !user.active) { " " (mark(Tone::Bad, "inactive")) }
                }
                code.url { (endpoint.url) }
                div.dim {
                    "to " (endpoint.receiver)
                    @if let Some(scheme) = hook.keys.iter().find_map(|key| key.verify) { ", signed: " (scheme) }
                    @if let Some(handshake) = hook.keys.iter().find_map(|key| key.handshake.as_ref()) {
                        ", handshake: " (handshake.name)
                        @if let Some(since) = handshake.since { " (" (words::moment(now, since)) ")" }
                        @if handshake.ignored > 0 {
                            ", " (words::count(handshake.ignored)) " other secrets ignored"
                        }
                    }
                }
            }
            td role="cell" data-label="Keys" {
                ul.keys { @for key in hook.keys.iter().take(KEYS) { (item(key, now)) } }
                @if hook.keys.len() > KEYS {
                    div.dim { "and " (words::count((hook.keys.len() - KEYS) as u64)) " more" }
                }
            }
            (table::activity(&endpoint.stats.activity(), endpoint.stats.in_flight()))
            (table::last_error(error.as_ref(), now))
        }
    }
}

fn item(key: &KeyReport, now: SystemTime) -> Markup {
    html! {
        li {
            code { (key.key_id) } " " (mark(tone(key, now), key.state))
            div.dim {
                @match key.last_used_at {
                    Some(at) => { "used " (words::moment(now, at)) },
                    None => "never used",
                }
                @if let Some(at) = key.last_refused_at { ", refused " (words::moment(now, at)) }
                @if let Some(at) = key.expires_at {
                    @if at.0 > now { ", expires " } @else { ", expired " }
                    (words::moment(now, at))
                }
            }
        }
    }
}

fn tone(key: &KeyReport, now: SystemTime) -> Tone {
    match key.state {
        "active" if key.expires_at.is_some_and(|at| at.0 <= now + SOON) => Tone::Warning,
        "active" => Tone::Good,
        "disabled" | "not_yet_valid" => Tone::Neutral,
        "handshake_awaited" => Tone::Warning,
        _ => Tone::Bad,
    }
}
