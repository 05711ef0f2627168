use super::*;
use crate::admin::report::{AccountReport, FailureReport, Moment, UnreadReport};
use crate::admin::testing::{ago, at, empty, full, service};
use crate::error_code::ErrorCode;
use crate::telemetry::metrics::LastError;
use std::time::Duration;

fn page(report: &Report, query: &str) -> String {
    document(report, &Query::parse(query))
}

/// Returns the text between two others.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("{from} in {text}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("{to} after {from}")).0
}

fn failure(request_id: &str) -> FailureReport {
    FailureReport {
        at: ago(5),
        direction: "outbound",
        service: Some("mailer".into()),
        account: Some("erp".into()),
        caller: Some("billing".into()),
        key_id: None,
        status: 502,
        code: Some("service_unreachable"),
        reason: Some("connection_refused".into()),
        phase: Some("connect"),
        duration_ms: 3,
        upstream: None,
        client: None,
        request_id: request_id.into(),
        count: 1200,
        first_at: ago(600),
    }
}

#[test]
fn a_page_shows_everything_there_is() {
    let mut report = full();
    report.failures.push(failure("0192-failed"));
    let error = LastError {
        code: ErrorCode::ServiceTls,
        reason: Some("expired".into()),
        request_id: "0192-last".into(),
        at: at() - Duration::from_secs(60),
    };
    let outbound = report.parts.services["mailer"].outbound.as_ref().unwrap();
    outbound.stats.failed(error);
    let html = page(&report, "");
    for expected in [
        "1.2.3 <small>0123abc</small>",
        "<code class=\"id\">abc</code>",
        "https://api.example",
        "data-label=\"Deadline\">10 s<",
        "<b>4</b>",
        "<dt class=\"key-p50\">p50</dt><dd>38 ms</dd>",
        "service_tls",
        "0192-last",
        "invalid_client: the secret has expired",
        "failing",
        "as bot",
        "https://hooks.example.com/webhooks/{key}",
        "signed: github",
        "2026-11",
        ">in 3 d<",
        "0192-failed",
        "1,200 times since",
        "<details><summary>",
    ] {
        assert!(html.contains(expected), "{expected}:\n{html}");
    }
}

#[test]
fn what_others_write_is_escaped() {
    let evil = "<script>alert('\"&')</script>";
    let mut report = full();
    report.config.hash = evil.to_owned();
    report.config.last_reload.drawn = format!("error: {evil}\n");
    let mut mailer = service(evil, 1);
    mailer.name = Some(evil.to_owned());
    mailer.credential =
        Some(UnreadReport { state: "unavailable", reason: "secret_missing", at: evil.to_owned() });
    report.parts.services.insert(evil.to_owned(), mailer);
    report
        .parts
        .accounts
        .insert(evil.to_owned(), AccountReport { authorization: "header", token: None, credential: None });
    report.failures.push(failure(evil));
    let html = page(&report, "q=%3Cscript%3E");
    assert!(html.contains("&lt;script&gt;"), "{html}");
    assert_eq!(html.matches("<script").count(), 1, "only its own: {html}");
    // Attributes can't be left either.
    assert!(!html.contains("alert('\"") && !html.contains("value=\"<"), "{html}");
}

#[test]
fn the_page_needs_nothing_that_its_policy_forbids() {
    let html = page(&full(), "");
    for forbidden in
        [" style=", "<style", "javascript:", " onclick", "http-equiv", "src=\"http", "href=\"/", "src=\"/"]
    {
        assert!(!html.contains(forbidden), "{forbidden}:\n{html}");
    }
    for text in [CSS, SCRIPT, ICON] {
        assert!(!text.contains("http://www") || text == ICON, "an outside address");
        assert!(!text.contains("@import") && !text.contains("https://") && !text.contains("eval("));
    }
}

#[test]
fn ten_thousand_services_are_shown_in_pages() {
    let mut report = empty();
    for number in 0..10_000 {
        report.parts.services.insert(format!("service-{number:05}"), service("none", 0));
    }
    let html = page(&report, "");
    assert!(html.len() < 300_000, "{}", html.len());
    assert_eq!(html.matches("<tr role=\"row\" id=\"service-").count(), 200);
    assert!(html.contains("1–200 of 10,000"), "the pager");
    let html = page(&report, "services=50");
    assert!(html.contains("9,801–10,000 of 10,000") && html.contains("service-09999"));
    let html = page(&report, "q=0123&services=3");
    assert_eq!(between(&html, "id=\"services-count\">", "<"), "12 of 10,000".replace("12", "11"));
    assert!(!html.contains("Pages of services"), "one page");
}

