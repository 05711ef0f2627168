//! Parsers for scalars: durations, sizes, addresses, names of headers and methods, URLs.
//!
//! Pure functions from text to value; an error is the label for the text. Errors never quote the text.

use super::model::{CREDENTIAL_PLACE, Host, ListenAddr, NoProxy, ServerUrl};
use crate::x509::San;
use http::Method;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// The label for an invalid text, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) label: &'static str,
    pub(super) help: Option<String>,
}

fn invalid<T>(label: &'static str) -> Result<T, Invalid> {
    Err(Invalid { label, help: None })
}

fn invalid_try<T>(label: &'static str, help: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { label, help: Some(help.into()) })
}

/// Parses `500ms`, `10s`, `1m30s`, `2h`: whole numbers, each with its unit, larger units first.
pub(super) fn duration(text: &str) -> Result<Duration, Invalid> {
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return invalid_try("the unit is missing", format!("write `{text}s` for seconds"));
    }
    let wrong = || wrong_duration(text, &UNITS.map(|(unit, _)| unit));
    let (mut rest, mut total, mut last) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(number) = rest[..digits].parse::<u64>() else { return wrong() };
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let Some((_, millis)) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]) else {
            return wrong();
        };
        if *millis >= last {
            return wrong();
        }
        (rest, last) = (&rest[letters..], *millis);
        let Some(sum) = number.checked_mul(*millis).and_then(|n| total.checked_add(n)) else {
            return wrong();
        };
        total = sum;
    }
    if text.is_empty() { wrong() } else { Ok(Duration::from_millis(total)) }
}

/// Explains a text that is not a duration.
fn wrong_duration(text: &str, units: &[&str]) -> Result<Duration, Invalid> {
    let example = "write it like `500ms`, `10s`, `1m30s` or `2h`";
    let compact: String = text.split_whitespace().collect();
    if compact != text && !compact.is_empty() && duration(&compact).is_ok() {
        return invalid_try("a duration has no spaces", format!("write `{compact}`"));
    }
    let begins_with_digit = text.starts_with(|c: char| c.is_ascii_digit());
    if begins_with_digit && text.contains(['.', ',']) {
        return invalid_try("a fraction is not possible", "write it in the next smaller unit, like `1500ms`");
    }
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let unit = unit.trim().to_ascii_lowercase();
    if !begins_with_digit || unit.is_empty() || !unit.bytes().all(|b| b.is_ascii_alphabetic()) {
        return invalid_try("a number with a unit is expected, larger units first", example);
    }
    let meant = match unit.as_str() {
        "msec" | "msecs" | "milli" | "millis" | "millisecond" | "milliseconds" => "ms",
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        same if text.ends_with(same) && units.contains(&same) => return invalid("the number is too large"),
        lower if units.contains(&lower) => lower,
        _ => return invalid_try("the unit is not `h`, `m`, `s` or `ms`", example),
    };
    invalid_try("the unit is not `h`, `m`, `s` or `ms`", format!("write `{number}{meant}`"))
}

/// Parses `64KiB`, `1MiB`, `512B`, or plain bytes.
pub(super) fn size(text: &str) -> Result<u64, Invalid> {
    let wrong = || invalid_try("a number with a unit is expected", "write it like `64KiB`, `1MiB` or `512B`");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let Ok(number) = text[..digits].parse::<u64>() else { return wrong() };
    let unit = match &text[digits..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => {
            let meant = ["KiB", "MiB", "GiB"]
                .into_iter()
                .find(|unit| unit[..1].eq_ignore_ascii_case(other.get(..1).unwrap_or("")));
            return match meant {
                Some(unit) => invalid_try("the unit is not known", format!("write `{number}{unit}`")),
                None => wrong(),
            };
        }
    };
    number.checked_mul(unit).map_or_else(wrong, Ok)
}

/// Parses `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`.
pub(super) fn listen_addr(text: &str) -> Result<ListenAddr, Invalid> {
    // `sockaddr_un` holds 108 bytes, the last of them NUL.
    const MAX_UNIX_PATH: usize = 107;
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => invalid_try("the path is missing", "write it like `unix:/run/attache/outbound.sock`"),
            path if path.len() > MAX_UNIX_PATH => invalid("the path of a unix socket has at most 107 bytes"),
            path => Ok(ListenAddr::Unix(path.into())),
        };
    }
    match text.parse() {
        Ok(addr) => Ok(ListenAddr::Tcp(addr)),
        Err(_) => {
            let port = text.rsplit_once(':').map_or(text, |(_, port)| port);
            let port = if port.parse::<u16>().is_ok() { port } else { "8080" };
            let help = format!("write it like `127.0.0.1:{port}` or `unix:/path`");
            match text.strip_suffix(port).and_then(|host| host.strip_suffix(':')) {
                Some(host) if host.eq_ignore_ascii_case("localhost") => {
                    invalid_try("a name can't be used here", format!("write `127.0.0.1:{port}`"))
                }
                _ => invalid_try("an IP address and a port are expected", help),
            }
        }
    }
}

