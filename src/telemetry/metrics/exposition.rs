//! The metrics as Prometheus text, version 0.0.4.
//!
//! Invariant: each family is written completely before the next (a scraper refuses a family in two parts), its rows in
//! an order that does not depend on the order of their addition. A direction without requests has no series: with
//! 100,000 services the zeros would be millions of lines.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::process::Process;
use super::{
    CallerStats, Direction, Histogram, KeyStats, Phase, ReloadResult, Reloads, ServiceStats, Used,
    WebhookRefusal,
};
use crate::error_code::ErrorCode;

/// A scrape under construction: it collects references to every live object, and writes them.
#[derive(Debug, Default)]
pub struct Exposition<'a> {
    services: Vec<(&'a str, Direction, &'a Used)>,
    accounts: Vec<AccountRow<'a>>,
    issuers: Vec<IssuerRow<'a>>,
    /// The label and the name of each account, issuer or service with an unreadable secret, and whether another value
    /// serves.
    unavailable: Vec<(&'static str, &'a str, bool)>,
    certificates: Vec<(&'static str, SystemTime)>,
    keys: Vec<KeyRow<'a>>,
    callers: Vec<(&'a str, &'a CallerStats)>,
    tokens: Vec<TokenRow<'a>>,
    replays: Vec<ReplayRow<'a>>,
    connections: Vec<ConnectionRow<'a>>,
    /// Listener, reason and number of the handshakes that failed.
    handshakes_failed: Vec<(&'static str, &'static str, u64)>,
    /// Memory of bodies that are read ahead, and its limit.
    buffered: Option<(u64, u64)>,
    reloads: Option<&'a Reloads>,
    config_hash: Option<&'a str>,
    access_log_dropped: Option<u64>,
}

/// The metrics of one OAuth2 account.
#[derive(Debug)]
pub struct AccountRow<'a> {
    /// Its name.
    pub account: &'a str,
    /// Number of token requests by result.
    pub requests: Vec<(&'static str, u64)>,
    /// Number of its tokens that a third party refused.
    pub refused: u64,
    /// Number of tokens obtained since the account last changed.
    pub generation: u64,
    /// True if the account needs a login.
    pub needs_login: bool,
    /// The time at which the current token expires.
    pub expiry: Option<SystemTime>,
    /// The durations of token requests.
    pub duration: &'a Histogram,
}

/// The metrics of one issuer of tokens.
#[derive(Debug)]
pub struct IssuerRow<'a> {
    /// Its key under `issuers`.
    pub issuer: &'a str,
    /// Number of its keys that are known.
    pub keys: usize,
    /// Number of fetches that succeeded, and of those that failed; `None` if its keys are in a file.
    pub fetches: Option<(u64, u64)>,
    /// The end of the last successful fetch.
    pub fetched_at: Option<SystemTime>,
}

#[derive(Debug)]
struct KeyRow<'a> {
    service: &'a str,
    key_id: &'a str,
    last_used: Option<SystemTime>,
    last_refused: Option<SystemTime>,
    expires_at: Option<SystemTime>,
}

#[derive(Debug)]
struct TokenRow<'a> {
    caller: &'a str,
    token_id: &'a str,
    last_used: Option<SystemTime>,
    expires_at: Option<SystemTime>,
}

#[derive(Debug)]
struct ReplayRow<'a> {
    service: &'a str,
    remembered: usize,
    forgotten_early: u64,
}

#[derive(Debug)]
struct ConnectionRow<'a> {
    listener: &'a str,
    active: u64,
    idle: u64,
    refused: u64,
}

impl<'a> Exposition<'a> {
    /// Returns an empty scrape.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service's direction; `service` is empty for requests that matched none.
    pub fn service(&mut self, direction: Direction, service: &'a str, stats: &'a ServiceStats) -> &mut Self {
        if let Some(used) = stats.used.get() {
            self.services.push((service, direction, used));
        }
        self
    }

    /// Adds an account with tokens: its requests by result (ok, rejected, unavailable, timeout), the expiry of the
    /// current token, and the durations of the requests.
    pub fn account(&mut self, row: AccountRow<'a>) -> &mut Self {
        self.accounts.push(row);
        self
    }

