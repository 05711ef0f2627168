//! One family of metrics as text, and the metrics in it.

use crate::telemetry::metrics::Histogram;
use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Encodes one family at a time, so that only one is held as objects.
#[derive(Default)]
pub(super) struct ExpositionText {
    pub(super) out: String,
}

impl ExpositionText {
    pub(super) fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        metrics: impl IntoIterator<Item = Metric>,
    ) {
        let metrics: Vec<Metric> = metrics.into_iter().collect();
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        TextEncoder::new()
            .encode_utf8(&[family], &mut self.out)
            .expect("a named family with metrics, written to memory, can't fail");
    }
}

pub(super) fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    counter_f64(labels, value as f64)
}

pub(super) fn counter_f64(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(label_pairs(labels));
    metric.set_counter(counter);
    metric
}

pub(super) fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(label_pairs(labels));
    metric.set_gauge(gauge);
    metric
}

pub(super) fn histogram(labels: &[(&str, &str)], histogram: &Histogram) -> Metric {
    let mut metric = Metric::from_label(label_pairs(labels));
    metric.set_histogram(histogram.to_proto());
    metric
}

fn label_pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1000.0
}

pub(super) fn millis_as_seconds(millis: &AtomicU64) -> f64 {
    millis.load(Relaxed) as f64 / 1000.0
}
