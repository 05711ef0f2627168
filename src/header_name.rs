//! Header names as the receivers and upstreams may read them.
//!
//! CGI, WSGI, Rack and PHP fold `-` to `_`; others treat `.`, or any character that is no letter or digit, as either,
//! or ignore how many there are. So `X_Attache_User`, `x.attache.user` and `X--Attache~User` may all mean
//! `X-Attache-User`. A list of exact names was the cause of header smuggling through other proxies.

use bytes::Bytes;
use http::HeaderName;
use http::header::InvalidHeaderName;

/// A header name that keeps its original spelling.
///
/// Names compare without regard to case (RFC 9110 section 5.1), and `HeaderName` is lowercase. Some HTTP/1 servers find
/// a field only by the exact spelling of their documentation.
#[derive(Debug, Clone)]
pub struct FieldName {
    name: HeaderName,
    spelling: Bytes,
}

impl FieldName {
    /// Parses a name, and keeps its spelling.
    ///
    /// # Errors
    ///
    /// If `text` is not a header name.
    pub fn parse(text: &str) -> Result<Self, InvalidHeaderName> {
        let name = HeaderName::from_bytes(text.as_bytes())?;
        Ok(Self { name, spelling: Bytes::copy_from_slice(text.as_bytes()) })
    }

    /// Returns a constant name.
    ///
    /// # Panics
    ///
    /// If `spelling` is not a header name.
    pub fn from_static(spelling: &'static str) -> Self {
        let name = HeaderName::from_bytes(spelling.as_bytes()).expect("a constant is a header name");
        Self { name, spelling: Bytes::from_static(spelling.as_bytes()) }
    }

    /// Returns the name for look-ups and comparisons.
    pub fn as_header_name(&self) -> &HeaderName {
        &self.name
    }

    /// Returns the name without its spelling.
    pub fn into_header_name(self) -> HeaderName {
        self.name
    }

    /// Returns the name in lowercase.
    pub fn as_str(&self) -> &str {
        self.name.as_str()
    }

    /// Returns the name in its original spelling, for HTTP/1. A clone shares the bytes.
    pub fn spelling(&self) -> &Bytes {
        &self.spelling
    }
}

impl PartialEq for FieldName {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for FieldName {}

impl PartialEq<HeaderName> for FieldName {
    fn eq(&self, other: &HeaderName) -> bool {
        self.name == *other
    }
}

impl PartialEq<str> for FieldName {
    fn eq(&self, other: &str) -> bool {
        self.name == *other
    }
}

/// Fields that concern one connection only (RFC 9110 section 7.6.1), and the proxy's own.
pub const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];

/// Fields that state where a message ends. attache writes new ones.
pub const LENGTH: [&str; 2] = ["content-length", "transfer-encoding"];

/// Every name of this family concerns one connection.
pub const PROXY_FAMILY: &str = "proxy-";

/// Returns the names, besides [`PROXY_FAMILY`], that decide how a message is framed or where it goes.
pub fn framing_names() -> impl Iterator<Item = &'static str> {
    let names = HOP_BY_HOP.into_iter().chain(LENGTH).chain(["host", "expect"]);
    names.filter(|name| !name.starts_with(PROXY_FAMILY))
}

/// Returns true if `name`, in some spelling, decides how a message is framed or where it goes.
pub fn is_framing(name: &str) -> bool {
    framing_names().any(|framing| same(name, framing)) || in_family(name, PROXY_FAMILY)
}

/// Headers by which some servers read another method than that of the request line, folded. Where methods are
/// restricted, they are not forwarded.
pub const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Headers by which some servers read another path than that of the request line, or a second one (RFC 4918 section
/// 10.3), folded. Where paths are restricted, they are not forwarded.
pub const PATH_OVERRIDES: [&str; 4] = ["x-original-url", "x-rewrite-url", "x-override-url", "destination"];

/// Families whose names only attache may set, on every route.
const RESERVED_FAMILIES: [&str; 2] = ["x-forwarded-", OWN_FAMILY];

/// The family of attache's own names.
const OWN_FAMILY: &str = "x-attache-";

/// Returns true if `name`, in some spelling, is of attache's own names.
pub fn is_own(name: &str) -> bool {
    in_family(name, OWN_FAMILY)
}

/// Headers by which servers and libraries read the address of the client, folded. A receiver may believe them, so those of
/// a webhook call are not forwarded. `X-Forwarded-For` and its family are reserved on every route.
pub const CLIENT_ADDRESS: [&str; 20] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded-for",
    "remote-addr",
    "true-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-original-forwarded-for",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
];

/// A header that CGI passes on as `HTTP_PROXY`, by which many clients find their proxy (CVE-2016-5385).
pub const CGI_PROXY: &str = "proxy";

