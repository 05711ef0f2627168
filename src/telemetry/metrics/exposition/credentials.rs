//! The families of credentials: accounts and issuers, the keys of webhooks, callers and their tokens.

use super::text::{ExpositionText, counter, gauge, histogram, unix_seconds};
use super::{Exposition, KeyRow, TokenRow};
use prometheus::proto::MetricType;
use std::time::SystemTime;

impl Exposition<'_> {
    pub(super) fn write_accounts(&self, text: &mut ExpositionText) {
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
            "1 while a secret of the account, the caller, the issuer, the service or the listener can't be read, even while its last value is in use, or the one that the provider of the service's webhook brought can't be used.",
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

    pub(super) fn write_issuers(&self, text: &mut ExpositionText) {
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

    pub(super) fn write_keys(&self, text: &mut ExpositionText) {
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

    pub(super) fn write_callers(&self, text: &mut ExpositionText) {
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
}