/// Parses an RFC 3339 instant.
pub(super) fn instant(text: &str) -> Result<SystemTime, Invalid> {
    let dated = text.len() > 10 && matches!(text.as_bytes()[10], b'T' | b't' | b' ') && !text.contains('[');
    match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) if dated => {
            SystemTime::try_from(timestamp).or_else(|_| invalid("this time is out of range"))
        }
        _ => {
            let date =
                text.get(..10).filter(|d| d.parse::<jiff::civil::Date>().is_ok()).unwrap_or("2026-12-31");
            invalid_try("a date, a time and a zone are expected", format!("write it like `{date}T00:00:00Z`"))
        }
    }
}

/// Parses a request method.
pub(super) fn method(text: &str) -> Result<Method, Invalid> {
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT) => invalid("CONNECT opens a tunnel, which is never forwarded"),
        Ok(_) if ["TRACE", "TRACK"].iter().any(|name| text.eq_ignore_ascii_case(name)) => {
            invalid("every request with this method is refused: the answer would show what attache adds")
        }
        Ok(_) if text.bytes().any(|b| b.is_ascii_lowercase()) => {
            invalid_try("methods are case-sensitive", format!("write `{}`", text.to_ascii_uppercase()))
        }
        Ok(method) => Ok(method),
        Err(_) => invalid_try("a method is one word", "write it like `POST`"),
    }
}

/// Parses the name by which a sender of CloudEvents introduces itself.
pub(super) fn origin(text: &str) -> Result<String, Invalid> {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return invalid_try("a sender states its host name, not a URL", format!("write `{host}`"));
    }
    if text.contains('*') {
        return invalid_try("patterns are not supported", "list each name, or remove `origins` to allow all");
    }
    if text.contains(':') {
        return invalid_try("a sender states no port", "remove it");
    }
    check_host(text).map(|()| text.to_owned())
}

/// Parses the topic of a hub: the URL of a feed. It is compared as it stands.
pub(super) fn topic(text: &str) -> Result<String, Invalid> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(text.to_owned()),
        _ => invalid_try("a hub names a topic by its URL", "write it like `https://blog.example/feed`"),
    }
}

/// Checks the name of an account, a user or a service.
pub(super) fn name(text: &str) -> Result<(), Invalid> {
    identifier(
        text,
        128,
        "a name has letters, digits, `.`, `_` and `-`, starts with a letter or digit, and is at most 128 long",
    )
}

/// Checks the id of an API key.
pub(super) fn key_id(text: &str) -> Result<(), Invalid> {
    identifier(
        text,
        64,
        "an id has letters, digits, `.`, `_` and `-`, starts with a letter or digit, and is at most 64 long",
    )
}

fn identifier(text: &str, max: usize, label: &'static str) -> Result<(), Invalid> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let all = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if first && all && text.len() <= max { Ok(()) } else { invalid(label) }
}

/// Parses a subject alternative name of a certificate, which is compared exactly.
pub(super) fn san(text: &str) -> Result<San, Invalid> {
    if text.contains('*') {
        return invalid_try("a pattern is not possible", "write the whole name");
    }
    let (kind, rest) = text.split_once(':').unwrap_or_default();
    if matches!(kind, "URI" | "DNS" | "email") {
        return invalid_try("the kind is told by the name itself", format!("write `{rest}`"));
    }
    San::parse(text).map_or_else(|| invalid("a name has only visible ASCII characters"), Ok)
}

/// Returns true if a `Bearer` token may hold `byte` (RFC 6750 section 2.1).
pub(super) fn is_bearer_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// Returns true if `text` is one `scope-token` of RFC 6749 section 3.3.
pub(super) fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// Parses `10.0.0.0/8`, `2001:db8::/32`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, Invalid> {
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match parsed.map(unmapped) {
        Ok(network) if network.network() != network.addr() => {
            invalid_try("this network has bits set after its prefix", format!("write `{}`", network.trunc()))
        }
        Ok(network) => Ok(network),
        Err(_) => invalid_try(
            "an address, or an address and a prefix length, is expected",
            "write it like `203.0.113.0/24`, `2001:db8::/32` or `192.0.2.1`",
        ),
    }
}

