//! TLS to the upstream: the file's roots, the right name, and no connection shared between two sets of roots.

use crate::harness::*;

#[tokio::test]
async fn the_services_ca_is_trusted_for_an_address() {
    let ca = CertificateAuthority::new();
    let third_party = third_party().with_tls(&ca);
    let setup = attache().given("third_party", third_party.url()).file("ca", &ca.pem());
    let attache = setup.with(&mailer("tls: { ca: '{{ca}}' }")).await;
    let answer = attache.send(post("/mailer/x", "body")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(third_party.only_request().await.body, b"body");
}

#[tokio::test]
async fn the_services_ca_is_trusted_for_a_name() {
    let ca = CertificateAuthority::new();
    let third_party = third_party().named("localhost").with_tls(&ca);
    let setup = attache().given("third_party", third_party.url()).file("ca", &ca.pem());
    let attache = setup.with(&mailer("tls: { ca: '{{ca}}' }\nprivate_network: true")).await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_certificate_of_an_unknown_issuer_is_refused() {
    let ca = CertificateAuthority::new();
    let third_party = third_party().with_tls(&ca);
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/x")).await.problem("service_tls", 502, "tls_certificate_error");
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let ca = CertificateAuthority::new();
    let third_party = third_party().with_tls_for(&ca, "other.example");
    let setup = attache().given("third_party", third_party.url()).file("ca", &ca.pem());
    let attache = setup.with(&mailer("tls: { ca: '{{ca}}' }")).await;
    attache.send(get("/mailer/x")).await.problem("service_tls", 502, "tls_certificate_error");
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_refused() {
    let third_party = third_party().with_greeting(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let url = third_party.url().replace("http:", "https:");
    let attache = attache().given("third_party", url).with(&mailer("")).await;
    attache.send(get("/mailer/x")).await.problem("service_tls", 502, "tls_protocol_error");
}

/// A pooled connection that was verified with one service's CA must not serve another service with another CA.
#[tokio::test]
async fn a_connection_is_not_shared_between_two_sets_of_roots() {
    let (right, wrong) = (CertificateAuthority::new(), CertificateAuthority::new());
    let third_party = third_party().with_tls(&right);
    let yaml = "
        services:
          trusting:
            account: { authorization: none }
            server_url: {{third_party}}
            tls: { ca: '{{right}}' }
          doubting:
            account: { authorization: none }
            server_url: {{third_party}}
            tls: { ca: '{{wrong}}' }
          plain:
            account: { authorization: none }
            server_url: {{third_party}}";
    let setup = attache().given("third_party", third_party.url());
    let attache = setup.file("right", &right.pem()).file("wrong", &wrong.pem()).with(yaml).await;
    for _ in 0..3 {
        assert_eq!(attache.send(get("/trusting/x")).await.status, 200);
        attache.send(get("/doubting/x")).await.problem("service_tls", 502, "tls_certificate_error");
        attache.send(get("/plain/x")).await.problem("service_tls", 502, "tls_certificate_error");
    }
    assert_eq!(third_party.seen().heads, 3);
}

#[tokio::test]
async fn the_deadline_applies_over_tls() {
    let ca = CertificateAuthority::new();
    let third_party = third_party().with_tls(&ca).hangs();
    let setup = attache().given("third_party", third_party.url()).file("ca", &ca.pem());
    let attache = setup.with(&mailer("tls: { ca: '{{ca}}' }\ntimeout: 500ms")).await;
    let answer = attache.send(get("/mailer/x")).await;
    answer.problem("service_timeout", 504, "http_response_timeout");
    assert!(answer.head_after < ms(1500), "{:?}", answer.head_after);
}

#[tokio::test]
async fn the_log_explains_the_fault_of_a_certificate() {
    let ca = CertificateAuthority::new();
    let mut reasons = Vec::new();
    for (third_party, says) in [
        (third_party().with_flawed_tls(&ca, Flaw::Expired), "(?i)expired"),
        (third_party().with_flawed_tls(&ca, Flaw::NotYetValid), "(?i)not.(yet.valid|valid.yet)"),
        (third_party().with_flawed_tls(&ca, Flaw::Purpose), "(?i)purpose|usage"),
        (third_party().with_tls_for(&ca, "other.example"), "other\\.example"),
    ] {
        let setup = attache().given("third_party", third_party.url()).file("ca", &ca.pem());
        let attache = setup.with(&mailer("tls: { ca: '{{ca}}' }")).await;
        let answer = attache.send(get("/mailer/x")).await;
        answer.problem("service_tls", 502, "tls_certificate_error");
        let line = attache.access_log_line("the request", |line| line["code"] == "service_tls").await;
        reasons.push(line["reason"].as_str().unwrap_or_default().to_owned());
        let pattern = regex::Regex::new(says).expect("a pattern");
        eventually(says, async || pattern.is_match(&attache.said()).then_some(())).await;
    }
    reasons.sort();
    reasons.dedup();
    assert!(
        reasons.len() == 4 && !reasons.contains(&String::new()),
        "each has a reason of its own: {reasons:?}"
    );
}

/// `openssl req -x509` creates such a certificate. Verifying against it pins it.
#[tokio::test]
async fn a_self_signed_server_may_be_pinned() {
    let certificate = CertificateAuthority::self_signed_server("127.0.0.1");
    let third_party = third_party().with_self_signed_tls(&certificate);
    let setup = attache().given("third_party", third_party.url()).file("ca", &certificate.pem());
    let attache = setup.with(&mailer("tls: { ca: '{{ca}}' }")).await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_pinned_server_still_needs_its_name_and_the_very_certificate() {
    let pinned = CertificateAuthority::self_signed_server("127.0.0.1");
    let elsewhere = CertificateAuthority::self_signed_server("other.example");
    let another = CertificateAuthority::self_signed_server("127.0.0.1");
    for (shown, ca) in [(&elsewhere, &elsewhere), (&another, &pinned)] {
        let third_party = third_party().with_self_signed_tls(shown);
        let setup = attache().given("third_party", third_party.url()).file("ca", &ca.pem());
        let attache = setup.with(&mailer("tls: { ca: '{{ca}}' }")).await;
        attache.send(get("/mailer/x")).await.problem("service_tls", 502, "tls_certificate_error");
        assert_eq!(third_party.seen().heads, 0);
    }
}
