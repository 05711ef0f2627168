//! Members of a JSON body: signed ones, and those that hold a signature, a time or an id.
//!
//! A member is read in one way or not at all. A name that occurs twice, or a second time in another case, is refused:
//! parsers differ in which of the two they take, and the receiver may have the other one.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Maximum number of values of one pointer. Without it, a body of small items costs some ten times its size.
const MAX_VALUES: usize = 1000;

/// The path of a member: a JSON Pointer (RFC 6901).
///
/// `0` is the item of a list that has exactly one, `*` each item of a list that has at least one. A `?` at the end means
/// that the member may be absent, which reads as empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    segments: Vec<Segment>,
    is_optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Name(String),
    Only,
    Every,
}

impl Pointer {
    /// Parses a pointer. Returns `None` if `text` is none, or has an index other than `0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, is_optional) = match text.strip_suffix('?') {
            Some(path) => (path, true),
            None => (text, false),
        };
        let segment = |segment: &str| match segment {
            "0" => Some(Segment::Only),
            "*" => Some(Segment::Every),
            "" => None,
            _ if segment.bytes().all(|b| b.is_ascii_digit()) => None,
            _ => Some(Segment::Name(segment.replace("~1", "/").replace("~0", "~"))),
        };
        let segments = path.strip_prefix('/')?.split('/').map(segment).collect::<Option<Vec<_>>>()?;
        Some(Self { text: text.to_owned(), segments, is_optional })
    }

    /// Returns the pointer as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if it may name several members.
    pub fn is_many(&self) -> bool {
        self.segments.contains(&Segment::Every)
    }
}

/// The values of the members that were looked for.
#[derive(Debug, Default)]
pub(super) struct Members<'p>(Vec<(&'p Pointer, Vec<String>)>);

impl Members<'_> {
    /// Returns the value at `pointer`; empty text if it is absent.
    pub(super) fn value(&self, pointer: &Pointer) -> &str {
        self.values(pointer).first().map_or("", String::as_str)
    }

    /// Returns every value at `pointer`.
    pub(super) fn values(&self, pointer: &Pointer) -> &[String] {
        self.0.iter().find(|(found, _)| *found == pointer).map_or(&[], |(_, values)| values)
    }
}

/// Reads the members at `pointers` in one pass. Text, whole numbers and booleans have a value.
///
/// # Errors
///
/// The reason why they can't be read.
pub(super) fn find<'p>(body: &[u8], pointers: Vec<&'p Pointer>) -> Result<Members<'p>, &'static str> {
    if pointers.is_empty() {
        return Ok(Members::default());
    }
    let mut search = Search {
        found: vec![Vec::new(); pointers.len()],
        pointers: &pointers,
        fault: "the body is not JSON",
    };
    let active = (0..pointers.len()).collect();
    let mut json = serde_json::Deserializer::from_slice(body);
    let walked = MemberWalk { search: &mut search, active, depth: 0 }.deserialize(&mut json);
    if walked.and_then(|()| json.end()).is_err() {
        return Err(search.fault);
    }
    let found = search.found;
    if pointers.iter().zip(&found).any(|(pointer, values)| values.is_empty() && !pointer.is_optional) {
        return Err("the body lacks a member that the scheme needs");
    }
    Ok(Members(pointers.into_iter().zip(found).collect()))
}

struct Search<'s> {
    pointers: &'s [&'s Pointer],
    found: Vec<Vec<String>>,
    fault: &'static str,
}

/// A walk below the members that `active` lead through.
struct MemberWalk<'w, 's> {
    search: &'w mut Search<'s>,
    active: Vec<usize>,
    depth: usize,
}

impl MemberWalk<'_, '_> {
    fn fail<T, E: Error>(&mut self, fault: &'static str) -> Result<T, E> {
        self.search.fault = fault;
        Err(E::custom(fault))
    }

    fn segment(&self, pointer: usize) -> Option<&Segment> {
        self.search.pointers[pointer].segments.get(self.depth)
    }

    /// Returns the pointers that go on with this segment.
    fn through(&self, segment: &Segment) -> Vec<usize> {
        self.active.iter().copied().filter(|pointer| self.segment(*pointer) == Some(segment)).collect()
    }

    /// Returns the pointers that go on with this name. It is not copied: a body has many that no pointer names.
    fn through_name(&self, name: &str) -> Vec<usize> {
        let is_next =
            |segment: Option<&Segment>| matches!(segment, Some(Segment::Name(next)) if next == name);
        self.active.iter().copied().filter(|pointer| is_next(self.segment(*pointer))).collect()
    }

    fn ends_here(&self) -> bool {
        self.active.iter().any(|pointer| self.segment(*pointer).is_none())
    }

