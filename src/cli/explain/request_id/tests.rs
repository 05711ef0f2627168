use super::*;

const LINE: &str = r#"{"time":"2026-11-26T15:15:58.771Z","direction":"outbound","service":"mailer","account":"mailer",
"caller":null,"user":null,"key_id":null,"method":"POST","path":"/mailer/messages","status":502,
"code":"service_unreachable","bytes_in":412,"bytes_out":301,"duration_ms":2004.118,"response_headers_ms":null,
"token_wait_ms":null,"upstream":"203.0.113.7:443","retried":false,"request_id":"id-1","traceparent":null,
"client":"10.0.0.5","phase":"wait","reason":"connection_terminated","delivery_id":null}"#;

fn line() -> Value {
    serde_json::from_str(LINE).unwrap()
}

fn human(line: &Value) -> String {
    let mut report = ExplainReport::default();
    report.failure(line);
    report.human()
}

#[test]
fn a_failure_is_told_in_plain_words() {
    assert_eq!(
        human(&line()),
        "\
request id  id-1
arrived     2026-11-26T15:15:58.771Z, took 2004.118 ms
request     POST /mailer/messages (outbound)
service     mailer
account     mailer
client      10.0.0.5
upstream    203.0.113.7:443
status      502
code        service_unreachable
reason      connection_terminated
phase       wait: waiting for the response head
cause       The upstream ended the connection before its response was whole, or during the TLS handshake. In `wait`, the \
request may have been executed.
what to do  Look at the service's log for crashes and time limits; a service that speaks no TLS on this port does this too.
see         docs/request-path.md#sending-again
"
    );
}

#[test]
fn a_failure_of_status_has_no_path() {
    let failure = json!({
        "at": "2026-11-26T15:16:00.775Z", "direction": "webhook", "service": null, "account": null, "key_id": null,
        "status": 404, "code": "webhook_unknown", "reason": "unknown_key", "phase": null, "duration_ms": 0,
        "upstream": null, "client": "203.0.113.9", "request_id": "id-2", "count": 1,
    });
    let told = human(&failure);
    let start =
        "request id  id-2\nfailed      2026-11-26T15:16:00.775Z, took 0 ms\nrequest     (webhook)\nclient ";
    assert!(told.starts_with(start), "{told}");
    assert!(told.contains("\ncause       No webhook has this key"), "{told}");
}

#[test]
fn a_response_of_the_upstream_is_no_failure() {
    let mut passed_on = line();
    for key in ["code", "phase", "reason"] {
        passed_on[key] = Value::Null;
    }
    assert!(human(&passed_on).contains("cause       attache did not fail"), "{}", human(&passed_on));
    passed_on["status"] = json!(499);
    assert!(human(&passed_on).contains("cause       The client closed"), "{}", human(&passed_on));
}

#[test]
fn the_last_line_with_the_id_counts_whatever_stands_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let one_line = LINE.replace('\n', "");
    let other = one_line.replace("id-1", "id-10");
    let later = one_line.replace("\"status\":502", "\"status\":504");
    std::fs::write(&log, format!("{one_line}\nnot JSON, id-1\nattache-1  | {later}\n{other}\n")).unwrap();
    assert_eq!(in_log("id-1", &log).unwrap().unwrap()["status"], 504);
    assert!(in_log("id-2", &log).unwrap().is_none());
    assert!(in_log("", &log).unwrap().is_none());
}

#[test]
fn the_plan_of_now_comes_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let yaml = "services: { mailer: { account: { authorization: none }, server_url: 'https://api.mailer.example/v3' } }";
    std::fs::write(&path, yaml).unwrap();
    let config = config::load(&path, Mode::Offline).config.unwrap();
    let mut report = ExplainReport::default();
    report.plan_now(&line(), Ok(config));
    let told = report.human();
    assert!(told.starts_with("now         request     POST /mailer/messages: forwarded\n"), "{told}");
    assert!(told.contains("sent to     POST https://api.mailer.example/v3/messages"), "{told}");
    assert_eq!(report.json()["now"]["outcome"], "forwarded");
}

#[test]
fn a_file_without_a_plan_is_named() {
    let mut report = ExplainReport::default();
    report.plan_now(&line(), Err("a.yaml is invalid".to_owned()));
    assert_eq!(report.human(), "now         not known: a.yaml is invalid\n");
    assert!(report.json()["now"].is_null());
}

#[test]
fn an_id_may_be_pasted_with_what_stands_around_it() {
    for text in
        ["id-1", "request_id=id-1", "\"request_id\":\"id-1\",", "X-Attache-Request-Id: id-1", "'id-1'"]
    {
        assert_eq!(clean(text), Ok("id-1"), "{text}");
    }
    for text in [
        "",
        "a b",
        "request_id=",
        "request_id=a status=502",
        "status=502",
        "/mailer/messages",
        &*"x".repeat(129),
    ] {
        assert!(clean(text).unwrap_err().contains("is no request id"), "{text}");
    }
}

#[test]
fn an_id_that_attache_did_not_make_is_noted() {
    assert_eq!(note("01a2186d-a00b-712f-89c8-9b85b0a839be"), "");
    assert!(note("01a2186d-a00b").contains("36 characters"));
    assert!(note("01a2186da00b712f89c89b85b0a839be").contains("36 characters"));
}