    /// Adds an issuer of tokens.
    pub fn issuer(&mut self, row: IssuerRow<'a>) -> &mut Self {
        self.issuers.push(row);
        self
    }

    /// Adds an `account`, an `issuer`, a `service` or a `listener` with an unreadable secret. It is degraded if its last value, or another one of a
    /// list, serves instead.
    pub fn unavailable(&mut self, label: &'static str, name: &'a str, is_degraded: bool) -> &mut Self {
        self.unavailable.push((label, name, is_degraded));
        self
    }

    /// Adds the end of the validity of a listener's certificate.
    pub fn certificate(&mut self, listener: &'static str, not_after: SystemTime) -> &mut Self {
        self.certificates.push((listener, not_after));
        self
    }

    /// Adds a webhook key, by its id.
    pub fn key(
        &mut self,
        service: &'a str,
        key_id: &'a str,
        stats: &KeyStats,
        expires_at: Option<SystemTime>,
    ) -> &mut Self {
        let (last_used, last_refused) = (stats.last_used(), stats.last_refused());
        self.keys.push(KeyRow { service, key_id, last_used, last_refused, expires_at });
        self
    }

    /// Adds a caller; `caller` is empty for requests that prove none.
    pub fn caller(&mut self, caller: &'a str, stats: &'a CallerStats) -> &mut Self {
        self.callers.push((caller, stats));
        self
    }

    /// Adds a token of a caller, by its id.
    pub fn caller_token(
        &mut self,
        caller: &'a str,
        token_id: &'a str,
        stats: &KeyStats,
        expires_at: Option<SystemTime>,
    ) -> &mut Self {
        self.tokens.push(TokenRow { caller, token_id, last_used: stats.last_used(), expires_at });
        self
    }

    /// Adds a service that remembers its deliveries.
    pub fn deliveries(&mut self, service: &'a str, remembered: usize, forgotten_early: u64) -> &mut Self {
        self.replays.push(ReplayRow { service, remembered, forgotten_early });
        self
    }

    /// Adds a listener: its connections with a request and without one, and the number that was refused at its limit.
    pub fn connections(&mut self, listener: &'a str, active: u64, idle: u64, refused: u64) -> &mut Self {
        self.connections.push(ConnectionRow { listener, active, idle, refused });
        self
    }

    /// Adds the number of a listener's handshakes that failed for one reason.
    pub fn handshakes_failed(
        &mut self,
        listener: &'static str,
        reason: &'static str,
        count: u64,
    ) -> &mut Self {
        self.handshakes_failed.push((listener, reason, count));
        self
    }

    /// Adds the memory of request bodies that are read ahead, and its limit.
    pub fn buffered(&mut self, bytes: u64, limit: u64) -> &mut Self {
        self.buffered = Some((bytes, limit));
        self
    }

    /// Adds the reloads.
    pub fn reloads(&mut self, reloads: &'a Reloads) -> &mut Self {
        self.reloads = Some(reloads);
        self
    }

    /// Adds the hash of the configuration in effect.
    pub fn config_hash(&mut self, hash: &'a str) -> &mut Self {
        self.config_hash = Some(hash);
        self
    }

    /// Adds the number of lines that the access log has dropped.
    pub fn access_log_dropped(&mut self, lines: u64) -> &mut Self {
        self.access_log_dropped = Some(lines);
        self
    }

    /// Returns the text, including the metrics of the build and the process. Reads `/proc`: not for an async thread.
    pub fn render(&mut self) -> String {
        self.render_with(&Process::read())
    }

