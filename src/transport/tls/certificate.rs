//! The fields of an X.509 certificate that rustls does not expose (RFC 5280 section 4.1).
//!
//! Invariant: a certificate with an unexpected encoding has no fields, so that a check of them fails.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Fields of a certificate. Times are seconds since 1970.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate<'a> {
    /// DER of the issuer's name.
    pub(super) issuer: &'a [u8],
    /// DER of the subject's name.
    pub(super) subject: &'a [u8],
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let (certificate, _) = expect(der, SEQUENCE)?;
        let (mut fields, _) = expect(certificate, SEQUENCE)?;
        // The version is optional. It is followed by the serial number and the algorithm.
        if let Some((_, rest)) = expect(fields, VERSION) {
            fields = rest;
        }
        let fields = expect(fields, INTEGER)?.1;
        let fields = expect(fields, SEQUENCE)?.1;
        let (issuer, fields) = expect(fields, SEQUENCE)?;
        let (validity, fields) = expect(fields, SEQUENCE)?;
        let (subject, _) = expect(fields, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self { issuer, subject, not_before: seconds(not_before)?, not_after: seconds(not_after)? })
    }
}

/// Returns the last day (`2027-01-31`) on which a certificate is valid, for display.
pub fn not_after_day(der: &[u8]) -> Option<String> {
    let certificate = Certificate::parse(der)?;
    let time = jiff::Timestamp::from_second(certificate.not_after).ok()?;
    Some(TimeZone::UTC.to_datetime(time).date().to_string())
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Returns the content of an element with this tag, and the bytes after it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|&(found, ..)| found == tag).map(|(_, content, rest)| (content, rest))
}

/// Returns tag, content and rest.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let add = |sum: usize, &byte: &u8| sum.checked_mul(256)?.checked_add(usize::from(byte));
        (length.iter().try_fold(0, add)?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Parses a time (RFC 5280 section 4.1.2.5), and returns it with the bytes after it.
fn time(der: &[u8]) -> Option<(DateTime, &[u8])> {
    let (tag, text, rest) = element(der)?;
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let pair = |at: usize| {
        Some(
            10 * i8::try_from(digits.get(at)? - b'0').ok()?
                + i8::try_from(digits.get(at + 1)? - b'0').ok()?,
        )
    };
    let (year, from) = match (tag, digits.len()) {
        // Two-digit years from 50 to 99 belong to the 20th century.
        (UTC_TIME, 12) => (i16::from(pair(0)?) + if pair(0)? < 50 { 2000 } else { 1900 }, 2),
        (GENERALIZED_TIME, 14) => (100 * i16::from(pair(0)?) + i16::from(pair(2)?), 4),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| pair(from + at));
    let time = DateTime::new(year, month?, day?, hour?, minute?, second?, 0).ok()?;
    Some((time, rest))
}

/// `9999-12-31`, which stands for no expiry, exceeds the range of jiff's timestamps and is clamped.
fn seconds(time: DateTime) -> Option<i64> {
    match TimeZone::UTC.to_timestamp(time) {
        Ok(time) => Some(time.as_second()),
        Err(_) if time.year() == 9999 => Some(jiff::Timestamp::MAX.as_second()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(not_before: (i32, u8, u8), not_after: (i32, u8, u8)) -> rcgen::Certificate {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".into()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(not_before.0, not_before.1, not_before.2);
        params.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
        params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a certificate")
    }

    #[test]
    fn reads_names_and_dates() {
        let certificate = certificate((1971, 1, 1), (2077, 2, 3));
        let fields = Certificate::parse(certificate.der()).expect("fields");
        assert_eq!(fields.issuer, fields.subject);
        assert_eq!(fields.not_before, 365 * 86_400);
        assert_eq!(fields.not_after, rcgen::date_time_ymd(2077, 2, 3).unix_timestamp());
        for (year, expected) in [(2031, "2031-02-03"), (2077, "2077-02-03"), (9999, "9999-02-03")] {
            let der = self::certificate((2000, 1, 1), (year, 2, 3));
            let expected = if year == 9999 { not_after_day(der.der()) } else { Some(expected.to_owned()) };
            assert_eq!(not_after_day(der.der()), expected);
            assert!(expected.is_some());
        }
    }

    #[test]
    fn reads_nothing_from_a_part_or_from_garbage() {
        let certificate = certificate((2000, 1, 1), (2031, 2, 3));
        for cut in 0..certificate.der().len() {
            assert_eq!(Certificate::parse(&certificate.der()[..cut]), None);
        }
        for garbage in [&b"\x30"[..], b"\x30\x84\xff\xff\xff\xff", b"\x30\xff", b"\x30\x02\x30\x00"] {
            assert_eq!(Certificate::parse(garbage), None);
        }
        for text in ["2001011200", "200101120000", "20010112000Z", "209901120000Z", "2001011200+0Z"] {
            let der = [&[UTC_TIME, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
            assert_eq!(time(&der), None, "{text}");
        }
    }
}
