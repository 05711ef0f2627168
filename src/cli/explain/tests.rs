use super::*;
use serde_json::{Value, json};

const KEY: &str = "whk_0123456789abcdefghijklmnop";
const OLD: &str = "whk_old3456789abcdefghijklmnop";
const NAMED: &str = "whk_named56789abcdefghijklmnop";

fn yaml() -> String {
    let digest = |key: &str| crate::secret::hex(&crate::secret::sha256(key.as_bytes()));
    format!(
        "public_url: https://hooks.example.com/in
listen: {{ outbound: 127.0.0.1:18080, webhooks: 127.0.0.1:18081 }}
via: true
users: {{ bot: {{ name: Bot }} }}
accounts:
  a: {{ authorization: {{ header: {{ name: X-API-KEY, value: hunter2 }} }} }}
services:
  mailer:
    account: a
    server_url: https://api.mailer.example/v3
    timeout: 7s
    timeout_message: too late
    webhook:
      user: bot
      forward_to: http://127.0.0.1:3000/hooks
      allow_from: [10.0.0.0/8]
      api_keys:
        - {{ id: new, sha256: {} }}
        - {{ id: old, sha256: {}, expires_at: 2020-01-01T00:00:00Z }}
  ads:
    account: {{ authorization: {{ query: {{ name: key, value: hunter2 }}, headers: [{{ name: X-Tenant, value: hunter2 }}] }} }}
    server_url: https://ads.example
  chat:
    webhook:
      user: bot
      forward_to: http://127.0.0.1:3000/chat
      key_in: {{ header: X-Key }}
      api_keys: [{{ id: k, sha256: {} }}]
",
        digest(KEY),
        digest(OLD),
        digest(NAMED)
    )
}

fn explain(line: &[&str]) -> (Value, String) {
    explain_with(&yaml(), line)
}

fn explain_with(yaml: &str, line: &[&str]) -> (Value, String) {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ExplainArgs,
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, yaml).unwrap();
    let config = crate::config::load(&path, Mode::Offline).config.unwrap();
    let args = <Line as clap::Parser>::parse_from(["explain"].iter().chain(line)).args;
    let asked = ExplainedRequest::new(&args, &config).unwrap();
    let snapshot = snapshot(config).unwrap();
    let asked = asked.sent_by(args.caller.as_deref(), &snapshot).unwrap();
    let decision = asked.decide(&snapshot, SystemTime::now());
    let report = || ExplainReport::new(&asked, &snapshot, &decision);
    let (json, human) = (report().json().to_string(), report().human());
    for secret in [KEY, OLD, NAMED, "hunter2"] {
        assert!(!json.contains(secret) && !human.contains(secret), "{human}\n{json}");
    }
    (serde_json::from_str(&json).unwrap(), human)
}

#[test]
fn an_outbound_request_gets_its_plan() {
    for url in ["/mailer/a%2fb?c=d", "http://127.0.0.1:18080/mailer/a%2fb?c=d"] {
        let (json, human) = explain(&["POST", url]);
        assert_eq!(json["outcome"], "forwarded", "{json}");
        assert_eq!(json["upstream"], "https://api.mailer.example/v3/a%2fb?c=d");
        assert_eq!((&json["account"]["name"], &json["timeout_ms"]), (&json!("a"), &json!(7000)));
        assert_eq!(json["on_timeout"], json!({ "status": 504, "text": "too late" }));
        let added = json!([
            { "name": "X-API-KEY", "value": "[redacted]" }, { "name": "Via", "value": "1.1 attache" }
        ]);
        assert_eq!(json["headers_added"], added);
        for part in
            ["sent to     POST https://api.mailer.example/v3", "deadline    7s", "X-API-KEY: [redacted]"]
        {
            assert!(human.contains(part), "{part}:\n{human}");
        }
    }
}