#[test]
fn a_packed_log_leads_to_zcat() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log.1.gz");
    std::fs::write(&log, b"\x1f\x8b\x08\0").unwrap();
    let command = format!("`zcat {} | attache explain --request id-1 --log -`", log.display());
    let told = in_log("id-1", &log).unwrap_err();
    assert!(told.contains("gzip") && told.ends_with(&command), "{told}");
}

#[test]
fn every_place_that_was_searched_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    std::fs::write(&log, "").unwrap();
    let path = folder.path().join("a.yaml");
    let socket = folder.path().join("admin.sock");
    let yaml = "services: { m: { account: { authorization: none }, server_url: 'https://m.example' } }";
    let yaml = format!(
        "{yaml}\nlog: {{ access: {} }}\nlisten: {{ admin: 'unix:{}' }}\n",
        log.display(),
        socket.display()
    );
    std::fs::write(&path, yaml).unwrap();
    let config = config::load(&path, Mode::Offline).config.unwrap();
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ExplainArgs,
    }
    let parse = |line: &[&str]| <Line as clap::Parser>::parse_from(["explain"].iter().chain(line)).args;
    let told = find("id-1", &parse(&["--request", "id-1"]), Some(&path), Some(&config)).unwrap_err();
    for part in [
        &format!("no line of {} has the request id id-1; ", log.display()),
        &format!("the admin listener at unix:{} can't be reached", socket.display()),
        &format!("`zcat {}.1.gz | attache explain --request id-1 --log -`", log.display()),
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let given = parse(&["--request", "id-1", "--log", log.to_str().unwrap()]);
    let told = find("id-1", &given, None, None).unwrap_err();
    assert!(told.contains("has the request id id-1; rotated logs: `zcat"), "{told}");
}

#[test]
fn a_line_is_found_in_what_a_collector_of_logs_makes_of_it() {
    let line = r#"{"time":"t","request_id":"id-1"}"#;
    let docker = json!({ "log": format!("{line}\n"), "stream": "stdout" }).to_string();
    let prefixes = ["", "2026-11-26 pod ", r#"{app="attache"} "#, r#"{"time":"torn","requ"#];
    for text in
        prefixes.map(|prefix| format!("{prefix}{line}")).into_iter().chain([docker, format!("{line} end")])
    {
        assert_eq!(parse("id-1", text.as_bytes()).expect(&text)["time"], "t", "{text}");
    }
    assert!(parse("id-1", &[b"\xff\xfe ", line.as_bytes()].concat()).is_some(), "a prefix that is no UTF-8");
    assert!(parse("id-2", line.as_bytes()).is_none());
}

#[test]
fn the_failure_counts_where_an_id_was_used_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let failed = r#"{"request_id":"id-1","status":502,"code":"service_unreachable"}"#;
    let passed = r#"{"request_id":"id-1","status":200,"code":null}"#;
    std::fs::write(&path, format!("{failed}\n{passed}\n")).unwrap();
    let found = in_log("id-1", &path).unwrap().unwrap();
    assert_eq!((&found["status"], &found["lines"]), (&json!(502), &json!(2)));
}

#[test]
fn a_line_without_an_end_takes_no_memory() {
    let long = [vec![b'x'; 3 * MAX_LINE as usize], b"\nshort\n".to_vec()].concat();
    let (mut reader, mut line) = (&long[..], Vec::new());
    assert!(read_line(&mut reader, &mut line).unwrap());
    assert_eq!(line.len() as u64, MAX_LINE);
    assert!(line.capacity() as u64 <= 2 * MAX_LINE);
    assert!(read_line(&mut reader, &mut line).unwrap());
    assert_eq!(line, b"short\n");
    assert!(!read_line(&mut reader, &mut line).unwrap());
}

#[test]
fn the_plan_of_a_line_moves_no_cursor() {
    let mut hostile = line();
    hostile["method"] = json!("GET\u{1b}[31m");
    hostile["path"] = json!("/mailer/\u{1b}[2J");
    assert!(!human(&hostile).contains('\u{1b}'));
    let mut report = ExplainReport::default();
    report.line("now", "GET\u{1b}[31m /x".to_owned());
    assert_eq!(report.human(), "now         GET\\u{1b}[31m /x\n");
}

#[test]
fn the_plan_of_now_is_that_of_the_caller_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let yaml = "callers: { billing: { tokens: [], services: { mailer: { paths: [/x] } } } }
services: { mailer: { account: { authorization: none }, server_url: 'https://api.mailer.example' } }";
    std::fs::write(&path, yaml).unwrap();
    let now = |caller: &str, code: &str| {
        let mut line = line();
        line["caller"] = serde_json::from_str(caller).unwrap();
        line["code"] = json!(code);
        let mut report = ExplainReport::default();
        report.failure(&line);
        report.plan_now(&line, Ok(config::load(&path, Mode::Offline).config.unwrap()));
        report.human()
    };
    let forbidden = now(r#""billing""#, "caller_forbidden");
    assert!(forbidden.contains("\ncaller      billing\n"), "{forbidden}");
    assert!(forbidden.contains("rights      methods: all; paths: /x"), "{forbidden}");
    for unproved in [now("null", "service_timeout"), now(r#""billing""#, "caller_unauthenticated")] {
        assert!(unproved.contains("now         not known: the log has no proof of the caller"), "{unproved}");
    }
    assert!(now(r#""gone""#, "service_timeout").contains("not known: there is no caller `gone`"));
}
