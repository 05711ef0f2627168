//! Small charts of the last five minutes, as SVG. Colours are the style sheet's.

use super::words;
use crate::telemetry::metrics::{Activity, Counts, STEPS};
use maud::{Markup, html};
use std::fmt::Write as _;
use std::time::Duration;

/// The width of one step.
const SLOT: usize = 4;
const WIDTH: usize = STEPS * SLOT;
const HEIGHT: f64 = 28.0;

/// Requests a step as bars, and those that failed as the lower part of each.
pub(super) fn requests(activity: &Activity) -> Markup {
    let highest = activity.steps.iter().map(Counts::requests).max().unwrap_or(0);
    let scale = HEIGHT / highest.max(1) as f64;
    let bars = |value: fn(&Counts) -> u64| {
        let mut path = String::new();
        for (x, step) in slots(activity).filter(|(_, step)| value(step) > 0) {
            let height = (value(step) as f64 * scale).max(1.0);
            // Writing to a String can't fail.
            let _ = write!(path, "M{x} {HEIGHT}v-{height:.1}h{}v{height:.1}z", SLOT - 1);
        }
        path
    };
    let label = format!("Requests in steps of 10 s over 5 minutes, {} at most", words::count(highest));
    let (all, failed) = (bars(Counts::requests), bars(|step| u64::from(step.errors)));
    html! {
        svg.chart role="img" aria-label=(label) viewBox=(view_box()) width=(WIDTH) height=(HEIGHT) {
            path.bar d=(all) {}
            @if !failed.is_empty() { path.bar-error d=(failed) {} }
        }
    }
}

/// The p50 and the p99 of each step as lines, with gaps where nothing came.
pub(super) fn latency(activity: &Activity) -> Markup {
    let highest = activity.steps.iter().filter_map(|step| step.quantile(0.99)).max().unwrap_or_default();
    let label = format!("Latency in steps of 10 s over 5 minutes, p99 {} at most", words::duration(highest));
    html! {
        svg.chart role="img" aria-label=(label) viewBox=(view_box()) width=(WIDTH) height=(HEIGHT) {
            path.line-p99 d=(line(activity, 0.99, highest)) {}
            path.line-p50 d=(line(activity, 0.5, highest)) {}
        }
    }
}

fn view_box() -> String {
    format!("0 0 {WIDTH} {HEIGHT}")
}

/// The complete steps with their left edges: the latest is at the right.
fn slots(activity: &Activity) -> impl Iterator<Item = (usize, &Counts)> {
    let first = STEPS.saturating_sub(activity.steps.len());
    activity.steps.iter().enumerate().map(move |(at, step)| ((first + at) * SLOT, step))
}

/// A step alone between two gaps is a short dash.
fn line(activity: &Activity, q: f64, highest: Duration) -> String {
    let (mut path, mut is_drawing) = (String::new(), false);
    // A pixel above and below for the width of the line.
    let scale = (HEIGHT - 2.0) / highest.as_secs_f64().max(f64::MIN_POSITIVE);
    for (x, step) in slots(activity) {
        let Some(value) = step.quantile(q) else {
            is_drawing = false;
            continue;
        };
        let y = HEIGHT - 1.0 - value.as_secs_f64() * scale;
        let command = if is_drawing { 'L' } else { 'M' };
        let _ = write!(path, "{command}{x} {y:.1}h{}", SLOT - 1);
        is_drawing = true;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::ServiceStats;

    fn busy_then_quiet_then_busy() -> Activity {
        let stats = ServiceStats::new();
        for requests in [2, 0, 1] {
            for _ in 0..requests {
                stats.finished(200, None, Duration::from_millis(30), None);
            }
            stats.end_step();
        }
        stats.activity()
    }

    #[test]
    fn the_latest_step_is_at_the_right_and_a_quiet_one_is_a_gap() {
        let drawn = requests(&busy_then_quiet_then_busy()).into_string();
        assert!(drawn.contains("d=\"M108 28v-28.0h3v28.0zM116 28v-14.0h3v14.0z\""), "{drawn}");
        assert!(!drawn.contains("bar-error"), "{drawn}");
        let drawn = latency(&busy_then_quiet_then_busy()).into_string();
        let p99 = drawn.split("line-p99\" d=\"").nth(1).unwrap();
        assert!(p99.starts_with("M108 1.0h3M116 1.0h3\""), "{drawn}");
    }

    #[test]
    fn without_requests_nothing_is_drawn() {
        let drawn = latency(&Activity::default()).into_string();
        assert!(drawn.contains("p99 0 ms at most") && drawn.contains("line-p50\" d=\"\""), "{drawn}");
    }
}
