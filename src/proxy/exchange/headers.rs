//! Header hygiene: which fields of a request travel on, and which of a response come back.

use crate::header_name::{HOP_BY_HOP, LENGTH, same};
use crate::message::{Field, Fields};
use crate::webhook::identity::{Reserved, is_forwarding};

/// Never removed because `Connection` names them: they are not hop-by-hop, and a message without them is another one.
const NOT_NOMINABLE: [&str; 4] = ["host", "content-length", "transfer-encoding", "content-type"];

/// The fields of one request that must not travel on, besides those of every request.
pub(super) struct Unwanted<'a> {
    /// The names that only attache may say.
    pub(super) reserved: &'a Reserved,
    /// Folded names that attache sends a value of its own under.
    pub(super) replaced: &'a [String],
    /// True if a trusted proxy sent the request. Its `X-Forwarded-…` are no attempt at anything.
    pub(super) forwarded: bool,
}

/// Takes out of a request what must not travel on: hop-by-hop fields, those that any `Connection` names, framing in other
/// spellings, the reserved names, and every spelling of the names that attache sends itself.
pub(super) fn clean_request(fields: &mut Fields, unwanted: &Unwanted<'_>) -> Dropped {
    let nominated = nominated(fields);
    let mut dropped = Dropped::default();
    fields.retain(|field| {
        let name = field.name_str();
        if unwanted.reserved.contains(name) {
            dropped.count(name, unwanted.forwarded);
            return false;
        }
        !(is_one_of(&field, &HOP_BY_HOP)
            || is_framing_alias(&field)
            || nominated.iter().any(|nominated| field.name.eq_ignore_ascii_case(nominated))
            || unwanted.replaced.iter().any(|folded| same(name, folded)))
    });
    dropped
}

/// How many reserved names a request had.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Those that any proxy sends. A trusted one's don't count.
    pub(super) forwarding: usize,
    pub(super) identity: usize,
}

impl Dropped {
    /// Counts in a request that goes no further, and so is not cleaned.
    pub(super) fn of(fields: &Fields, reserved: &Reserved, forwarded: bool) -> Self {
        let mut dropped = Self::default();
        let names = fields.iter().map(|field| field.name_str()).filter(|name| reserved.contains(name));
        names.for_each(|name| dropped.count(name, forwarded));
        dropped
    }

    fn count(&mut self, name: &str, forwarded: bool) {
        match is_forwarding(name) {
            true => self.forwarding += usize::from(!forwarded),
            false => self.identity += 1,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.forwarding + self.identity == 0
    }
}

/// Decides which fields of a response come back.
pub(super) struct ResponseFilter {
    nominated: Vec<Vec<u8>>,
    switching: bool,
}

impl ResponseFilter {
    /// For a response with these fields. Of a 101, `Connection` and `Upgrade` are the message.
    pub(super) fn new(fields: &Fields, switching: bool) -> Self {
        Self { nominated: nominated(fields), switching }
    }

