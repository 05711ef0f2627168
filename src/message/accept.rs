//! `Accept` (RFC 9110 section 12.5.1), as far as attache's own answers need it.

/// Returns true if `accept` prefers plain text to JSON. A tie goes to the more specific media range, else to JSON.
pub(crate) fn prefers_text(accept: &[u8]) -> bool {
    let Ok(accept) = std::str::from_utf8(accept) else { return false };
    let text = quality(accept, &["text/plain"], "text/*");
    let json = quality(accept, &["application/problem+json", "application/json"], "application/*");
    text.0 > 0 && text > json
}

/// Returns the quality in thousandths, and the specificity of the media range that matched.
fn quality(accept: &str, types: &[&str], family: &str) -> (u16, u8) {
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let exactness = if types.iter().any(|t| name.eq_ignore_ascii_case(t)) {
            3
        } else if name.eq_ignore_ascii_case(family) {
            2
        } else if name == "*/*" {
            1
        } else {
            continue;
        };
        let q = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .and_then(|q| q.trim().parse::<f32>().ok())
            .filter(|q| (0.0..=1.0).contains(q))
            .unwrap_or(1.0);
        // The most specific range decides.
        if exactness > best.1 || (exactness == best.1 && (q * 1000.0) as u16 > best.0) {
            best = ((q * 1000.0) as u16, exactness);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_answered_only_where_it_is_preferred() {
        for accept in [
            "text/plain",
            "text/plain, */*",
            "text/plain;q=0.9, application/json;q=0.1",
            "text/*, */*;q=0.1",
            "TEXT/PLAIN",
            "application/json;q=0, text/plain",
        ] {
            assert!(prefers_text(accept.as_bytes()), "{accept}");
        }
        for accept in [
            "*/*",
            "",
            "application/json",
            "application/json, text/plain",
            "text/plain;q=0",
            "text/html, */*;q=0.8",
            "text/plain;q=0.5, application/problem+json",
            "text/plain;q=0.1, */*",
        ] {
            assert!(!prefers_text(accept.as_bytes()), "{accept}");
        }
    }
}
