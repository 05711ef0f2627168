//! The build, the configuration in effect, and the outcome of the last reload.

use super::section::{Section, SectionParts};
use super::table::{self, Tone, mark};
use super::words;
use crate::admin::report::Report;
use maud::{Markup, html};

/// The figures at the top.
pub(super) fn summary(report: &Report) -> Section {
    let services = report.parts.services.values();
    let (mut requests, mut errors, mut in_flight) = (0, 0, 0);
    for service in services {
        requests += service.last_5_minutes.requests;
        errors += service.last_5_minutes.errors;
        in_flight += service.in_flight.max(0);
    }
    let (state, tone) = if report.ready { ("ready", Tone::Good) } else { ("draining", Tone::Warning) };
    let mut parts = SectionParts::default();
    let mut figure = |id: &str, name: &str, value: Markup| {
        parts.add(id, html! { div id=(id) { dt { (name) } dd { (value) } } })
    };
    let element = html! {
        section #summary aria-label="Summary" {
            dl.tiles {
                (figure("tile-state", "State", mark(tone, state)))
                (figure("tile-requests", "Requests, 5 min", html! { (words::count(requests)) }))
                (figure("tile-errors", "Errors, 5 min", html! {
                    span.is-bad[errors > 0] { (words::count(errors)) }
                    @if errors > 0 { " " small { (words::percent(errors, requests)) } }
                }))
                (figure("tile-flight", "In flight", html! { (words::count(in_flight.unsigned_abs())) }))
                (figure("tile-version", "Version", html! {
                    (report.build.version)
                    @if report.build.commit != "unknown" { " " small { (report.build.commit) } }
                }))
            }
        }
    };
    Section::new(element, parts)
}

/// The configuration in effect and the last reload.
pub(super) fn configuration(report: &Report) -> Section {
    let config = &report.config;
    let reload = &config.last_reload;
    let (tone, meaning) = match reload.result {
        "rejected" => (Tone::Bad, "the file has errors, the last good one stays in effect"),
        "needs_restart" => (Tone::Warning, "in effect, except for what needs a restart"),
        "unchanged" => (Tone::Good, "the file says what is already in effect"),
        _ if reload.drawn.is_empty() => (Tone::Good, "the file is in effect"),
        _ => (Tone::Warning, "the file is in effect, with problems"),
    };
    let announcement =
        format!("Reload {}: {meaning}, {}", reload.result.replace('_', " "), reload.at.to_second());
    let reload_id = format!("{} {}", reload.at.to_millisecond(), reload.hash.as_deref().unwrap_or_default());
    let element = html! {
        section #configuration aria-labelledby="configuration-title" data-announce=(announcement)
            data-reload=(reload_id) {
            h2 #configuration-title { "Configuration" }
            dl.facts {
                div { dt { "Last reload" } dd {
                    (mark(tone, reload.result)) " " (meaning) ", " (words::clock(reload.at))
                } }
                div { dt { "In effect since" } dd { (words::clock(config.loaded_at)) } }
                div { dt { "Hash" } dd { code.id { (config.hash) } } }
                @if let Some(hash) = reload.hash.as_ref().filter(|hash| **hash != config.hash) {
                    div { dt { "Hash of the file" } dd { code.id { (hash) } } }
                }
                @if !config.restart_needed.is_empty() {
                    div { dt { "Needs a restart" } dd { @for key in &config.restart_needed { code { (key) } " " } } }
                }
                @for (name, listener) in &report.parts.listeners {
                    @if let Some(end) = listener.certificate_expires_at {
                        div { dt { "Certificate, " (name) } dd {
                            @if end.0 <= report.at { (mark(Tone::Bad, "expired")) " " }
                            "valid until " (words::clock(end)) (table::unread(listener.credential.as_ref()))
                        } }
                    }
                }
            }
            @if !reload.drawn.is_empty() {
                pre.problems.is-rejected[reload.result == "rejected"] tabindex="0" role="region" aria-label="Problems of the last reload" { (reload.drawn) }
            }
        }
    };
    Section::new(element, SectionParts::default())
}
