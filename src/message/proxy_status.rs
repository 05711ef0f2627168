//! `Proxy-Status` (RFC 9209) of an upstream's response.

/// Returns `Proxy-Status` without the members that bear attache's own name (RFC 9209 section 2). `None`: nothing is
/// left.
pub(crate) fn foreign(value: &[u8]) -> Option<Vec<u8>> {
    let is_foreign = |member: &&[u8]| {
        let name = member.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
        let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
        !name.is_empty() && !name.eq_ignore_ascii_case(b"attache")
    };
    let kept: Vec<&[u8]> = members(value).into_iter().map(<[u8]>::trim_ascii).filter(is_foreign).collect();
    (!kept.is_empty()).then(|| kept.join(&b", "[..]))
}

/// Splits a structured list (RFC 8941) into members: a comma in a quoted string does not separate.
fn members(value: &[u8]) -> Vec<&[u8]> {
    let (mut members, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, &byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                members.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(&value[start..]);
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_in_attaches_name_are_removed() {
        let kept = |value: &str| foreign(value.as_bytes()).map(|kept| String::from_utf8(kept).expect("text"));
        assert_eq!(kept("attache; error=dns_error"), None);
        assert_eq!(
            kept("\"attache\"; x, cdn; details=\"a, attache\"").as_deref(),
            Some("cdn; details=\"a, attache\"")
        );
        assert_eq!(kept("Attache, origin").as_deref(), Some("origin"));
    }
}