/// Returns true if a receiver could mistake `name`, in some spelling, for a fact about the client or for its own setting.
/// No allocation.
pub fn misleads_receiver(name: &str) -> bool {
    let trimmed = match name.as_bytes() {
        all @ [first, .., last] if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => all,
        all => {
            let Some(from) = all.iter().position(u8::is_ascii_alphanumeric) else { return false };
            let until = all.iter().rposition(u8::is_ascii_alphanumeric).unwrap_or(from);
            &all[from..=until]
        }
    };
    let [first, .., last] = trimmed else { return false };
    // The first and the last letter rule out nearly every name.
    match (first | 0x20, last | 0x20) {
        (b'p', b'y') => same(name, CGI_PROXY),
        // Names such as `X-Request-Id` are frequent.
        (b'x', b'd') => same(name, "x-forwarded"),
        (b'x', b's') => same(name, "x-envoy-external-address"),
        (b'c', b'p' | b'4' | b'6') | (b'f' | b'x', b'p' | b'r') | (b'r', b'r') | (b't', b'p') => {
            is_one_of(name, &CLIENT_ADDRESS)
        }
        _ => false,
    }
}

/// Returns true if `name`, folded, is one of `known`, which are folded and at most 24 bytes long. The name is folded once.
fn is_one_of(name: &str, known: &[&str]) -> bool {
    let (mut buffer, mut length) = ([0; 24], 0);
    for byte in folded(name.as_bytes()) {
        let Some(place) = buffer.get_mut(length) else { return false };
        *place = byte;
        length += 1;
    }
    known.iter().any(|known| known.as_bytes() == &buffer[..length])
}

/// Returns true if only attache may set `name`, in any spelling and independent of the file. No allocation.
pub fn is_reserved(name: &str) -> bool {
    // The first letter rules out nearly every name.
    match name.bytes().find(u8::is_ascii_alphanumeric) {
        Some(b'x' | b'X') => RESERVED_FAMILIES.iter().any(|family| in_family(name, family)),
        Some(b'f' | b'F') => same(name, "forwarded"),
        _ => false,
    }
}

/// Returns `name` in its folded spelling: lowercase, one `-` for any run of other characters than letters and digits,
/// and none at the ends. No allocation.
fn folded(name: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = name.trim_ascii_start();
    while let [first, more @ ..] = rest
        && !first.is_ascii_alphanumeric()
    {
        rest = more;
    }
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *rest.get(at)?;
        at += 1;
        if byte.is_ascii_alphanumeric() {
            return Some(byte.to_ascii_lowercase());
        }
        while !rest.get(at)?.is_ascii_alphanumeric() {
            at += 1;
        }
        Some(b'-')
    })
}

/// Returns `name`, folded.
pub fn fold(name: &str) -> String {
    folded(name.as_bytes()).map(char::from).collect()
}

/// Returns true if `name`, folded, equals `other`, which is folded already.
pub fn same(name: &str, other: &str) -> bool {
    folded(name.as_bytes()).eq(other.bytes())
}

/// Returns true if the two names are equal when folded.
pub fn alike(one: &str, other: &str) -> bool {
    folded(one.as_bytes()).eq(folded(other.as_bytes()))
}

/// Returns true if `name`, folded, begins with `family` and is longer.
fn in_family(name: &str, family: &str) -> bool {
    let mut name = folded(name.as_bytes());
    family.bytes().all(|byte| name.next() == Some(byte)) && name.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_name_keeps_its_spelling_and_compares_without_case() {
        let name = FieldName::parse("X-API-KEY").unwrap();
        assert_eq!(name.spelling(), "X-API-KEY");
        assert_eq!((name.as_str(), name.as_header_name().as_str()), ("x-api-key", "x-api-key"));
        assert_eq!(name, FieldName::from_static("x-Api-Key"));
        assert_ne!(name, FieldName::from_static("X-API-KEYS"));
        assert!(FieldName::parse("X API").is_err() && FieldName::parse("").is_err());
    }

    #[test]
    fn headers_that_mislead_a_receiver() {
        for known in CLIENT_ADDRESS {
            assert_eq!(fold(known), known, "folded");
            for name in
                [known.to_owned(), known.to_uppercase(), known.replace('-', "_"), format!("-{known}.")]
            {
                assert!(misleads_receiver(&name), "{name}");
            }
        }
        for name in ["Proxy", "_PROXY-", "X.Real~IP", "TRUE_CLIENT_IP"] {
            assert!(misleads_receiver(name), "{name}");
        }
        for name in
            ["", "-", "x", "ip", "proxy-status", "x-ip", "x-real-ips", "realip", "x-github-event", "cookie"]
        {
            assert!(!misleads_receiver(name), "{name}");
        }
    }

    #[test]
    fn the_documents_list_the_headers_that_mislead_a_receiver() {
        let page = include_str!("../docs/webhooks.md").to_lowercase();
        for known in CLIENT_ADDRESS.iter().chain([&CGI_PROXY]) {
            assert!(page.contains(&format!("`{known}`")), "{known}");
        }
    }

    #[test]
    fn every_spelling_is_one() {
        for name in
            ["X-Attache-User", "x_attache_user", "X.ATTACHE~user", "__x--attache!|user-", "x-.-attache+user"]
        {
            assert_eq!(fold(name), "x-attache-user", "{name}");
            assert!(same(name, "x-attache-user") && in_family(name, "x-attache-"), "{name}");
        }
        for name in ["x-attache", "x-attached-file", "xattache-user", "x-attache-", ""] {
            assert!(!in_family(name, "x-attache-"), "{name}");
        }
        assert!(alike("X_Attache.User", "x-attache--user") && !alike("x-a", "x-ab"));
        assert!(!same("x-attache-users", "x-attache-user") && !same("x-attache", "x-attache-user"));
    }
}
