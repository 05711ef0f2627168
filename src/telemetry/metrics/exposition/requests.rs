//! The families of the requests of services: statuses, errors, durations, retries, refusals and deliveries.

use super::Exposition;
use super::text::{ExpositionText, counter, gauge, histogram};
use crate::error_code::ErrorCode;
use crate::telemetry::metrics::{Phase, Used, WebhookRefusal};
use prometheus::proto::{Metric, MetricType};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

impl<'a> Exposition<'a> {
    pub(super) fn write_services(&self, text: &mut ExpositionText) {
        text.family(
            "attache_requests_total",
            "Requests that have ended, by the sent status.",
            MetricType::COUNTER,
            self.services.iter().flat_map(|&(service, direction, used)| {
                used.statuses.seen().into_iter().map(move |(status, count)| {
                    let status = status.map_or_else(|| "other".to_owned(), |status| status.to_string());
                    let labels =
                        [("direction", direction.as_str()), ("service", service), ("status", &status)];
                    counter(&labels, count)
                })
            }),
        );
        text.family(
            "attache_errors_total",
            "Answers of attache itself, by code.",
            MetricType::COUNTER,
            self.services.iter().flat_map(|&(service, direction, used)| {
                let counts = used.failures.get().into_iter().flat_map(|failures| &failures.errors);
                ErrorCode::ALL.iter().zip(counts).filter_map(move |(code, count)| {
                    let labels =
                        [("direction", direction.as_str()), ("service", service), ("code", code.as_str())];
                    Some(count.load(Relaxed)).filter(|count| *count > 0).map(|count| counter(&labels, count))
                })
            }),
        );
        text.family(
            "attache_request_duration_seconds",
            "Seconds from a request's arrival to the last byte of its answer.",
            MetricType::HISTOGRAM,
            self.each_direction(|labels, used| histogram(labels, &used.duration)),
        );
        text.family(
            "attache_response_headers_seconds",
            "Seconds from a request's arrival to the response headers of the upstream.",
            MetricType::HISTOGRAM,
            self.each_direction(|labels, used| histogram(labels, &used.response_headers)),
        );
        text.family(
            "attache_requests_in_flight",
            "Requests that have arrived and not yet ended.",
            MetricType::GAUGE,
            self.each_direction(|labels, used| gauge(labels, used.in_flight.load(Relaxed) as f64)),
        );
    }

    pub(super) fn write_attempts(&self, text: &mut ExpositionText) {
        text.family(
            "attache_timeouts_total",
            "Requests that timed out, by phase.",
            MetricType::COUNTER,
            self.timeouts().into_iter().flat_map(|(service, counts)| {
                Phase::TIMED.into_iter().zip(counts).map(move |(phase, count)| {
                    counter(&[("service", service), ("phase", phase.as_str())], count)
                })
            }),
        );
        text.family(
            "attache_retries_total",
            "Attempts after a failed one, as `retries` allow, and those that the budget refused.",
            MetricType::COUNTER,
            self.services.iter().flat_map(|&(service, _, used)| {
                let counts = used.failures.get().into_iter().flat_map(|failures| &failures.retries);
                ["sent", "over_budget"].into_iter().zip(counts).filter_map(move |(result, count)| {
                    let labels = [("service", service), ("result", result)];
                    Some(count.load(Relaxed)).filter(|count| *count > 0).map(|count| counter(&labels, count))
                })
            }),
        );
    }

    pub(super) fn write_refusals(&self, text: &mut ExpositionText) {
        text.family(
            "attache_service_rate_limited_total",
            "Answers of the provider with the status 429.",
            MetricType::COUNTER,
            self.services.iter().filter_map(|&(service, _, used)| {
                let count = used.failures.get()?.rate_limited.load(Relaxed);
                (count > 0).then(|| counter(&[("service", service)], count))
            }),
        );
        text.family(
            "attache_webhook_refused_total",
            "Webhook calls that were refused, by reason.",
            MetricType::COUNTER,
            self.services.iter().flat_map(|&(service, _, used)| {
                let refused = used.failures.get().and_then(|failures| failures.refused.get());
                let counts = refused.into_iter().flat_map(|counts| counts.iter());
                WebhookRefusal::ALL.iter().zip(counts).filter_map(move |(reason, count)| {
                    let labels = [("service", service), ("reason", reason.as_str())];
                    Some(count.load(Relaxed)).filter(|count| *count > 0).map(|count| counter(&labels, count))
                })
            }),
        );
        text.family(
            "attache_reserved_headers_dropped_total",
            "Dropped request headers that only attache may set: forwarding, which any proxy adds; identity, which states a user or service.",
            MetricType::COUNTER,
            self.services.iter().flat_map(|&(service, direction, used)| {
                ["forwarding", "identity"].into_iter().zip(&used.reserved_headers).filter_map(move |(kind, count)| {
                    let labels = [("direction", direction.as_str()), ("service", service), ("kind", kind)];
                    let dropped = count.load(Relaxed);
                    (dropped > 0).then(|| counter(&labels, dropped))
                })
            }),
        );
        text.family(
            "attache_webhook_deliveries_remembered",
            "Deliveries that are remembered, to recognise duplicates.",
            MetricType::GAUGE,
            self.replays.iter().map(|row| gauge(&[("service", row.service)], row.remembered as f64)),
        );
        text.family(
            "attache_webhook_deliveries_forgotten_early_total",
            "Deliveries that were forgotten before their window ended, because the memory was full.",
            MetricType::COUNTER,
            self.replays.iter().map(|row| counter(&[("service", row.service)], row.forgotten_early)),
        );
    }

    fn each_direction(
        &self,
        metric: impl Fn(&[(&str, &str)], &Used) -> Metric,
    ) -> impl Iterator<Item = Metric> {
        self.services.iter().map(move |&(service, direction, used)| {
            metric(&[("direction", direction.as_str()), ("service", service)], used)
        })
    }

    /// Returns the timeouts of both directions of each service. A request without a service waits for nothing.
    fn timeouts(&self) -> BTreeMap<&'a str, [u64; Phase::TIMED.len()]> {
        let mut timeouts = BTreeMap::new();
        for &(service, _, used) in self.services.iter().filter(|(service, ..)| !service.is_empty()) {
            let sums: &mut [u64; Phase::TIMED.len()] = timeouts.entry(service).or_default();
            let counts = used.failures.get().into_iter().flat_map(|failures| &failures.timeouts);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count.load(Relaxed));
        }
        timeouts
    }
}