    pub(super) fn render_with(&mut self, process: &Process) -> String {
        self.services.sort_by_key(|(service, direction, _)| (*service, *direction));
        self.accounts.sort_by_key(|row| row.account);
        self.issuers.sort_by_key(|row| row.issuer);
        // Of a service that lacks two secrets, one without a value in its place comes first.
        self.unavailable.sort_unstable();
        self.unavailable.dedup_by_key(|(label, name, _)| (*label, *name));
        self.keys.sort_by_key(|row| (row.service, row.key_id));
        self.callers.sort_unstable_by_key(|(caller, _)| *caller);
        self.tokens.sort_by_key(|row| (row.caller, row.token_id));
        self.replays.sort_by_key(|row| row.service);
        self.connections.sort_by_key(|row| row.listener);
        self.handshakes_failed.sort_unstable();
        let mut text = Text::default();
        self.write_services(&mut text);
        self.write_refusals(&mut text);
        self.write_accounts(&mut text);
        self.write_issuers(&mut text);
        self.write_keys(&mut text);
        self.write_callers(&mut text);
        self.write_connections(&mut text);
        self.write_buffered(&mut text);
        self.write_certificates(&mut text);
        self.write_config(&mut text);
        write_process(process, &mut text);
        text.out
    }

    fn write_services(&self, text: &mut Text) {
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

    fn write_refusals(&self, text: &mut Text) {
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

    fn write_accounts(&self, text: &mut Text) {
        text.family(
            "attache_token_requests_total",
            "Requests to token endpoints, by result.",
            MetricType::COUNTER,
            self.accounts.iter().flat_map(|row| {
                row.requests
                    .iter()
                    .map(|(result, count)| counter(&[("account", row.account), ("result", result)], *count))
            }),
        );
        text.family(
            "attache_token_expiry_timestamp_seconds",
            "When the current token expires, in Unix seconds.",
            MetricType::GAUGE,
            self.accounts
                .iter()
                .filter_map(|row| Some(gauge(&[("account", row.account)], unix_seconds(row.expiry?)))),
        );
        text.family(
            "attache_tokens_refused_total",
            "Tokens that a third party refused before they expired.",
            MetricType::COUNTER,
            self.accounts.iter().map(|row| counter(&[("account", row.account)], row.refused)),
        );
        text.family(
            "attache_token_generation",
            "Tokens obtained since the account last changed.",
            MetricType::GAUGE,
            self.accounts.iter().map(|row| gauge(&[("account", row.account)], row.generation as f64)),
        );
        text.family(
            "attache_account_needs_login",
            "1 if the account needs a login: `attache login ACCOUNT`, or a new refresh_token.",
            MetricType::GAUGE,
            self.accounts
                .iter()
                .map(|row| gauge(&[("account", row.account)], f64::from(u8::from(row.needs_login)))),
        );
        text.family(
            "attache_credential_unavailable",
            "1 while a secret of the account, the caller, the issuer, the service or the listener can't be read, even while its last value is in use, or the provider has not brought the one of the service's webhook.",
            MetricType::GAUGE,
            self.unavailable.iter().map(|&(label, name, _)| gauge(&[(label, name)], 1.0)),
        );
        text.family(
            "attache_credential_degraded",
            "1 while the last value, or another one of a list, serves in place of a secret that can't be read.",
            MetricType::GAUGE,
            self.unavailable
                .iter()
                .filter(|(_, _, is_degraded)| *is_degraded)
                .map(|&(label, name, _)| gauge(&[(label, name)], 1.0)),
        );
        text.family(
            "attache_token_request_duration_seconds",
            "Seconds a request to the token endpoint took.",
            MetricType::HISTOGRAM,
            self.accounts.iter().map(|row| histogram(&[("account", row.account)], row.duration)),
        );
    }

    fn write_issuers(&self, text: &mut Text) {
        text.family(
            "attache_issuer_keys",
            "Keys of the issuer that are known; with 0, its tokens are refused.",
            MetricType::GAUGE,
            self.issuers.iter().map(|row| gauge(&[("issuer", row.issuer)], row.keys as f64)),
        );
        text.family(
            "attache_issuer_fetches_total",
            "Fetches of the issuer's keys, by result.",
            MetricType::COUNTER,
            self.issuers.iter().filter_map(|row| Some((row.issuer, row.fetches?))).flat_map(
                |(issuer, (ok, failed))| {
                    [("ok", ok), ("failed", failed)]
                        .map(|(result, count)| counter(&[("issuer", issuer), ("result", result)], count))
                },
            ),
        );
        text.family(
            "attache_issuer_last_fetch_timestamp_seconds",
            "When the issuer's keys were last fetched with success, in Unix seconds.",
            MetricType::GAUGE,
            self.issuers
                .iter()
                .filter_map(|row| Some(gauge(&[("issuer", row.issuer)], unix_seconds(row.fetched_at?)))),
        );
    }

    fn write_keys(&self, text: &mut Text) {
        let labelled = |row: &KeyRow<'_>, time: Option<SystemTime>| {
            Some(gauge(&[("service", row.service), ("key_id", row.key_id)], unix_seconds(time?)))
        };
        text.family(
            "attache_webhook_key_info",
            "Always 1; one series per webhook key, used or not.",
            MetricType::GAUGE,
            self.keys.iter().map(|row| gauge(&[("service", row.service), ("key_id", row.key_id)], 1.0)),
        );
        text.family(
            "attache_webhook_key_last_used_timestamp_seconds",
            "When the webhook key last admitted a request, in Unix seconds; absent before its first use.",
            MetricType::GAUGE,
            self.keys.iter().filter_map(|row| labelled(row, row.last_used)),
        );
        text.family(
            "attache_webhook_key_last_refused_timestamp_seconds",
            "When a call with the webhook key was last refused, for any reason, in Unix seconds.",
            MetricType::GAUGE,
            self.keys.iter().filter_map(|row| labelled(row, row.last_refused)),
        );
        text.family(
            "attache_webhook_key_expiry_timestamp_seconds",
            "When the webhook key expires, in Unix seconds; absent for a key that doesn't.",
            MetricType::GAUGE,
            self.keys.iter().filter_map(|row| labelled(row, row.expires_at)),
        );
    }

    fn write_callers(&self, text: &mut Text) {
        text.family(
            "attache_caller_requests_total",
            "Requests of a caller that its rights and limits let in.",
            MetricType::COUNTER,
            self.callers.iter().flat_map(|&(caller, stats)| {
                let counts = stats.counts().into_iter();
                counts
                    .map(move |(service, count)| counter(&[("caller", caller), ("service", &service)], count))
            }),
        );
        text.family(
            "attache_caller_refused_total",
            "Requests that lack a proof or a right or exceed a limit; the caller is empty if none is proved. With `caller_rules: report`, those without a proof or a right were forwarded.",
            MetricType::COUNTER,
            self.callers.iter().flat_map(|&(caller, stats)| {
                stats.refusals().map(move |(reason, count)| {
                    counter(&[("caller", caller), ("reason", reason.as_str())], count)
                })
            }),
        );
        let labelled = |row: &TokenRow<'_>, time: Option<SystemTime>| {
            Some(gauge(&[("caller", row.caller), ("token_id", row.token_id)], unix_seconds(time?)))
        };
        text.family(
            "attache_caller_token_last_used_timestamp_seconds",
            "When the token last let a request of its caller in, in Unix seconds; absent before its first use.",
            MetricType::GAUGE,
            self.tokens.iter().filter_map(|row| labelled(row, row.last_used)),
        );
        text.family(
            "attache_caller_token_expiry_timestamp_seconds",
            "When the token of a caller expires, in Unix seconds; absent for one that doesn't.",
            MetricType::GAUGE,
            self.tokens.iter().filter_map(|row| labelled(row, row.expires_at)),
        );
    }

    fn write_connections(&self, text: &mut Text) {
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

    fn write_buffered(&self, text: &mut Text) {
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

    fn write_certificates(&self, text: &mut Text) {
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

    fn write_config(&self, text: &mut Text) {
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

fn write_process(process: &Process, text: &mut Text) {
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

/// Encodes one family at a time, so that only one is held as objects.
#[derive(Default)]
struct Text {
    out: String,
}

impl Text {
    fn family(
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

fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    counter_f64(labels, value as f64)
}

fn counter_f64(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(label_pairs(labels));
    metric.set_counter(counter);
    metric
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(label_pairs(labels));
    metric.set_gauge(gauge);
    metric
}

fn histogram(labels: &[(&str, &str)], histogram: &Histogram) -> Metric {
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

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1000.0
}

fn millis_as_seconds(millis: &AtomicU64) -> f64 {
    millis.load(Relaxed) as f64 / 1000.0
}
