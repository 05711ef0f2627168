use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::process::Process;
use super::{
    AccountRow, Direction, Exposition, Failures, Histogram, KeyStats, LastError, Phase, ReloadResult,
    Reloads, STEPS, ServiceStats, Used,
};
use crate::error_code::ErrorCode;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn render(exposition: &mut Exposition<'_>) -> String {
    exposition.render_with(&Process::default())
}

/// Returns the lines of one family, without its HELP.
fn family(text: &str, name: &str) -> String {
    text.lines()
        .skip_while(|line| *line != format!("# TYPE {name} {}", line.rsplit(' ').next().unwrap()))
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn an_unused_service_is_small_and_has_no_series() {
    assert!(size_of::<ServiceStats>() <= 16, "{}", size_of::<ServiceStats>());
    let stats = ServiceStats::new();
    assert_eq!(stats.in_flight(), 0);
    let text = render(Exposition::new().service(Direction::Outbound, "mailer", &stats));
    assert!(!text.contains("mailer"), "{text}");
}

#[test]
fn a_used_service_is_small() {
    assert!(size_of::<Used>() <= 368, "{}", size_of::<Used>());
    assert!(size_of::<Failures>() <= 296, "{}", size_of::<Failures>());
    let stats = ServiceStats::new();
    stats.finished(200, None, Duration::from_millis(1), Some(Duration::from_millis(1)));
    assert!(stats.used.get().is_some_and(|used| used.failures.get().is_none()));
}

#[test]
fn the_whole_text_of_a_used_service() {
    let stats = Arc::new(ServiceStats::new());
    let request = stats.started();
    request.finished(200, None, Duration::from_millis(500), Some(Duration::from_millis(250)));
    request.timed_out(Phase::Wait);
    request.finished(504, Some(ErrorCode::ServiceTimeout), Duration::from_secs(64), None);
    let text = render(Exposition::new().service(Direction::Outbound, "mailer", &stats));
    let expected = include_str!("golden.txt").replace("$VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(text, expected.replace("$COMMIT", env!("ATTACHE_COMMIT")), "{text}");
}

#[test]
fn the_last_five_minutes_and_the_last_error_are_remembered() {
    let stats = Arc::new(ServiceStats::new());
    let recent = || {
        let total = stats.activity().total();
        (total.requests(), total.errors)
    };
    assert_eq!((recent(), stats.last_error()), ((0, 0), None));
    // A step that ends before the first request costs nothing.
    stats.end_step();
    let request = |code| stats.finished(502, code, Duration::ZERO, None);
    request(None);
    request(Some(ErrorCode::ServiceUnreachable));
    assert_eq!(recent(), (2, 1));
    for _ in 0..STEPS {
        stats.end_step();
    }
    assert_eq!(recent(), (2, 1));
    request(None);
    stats.end_step();
    assert_eq!(recent(), (1, 0));
    let error = |request_id: &str| LastError {
        code: ErrorCode::ServiceTls,
        reason: Some("expired".into()),
        request_id: request_id.into(),
        at: at(1),
    };
    stats.failed(error("a"));
    stats.failed(error("b"));
    assert_eq!(stats.last_error(), Some(error("b")));
}

#[test]
fn in_flight_ends_with_its_guard() {
    let stats = Arc::new(ServiceStats::new());
    let first = stats.started();
    let second = stats.started();
    assert_eq!(stats.in_flight(), 2);
    drop(first);
    drop(second);
    assert_eq!(stats.in_flight(), 0);
}

#[test]
fn invalid_statuses_share_a_series() {
    let stats = ServiceStats::new();
    for status in [0, 99, 100, 599, 600, 999, u16::MAX] {
        stats.finished(status, None, Duration::ZERO, None);
    }
    let text = render(Exposition::new().service(Direction::Webhook, "", &stats));
    assert_eq!(
        family(&text, "attache_requests_total"),
        "attache_requests_total{direction=\"webhook\",service=\"\",status=\"100\"} 1\n\
         attache_requests_total{direction=\"webhook\",service=\"\",status=\"599\"} 1\n\
         attache_requests_total{direction=\"webhook\",service=\"\",status=\"other\"} 5\n"
    );
    assert_eq!(family(&text, "attache_timeouts_total"), "");
}

#[test]
fn rows_are_sorted_and_timeouts_of_both_directions_add_up() {
    let (b_out, b_in, a_out) = (ServiceStats::new(), ServiceStats::new(), ServiceStats::new());
    b_out.timed_out(Phase::Token);
    b_in.timed_out(Phase::Token);
    a_out.timed_out(Phase::Idle);
    let text = render(
        Exposition::new()
            .service(Direction::Webhook, "b", &b_in)
            .service(Direction::Outbound, "b", &b_out)
            .service(Direction::Outbound, "a", &a_out),
    );
    assert_eq!(
        family(&text, "attache_requests_in_flight"),
        "attache_requests_in_flight{direction=\"outbound\",service=\"a\"} 0\n\
         attache_requests_in_flight{direction=\"outbound\",service=\"b\"} 0\n\
         attache_requests_in_flight{direction=\"webhook\",service=\"b\"} 0\n"
    );
    let timeouts = family(&text, "attache_timeouts_total");
    assert!(timeouts.contains("{service=\"b\",phase=\"token\"} 2\n"), "{timeouts}");
    assert!(timeouts.contains("{service=\"a\",phase=\"idle\"} 1\n"), "{timeouts}");
    assert_eq!(timeouts.lines().count(), 10);
}

#[test]
fn accounts_keys_and_reloads() {
    let duration = Histogram::new();
    duration.observe(Duration::from_millis(250));
    let (used, unused) = (KeyStats::new(), KeyStats::new());
    used.used_at(at(1_700_000_000) + Duration::from_millis(250));
    used.used_at(at(1_600_000_000));
    used.refused_at(at(1_650_000_000));
    let reloads = Reloads::new(at(1_700_000_000));
    reloads.record(ReloadResult::Applied, at(1_700_000_100));
    reloads.record(ReloadResult::Rejected, at(1_700_000_200));
    reloads.set_restart_needed(vec!["listen", "state.dir"]);
    let text = render(
        Exposition::new()
            .account(AccountRow {
                account: "erp",
                requests: vec![("ok", 2), ("rejected", 0)],
                refused: 4,
                generation: 2,
                needs_login: true,
                expiry: Some(at(1_800_000_000)),
                duration: &duration,
            })
            .key("mailer", "2026-11", &used, Some(at(1_900_000_000)))
            .key("mailer", "2026-05", &unused, None)
            .deliveries("mailer", 7, 2)
            .reloads(&reloads)
            .config_hash("abc")
            .access_log_dropped(3),
    );
    for line in [
        "attache_token_requests_total{account=\"erp\",result=\"ok\"} 2",
        "attache_token_requests_total{account=\"erp\",result=\"rejected\"} 0",
        "attache_token_expiry_timestamp_seconds{account=\"erp\"} 1800000000",
        "attache_tokens_refused_total{account=\"erp\"} 4",
        "attache_token_generation{account=\"erp\"} 2",
        "attache_account_needs_login{account=\"erp\"} 1",
        "attache_token_request_duration_seconds_sum{account=\"erp\"} 0.25",
        "attache_webhook_key_last_used_timestamp_seconds{service=\"mailer\",key_id=\"2026-11\"} 1700000000",
        "attache_webhook_key_last_refused_timestamp_seconds{service=\"mailer\",key_id=\"2026-11\"} 1650000000",
        "attache_webhook_deliveries_remembered{service=\"mailer\"} 7",
        "attache_webhook_deliveries_forgotten_early_total{service=\"mailer\"} 2",
        "attache_webhook_key_expiry_timestamp_seconds{service=\"mailer\",key_id=\"2026-11\"} 1900000000",
        "attache_config_reloads_total{result=\"applied\"} 1",
        "attache_config_reloads_total{result=\"unchanged\"} 0",
        "attache_config_reloads_total{result=\"rejected\"} 1",
        "attache_config_reloads_total{result=\"needs_restart\"} 0",
        "attache_config_last_reload_successful 0",
        "attache_config_last_reload_success_timestamp_seconds 1700000100",
        "attache_config_restart_needed{key=\"listen\"} 1",
        "attache_config_restart_needed{key=\"state.dir\"} 1",
        "attache_config_watch_failed 0",
        "attache_config_info{hash=\"abc\"} 1",
        "attache_access_log_dropped_total 3",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    // An unused key has no series but its existence.
    let unused: Vec<&str> = text.lines().filter(|line| line.contains("2026-05")).collect();
    assert_eq!(unused, ["attache_webhook_key_info{service=\"mailer\",key_id=\"2026-05\"} 1"]);
}

#[test]
fn an_unreadable_secret_is_degraded_while_another_value_serves() {
    let text =
        render(Exposition::new().unavailable("service", "mailer", true).unavailable("account", "erp", false));
    assert_eq!(
        family(&text, "attache_credential_unavailable"),
        "attache_credential_unavailable{account=\"erp\"} 1\nattache_credential_unavailable{service=\"mailer\"} 1\n"
    );
    assert_eq!(
        family(&text, "attache_credential_degraded"),
        "attache_credential_degraded{service=\"mailer\"} 1\n"
    );
}

#[test]
fn connections_are_shown_by_listener_and_state() {
    let text = render(Exposition::new().connections("webhooks", 1, 2, 0).connections("outbound", 30, 4, 5));
    assert_eq!(
        family(&text, "attache_connections"),
        "attache_connections{listener=\"outbound\",state=\"active\"} 30\n\
         attache_connections{listener=\"outbound\",state=\"idle\"} 4\n\
         attache_connections{listener=\"webhooks\",state=\"active\"} 1\n\
         attache_connections{listener=\"webhooks\",state=\"idle\"} 2\n"
    );
    assert_eq!(
        family(&text, "attache_connections_refused_total"),
        "attache_connections_refused_total{listener=\"outbound\"} 5\n\
         attache_connections_refused_total{listener=\"webhooks\"} 0\n"
    );
}

#[test]
fn label_values_are_escaped() {
    let text = render(Exposition::new().config_hash("a\"b\\c\nd"));
    assert!(text.contains(r#"attache_config_info{hash="a\"b\\c\nd"} 1"#), "{text}");
}

#[test]
fn the_process_metrics_are_present() {
    let text = Exposition::new().render();
    for name in [
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_cpu_seconds_total",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}\n{text}");
    }
}