#[test]
fn a_webhook_call_gets_its_plan() {
    let urls = [
        format!("https://hooks.example.com/in/webhooks/{KEY}/x?y"),
        format!("/webhooks/{KEY}/x?y"),
        format!("http://127.0.0.1:18081/webhooks/{KEY}/x?y"),
    ];
    for url in urls {
        let (json, _) = explain(&["POST", &url]);
        assert_eq!(json["upstream"], "http://127.0.0.1:3000/hooks/x?y", "{json}");
        assert_eq!(
            (&json["user"], &json["key_id"], &json["path"]),
            (&json!("bot"), &json!("new"), &json!("/webhooks/{key}/x"))
        );
        assert_eq!((&json["allow_from"], &json["max_body"]), (&json!(["10.0.0.0/8"]), &json!(1 << 20)));
    }
    let (json, _) = explain(&["POST", "/webhooks/chat", "--header", &format!("x-key: {NAMED}")]);
    assert_eq!(json["buffered"], Value::Null, "no body is read ahead: {json}");
    assert_eq!((&json["service"], &json["outcome"]), (&json!("chat"), &json!("forwarded")), "{json}");
}

#[test]
fn a_signature_is_named_as_in_the_file() {
    let arn = |name: &str| format!("arn:aws:sns:eu-central-1:123456789012:{name}");
    let (one, two) = (arn("orders"), format!("{}, {}", arn("orders"), arn("returns")));
    for (verify, name, line) in [
        ("scheme: custom, header: X-S, secret: hunter2".to_owned(), "custom", "custom;"),
        ("scheme: hmac, header: X-S, secret: hunter2".to_owned(), "hmac", "hmac;"),
        (format!("scheme: sns, topics: [{one}]"), "sns", &*format!("sns of the topic {one};")),
        (format!("scheme: sns, topics: [{two}]"), "sns", "sns of 2 topics;"),
    ] {
        let yaml = yaml().replacen(
            "      allow_from: [10.0.0.0/8]\n",
            &format!("      verify: {{ {verify} }}\n"),
            1,
        );
        let (json, human) = explain_with(&yaml, &["POST", &format!("/webhooks/{KEY}")]);
        assert_eq!((&json["verify"], &json["buffered"]), (&json!(name), &json!(256 << 20)), "{json}");
        assert!(human.contains(&format!("signature   {line}")), "{human}");
    }
}

#[test]
fn a_refusal_is_explained_as_the_log_would() {
    let old = format!("/webhooks/{OLD}");
    let new = format!("/webhooks/{KEY}");
    let cases: [(&[&str], &str, u16, &str); 8] = [
        (&["GET", "/unknown/x"], "service_unknown", 404, "destination_not_found"),
        (&["GET", "/mailer/../x"], "request_invalid", 400, "dot_segment"),
        (&["TRACE", "/mailer/x"], "method_denied", 405, "method"),
        (&["GET", "/mailer/#x"], "request_invalid", 400, "malformed_head"),
        (&["POST", &old], "webhook_unknown", 404, "expired"),
        (&["POST", "/webhooks/whk_unknown89abcdefghijklmnop"], "webhook_unknown", 404, "unknown_key"),
        (&["POST", &new, "--client", "192.0.2.1"], "request_denied", 403, "address"),
        (&["GET", &new], "method_denied", 405, "method"),
    ];
    for (line, code, status, reason) in cases {
        let (json, human) = explain(line);
        assert_eq!(
            (&json["outcome"], &json["code"], &json["status"], &json["reason"]),
            (&json!("refused"), &json!(code), &json!(status), &json!(reason)),
            "{human}"
        );
    }
    let (json, human) = explain(&["POST", &old]);
    assert_eq!((&json["service"], &json["key_id"]), (&json!("mailer"), &json!("old")), "{json}");
    assert!(human.contains("the key has expired, at 2020-01-01T00:00:00Z"), "{human}");
}

#[test]
fn a_path_of_another_listener_names_it() {
    for (url, listener) in [
        ("http://127.0.0.1:18080/metrics", "/metrics is a path of listen.admin (127.0.0.1:9090)"),
        ("http://127.0.0.1:18080/", "/ is a path of listen.admin (127.0.0.1:9090)"),
        ("http://127.0.0.1:18080/webhooks/x", "/webhooks/… is a path of listen.webhooks (127.0.0.1:18081)"),
        ("http://127.0.0.1:18081/status?x", "/status is a path of listen.admin (127.0.0.1:9090)"),
        ("http://127.0.0.1:18081/mailer/x", "/mailer/… is a path of listen.outbound (127.0.0.1:18080)"),
    ] {
        let (json, human) = explain(&["GET", url]);
        assert_eq!(json["listener"], listener, "{url}");
        assert!(human.contains(&format!("\nlistener    {listener}\n")), "{human}");
    }
    for url in ["http://127.0.0.1:18080/unknown", "http://127.0.0.1:18081/chat/x", "/mailer/../x"] {
        assert!(explain(&["GET", url]).0["listener"].is_null(), "{url}");
    }
}

