//! Header fields in their received order, spelling and case.
//!
//! A list of positions in one buffer: a message has few fields, and a scan that compares lengths first is cheaper than
//! filling a hash map. The map of the `http` crate would also lose the case of the names.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;

/// One field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as received: a token (RFC 9110 section 5.6.2).
    pub name: &'a [u8],
    /// The value without surrounding white space.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Returns the name as text. A name is a token, and so ASCII.
    pub fn name_str(&self) -> &'a str {
        std::str::from_utf8(self.name).unwrap_or_default()
    }

    /// Returns true if this is the field `name`, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.len() == name.len() && self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

#[derive(Clone, Copy)]
struct FieldSpan {
    name: (u32, u32),
    value: (u32, u32),
}

/// The fields of one message.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Bytes,
    spans: Vec<FieldSpan>,
}

impl Fields {
    /// Returns the fields that httparse found in `head`. Each must lie inside it.
    pub fn parsed(head: Bytes, found: &[httparse::Header<'_>]) -> Self {
        let base = head.as_ptr() as usize;
        let place = |part: &[u8]| {
            let start = (part.as_ptr() as usize).wrapping_sub(base);
            debug_assert!(part.is_empty() || start + part.len() <= head.len());
            // A head has at most 64 KiB.
            (start as u32, (start + part.len()) as u32)
        };
        let span = |field: &httparse::Header<'_>| {
            let value = field.value.trim_ascii();
            let value = if value.is_empty() { (0, 0) } else { place(value) };
            FieldSpan { name: place(field.name.as_bytes()), value }
        };
        let spans = found.iter().map(span).collect();
        Self { bytes: head, spans }
    }

    /// Returns a list made of names and values.
    pub fn collect<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let (mut bytes, mut spans) = (BytesMut::new(), Vec::new());
        let mut place = |part: &[u8]| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(part);
            (start, bytes.len() as u32)
        };
        for (name, value) in fields {
            spans.push(FieldSpan { name: place(name), value: place(value.trim_ascii()) });
        }
        Self { bytes: bytes.freeze(), spans }
    }

    /// Returns every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        let part = |(start, end): (u32, u32)| &self.bytes[start as usize..end as usize];
        self.spans.iter().map(move |span| Field { name: part(span.name), value: part(span.value) })
    }

    /// Returns the bytes from the first field to the last, as they came. Fields that [`Self::retain`] dropped between them
    /// are among the bytes.
    pub fn raw(&self) -> &[u8] {
        let (Some(first), Some(last)) = (self.spans.first(), self.spans.last()) else { return &[] };
        &self.bytes[first.name.0 as usize..last.value.1.max(last.name.1) as usize]
    }

    /// Keeps the fields for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let bytes = &self.bytes;
        let part = |(start, end): (u32, u32)| &bytes[start as usize..end as usize];
        self.spans.retain(|span| keep(Field { name: part(span.name), value: part(span.value) }));
    }

    /// Converts to the map of the `http` crate, whose names have no case.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.len());
        for field in self.iter() {
            let name = HeaderName::from_bytes(field.name);
            let value = HeaderValue::from_maybe_shared(self.share(field.value));
            // httparse accepts no other names and values than these types do.
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns true if there are no fields.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns the values of every field `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |field| field.is(name)).map(|field| field.value)
    }

    /// Returns the value of the first field `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|field| field.is(name)).map(|field| field.value)
    }

    /// Returns true if there is a field `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the members of a comma-separated list over every field `name` (RFC 9110 section 5.6.1), without empty
    /// ones.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name)
            .flat_map(|value| value.split(|&b| b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// Returns true if the list `name` has the member `token`, in any case.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Returns `part`, which must point into this list, without a copy.
    pub fn share(&self, part: &[u8]) -> Bytes {
        if part.is_empty() { Bytes::new() } else { self.bytes.slice_ref(part) }
    }
}

/// Names only: a value may be a credential.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|field| field.name.escape_ascii().to_string())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_any_case_and_keep_their_spelling() {
        let fields = Fields::collect([
            (&b"Set-Cookie"[..], &b" a=1 "[..]),
            (b"X-API-KEY", b""),
            (b"set-cookie", b"b=2"),
        ]);
        assert_eq!(fields.all("set-cookie").collect::<Vec<_>>(), [&b"a=1"[..], b"b=2"]);
        assert_eq!(fields.get("x-api-key"), Some(&b""[..]));
        assert!(!fields.contains("x-api-ke"));
        let names: Vec<&[u8]> = fields.iter().map(|field| field.name).collect();
        assert_eq!(names, [&b"Set-Cookie"[..], b"X-API-KEY", b"set-cookie"]);
        assert!(!format!("{fields:?}").contains("a=1"));
    }

    #[test]
    fn a_list_spans_lines() {
        let fields = Fields::collect([(&b"Connection"[..], &b"X-A, ,"[..]), (b"connection", b"close")]);
        assert_eq!(fields.list("connection").collect::<Vec<_>>(), [&b"X-A"[..], b"close"]);
        assert!(fields.lists("Connection", "CLOSE") && !fields.lists("connection", "x"));
    }

    #[test]
    fn parsed_fields_share_the_heads_memory() {
        let head = Bytes::from_static(b"GET / HTTP/1.1\r\nHost:  a \r\nX:\r\n\r\n");
        let mut found = [httparse::EMPTY_HEADER; 4];
        let mut request = httparse::Request::new(&mut found);
        request.parse(&head).expect("a head");
        let fields = Fields::parsed(head.clone(), request.headers);
        assert_eq!((fields.get("host"), fields.get("x")), (Some(&b"a"[..]), Some(&b""[..])));
        let host = fields.get("host").expect("a host");
        assert_eq!(fields.share(host).as_ptr(), host.as_ptr());
    }
}
