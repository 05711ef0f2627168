//! The families of the instance: its connections, certificates and memory, its configuration, and the process.

use super::Exposition;
use super::text::{ExpositionText, counter, counter_f64, gauge, millis_as_seconds, unix_seconds};
use crate::telemetry::metrics::process::Process;
use crate::telemetry::metrics::{ReloadResult, Reloads};
use prometheus::proto::MetricType;
use std::sync::atomic::Ordering::Relaxed;

impl Exposition<'_> {
    pub(super) fn write_connections(&self, text: &mut ExpositionText) {
        text.family(
            "attache_connections",
            "Open connections of a listener: active with a request, idle without one.",
            MetricType::GAUGE,
            self.connections.iter().flat_map(|row| {
                [("active", row.active), ("idle", row.idle)].map(|(state, count)| {
                    gauge(&[("listener", row.listener), ("state", state)], count as f64)
                })
            }),
        );
        text.family(
            "attache_connections_refused_total",
            "Connections that were closed at once because their listener was at its limit.",
            MetricType::COUNTER,
            self.connections.iter().map(|row| counter(&[("listener", row.listener)], row.refused)),
        );
    }

    pub(super) fn write_buffered(&self, text: &mut ExpositionText) {
        let value = |value: Option<u64>| value.map(|value| gauge(&[], value as f64)).into_iter();
        text.family(
            "attache_buffered_bytes",
            "Memory of request bodies that are read ahead.",
            MetricType::GAUGE,
            value(self.buffered.map(|(bytes, _)| bytes)),
        );
        text.family(
            "attache_buffered_limit_bytes",
            "Maximum of attache_buffered_bytes: `limits.buffered`.",
            MetricType::GAUGE,
            value(self.buffered.map(|(_, limit)| limit)),
        );
    }

    pub(super) fn write_certificates(&self, text: &mut ExpositionText) {
        text.family(
            "attache_tls_handshakes_failed_total",
            "TLS handshakes that failed on the listener, by reason.",
            MetricType::COUNTER,
            self.handshakes_failed.iter().map(|&(listener, reason, count)| {
                counter(&[("listener", listener), ("reason", reason)], count)
            }),
        );
        text.family(
            "attache_listener_certificate_expiry_timestamp_seconds",
            "When the certificate of the listener expires, in Unix seconds.",
            MetricType::GAUGE,
            self.certificates
                .iter()
                .map(|&(listener, not_after)| gauge(&[("listener", listener)], unix_seconds(not_after))),
        );
    }

    pub(super) fn write_config(&self, text: &mut ExpositionText) {
        text.family(
            "attache_config_reloads_total",
            "Reloads of the configuration, by result.",
            MetricType::COUNTER,
            self.reloads.into_iter().flat_map(|reloads| {
                ReloadResult::ALL
                    .iter()
                    .zip(&reloads.results)
                    .map(|(result, count)| counter(&[("result", result.as_str())], count.load(Relaxed)))
            }),
        );
        text.family(
            "attache_config_last_reload_successful",
            "1 if the last reload succeeded, else 0: then the last valid configuration is in effect.",
            MetricType::GAUGE,
            self.reloads.map(|reloads| gauge(&[], f64::from(reloads.last_successful.load(Relaxed)))),
        );
        text.family(
            "attache_config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded successfully, in Unix seconds.",
            MetricType::GAUGE,
            self.reloads.map(|reloads| gauge(&[], millis_as_seconds(&reloads.last_success))),
        );
        text.family(
            "attache_config_restart_needed",
            "1 for each key of the file whose change takes effect at the next start.",
            MetricType::GAUGE,
            self.reloads.into_iter().flat_map(Reloads::restart_needed).map(|key| gauge(&[("key", key)], 1.0)),
        );
        text.family(
            "attache_config_watch_failed",
            "1 if the configuration's files can't be watched, so that changes are found by a poll every 10 s.",
            MetricType::GAUGE,
            self.reloads.map(|reloads| gauge(&[], f64::from(reloads.watch_failed.load(Relaxed)))),
        );
        text.family(
            "attache_config_info",
            "Always 1; the hash of the configuration in effect.",
            MetricType::GAUGE,
            self.config_hash.map(|hash| gauge(&[("hash", hash)], 1.0)),
        );
        text.family(
            "attache_build_info",
            "Always 1; the version and commit of this build.",
            MetricType::GAUGE,
            [gauge(&[("version", env!("CARGO_PKG_VERSION")), ("commit", env!("ATTACHE_COMMIT"))], 1.0)],
        );
        text.family(
            "attache_access_log_dropped_total",
            "Access log lines that were lost because their reader stalled or the write failed.",
            MetricType::COUNTER,
            self.access_log_dropped.map(|lines| counter(&[], lines)),
        );
    }
}

pub(super) fn write_process(process: &Process, text: &mut ExpositionText) {
    text.family(
        "process_cpu_seconds_total",
        "Seconds of CPU time the process has used.",
        MetricType::COUNTER,
        process.cpu_seconds.map(|seconds| counter_f64(&[], seconds)),
    );
    text.family(
        "process_open_fds",
        "Open file descriptors.",
        MetricType::GAUGE,
        process.open_fds.map(|fds| gauge(&[], fds)),
    );
    text.family(
        "process_resident_memory_bytes",
        "Resident memory in bytes.",
        MetricType::GAUGE,
        process.resident_bytes.map(|bytes| gauge(&[], bytes)),
    );
    text.family(
        "process_start_time_seconds",
        "When the process started, in Unix seconds.",
        MetricType::GAUGE,
        process.start_time.map(|seconds| gauge(&[], seconds)),
    );
}