#[test]
fn headers_beside_a_credential_are_among_those_added() {
    let (json, human) = explain(&["GET", "/ads/x"]);
    let added = json!([
        { "name": "X-Tenant", "value": "[redacted]" }, { "name": "Via", "value": "1.1 attache" }
    ]);
    assert_eq!(json["headers_added"], added);
    assert!(human.contains("X-Tenant: [redacted]"), "{human}");
}

#[test]
fn a_request_without_the_right_shows_what_is_allowed() {
    let yaml = r#"
callers:
  billing:
    tokens: [{ id: t, sha256: 5e20dfe2397513938b8ab7dbcfd225179d6d504189012a286364ce0a37da168f }]
    services: { erp: { methods: [GET], paths: [/contacts*] }, crm: {} }
services:
  erp: { account: { authorization: none }, server_url: https://erp.example }
  crm: { account: { authorization: none }, server_url: https://crm.example, allow: { methods: [PUT], paths: [/a] } }
"#;
    let rows: [(&[&str], &str, &[&str]); 4] = [
        (
            &["--caller", "billing", "GET", "/erp/orders"],
            "caller_path",
            &["caller      billing", "service     erp", "rights      methods: GET; paths: /contacts*"],
        ),
        (&["--caller", "billing", "PUT", "/crm/b"], "path", &["caller      billing", "paths       /a"]),
        (&["--caller", "billing", "GET", "/crm/a"], "method", &["methods     PUT"]),
        (&["GET", "/erp/contacts"], "no_proof", &["request     GET /erp: refused"]),
    ];
    for (line, reason, parts) in rows {
        let (json, human) = explain_with(yaml, line);
        assert_eq!((&json["outcome"], &json["reason"]), (&json!("refused"), &json!(reason)), "{human}");
        for part in parts {
            assert!(human.contains(part), "{part}:\n{human}");
        }
        if let Some(service) = json["service"].as_str() {
            assert_eq!(json["path"], line[3], "{service}: {human}");
        }
    }
}

#[test]
fn what_a_callers_right_drops_is_listed() {
    let yaml = "
callers:
  billing:
    tokens: [{ id: t, sha256: 5e20dfe2397513938b8ab7dbcfd225179d6d504189012a286364ce0a37da168f }]
    services: { erp: { methods: [GET] }, crm: { methods: [GET] } }
services:
  erp: { account: { authorization: none }, server_url: https://erp.example }
  crm: { account: { authorization: none }, server_url: https://crm.example, allow: { methods: [GET] } }
";
    for service in ["erp", "crm"] {
        let (json, _) = explain_with(yaml, &["--caller", "billing", "GET", &format!("/{service}/x")]);
        let dropped = json["headers_dropped"].as_array().unwrap();
        let times = dropped.iter().filter(|name| *name == "x-http-method-override").count();
        assert_eq!(times, 1, "{service}: {json}");
    }
}

#[test]
fn what_is_not_read_is_still_told() {
    let yaml = "
proxy: { from_environment: true, no_proxy: [inner.example] }
accounts: { a: { authorization: none } }
services:
  bank: { account: a, server_url: https://bank.example, tls: { client_certificate: a.pem, client_key: a.key } }
  inner: { account: a, server_url: https://inner.example }
";
    let (bank, text) = explain_with(yaml, &["GET", "/bank/x"]);
    assert_eq!(
        (&bank["tls_client_certificate"], &bank["proxy_from_environment"]),
        (&json!(true), &json!(true))
    );
    assert!(text.contains("a client certificate") && text.contains("attache's own environment"), "{text}");
    let (inner, text) = explain_with(yaml, &["GET", "/inner/x"]);
    assert_eq!(
        (&inner["tls_client_certificate"], &inner["proxy_from_environment"]),
        (&json!(false), &Value::Null)
    );
    assert!(!text.contains("environment"), "{text}");
}