/// Returns the IPv4 network that an IPv6 network of mapped addresses (`::ffff:203.0.113.0/120`) stands for. Addresses are
/// compared in their IPv4 form, so the mapped form would never match.
fn unmapped(network: IpNet) -> IpNet {
    /// Length of the prefix `::ffff:0:0`.
    const MAPPED: u8 = 96;
    let IpNet::V6(v6) = network else { return network };
    let address = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED));
    let mapped = address.and_then(|(address, length)| IpNet::new(address.into(), length).ok());
    mapped.unwrap_or(network)
}

/// Parses 64 lowercase hexadecimal digits.
pub(super) fn sha256(text: &str, command: &str) -> Result<[u8; 32], Invalid> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let decode = || {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(out)
    };
    match decode() {
        Some(out) => Ok(out),
        None if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            invalid_try("the digits must be lowercase", "write `a` to `f` instead of `A` to `F`")
        }
        None => invalid_try("64 hexadecimal digits are expected", format!("{command} prints one")),
    }
}

/// Parses `server_url`, whose credentials belong in an account. Its path may have a place for one.
pub(super) fn server_url(text: &str) -> Result<ServerUrl, Invalid> {
    let remedies = ("use an account with `basic`", "a credential in the query is an account with `query`");
    let Some(at) = text.find(CREDENTIAL_PLACE) else { return base_url(text, remedies) };
    if text.matches(CREDENTIAL_PLACE).count() > 1 {
        return invalid("`{credential}` stands once in a URL");
    }
    // The text is checked as it is with a credential, which is a part of one segment.
    let (before, after) = (&text[..at], &text[at + CREDENTIAL_PLACE.len()..]);
    let mut url = base_url(&format!("{before}{STAND_IN}{after}"), remedies)?;
    if url.path.matches(STAND_IN).count() != 1 {
        return invalid_try(
            "`{credential}` does not stand in the path",
            "write it like `https://api.telegram.org/bot{credential}`",
        );
    }
    url.path = url.path.replace(STAND_IN, CREDENTIAL_PLACE);
    Ok(url)
}

/// Stands for a credential while a URL is checked.
const STAND_IN: &str = "attache-credential";

/// Parses `forward_to` or `public_url`, to which no account belongs.
pub(super) fn bare_url(text: &str) -> Result<ServerUrl, Invalid> {
    base_url(text, ("remove it", "remove it"))
}

/// Parses a URL: http or https, no user info, query or fragment. The path is kept byte for byte, but for several slashes
/// at its end, which are one. `remedies` are those for user info and for a query.
fn base_url(text: &str, remedies: (&str, &str)) -> Result<ServerUrl, Invalid> {
    let (tls, rest) = scheme(text)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return invalid_try("a user or password does not belong in a URL", remedies.0);
    }
    if path.contains('?') {
        return invalid_try("a query is not allowed here", remedies.1);
    }
    if path.contains('#') {
        return invalid("a fragment is not allowed here");
    }
    let base = format!("{}://{authority}/", if tls { "https" } else { "http" });
    let url = match url::Url::parse(&base) {
        Ok(url) => url,
        Err(url::ParseError::EmptyHost) => return invalid("the host is missing"),
        Err(url::ParseError::InvalidPort) => return invalid("the port is not a number below 65536"),
        Err(_) => return invalid("this host is not valid"),
    };
    let host = match url.host() {
        Some(url::Host::Domain(name)) => {
            check_host(name)?;
            Host::Name(name.to_owned())
        }
        Some(url::Host::Ipv4(ip)) => Host::Ip(IpAddr::V4(ip)),
        Some(url::Host::Ipv6(ip)) => Host::Ip(IpAddr::V6(ip)),
        None => return invalid("the host is missing"),
    };
    let default = if tls { 443 } else { 80 };
    let port = url.port().unwrap_or(default);
    if port == 0 {
        return invalid("there is no port 0 to connect to");
    }
    check_path(path)?;
    let host_text = url.host_str().unwrap_or_default();
    let authority = if port == default { host_text.to_owned() } else { format!("{host_text}:{port}") };
    let trimmed = path.trim_end_matches('/');
    // `https://a.example/` is `https://a.example`.
    let end = if trimmed.is_empty() || trimmed == path { "" } else { "/" };
    Ok(ServerUrl { tls, host, port, authority, path: format!("{trimmed}{end}") })
}

