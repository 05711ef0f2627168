//! The status page: a [`Report`] as HTML. Pure: no I/O, no clock.
//!
//! The page is written by the server, works without script, and names no outside address. Its script opens a stream of
//! events, whose data are elements of this same rendering that have changed, and puts each in the place of the element
//! with its id. Everything that comes from the configuration or from a request is escaped by the template.

mod accounts;
mod callers;
mod chart;
mod failures;
mod layout;
mod overview;
mod query;
mod section;
mod services;
mod table;
#[cfg(test)]
mod tests;
mod webhooks;
mod words;

use crate::admin::report::Report;
pub(super) use layout::{CSS, CSS_TYPE, ICON, ICON_TYPE, POLICY, SCRIPT, SCRIPT_TYPE, document, version};
pub(super) use query::Query;
use section::Section;

/// The sections of one rendering, in their order on the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered([Section; 7]);

impl Rendered {
    /// Renders what the query asks for.
    pub(super) fn new(report: &Report, query: &Query) -> Self {
        Self([
            overview::summary(report),
            overview::configuration(report),
            services::section(report, query),
            accounts::section(report, query),
            callers::section(report, query),
            webhooks::section(report, query),
            failures::section(report, query),
        ])
    }

    /// Returns the elements that differ from `before`; all sections without it.
    pub(super) fn changes(&self, before: Option<&Self>) -> Vec<&str> {
        match before {
            None => self.0.iter().map(Section::html).collect(),
            Some(before) => {
                let pairs = self.0.iter().zip(&before.0);
                pairs.flat_map(|(now, then)| now.changes(then)).collect()
            }
        }
    }
}

/// Returns an id for the element of a thing with this name.
fn anchor(kind: &str, name: &str) -> String {
    let mut id = format!("{kind}-");
    for character in name.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => id.push(character),
            other => id.push_str(&format!("~{:x}", u32::from(other))),
        }
    }
    id
}
