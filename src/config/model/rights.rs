//! Rights: the methods and paths that a service, or a caller of it, may be used with.

use http::Method;

/// `methods` and `paths` of a right. An empty list allows all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// `methods`. `HEAD` is one of its own.
    pub methods: Vec<Method>,
    /// `paths`, below the service's `server_url`.
    pub paths: Vec<PathPattern>,
}

/// One of `paths`: an exact path, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// The text without its `*`.
    literal: Box<str>,
    /// The text ends in `*`, which stands for any rest, slashes included.
    is_prefix: bool,
}

impl PathPattern {
    /// Parses `/orders/1` or `/contacts*`. A lone `*` is `/*`.
    ///
    /// # Errors
    ///
    /// The reason why no path can match, or why a path that matches could lead elsewhere.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (literal, is_prefix) = match text.strip_suffix('*') {
            Some("") => ("/", true),
            Some(literal) => (literal, true),
            None => (text, false),
        };
        if !literal.starts_with('/') {
            return Err("a path starts with `/`");
        }
        if literal.contains('*') {
            return Err("`*` stands at the end only");
        }
        if literal.contains(['?', '#']) {
            return Err("a path has no query and no fragment");
        }
        if literal.contains("//") {
            return Err("a path that is allowed has no empty segment");
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()+,=:@/%".contains(c);
        if !literal.chars().all(is_plain) {
            return Err("write other characters than letters, digits and `-._~!$&'()+,=:@` as `%XX`");
        }
        let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
        if !literal.split('%').skip(1).all(is_escape) {
            return Err("`%` is followed by two hexadecimal digits");
        }
        let is_only_dots = |segment: &str| !segment.is_empty() && segment.bytes().all(|b| b == b'.');
        if literal.to_ascii_lowercase().replace("%2e", ".").split('/').any(is_only_dots) {
            return Err("a path that is allowed has no segment of dots");
        }
        Ok(Self { literal: literal.into(), is_prefix })
    }

    /// Returns the text without its `*`.
    pub fn literal(&self) -> &str {
        &self.literal
    }

    /// Returns true if a path may go on after the literal.
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.literal, if self.is_prefix { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::PathPattern;

    #[test]
    fn a_pattern_is_exact_or_a_prefix() {
        for text in [
            "/",
            "/*",
            "/contacts*",
            "/orders/*",
            "/a/b-c_d~e!$&'()+,=:@",
            "/projects/a%2Fb*",
            "/.well-known/x",
        ] {
            let pattern = PathPattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(pattern.to_string(), text);
            assert_eq!(pattern.is_prefix(), text.ends_with('*'));
        }
        assert_eq!(PathPattern::parse("*"), PathPattern::parse("/*"));
    }

    #[test]
    fn what_no_request_could_match_or_what_could_lead_elsewhere_is_no_pattern() {
        for text in [
            "",
            "contacts*",
            "/a*b",
            "/a**",
            "/a?b",
            "/a#b",
            "//a",
            "/a//*",
            "/a b",
            "/ä",
            "/a\\b",
            "/a;b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/..",
            "/a/../b",
            "/./a",
            "/%2e%2E/a",
            "/a/.*",
            "/a/...",
            "/a/%2e",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }
}
