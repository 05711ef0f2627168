//! Header hygiene: the fields of a request and of a response that are forwarded.

use super::caller::Withheld;
use crate::header_name::{HOP_BY_HOP, LENGTH, same};
use crate::message::{Field, Fields};
use crate::telemetry::metrics::Direction;
use crate::webhook::identity::{Reserved, is_forwarding};

/// Not removed when `Connection` names them: they are not hop-by-hop, and removing them would change the message.
const NOT_NOMINABLE: [&str; 4] = ["host", "content-length", "transfer-encoding", "content-type"];

/// The fields of one request that must not be forwarded, besides those of every request.
pub(super) struct Unwanted<'a> {
    /// The names that are reserved for attache.
    pub(super) reserved: &'a Reserved,
    /// Folded names of fields for which attache sends its own value.
    pub(super) replaced: &'a [String],
    /// The fields of a caller that are not forwarded.
    pub(super) withheld: Option<&'a Withheld<'a>>,
    /// True if a trusted proxy sent the request. Its `X-Forwarded-…` fields are not counted as attempts at spoofing.
    pub(super) forwarded: bool,
    /// Some names are reserved on webhooks only.
    pub(super) direction: Direction,
}

/// Removes the fields that must not be forwarded: hop-by-hop fields, those that any `Connection` names, framing in
/// other spellings, the reserved names, every spelling of the names that attache sends itself, and a caller's proofs.
pub(super) fn clean_request(fields: &mut Fields, unwanted: &Unwanted<'_>) -> Dropped {
    let nominated = nominated(fields);
    let mut dropped = Dropped::default();
    fields.retain(|field| {
        if unwanted.withheld.is_some_and(|withheld| withheld.has(&field)) {
            return false;
        }
        let name = field.name_str();
        if unwanted.reserved.contains_on(name, unwanted.direction) {
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

/// Number of reserved names in a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Those that any proxy sends. A trusted proxy's are not counted.
    pub(super) forwarding: usize,
    pub(super) identity: usize,
}

impl Dropped {
    /// Counts in a request that is refused, and so is not cleaned.
    pub(super) fn of(fields: &Fields, reserved: &Reserved, direction: Direction, forwarded: bool) -> Self {
        let mut dropped = Self::default();
        let names = fields.iter().map(|field| field.name_str());
        let names = names.filter(|name| reserved.contains_on(name, direction));
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

/// Decides which fields of a response are forwarded.
pub(super) struct ResponseFilter {
    nominated: Vec<Vec<u8>>,
    switching: bool,
}

impl ResponseFilter {
    /// Returns the filter for a response with these fields. In a 101, `Connection` and `Upgrade` are part of the
    /// message.
    pub(super) fn new(fields: &Fields, switching: bool) -> Self {
        Self { nominated: nominated(fields), switching }
    }

    /// Returns true if `field` is forwarded unchanged.
    pub(super) fn keeps(&self, field: &Field<'_>) -> bool {
        if self.switching && (field.is("connection") || field.is("upgrade")) {
            return true;
        }
        !(is_one_of(field, &HOP_BY_HOP)
            || is_one_of(field, &LENGTH)
            || self.nominated.iter().any(|nominated| field.name.eq_ignore_ascii_case(nominated)))
    }
}

/// Returns the fields that `Connection` names, in all its lines, without those of [`NOT_NOMINABLE`] and the usual
/// options, which are not fields.
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

/// Returns true if a server that folds `_` to `-` would read `field` as a framing field.
fn is_framing_alias(field: &Field<'_>) -> bool {
    // The first letter rules out nearly every name.
    if !field.name.iter().find(|b| b.is_ascii_alphanumeric()).is_some_and(|b| b"ctCT".contains(b)) {
        return false;
    }
    LENGTH.iter().any(|framing| !field.is(framing) && same(field.name_str(), framing))
}

/// Returns true if `Via` shows that the request passed through attache more than three times (RFC 9110 section 7.6.3).
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
        cleaned_on(Direction::Outbound, list, replaced)
    }

    fn cleaned_on(direction: Direction, list: &[(&str, &str)], replaced: &[&str]) -> Vec<String> {
        let mut fields = fields(list);
        let reserved = ["x-attache-user", "x-attache-service", "x-attache-key-id"];
        let reserved = Reserved::new(reserved.map(HeaderName::from_static).iter());
        let replaced: Vec<String> = replaced.iter().map(|&name| name.to_owned()).collect();
        let unwanted = Unwanted {
            reserved: &reserved,
            replaced: &replaced,
            withheld: None,
            forwarded: false,
            direction,
        };
        clean_request(&mut fields, &unwanted);
        names(&fields)
    }

    #[test]
    fn fields_named_by_connection_are_dropped_except_framing_fields() {
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
    fn every_spelling_of_a_credential_header_is_dropped() {
        let list = [("X-API-KEY", "1"), ("x_api_key", "2"), ("X.Api_Key", "3"), ("x-api-keys", "4")];
        assert_eq!(cleaned(&list, &["x-api-key"]), ["x-api-keys"]);
    }

    #[test]
    fn headers_that_mislead_a_receiver_are_dropped_on_webhooks() {
        let list = [("X-Real-IP", "1"), ("true_client_ip", "2"), ("Proxy", "3"), ("X-Real-IPs", "4")];
        assert_eq!(cleaned_on(Direction::Webhook, &list, &[]), ["x-real-ips"]);
        let all = ["proxy", "true_client_ip", "x-real-ip", "x-real-ips"];
        assert_eq!(cleaned_on(Direction::Outbound, &list, &[]), all);
    }

    #[test]
    fn framing_fields_in_other_spellings_are_dropped() {
        let list = [
            ("Transfer_Encoding", "chunked"),
            ("content.length", "9"),
            ("_content-length", "1"),
            ("tea", "1"),
        ];
        assert_eq!(cleaned(&list, &[]), ["tea"]);
    }

    #[test]
    fn an_upgrade_field_is_not_forwarded() {
        let list = [
            ("Connection", "keep-alive, Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "x"),
            ("Sec-WebSocket-Key", "x"),
        ];
        assert_eq!(cleaned(&list, &[]), ["sec-websocket-key"]);
    }

    #[test]
    fn a_response_keeps_its_end_to_end_fields() {
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
    fn the_fourth_pass_is_a_loop() {
        let via = |value: &str| is_looping(&fields(&[("Via", value), ("via", "1.1 attache")]));
        assert!(!via("1.1 attache, 1.0 fred, 1.1 Attache"));
        assert!(via("1.1 attache, 1.1 attache (x), HTTP/1.1 attache"));
        assert!(!via("1.1 attached, attache, attache, attache"));
    }
}