    fn value<E: Error>(mut self, text: &str) -> Result<(), E> {
        let ending: Vec<usize> =
            self.active.iter().copied().filter(|pointer| self.segment(*pointer).is_none()).collect();
        for pointer in ending {
            let found = &mut self.search.found[pointer];
            if found.len() == MAX_VALUES {
                return self.fail("a list of which the scheme reads each item has more than 1000");
            }
            found.push(text.to_owned());
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for MemberWalk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[derive(Deserialize)]
struct MemberName<'a>(#[serde(borrow)] Cow<'a, str>);

const NOT_A_VALUE: &str = "a member that the scheme needs is no text, whole number or boolean";

impl<'de> Visitor<'de> for MemberWalk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        if self.ends_here() {
            return self.fail(NOT_A_VALUE);
        }
        let mut seen = Vec::new();
        while let Some(MemberName(name)) = map.next_key()? {
            let is_near = |segment: Option<&Segment>| match segment {
                Some(Segment::Name(other)) => *other != name && other.eq_ignore_ascii_case(&name),
                _ => false,
            };
            if self.active.iter().any(|pointer| is_near(self.segment(*pointer))) {
                return self.fail("a member that the scheme needs is also there in another case");
            }
            let active = self.through_name(&name);
            if active.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if seen.contains(&name) {
                return self.fail("a member that the scheme needs occurs more than once");
            }
            seen.push(name);
            map.next_value_seed(MemberWalk { search: &mut *self.search, active, depth: self.depth + 1 })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        if self.ends_here() {
            return self.fail(NOT_A_VALUE);
        }
        let (only, every) = (self.through(&Segment::Only), self.through(&Segment::Every));
        let active = [&only[..], &every[..]].concat();
        let count =
            |walk: &Self| every.iter().map(|pointer| walk.search.found[*pointer].len()).sum::<usize>();
        let mut before = count(&self);
        let walk = |walk: &mut Self, list: &mut A| {
            let active = active.clone();
            list.next_element_seed(MemberWalk { search: &mut *walk.search, active, depth: walk.depth + 1 })
        };
        let mut items = 0;
        while walk(&mut self, &mut list)?.is_some() {
            items += 1;
            if items > 1 && !only.is_empty() {
                return self.fail("a list of which the scheme signs one item has more than one");
            }
            let after = count(&self);
            if after < before + every.len() {
                return self.fail("an item of the list lacks the member that the scheme needs");
            }
            before = after;
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.value(text)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.value(if value { "true" } else { "false" })
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.value(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.value(&number.to_string())
    }

    fn visit_f64<E: Error>(mut self, _: f64) -> Result<(), E> {
        // `1.0` and `1` are the same number, and only one of them is the signed text.
        if self.ends_here() { self.fail(NOT_A_VALUE) } else { Ok(()) }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, pointer: &str) -> Result<Vec<String>, &'static str> {
        let pointer = Pointer::parse(pointer).expect("a pointer");
        find(body.as_bytes(), vec![&pointer]).map(|members| members.values(&pointer).to_vec())
    }

    #[test]
    fn a_member_has_the_text_that_is_signed() {
        for (body, pointer, value) in [
            (r#"{"a":{"b":"x"}}"#, "/a/b", "x"),
            (r#"{"a":1000}"#, "/a", "1000"),
            (r#"{"a":-5}"#, "/a", "-5"),
            (r#"{"a":true}"#, "/a", "true"),
            (r#"{"a":[{"b":"\u00fc"}]}"#, "/a/0/b", "ü"),
            (r#"{"a/b~":"x","other":{"a":1,"a":2}}"#, "/a~1b~0", "x"),
        ] {
            assert_eq!(read(body, pointer), Ok(vec![value.to_owned()]), "{body}");
        }
        assert_eq!(read(r#"{"v":[{"s":"1"},{"s":"2"}]}"#, "/v/*/s"), Ok(vec!["1".into(), "2".into()]));
        for body in ["{}", r#"{"a":null}"#, r#"{"a":{}}"#, "[]", "5"] {
            let pointer = if body.contains("{}}") { "/a/b?" } else { "/a?" };
            assert_eq!(read(body, pointer), Ok(Vec::new()), "{body}");
        }
    }

    #[test]
    fn a_member_that_can_be_read_in_two_ways_is_refused() {
        for (body, pointer) in [
            (r#"{"a":1,"a":2}"#, "/a"),
            (r#"{"a":1,"\u0061":2}"#, "/a"),
            (r#"{"a":1,"A":2}"#, "/a"),
            (r#"{"A":2,"a":1}"#, "/a"),
            (r#"{"a":{"b":1},"a":{}}"#, "/a/b"),
            (r#"{"a":1.0}"#, "/a"),
            (r#"{"a":1e3}"#, "/a"),
            (r#"{"a":123456789012345678901234567890}"#, "/a"),
            (r#"{"a":{}}"#, "/a"),
            (r#"{"a":[]}"#, "/a"),
            (r#"{"a":null}"#, "/a"),
            (r#"{"a":1}{"a":2}"#, "/a"),
            (r#"{"a":1"#, "/a"),
            ("", "/a"),
            (r#"{"v":[]}"#, "/v/*/s"),
            (r#"{"v":[{"s":"1"},{}]}"#, "/v/*/s"),
            (r#"{"v":[{"s":"1"},5]}"#, "/v/*/s"),
            (r#"{"v":[{"s":"1"},{"s":null}]}"#, "/v/*/s"),
            (r#"{"v":[{"s":"1"}],"v":[]}"#, "/v/*/s"),
            (r#"{"v":[{"s":"1"},{"s":"2"}]}"#, "/v/0/s"),
            (r#"{"v":[]}"#, "/v/0/s"),
        ] {
            assert!(read(body, pointer).is_err(), "{body}");
        }
        let deep = format!("{}1{}", r#"{"x":"#.repeat(10_000), "}".repeat(10_000));
        assert!(read(&deep, "/a").is_err());
    }

    #[test]
    fn a_list_of_many_items_is_refused() {
        let list = |count: usize| format!(r#"{{"v":[{}]}}"#, vec![r#"{"s":1}"#; count].join(","));
        assert_eq!(read(&list(MAX_VALUES), "/v/*/s").map(|values| values.len()), Ok(MAX_VALUES));
        assert!(read(&list(MAX_VALUES + 1), "/v/*/s").is_err());
        assert_eq!(read(&format!(r#"{{"a":"1","v":{}}}"#, list(5000)), "/a"), Ok(vec!["1".into()]));
    }

    #[test]
    fn a_pointer_has_names_and_no_other_index() {
        for text in ["", "a", "/", "/a/", "//a", "/1", "/a/10"] {
            assert_eq!(Pointer::parse(text), None, "{text}");
        }
    }
}
