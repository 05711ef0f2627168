//! The time of signing, in the formats that providers use.

use super::Fault;
use super::trace::Trace;
use jiff::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The format of a signed time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// Unix seconds.
    #[default]
    Seconds,
    /// Unix milliseconds.
    Milliseconds,
    /// RFC 3339.
    Rfc3339,
}

impl TimeFormat {
    /// Every format, by its name in the file.
    pub const ALL: [(&str, Self); 3] =
        [("seconds", Self::Seconds), ("milliseconds", Self::Milliseconds), ("rfc3339", Self::Rfc3339)];

    /// Returns the seconds since the epoch. `is_pinned` times touch another signed part, so their length is fixed: ten
    /// digits until the year 2286.
    pub(super) fn parse(self, text: &str, is_pinned: bool) -> Option<u64> {
        match self {
            Self::Seconds if is_pinned && text.len() != 10 => None,
            Self::Seconds => digits(text, 12),
            // Ten digits would be seconds.
            Self::Milliseconds if text.len() != 13 => None,
            Self::Milliseconds => digits(text, 13).map(|milliseconds| milliseconds / 1000),
            Self::Rfc3339 => rfc3339(text),
        }
    }

    /// Returns a text for an error.
    pub(super) fn complaint(self) -> &'static str {
        match self {
            Self::Seconds => "has no time in Unix seconds",
            Self::Milliseconds => "has no time in Unix milliseconds",
            Self::Rfc3339 => "has no time of RFC 3339",
        }
    }
}

/// Parses digits, and nothing else, without a leading zero: a time that has one spelling ends at one place, whatever is
/// signed beside it. Twelve digits of seconds reach beyond the year 30000.
fn digits(text: &str, most: usize) -> Option<u64> {
    let plain = (1..=most).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Parses `2026-01-01T00:00:00Z`, with a fraction or an offset. No text is the beginning or the end of another one.
fn rfc3339(text: &str) -> Option<u64> {
    let (head, rest) = text.split_at_checked(19)?;
    let pattern = "0000-00-00T00:00:00";
    let fits = |pattern: &str, text: &str| {
        let same = |(p, b): (u8, u8)| if p == b'0' { b.is_ascii_digit() } else { p == b };
        pattern.len() == text.len() && pattern.bytes().zip(text.bytes()).all(same)
    };
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    let is_offset = offset == "Z" || fits("+00:00", offset) || fits("-00:00", offset);
    if !is_offset || !fits(pattern, head) {
        return None;
    }
    text.parse::<Timestamp>().ok().and_then(|time| u64::try_from(time.as_second()).ok())
}

/// Checks that `timestamp` is within the tolerance, in both directions.
pub(super) fn fresh(
    timestamp: u64,
    (now, tolerance): (SystemTime, Duration),
    trace: &mut Trace,
) -> Result<(), Fault> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let signed = Duration::from_secs(timestamp);
    let (age, ahead) = (now.saturating_sub(signed), signed.saturating_sub(now));
    if age > tolerance {
        Err(Fault::Stale(age, tolerance))
    } else if ahead > tolerance {
        Err(Fault::Future(ahead, tolerance))
    } else {
        let (age, tolerance) = (now.as_secs().abs_diff(timestamp), tolerance.as_secs());
        trace.passed(|| format!("signed {age}s from now; the tolerance is {tolerance}s"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::TimeFormat::{Milliseconds, Rfc3339, Seconds};

    #[test]
    fn a_time_has_one_spelling() {
        for text in [
            "",
            "01",
            "01767225600",
            " 1",
            "1 ",
            "+1",
            "-1",
            "1.0",
            "1e3",
            "0x1",
            "１",
            "9999999999999",
            "1767225600x",
            "2026-01-01T00:00:00Z",
            "18446744073709551617",
        ] {
            assert_eq!(Seconds.parse(text, false), None, "{text}");
            assert_eq!(Seconds.parse(text, true), None, "{text}");
        }
        assert_eq!(Seconds.parse("1767225600", true), Some(1_767_225_600));
        assert_eq!(Seconds.parse("176722560", false), Some(176_722_560));
        assert_eq!(Seconds.parse("176722560", true), None);
        assert_eq!(Seconds.parse("17672256000", true), None);
        assert_eq!(Milliseconds.parse("1767225600999", true), Some(1_767_225_600));
        for text in ["1767225600", "17672256000000", "0767225600000", "-767225600000", "1767225600.00"] {
            assert_eq!(Milliseconds.parse(text, false), None, "{text}");
        }
    }

    #[test]
    fn an_rfc_3339_time_has_every_part() {
        for text in ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.634234626Z", "2025-12-31T17:00:00-07:00"] {
            assert_eq!(Rfc3339.parse(text, true), Some(1_767_225_600), "{text}");
        }
        for text in [
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00z",
            "2026-01-01T00:00:00+00",
            "2026-01-01T00:00:00+0000",
            "2026-01-01T00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00,5Z",
            "2026-01-01T00:00:00Z[UTC]",
            "2026-13-01T00:00:00Z",
            "12026-01-01T00:00:00Z",
            "1926-01-01T00:00:00Z",
            "1767225600",
            "",
            "ü026-01-01T00:00:00Z",
            "2026-01-01T00:00:0üZ",
        ] {
            assert_eq!(Rfc3339.parse(text, false), None, "{text}");
        }
    }
}
