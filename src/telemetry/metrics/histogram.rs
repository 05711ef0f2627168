//! A latency histogram in 120 bytes.
//!
//! `prometheus::Histogram` keeps its name, help, labels and two shards of counters for each instance, in 16 allocations.
//! Among 10,000 services most of them are in no cache. Here the name and the labels belong to the exposition.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus::proto;

/// Upper bounds, in nanoseconds, from 5 ms to 60 s: from a hit in the same rack to the longest usual deadline.
const BOUNDS: [u64; 13] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// How many buckets there are: one for each of [`BOUNDS`], and one for what is longer.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts durations by their length. Recording is two relaxed additions.
///
/// The number of observations is the sum of the buckets, so a scrape's `_count` always equals its `+Inf` bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not cumulative.
    buckets: [AtomicU64; BUCKETS],
    /// In microseconds. Nanoseconds would overflow within months for a service with thousands of slow requests.
    sum: AtomicU64,
}

impl Histogram {
    /// Returns a histogram without observations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().take_while(|bound| **bound < nanos).count();
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(nanos.saturating_add(500) / 1000, Relaxed);
    }

    /// Returns the number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Returns the number of observations in each bucket, modulo 2³².
    pub(super) fn counts(&self) -> [u32; BUCKETS] {
        self.buckets.each_ref().map(|count| count.load(Relaxed) as u32)
    }

    /// Returns the state in the form that the text encoder takes.
    pub(super) fn to_proto(&self) -> proto::Histogram {
        // Read before the buckets: the sum of a scrape then lacks observations rather than having some that are not counted.
        let sum = self.sum.load(Relaxed);
        let mut count = 0;
        let counts = self.buckets.each_ref().map(|bucket| {
            count += bucket.load(Relaxed);
            count
        });
        let buckets = BOUNDS.iter().zip(counts).map(|(bound, cumulative)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e9);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum as f64 / 1e6);
        histogram
    }
}

/// Returns the duration that the fraction `q` of the observations does not exceed: linear within a bucket, and the
/// largest bound where it is longer than that, as Prometheus's `histogram_quantile`. `None` without observations.
pub(super) fn quantile(counts: &[u32; BUCKETS], q: f64) -> Option<Duration> {
    let rank = q * counts.iter().copied().map(f64::from).sum::<f64>();
    let (mut below, mut lower) = (0.0, 0);
    for (&count, &upper) in counts.iter().zip(&BOUNDS) {
        let count = f64::from(count);
        if count > 0.0 && below + count >= rank {
            let nanos = lower as f64 + (upper - lower) as f64 * (rank - below) / count;
            return Some(Duration::from_nanos(nanos as u64));
        }
        (below, lower) = (below + count, upper);
    }
    (counts[BUCKETS - 1] > 0).then(|| Duration::from_nanos(lower))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new();
        for nanos in [0, 5_000_000, 5_000_001, 60_000_000_000, 60_000_000_001, u64::MAX] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let counts = histogram.buckets.each_ref().map(|count| count.load(Relaxed));
        assert_eq!((counts[0], counts[1], counts[12], counts[13]), (2, 1, 1, 2));
        assert_eq!((histogram.count(), histogram.to_proto().get_sample_count()), (6, 6));
    }

    #[test]
    fn a_quantile_is_interpolated_within_its_bucket() {
        let of = |durations: &[u64], q| {
            let histogram = Histogram::new();
            durations.iter().for_each(|millis| histogram.observe(Duration::from_millis(*millis)));
            quantile(&histogram.counts(), q).map(|duration| duration.as_micros())
        };
        assert_eq!(of(&[], 0.5), None);
        assert_eq!(of(&[1], 0.5), Some(2_500));
        assert_eq!(of(&[30, 30, 30, 30], 0.5), Some(37_500));
        assert_eq!(of(&[1, 1, 1, 200], 0.99), Some(244_000));
        assert_eq!(of(&[90_000], 0.99), Some(60_000_000));
    }

    proptest! {
        #[test]
        fn it_shows_what_the_prometheus_histogram_shows(millis in prop::collection::vec(0..100_000u64, 0..50)) {
            let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e9).collect();
            let opts = prometheus::HistogramOpts::new("a", "b").buckets(bounds);
            let reference = prometheus::Histogram::with_opts(opts).unwrap();
            let histogram = Histogram::new();
            for millis in millis {
                let duration = Duration::from_millis(millis);
                histogram.observe(duration);
                reference.observe(duration.as_secs_f64());
            }
            let metric = prometheus::core::Metric::metric(&reference);
            let (ours, theirs) = (histogram.to_proto(), metric.get_histogram());
            prop_assert_eq!(ours.get_bucket(), theirs.get_bucket());
            prop_assert_eq!(ours.get_sample_count(), theirs.get_sample_count());
            prop_assert!((ours.get_sample_sum() - theirs.get_sample_sum()).abs() < 1e-6);
        }
    }
}