/// Parses the URL of a forward proxy.
pub(super) fn proxy_url(text: &str) -> Result<ServerUrl, Invalid> {
    let is_scheme = |scheme: &str| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let is_placeholder = text.contains("{{") || text.contains("${");
    if !is_placeholder && !text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)) {
        return invalid_try(
            "it does not begin with `http://`; SOCKS can't be used",
            "write it like `http://proxy.example.com:3128`",
        );
    }
    let url = base_url(text, ("use `username` and `password`", "remove it"))?;
    if url.tls {
        return invalid_try("a proxy with TLS on its own port can't be used", "use its http port");
    }
    if url.path.is_empty() { Ok(url) } else { invalid_try("a proxy has no path", "remove it") }
}

/// Parses an entry of `no_proxy`: `*`, a domain with or without a leading dot, an address, a network; with or without a
/// port.
pub(super) fn no_proxy(text: &str) -> Result<NoProxy, Invalid> {
    if text == "*" {
        return Ok(NoProxy::All);
    }
    if text.contains('/') || text.parse::<IpAddr>().is_ok() {
        return network(text).map(|network| NoProxy::Network(network, None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(0) | Err(_) => return invalid("the port is not a number from 1 to 65535"),
            Ok(port) => (host, Some(port)),
        },
        None => (text, None),
    };
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = literal.parse::<IpAddr>() {
        return Ok(NoProxy::Network(ip.to_canonical().into(), port));
    }
    let name = host.strip_prefix("*.").or_else(|| host.strip_prefix('.')).unwrap_or(host);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    check_host(&name).map(|()| NoProxy::Domain(name, port))
}

/// Parses `tls.server_name`: a host name or an address, in lower case.
pub(super) fn server_name(text: &str) -> Result<String, Invalid> {
    if text.contains(['/', ':']) && text.parse::<IpAddr>().is_err() {
        return invalid_try(
            "a name without scheme, port and path is expected",
            "write it like `api.example.com`",
        );
    }
    if text.contains('*') {
        return invalid("a certificate may have a `*`, the name that it is for has none");
    }
    let name = text.to_ascii_lowercase();
    match name.parse::<IpAddr>() {
        Ok(_) => Ok(name),
        Err(_) => check_host(&name).map(|()| name),
    }
}

/// Parses `token_url`: http or https, no user info, no fragment.
pub(super) fn token_url(text: &str) -> Result<url::Url, Invalid> {
    endpoint(text, "use `client_id` and `client_secret`")
}

/// Parses `jwks.url`: as [`token_url`].
pub(super) fn jwks_url(text: &str) -> Result<url::Url, Invalid> {
    endpoint(text, "give a bearer token as `jwks.token`")
}

/// Parses an endpoint. `credential` says where a credential belongs instead of the URL.
fn endpoint(text: &str, credential: &'static str) -> Result<url::Url, Invalid> {
    scheme(text)?;
    let Ok(url) = url::Url::parse(text) else { return invalid("this URL is not valid") };
    if !url.username().is_empty() || url.password().is_some() {
        return invalid_try("a user or password does not belong in a URL", credential);
    }
    if url.fragment().is_some() {
        return invalid("a fragment is not allowed here");
    }
    if let Some(url::Host::Domain(name)) = url.host() {
        check_host(name)?;
    }
    if url.port() == Some(0) {
        return invalid("there is no port 0 to connect to");
    }
    Ok(url)
}

/// Parses `redirect_url`: an http URL with a loopback address, on which `attache login` listens for the browser (RFC 8252
/// section 7.3), or an https URL, whose address the user copies from the browser.
pub(super) fn redirect_url(text: &str) -> Result<url::Url, Invalid> {
    let url = token_url(text)?;
    if url.scheme() == "https" || is_loopback(url.host().as_ref()) {
        return Ok(url);
    }
    invalid_try(
        "http is possible only with a loopback address of this machine",
        "write it like `http://127.0.0.1:8400/callback`, or use https",
    )
}

/// Parses the issuer of an identity provider (RFC 8414 section 2), and returns it as written: it is compared as text.
pub(super) fn issuer(text: &str) -> Result<String, Invalid> {
    let url = token_url(text)?;
    if url.query().is_some() {
        return invalid("an issuer has no query");
    }
    Ok(text.to_owned())
}

/// Parses a JSON Pointer (RFC 6901) to a member.
pub(super) fn json_pointer(text: &str) -> Result<String, Invalid> {
    let escapes = text.split('~').skip(1);
    if text.starts_with('/') && escapes.into_iter().all(|rest| rest.starts_with(['0', '1'])) {
        return Ok(text.to_owned());
    }
    let help = "it begins with `/` and has one between two names, as in `/data/token`; `~1` stands for a `/` in a name";
    invalid_try("this is not a JSON Pointer (RFC 6901)", help)
}

/// Returns the number, boolean or null that a plain scalar stands for; `None` if it is text, or a number that JSON does
/// not have.
pub(super) fn json(text: &str) -> Option<serde_json::Value> {
    match text {
        "~" | "null" | "Null" | "NULL" => return Some(serde_json::Value::Null),
        "true" | "True" | "TRUE" => return Some(true.into()),
        "false" | "False" | "FALSE" => return Some(false.into()),
        _ => {}
    }
    // Every number begins with one of these. Most texts need no parser.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let number = serde_yaml::from_str::<serde_yaml::Number>(text).ok()?;
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    match (number.as_u64(), number.as_f64().and_then(serde_json::Number::from_f64)) {
        (Some(number), _) => Some(number.into()),
        (None, number) => number.map(serde_json::Value::Number),
    }
}

/// Returns the name of a character that is invisible, or looks like an ordinary space.
pub(super) fn invisible(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{a0}' | '\u{2007}' | '\u{202f}' => "a no-break space",
        '\u{200b}' => "a zero-width space",
        '\u{200c}' | '\u{200d}' | '\u{2060}' => "a zero-width character",
        '\u{ad}' => "a soft hyphen",
        '\u{feff}' => "a byte-order mark",
        '\u{2000}'..='\u{200a}' | '\u{3000}' => "a space of another kind",
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "a change of the writing direction",
        '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => "a control character",
        _ => return None,
    })
}

