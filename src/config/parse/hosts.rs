//! `hosts` of a service: the names by which a request's `Host` reaches it.

use crate::config::decode::{At, Decoder};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::source::Span;
use std::cell::RefCell;
use std::collections::HashMap;

/// The names of the file so far, each with its place: a name leads to one service.
#[derive(Default)]
pub(super) struct Hosts(RefCell<HashMap<String, Span>>);

impl Hosts {
    /// Reads the names of one service.
    pub(super) fn read(&self, decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<String>> {
        let (mut all, mut fine) = (Vec::new(), true);
        for item in decoder.sequence(at)? {
            let name = decoder.parsed(&item, "invalid_host", "a host name", scalar::host);
            let name = name.filter(|name| self.is_free(decoder, &item, name));
            fine &= name.is_some();
            all.extend(name);
        }
        if all.is_empty() && fine { decoder.empty(at) } else { fine.then_some(all) }
    }

    fn is_free(&self, decoder: &Decoder<'_>, at: &At<'_>, name: &str) -> bool {
        let place = decoder.place(at);
        let Some(first) = self.0.borrow_mut().insert(name.to_owned(), place) else { return true };
        let message = format!("{at} is used already: `{name}` leads to one service");
        let finding = Finding::error("duplicate_host", place, message);
        decoder.report(finding.label("used again here").secondary(first, "first used here"));
        false
    }
}
