//! The page around the sections, and the files it needs.

use super::query::Query;
use super::{Rendered, words};
use crate::admin::report::Report;
use maud::{DOCTYPE, PreEscaped, html};
use std::sync::LazyLock;

/// The style sheet.
pub(in crate::admin) const CSS: &str = include_str!("page.css");
/// Its media type.
pub(in crate::admin) const CSS_TYPE: &str = "text/css; charset=utf-8";
/// The script.
pub(in crate::admin) const SCRIPT: &str = include_str!("page.js");
/// Its media type.
pub(in crate::admin) const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";
/// The icon.
pub(in crate::admin) const ICON: &str = include_str!("icon.svg");
/// Its media type.
pub(in crate::admin) const ICON_TYPE: &str = "image/svg+xml";

/// The content security policy: nothing but the page's own files, its own events, and its own form. No inline script, no
/// inline style, no frame around it.
pub(in crate::admin) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Returns what tells one build's page from another's: a page that stays open over an upgrade loads itself anew.
pub(in crate::admin) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let build = [CSS, SCRIPT, env!("CARGO_PKG_VERSION"), env!("ATTACHE_COMMIT")];
        let digest = crate::secret::sha256(build.concat().as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    });
    &VERSION
}

/// Returns the whole page. All its addresses are relative, so that it works below a path of a reverse proxy.
pub(in crate::admin) fn document(report: &Report, query: &Query) -> String {
    let sections = Rendered::new(report, query);
    let page = html! {
        (DOCTYPE)
        html lang="en" data-version=(version()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { "attache status" }
                link rel="icon" type=(ICON_TYPE) href="icon.svg";
                link rel="stylesheet" href="page.css";
                script src="page.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    h1 { "attache" span.visually-hidden { " status" } }
                    nav aria-label="Sections" {
                        a href="#services" { "Services" }
                        a href="#accounts" { "Accounts" }
                        a href="#webhooks" { "Webhooks" }
                        a href="#failures" { "Failures" }
                        a href="status" { "JSON" }
                    }
                    p.live {
                        span #live role="status" { "Read " (words::clock(crate::admin::report::Moment(report.at))) }
                        button #pause type="button" hidden { "Pause" }
                    }
                }
                main #main tabindex="-1" {
                    (PreEscaped(&sections.0[0].html()))
                    (PreEscaped(&sections.0[1].html()))
                    (filter(query))
                    @for section in &sections.0[2..] { (PreEscaped(section.html())) }
                }
                p #announcements .visually-hidden role="status" {}
            }
        }
    };
    page.into_string()
}

fn filter(query: &Query) -> maud::Markup {
    html! {
        form #filter role="search" method="get" aria-label="Filter" {
            label for="q" { "Filter" }
            input #q type="search" name="q" value=(query.filter()) maxlength="100" autocomplete="off"
                spellcheck="false" placeholder="Service, account, user, key, code or request id";
            label.check {
                input type="checkbox" name="show" value="problems" checked[query.only_problems()];
                "Needs attention"
            }
            button type="submit" { "Apply" }
            a #clear href="." hidden[!query.narrows()] { "Clear" }
        }
    }
}
