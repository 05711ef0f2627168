//! The methods and paths of a right: whether a request is one that it allows.
//!
//! Paths are forwarded byte for byte, so the path that is matched is the one that was received. A server may read it in
//! another way: decoded, once or more often; with `\` as a separator; without parameters, empty segments, or what
//! follows an encoded `?`, `#` or NUL. Each of these readings begins as the received path does. The only way out of a
//! prefix is a segment that leads upwards, in whatever spelling. [`leads_up`] finds it, and errs on the safe side: a path
//! is refused even if few servers would read it so.

use crate::config::model::{PathPattern, Rights};
use crate::error_code::ErrorCode;
use crate::plan::Refusal;
use http::Method;

/// Number of times that a path is decoded. One that still holds an escape is refused.
const MAX_DECODED: usize = 4;

/// Why a right does not allow a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The method is not one of [`Rights::methods`].
    Method,
    /// The path matches none of [`Rights::paths`].
    Path,
    /// The path matches, but a server could read it as another one.
    AmbiguousPath,
}

impl Denied {
    /// Returns the answer, without the service or caller whose `rights` these are.
    pub fn refusal(self, rights: &Rights) -> Refusal {
        match self {
            Self::Method => {
                let allow = allow(&rights.methods);
                let detail = format!("only {allow} may be used here");
                let refusal = Refusal::new(ErrorCode::MethodDenied, detail).because("method");
                Refusal { allow: Some(allow.into()), ..refusal }
            }
            Self::Path => {
                let detail = "this path may not be used; the service's `paths` allow others";
                Refusal::new(ErrorCode::RequestDenied, detail).because("path")
            }
            Self::AmbiguousPath => {
                let detail =
                    "the path is spelled so that the service could read another one that may not be used";
                Refusal::new(ErrorCode::RequestDenied, detail).because("ambiguous_path")
            }
        }
    }
}

/// Checks a request. `rest` is the path below the service's `server_url`, as received: empty, or it starts with a slash.
/// The path is checked first, so that nothing is learned about one that is not allowed. Allocates only if the path has
/// an escape, or is not ASCII.
///
/// # Errors
///
/// The part of the request that is not allowed.
pub fn check(rights: &Rights, method: &Method, rest: &[u8]) -> Result<(), Denied> {
    check_path(&rights.paths, rest)?;
    match rights.methods.is_empty() || rights.methods.contains(method) {
        true => Ok(()),
        false => Err(Denied::Method),
    }
}

/// Returns the value of `Allow` (RFC 9110 section 10.2.1).
pub fn allow(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// Checks a path against the allowed ones; none allows all.
fn check_path(paths: &[PathPattern], rest: &[u8]) -> Result<(), Denied> {
    // A server sees `/` where its URL has no path.
    let path = if rest.is_empty() { b"/" } else { rest };
    let mut denied = if paths.is_empty() { return Ok(()) } else { Denied::Path };
    for pattern in paths {
        let literal = pattern.literal().as_bytes();
        if path == literal {
            return Ok(());
        }
        if pattern.is_prefix() && path.starts_with(literal) {
            // Nothing lies outside of `/*`. A prefix with an error leads up for every other pattern as well.
            if literal == b"/" || !leads_up(path) {
                return Ok(());
            }
            denied = Denied::AmbiguousPath;
        }
    }
    Err(denied)
}

/// Returns true if a server could read `path` as one that leads upwards, or could read more into it than can be told.
///
/// In whatever it is decoded to, no run of characters may consist of dots alone. A run ends at everything that is not a
/// letter or a digit, nor one of `-_~`: each of these separates segments, begins parameters, ends a string, or is dropped
/// by some server. White space within a run is dropped.
pub fn leads_up(path: &[u8]) -> bool {
    if path.is_ascii() && !path.contains(&b'%') {
        return std::str::from_utf8(path).is_ok_and(has_run_of_dots);
    }
    let mut path = path.to_vec();
    for _ in 0..MAX_DECODED {
        let Some(had_escape) = decode_once(&mut path) else { return true };
        // Bytes that are no UTF-8 may be an overlong spelling of a dot or a slash (RFC 3629 section 10).
        let Ok(text) = std::str::from_utf8(&path) else { return true };
        if has_run_of_dots(text) {
            return true;
        }
        if !had_escape || !path.contains(&b'%') {
            return false;
        }
    }
    true
}

/// Percent-decodes in place; returns true if there was an escape. `None` for an escape of 16 bits, which only few servers
/// know (`%u002e`).
fn decode_once(path: &mut Vec<u8>) -> Option<bool> {
    let digit = |at: Option<&u8>| at.and_then(|&digit| char::from(digit).to_digit(16));
    let (mut read, mut write) = (0, 0);
    while read < path.len() {
        let mut width = 1;
        let mut byte = path[read];
        if byte == b'%' {
            match (digit(path.get(read + 1)), digit(path.get(read + 2))) {
                (Some(high), Some(low)) => (byte, width) = ((high << 4 | low) as u8, 3),
                _ if matches!(path.get(read + 1), Some(b'u' | b'U')) => return None,
                _ => {}
            }
        }
        path[write] = byte;
        (read, write) = (read + width, write + 1);
    }
    path.truncate(write);
    Some(write < read)
}

/// Returns true if a run of `text` has a dot and nothing else.
fn has_run_of_dots(text: &str) -> bool {
    let (mut has_dot, mut has_other) = (false, false);
    for c in text.chars() {
        match c {
            // With those that Unicode's compatibility forms (NFKC), or IDNA, make dots of.
            '.' | '．' | '﹒' | '․' | '‥' | '︰' | '…' | '︙' | '。' | '｡' => has_dot = true,
            '-' | '_' | '~' => has_other = true,
            c if c.is_alphanumeric() => has_other = true,
            // Dropped at the end of a name, or `+` read as a space.
            ' ' | '+' => {}
            _ if has_dot && !has_other => return true,
            _ => (has_dot, has_other) = (false, false),
        }
    }
    has_dot && !has_other
}

#[cfg(test)]
mod tests;