/// Returns true if the host is a loopback literal or `localhost`, which is never resolved. Another name that resolves
/// to a loopback address does not count.
pub(super) fn is_loopback(host: Option<&url::Host<&str>>) -> bool {
    match host {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => *name == "localhost",
        None => false,
    }
}

/// Parses a name of `hosts`, as it is compared with `Host`: in lowercase, and in ASCII.
pub(super) fn host(text: &str) -> Result<String, Invalid> {
    if text.contains("://") || text.contains('/') {
        return invalid_try("a host name is expected, not a URL", "write it like `mailer.internal`");
    }
    if text.contains('*') {
        return invalid_try("patterns are not supported", "list each name");
    }
    if text.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())) {
        return invalid_try("a port does not belong here", "remove it: the name counts with any port");
    }
    match url::Host::parse(text.strip_suffix('.').unwrap_or(text)) {
        Ok(url::Host::Domain(name)) => check_host(&name).map(|()| name),
        Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => invalid_try(
            "an address is not a name",
            "a request by an address is found by its path, as `/SERVICE/…`",
        ),
        Err(_) => check_host(text).and_then(|()| invalid("this is not a host name")),
    }
}

/// Checks a host name: labels of RFC 1123 section 2.1, and `_`, which internal names use.
fn check_host(name: &str) -> Result<(), Invalid> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.contains(['$', '{', '}']) {
        return invalid_try(
            "this is not a host name",
            "attache replaces no variables: write the host itself",
        );
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(());
    }
    invalid_try(
        "this is not a host name",
        "a host name has letters, digits, `-` and `_`, in labels of at most 63 separated by `.`",
    )
}

fn scheme(text: &str) -> Result<(bool, &str), Invalid> {
    if text.contains("{{") || text.contains("${") {
        return invalid_try("this is a placeholder", "attache replaces no variables: write the URL itself");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return invalid("a URL has no spaces");
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return invalid_try("the scheme is missing", "write it like `https://api.example.com/v3`");
    };
    if scheme.eq_ignore_ascii_case("https") {
        Ok((true, rest))
    } else if scheme.eq_ignore_ascii_case("http") {
        Ok((false, rest))
    } else {
        invalid_try("the scheme is neither `https` nor `http`", "write it like `https://api.example.com/v3`")
    }
}

/// Checks a path prefix. No request may leave it, so it must contain nothing that could be read as a step up.
fn check_path(path: &str) -> Result<(), Invalid> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&b);
    if path.contains('\\') {
        return invalid_try("a path has no `\\`", "write `/`");
    }
    if !path.bytes().all(allowed) {
        return invalid("the path has characters that must be percent-encoded");
    }
    let Some(decoded) = percent_decode(path) else {
        return invalid("`%` must be followed by two hexadecimal digits");
    };
    let step = |segment: &[u8]| {
        let name = segment.split(|b| *b == b';').next().unwrap_or_default();
        name == b"." || name == b".."
    };
    if decoded.split(|b| matches!(b, b'/' | b'\\')).any(step) {
        return invalid("a path has no `.` or `..` segments");
    }
    Ok(())
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push((high << 4 | low) as u8);
    }
    Some(out)
}

#[cfg(test)]
#[path = "scalar_tests.rs"]
mod tests;