#[test]
fn only_what_needs_attention() {
    let mut report = full();
    report.parts.services.insert("quiet".to_owned(), service("none", 1));
    let html = page(&report, "show=problems");
    assert!(html.contains("id=\"service-mailer\"") && !html.contains("id=\"service-quiet\""), "{html}");
    assert!(html.contains("id=\"webhook-mailer\""), "a key that expires within a week");
    assert!(page(&empty(), "show=problems").contains("The configuration has no service."));
}

#[test]
fn a_reload_says_what_it_was() {
    let mut report = empty();
    report.config.last_reload.result = "rejected";
    report.config.last_reload.drawn = "error: unknown key\n".to_owned();
    report.config.last_reload.hash = Some("def".to_owned());
    report.config.restart_needed = vec!["listen"];
    let html = page(&report, "");
    for expected in [
        "data-announce=\"Reload rejected: the file has errors, the last good one stays in effect, 2026-",
        "aria-label=\"Problems of the last reload\">error: unknown key\n</pre>",
        "<dt>Hash of the file</dt><dd><code class=\"id\">def</code>",
        "<code>listen</code>",
    ] {
        assert!(html.contains(expected), "{expected}:\n{html}");
    }
}

#[test]
fn every_reload_differs_from_the_one_before() {
    let mut report = empty();
    let id = |report: &Report| between(&page(report, ""), "data-reload=\"", "\"").to_owned();
    let first = id(&report);
    report.config.last_reload.at = Moment(at());
    let second = id(&report);
    report.config.last_reload.hash = Some("def".to_owned());
    assert!(first != second && second != id(&report), "{first} {second}");
}

#[test]
fn a_refused_renewal_needs_attention_while_the_token_serves() {
    let mut report = full();
    let token = report.parts.accounts.get_mut("erp").unwrap().token.as_mut().unwrap();
    token.state = "valid";
    token.expires_at = Some(Moment(at() + Duration::from_secs(240)));
    let html = page(&report, "show=problems");
    assert!(html.contains("id=\"account-erp\"") && html.contains("id=\"service-mailer\""), "{html}");
    let row = between(&html, "id=\"account-erp\"", "</tr>");
    for expected in ["mark warning\">valid", "renewal failed; the token serves until <time", ">in 4 min<"] {
        assert!(row.contains(expected), "{expected}: {row}");
    }
}

#[test]
fn clear_is_there_to_be_shown_once_a_filter_is_typed() {
    assert!(page(&empty(), "").contains("<a id=\"clear\" href=\".\" hidden>"));
    assert!(page(&empty(), "q=a").contains("<a id=\"clear\" href=\".\">"));
}

#[test]
fn only_rows_that_differ_are_sent() {
    let query = Query::default();
    let before = Rendered::new(&full(), &query);
    assert!(Rendered::new(&full(), &query).changes(Some(&before)).is_empty());
    assert_eq!(before.changes(None).len(), 7);

    let mut report = full();
    report.parts.services.get_mut("mailer").unwrap().name = Some("Mailer".to_owned());
    let after = Rendered::new(&report, &query);
    let changes = after.changes(Some(&before));
    assert!(
        changes.len() == 1 && changes[0].starts_with("<tr role=\"row\" id=\"service-mailer\">"),
        "{changes:?}"
    );

    report.parts.services.insert("new".to_owned(), service("none", 0));
    let added = Rendered::new(&report, &query);
    let changes = added.changes(Some(&after));
    assert!(changes.len() == 1 && changes[0].starts_with("<section id=\"services\""), "{changes:?}");
}

#[test]
fn nothing_changes_within_a_minute_if_nothing_happens() {
    let query = Query::default();
    let mut report = full();
    let token = report.parts.accounts.get_mut("erp").unwrap().token.as_mut().unwrap();
    token.expires_at = Some(ago(300));
    let before = Rendered::new(&report, &query);
    report.at = at() + Duration::from_secs(29);
    let later = Rendered::new(&report, &query);
    assert!(later.changes(Some(&before)).is_empty(), "{:?}", later.changes(Some(&before)));
}

#[test]
fn ids_are_safe_and_differ() {
    assert_eq!(anchor("account", "a b.c"), "account-a~20b.c");
    assert_ne!(anchor("account", "a~20b"), anchor("account", "a b"));
}
