//! Numbers, durations and moments as words. Moments of more than a minute are told to the minute, so that a page that
//! nothing happens on does not change every second.

use crate::admin::report::Moment;
use maud::{Markup, html};
use std::time::{Duration, SystemTime};

/// Seconds that are just now.
const NOW: u64 = 5;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Returns a number with a comma before every third digit: `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns `noun` in the number: `1 service`, `2 services`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Returns requests a second, or a minute where a second has fewer than one.
pub(super) fn rate(per_second: f64) -> String {
    if per_second >= 100.0 {
        format!("{}/s", count(per_second.round() as u64))
    } else if per_second >= 1.0 {
        format!("{per_second:.1}/s")
    } else {
        format!("{:.0}/min", per_second * 60.0)
    }
}

/// Returns a part of a whole in per cent; what is not nothing is never `0 %`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    match percent {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.1 => "< 0.1 %".to_owned(),
        percent if percent < 10.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// Returns a duration with two or three digits: `2.5 ms`, `220 ms`, `1.2 s`, `1 min 30 s`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        0.0 => "0 ms".to_owned(),
        s if s < 0.009_95 => format!("{:.1} ms", s * 1e3),
        s if s < 0.999_5 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 && (s - s.round()).abs() > 0.05 => format!("{s:.1} s"),
        s if s < 99.5 => format!("{s:.0} s"),
        _ => span(duration.as_secs()),
    }
}

/// Returns seconds in their two largest units, minutes at least: `3 min`, `2 h 5 min`, `4 d 1 h`.
fn span(seconds: u64) -> String {
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        s if s < HOUR => format!("{} min", s / MINUTE),
        s if s < DAY => two(s / HOUR, "h", s % HOUR / MINUTE, "min"),
        s if s < 7 * DAY => two(s / DAY, "d", s % DAY / HOUR, "h"),
        s => format!("{} d", s / DAY),
    }
}

/// Returns how far `then` is from `now`: `just now`, `18 s ago`, `3 min ago`, `in 42 s`, `in 2 h 5 min`.
pub(super) fn relative(now: SystemTime, then: Moment) -> String {
    match (now.duration_since(then.0), then.0.duration_since(now)) {
        (Ok(ago), _) if ago.as_secs() < NOW => "just now".to_owned(),
        (Ok(ago), _) if ago.as_secs() < MINUTE => format!("{} s ago", ago.as_secs()),
        (Ok(ago), _) => format!("{} ago", span(ago.as_secs())),
        (_, Ok(ahead)) if ahead.as_secs() < MINUTE => format!("in {} s", ahead.as_secs()),
        (_, Ok(ahead)) => format!("in {}", span(ahead.as_secs())),
        (Err(_), Err(_)) => String::new(),
    }
}

/// A moment by its distance, its date in the tooltip.
pub(super) fn moment(now: SystemTime, then: Moment) -> Markup {
    let exact = then.to_second();
    html! { time datetime=(exact) title=(exact) { (relative(now, then)) } }
}

/// A moment by its date and time of day, in UTC.
pub(super) fn clock(then: Moment) -> Markup {
    let exact = then.to_second();
    let shown = exact.replace('T', " ");
    html! { time datetime=(exact) { (shown.trim_end_matches('Z')) " UTC" } }
}

/// Text with code between backticks, as in Markdown.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::testing::{ago, at};

    #[test]
    fn numbers_are_grouped() {
        let shown = [0, 999, 1_000, 12_345, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!([rate(0.0), rate(0.5), rate(4.06), rate(1234.4)], ["0/min", "30/min", "4.1/s", "1,234/s"]);
        assert_eq!([percent(0, 0), percent(1, 100_000), percent(1, 3)], ["0 %", "< 0.1 %", "33 %"]);
    }

    #[test]
    fn durations_have_two_or_three_digits() {
        let shown =
            [0, 2_500, 9_960, 220_400, 999_600, 1_240_000, 2_000_000, 30_000_000, 90_000_000, 120_000_000];
        assert_eq!(
            shown.map(|micros| duration(Duration::from_micros(micros))),
            ["0 ms", "2.5 ms", "10 ms", "220 ms", "1 s", "1.2 s", "2 s", "30 s", "90 s", "2 min"]
        );
    }

    #[test]
    fn code_stands_between_backticks() {
        let shown = prose("raise `timeout` <of> it").into_string();
        assert_eq!(shown, "raise <code>timeout</code> &lt;of&gt; it");
    }

    #[test]
    fn moments_are_told_to_the_minute_and_below_one_to_the_second() {
        let past = [0, 18, 60, 3_600, 7_500, 90_000, 8 * 86_400].map(|seconds| relative(at(), ago(seconds)));
        assert_eq!(
            past,
            ["just now", "18 s ago", "1 min ago", "1 h ago", "2 h 5 min ago", "1 d 1 h ago", "8 d ago"]
        );
        let future =
            [42, 61, 86_400].map(|seconds| relative(at(), Moment(at() + Duration::from_secs(seconds))));
        assert_eq!(future, ["in 42 s", "in 1 min", "in 1 d"]);
    }
}