    /// Returns true if `field` is passed on as it is.
    pub(super) fn keeps(&self, field: &Field<'_>) -> bool {
        if self.switching && (field.is("connection") || field.is("upgrade")) {
            return true;
        }
        !(is_one_of(field, &HOP_BY_HOP)
            || is_one_of(field, &LENGTH)
            || self.nominated.iter().any(|nominated| field.name.eq_ignore_ascii_case(nominated)))
    }
}

/// The fields that `Connection` names, in all its lines, but for those that may not be named and the usual options, which
/// are no fields.
fn nominated(fields: &Fields) -> Vec<Vec<u8>> {
    fields
        .list("connection")
        .filter(|option| {
            let usual = ["close", "keep-alive"].iter().chain(&NOT_NOMINABLE);
            !usual.into_iter().any(|name| option.eq_ignore_ascii_case(name.as_bytes()))
        })
        .map(<[u8]>::to_vec)
        .collect()
}

fn is_one_of(field: &Field<'_>, names: &[&str]) -> bool {
    names.iter().any(|name| field.is(name))
}

/// Returns true if a server that folds `_` to `-` would read `field` as one that says where the message ends.
fn is_framing_alias(field: &Field<'_>) -> bool {
    // Nearly every name is told by its first letter.
    if !field.name.iter().find(|b| b.is_ascii_alphanumeric()).is_some_and(|b| b"ctCT".contains(b)) {
        return false;
    }
    LENGTH.iter().any(|framing| !field.is(framing) && same(field.name_str(), framing))
}

/// Returns true if a request passed through attache more than three times already, as `Via` tells (RFC 9110 section 7.6.3).
pub(super) fn is_looping(fields: &Fields) -> bool {
    let is_ours = |member: &&[u8]| {
        let mut words = member.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(b"attache"))
    };
    fields.list("via").filter(is_ours).count() > 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn fields(list: &[(&str, &str)]) -> Fields {
        Fields::collect(list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    fn names(fields: &Fields) -> Vec<String> {
        let mut names: Vec<String> = fields.iter().map(|field| field.name_str().to_lowercase()).collect();
        names.sort();
        names
    }

    fn cleaned(list: &[(&str, &str)], replaced: &[&str]) -> Vec<String> {
        let mut fields = fields(list);
        let reserved = ["x-attache-user", "x-attache-service", "x-attache-key-id"];
        let reserved = Reserved::new(reserved.map(HeaderName::from_static).iter());
        let replaced: Vec<String> = replaced.iter().map(|&name| name.to_owned()).collect();
        let unwanted = Unwanted { reserved: &reserved, replaced: &replaced, forwarded: false };
        clean_request(&mut fields, &unwanted);
        names(&fields)
    }

    #[test]
    fn what_connection_names_is_dropped_and_what_frames_the_message_is_not() {
        let list = [
            ("Connection", "close, X-Mine"),
            ("connection", "X-Forwarded-For, Host, content-length, \"odd\""),
            ("X-Mine", "1"),
            ("X-Forwarded-For", "1"),
            ("Host", "a"),
            ("Content-Length", "0"),
            ("X-Other", "1"),
        ];
        assert_eq!(cleaned(&list, &[]), ["content-length", "host", "x-other"]);
    }

    #[test]
    fn every_spelling_of_a_credentials_header_is_dropped() {
        let list = [("X-API-KEY", "1"), ("x_api_key", "2"), ("X.Api_Key", "3"), ("x-api-keys", "4")];
        assert_eq!(cleaned(&list, &["x-api-key"]), ["x-api-keys"]);
    }

    #[test]
    fn framing_in_other_spellings_is_dropped() {
        let list = [
            ("Transfer_Encoding", "chunked"),
            ("content.length", "9"),
            ("_content-length", "1"),
            ("tea", "1"),
        ];
        assert_eq!(cleaned(&list, &[]), ["tea"]);
    }

    #[test]
    fn an_upgrade_does_not_travel_on_by_itself() {
        let list = [
            ("Connection", "keep-alive, Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "x"),
            ("Sec-WebSocket-Key", "x"),
        ];
        assert_eq!(cleaned(&list, &[]), ["sec-websocket-key"]);
    }

    #[test]
    fn a_response_keeps_what_is_the_clients() {
        let list = [
            ("Connection", "X-A"),
            ("connection", "close"),
            ("X-A", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Content-Length", "5"),
            ("Upgrade", "h2c"),
            ("Set-Cookie", "a=1"),
        ];
        let fields = fields(&list);
        let kept = |switching| {
            let filter = ResponseFilter::new(&fields, switching);
            fields.iter().filter(|field| filter.keeps(field)).count()
        };
        assert_eq!((kept(false), kept(true)), (1, 4));
    }

    #[test]
    fn the_fourth_pass_is_the_last() {
        let via = |value: &str| is_looping(&fields(&[("Via", value), ("via", "1.1 attache")]));
        assert!(!via("1.1 attache, 1.0 fred, 1.1 Attache"));
        assert!(via("1.1 attache, 1.1 attache (x), HTTP/1.1 attache"));
        assert!(!via("1.1 attached, attache, attache, attache"));
    }
}
