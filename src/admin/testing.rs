//! Reports for tests.

use super::report::{
    AccountReport, Build, ConfigReport, EndpointReport, ErrorReport, KeyReport, Moment, OutboundReport,
    ReloadReport, Report, ServiceReport, SnapshotReport, TokenReport, TokenRequestReport, Totals, UserReport,
};
use crate::telemetry::metrics::ServiceStats;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of the reports.
pub(super) fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// So many seconds before [`at`].
pub(super) fn ago(seconds: u64) -> Moment {
    Moment(at() - Duration::from_secs(seconds))
}

/// A report of a process without services.
pub(super) fn empty() -> Report {
    Report {
        build: Build { version: "1.2.3", commit: "0123abc" },
        config: ConfigReport {
            hash: "abc".to_owned(),
            loaded_at: ago(3600),
            restart_needed: Vec::new(),
            last_reload: ReloadReport {
                at: ago(3600),
                result: "applied",
                problems: serde_json::json!([]),
                drawn: String::new(),
                hash: Some("abc".to_owned()),
            },
        },
        parts: SnapshotReport::default(),
        failures: Vec::new(),
        at: at(),
        ready: true,
    }
}

/// A service without a webhook that has had so many requests of 30 ms.
pub(super) fn service(account: &str, requests: u32) -> ServiceReport {
    let stats = Arc::new(ServiceStats::new());
    for _ in 0..requests {
        stats.finished(200, None, Duration::from_millis(30), None);
    }
    ServiceReport {
        name: None,
        outbound: Some(OutboundReport {
            server: "https://api.example".to_owned(),
            account: account.to_owned(),
            timeout_ms: 10_000,
            stats,
        }),
        webhook: false,
        credential: None,
        in_flight: 0,
        last_5_minutes: Totals { requests: requests.into(), errors: 0 },
        last_error: None,
    }
}

/// A failure of a minute ago.
pub(super) fn error(code: &'static str) -> ErrorReport {
    ErrorReport {
        at: ago(60),
        direction: "outbound",
        code,
        reason: Some("connection_refused".to_owned()),
        request_id: "0192-id".to_owned(),
    }
}

/// One of everything.
pub(super) fn full() -> Report {
    let mut report = empty();
    let parts = &mut report.parts;
    let mut mailer = service("erp", 4);
    mailer.last_error = Some(error("service_unreachable"));
    mailer.webhook = true;
    parts.services.insert("mailer".to_owned(), mailer);
    let last_request = TokenRequestReport {
        result: "rejected",
        reason: Some("invalid_client: the secret has expired".to_owned()),
        at: ago(90),
        duration_ms: Some(120),
    };
    let token = TokenReport {
        state: "failing",
        expires_at: Some(ago(30)),
        expires_in_seconds: Some(0),
        refused: 0,
        generation: 1,
        requests: 2,
        last_request: Some(last_request),
    };
    let account = AccountReport { authorization: "oauth2", token: Some(token), credential: None };
    parts.accounts.insert("erp".to_owned(), account);
    parts.users.insert("bot".to_owned(), UserReport { name: Some("The bot".to_owned()), active: true });
    parts.webhooks.push(KeyReport {
        service: "mailer".to_owned(),
        key_id: "2026-11".to_owned(),
        user: "bot".to_owned(),
        state: "active",
        verify: Some("github"),
        handshake: None,
        last_used_at: Some(ago(120)),
        last_refused_at: None,
        expires_at: Some(Moment(at() + Duration::from_secs(86_400 * 3 + 30))),
    });
    let endpoint = EndpointReport {
        user: "bot".to_owned(),
        url: "https://hooks.example.com/webhooks/{key}".to_owned(),
        receiver: "http://app.internal:3000".to_owned(),
        stats: Arc::new(ServiceStats::new()),
    };
    parts.endpoints.insert("mailer".to_owned(), endpoint);
    report
}
