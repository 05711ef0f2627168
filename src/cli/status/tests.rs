use super::client::{AdminAddress, AdminProof};
use super::judge::{Judgement, judge, page};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn document() -> Value {
    json!({
        "build": { "version": "0.1.0", "commit": "abc" },
        "config": {
            "hash": "aa", "loaded_at": "2026-11-26T00:00:00Z", "restart_needed": [],
            "last_reload": { "at": "2026-11-26T00:00:00Z", "result": "applied", "problems": [], "hash": "aa" },
        },
        "accounts": { "a": {} }, "services": { "s": {} }, "users": {}, "webhooks": [],
        "callers": { "c": {} },
    })
}

fn reasons(status: &Value, hash: &str) -> Vec<String> {
    match judge(status, true, Some(hash)) {
        Judgement::NotYet { reasons, .. } => reasons,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hash_is_served_once_it_is_completely_in_effect() {
    let good = document();
    assert_eq!(judge(&good, true, Some("aa")), Judgement::Good);
    assert_eq!(reasons(&good, "bb"), ["it serves aa"]);
    let not_ready = Judgement::NotYet { reasons: vec!["it is not ready".to_owned()], waiting: vec![] };
    assert_eq!(judge(&good, false, None), not_ready);
    let mut waiting = document();
    waiting["config"]["restart_needed"] = json!(["listen"]);
    assert_eq!(reasons(&waiting, "aa"), ["a restart is needed for listen"]);
    assert_eq!(judge(&waiting, true, None), Judgement::Good);
    for part in [("accounts", "a"), ("services", "s"), ("callers", "c")] {
        let mut missing = document();
        missing[part.0][part.1]["credential"] =
            json!({ "state": "unavailable", "reason": "secret_missing", "at": "a.b" });
        assert_eq!(reasons(&missing, "aa").len(), 1, "{part:?}");
        missing[part.0][part.1]["credential"] = json!(null);
        assert_eq!(judge(&missing, true, Some("aa")), Judgement::Good);
    }
}

#[test]
fn a_brought_secret_that_cannot_be_used_is_an_unavailable_credential() {
    let key = |secret| json!({ "service": "tasks", "handshake": { "name": "asana", "secret": secret } });
    let mut status = document();
    status["webhooks"] = json!([key("unusable"), key("unusable")]);
    let expected = "a credential is unavailable: service tasks (unavailable: handshake_unusable)";
    assert_eq!(reasons(&status, "aa"), [expected]);
    assert!(page(&status).contains("unavailable   service tasks (unavailable: handshake_unusable)\n"));
    // The provider brings the secret after the roll-out.
    for fine in ["waiting", "kept"] {
        status["webhooks"] = json!([key(fine)]);
        assert_eq!(judge(&status, true, Some("aa")), Judgement::Good, "{fine}");
    }
}

#[test]
fn only_the_rejection_of_the_hash_itself_ends_the_wait() {
    let mut rejected = document();
    rejected["config"]["last_reload"]["result"] = json!("rejected");
    rejected["config"]["last_reload"]["hash"] = json!("bb");
    assert_eq!(judge(&rejected, true, Some("bb")), Judgement::Rejected);
    assert_eq!(reasons(&rejected, "cc"), ["it serves aa"]);
    // The file in effect was rejected when the last reload could not read a secret.
    assert_eq!(judge(&rejected, true, Some("aa")), Judgement::Good);
}

#[test]
fn the_page_shows_problems() {
    let mut status = document();
    status["config"]["restart_needed"] = json!(["threads"]);
    status["config"]["last_reload"]["problems"] = json!([
        { "severity": "error", "message": "x is wrong", "file": "a.yaml", "line": 3, "column": 4 },
        { "severity": "error", "code": "more_problems", "message": "and 2 more" },
    ]);
    status["accounts"]["a"] = json!({
        "credential": { "state": "degraded", "reason": "secret_missing", "at": "accounts.a.authorization" },
        "token": { "state": "needs_login", "last_request": { "result": "rejected", "reason": "invalid_grant" } },
    });
    status["accounts"]["b"] = json!({
        "token": { "state": "valid",
            "last_request": { "result": "unavailable", "reason": "the token endpoint can't be reached" } },
    });
    status["accounts"]["c"] = json!({ "token": { "state": "valid", "last_request": { "result": "ok" } } });
    let key = |id| json!({ "service": "tasks", "key_id": id, "handshake": { "secret": "waiting" } });
    status["webhooks"] = json!([key("a"), key("b")]);
    let page = page(&status);
    assert!(!page.contains("account c"), "{page}");
    for part in [
        "version       0.1.0 (abc)",
        "a.yaml:3:4: error: x is wrong",
        "error: and 2 more",
        "needed for threads",
        "degraded      account a (degraded: secret_missing)\n              the last value is in use; a restart would lose it\n",
        "account a: needs_login, invalid_grant",
        "account b: renewal failed, the token endpoint can't be reached",
        "waiting       webhook tasks: its provider's handshake has not brought its secret yet\nservices      1",
    ] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
}

#[test]
fn what_only_a_restart_or_a_secret_ends_is_known_once_the_hash_is_served() {
    let waiting = |status: &Value, hash| match judge(status, true, Some(hash)) {
        Judgement::NotYet { waiting, .. } => waiting,
        other => panic!("{other:?}"),
    };
    let mut status = document();
    status["config"]["restart_needed"] = json!(["listen", "threads"]);
    assert_eq!(waiting(&status, "aa"), ["a restart is needed for listen, threads"]);
    assert!(waiting(&status, "bb").is_empty(), "the restart may be one of the earlier configuration only");
}

#[test]
fn the_page_shows_the_rejected_hash() {
    let mut status = document();
    assert!(page(&status).contains("last reload   applied at 2026-11-26T00:00:00Z\n"));
    status["config"]["last_reload"]["result"] = json!("rejected");
    status["config"]["last_reload"]["hash"] = json!("bb");
    assert!(page(&status).contains("last reload   rejected at 2026-11-26T00:00:00Z, hash bb\n"));
}

#[test]
fn a_flood_of_failures_takes_one_line() {
    let failure = |id: &str, service: Option<&str>, code: &str, count: u64| {
        json!({ "at": "2026-11-26T00:00:00Z", "direction": "webhook", "service": service, "code": code,
            "reason": "r", "status": 404, "request_id": id, "count": count })
    };
    let mut status = document();
    let mut failures: Vec<Value> =
        (0..20).map(|n| failure(&format!("flood-{n}"), None, "webhook_unknown", 2)).collect();
    failures.push(failure("other", Some("mailer"), "service_unreachable", 1));
    status["failures"] = json!(failures);
    let page = page(&status);
    let lines: Vec<&str> = page.lines().skip_while(|line| !line.starts_with("last failures")).collect();
    assert_eq!(
        lines,
        [
            "last failures 2026-11-26T00:00:00Z - webhook_unknown (r) flood-0, 40 of this kind",
            "              2026-11-26T00:00:00Z mailer service_unreachable (r) other",
        ]
    );
}

#[test]
fn a_wrong_hash_leads_to_check() {
    assert!(super::parse_hash("abc").unwrap_err().contains("`attache check` prints"));
}

#[test]
fn an_address_is_tcp_or_a_socket() {
    assert_eq!(AdminAddress::parse("localhost:9090"), Ok(AdminAddress::Tcp("localhost:9090".into())));
    assert_eq!(AdminAddress::parse("http://[::1]:9090/"), Ok(AdminAddress::Tcp("[::1]:9090".into())));
    assert_eq!(AdminAddress::parse("https://a.example:9090"), Ok(AdminAddress::Tls("a.example:9090".into())));
    assert_eq!(AdminAddress::parse("unix:/run/a.sock"), Ok(AdminAddress::Unix("/run/a.sock".into())));
    for wrong in ["localhost", ":9090", "a:b"] {
        assert!(AdminAddress::parse(wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn the_host_is_localhost_whatever_the_address_is_called() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = AdminAddress::Tcp(listener.local_addr().unwrap().to_string());
    let admin = AdminProof::default().client(admin).unwrap();
    let answered = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut head).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        String::from_utf8(head).unwrap().to_ascii_lowercase()
    };
    let (answer, head) = tokio::join!(admin.get("/status"), answered);
    assert!(answer.is_ok() && head.contains("\r\nhost: localhost\r\n"), "{head}");
}
