//! `tls` of a service: the client certificate, and the name of the server.

use crate::harness::*;

const MUTUAL: &str = "tls: { ca: '{{ca}}', client_certificate: '{{certificate}}', client_key: '{{key}}' }";

/// Returns the third party that wants a client certificate of `ca`, and the setup with one.
fn mutual(ca: &CertificateAuthority) -> (Stub, Setup) {
    let third_party = third_party().with_mutual_tls(ca);
    let (certificate, key) = ca.leaf_pem("attache.example");
    let setup = attache().given("third_party", third_party.url()).file("ca", &ca.pem());
    (third_party, setup.file("certificate", &certificate).file("key", &key))
}

#[tokio::test]
async fn a_service_may_ask_for_a_client_certificate() {
    let ca = CertificateAuthority::new();
    let (third_party, setup) = mutual(&ca);
    let attache = setup.with(&mailer(MUTUAL)).await;
    let answer = attache.send(post("/mailer/x", "body")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(third_party.only_request().await.body, b"body");
}

#[tokio::test]
async fn a_service_that_refuses_the_client_is_a_tls_failure() {
    let (ca, other) = (CertificateAuthority::new(), CertificateAuthority::new());
    let (third_party, setup) = mutual(&ca);
    let (certificate, key) = other.leaf_pem("attache.example");
    let setup = setup.file("certificate", &certificate).file("key", &key);
    let attache = setup.with(&mailer(MUTUAL)).await;
    attache.send(get("/mailer/x")).await.problem("service_tls", 502, "tls_protocol_error");
    let without = mailer("tls: { ca: '{{ca}}' }");
    attache.reload(&without, "applied").await;
    attache.send(get("/mailer/x")).await.problem("service_tls", 502, "tls_protocol_error");
    let line = attache.access_log_line("the request", |line| line["code"] == "service_tls").await;
    assert_eq!(line["reason"], "tls_alert_received", "{line:#}");
    assert_eq!(third_party.seen().heads, 0);
}

/// Two services at one address: the connection of the one with a certificate does not serve the other.
#[tokio::test]
async fn a_connection_is_shared_only_within_one_identity() {
    let ca = CertificateAuthority::new();
    let (third_party, setup) = mutual(&ca);
    let yaml = "
        services:
          known:
            account: { authorization: none }
            server_url: {{third_party}}
            tls: { ca: '{{ca}}', client_certificate: '{{certificate}}', client_key: '{{key}}' }
          unknown:
            account: { authorization: none }
            server_url: {{third_party}}
            tls: { ca: '{{ca}}' }";
    let attache = setup.with(yaml).await;
    for _ in 0..3 {
        assert_eq!(attache.send(get("/known/x")).await.status, 200);
        attache.send(get("/unknown/x")).await.problem("service_tls", 502, "tls_protocol_error");
    }
    // The same service, after its certificate was taken from it.
    let taken = yaml.replace(", client_certificate: '{{certificate}}', client_key: '{{key}}'", "");
    attache.reload(&taken, "applied").await;
    attache.send(get("/known/x")).await.problem("service_tls", 502, "tls_protocol_error");
    assert_eq!(third_party.seen().heads, 3);
}

#[tokio::test]
async fn a_rotated_certificate_is_taken_up_and_an_unreadable_one_concerns_its_service_only() {
    let ca = CertificateAuthority::new();
    let (third_party, setup) = mutual(&ca);
    let yaml = format!(
        "{}  plain:\n    account: {{ authorization: none }}\n    server_url: {{{{plain}}}}\n",
        mailer(MUTUAL)
    );
    let plain = crate::harness::third_party();
    let attache = setup.given("plain", plain.url()).with(&yaml).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    let before = attache.reloads("applied").await;
    let (certificate, key) = ca.leaf_pem("attache.example");
    // The pair does not fit between the two writes; then the file is not taken.
    attache.rewrite_file("certificate", &certificate);
    attache.rewrite_file("key", &key);
    attache.reloaded("applied", before).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    drop(attache);

    let (_third_party, setup) = mutual(&ca);
    let setup = setup.given("plain", plain.url()).file("key", "");
    let attache = setup.with(&yaml).await;
    attache.send(get("/mailer/x")).await.problem("credential_unavailable", 503, "proxy_configuration_error");
    assert_eq!(attache.send(get("/plain/x")).await.status, 200);
    drop(third_party);
}

#[tokio::test]
async fn the_servers_name_may_be_another_than_the_hosts() {
    let ca = CertificateAuthority::new();
    let third_party = third_party().with_tls_for(&ca, "api.bank.example");
    let setup = || attache().given("third_party", third_party.url()).file("ca", &ca.pem());
    let attache = setup().with(&mailer("tls: { ca: '{{ca}}', server_name: API.bank.example }")).await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let request = third_party.only_request().await;
    assert_eq!(request.header("host"), Some(third_party.authority().as_str()));
    for lines in ["tls: { ca: '{{ca}}', server_name: bank.example }", "tls: { ca: '{{ca}}' }"] {
        let attache = setup().with(&mailer(lines)).await;
        attache.send(get("/mailer/x")).await.problem("service_tls", 502, "tls_certificate_error");
    }
}
