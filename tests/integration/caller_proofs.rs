//! Proofs of callers with real peers: a client certificate, a key set that is fetched, an account with OAuth2.

use crate::callers::{bearer, jwt, key_set, new_key};
use crate::harness::*;
use serde_json::json;
use std::time::Duration;

const WITH_CLIENTS: &str = "
listen:
  outbound: { address: 127.0.0.1:0, tls: { certificate: '{{certificate}}', key: '{{key}}', client_ca: '{{client_ca}}' } }
  webhooks: 127.0.0.1:0
  admin: 127.0.0.1:0
callers:
  billing: { certificate: { san: billing.corp.example }, services: { mailer: { paths: [/contacts] } } }
  reports: { certificate: { san: reports.corp.example }, tokens: [{ id: a, sha256: {{hash}} }], services: [mailer] }
";

#[tokio::test]
async fn a_client_certificate_proves_its_caller_on_each_connection() {
    let (third_party, token) = (third_party(), webhook_key());
    let (ca, clients) = (CertificateAuthority::new(), CertificateAuthority::new());
    let (certificate, key) = ca.leaf_pem("localhost");
    let setup = attache().given("third_party", third_party.url()).given("hash", sha256_hex(&token));
    let setup = setup.file("certificate", &certificate).file("key", &key).file("client_ca", &clients.pem());
    let attache = setup.with(&format!("{WITH_CLIENTS}{}", mailer(""))).await;
    let of = |name: &str| TlsClient::with_certificate(&ca, &clients.leaf_pem(name));
    let (billing, unknown, without) =
        (of("billing.corp.example"), of("billing.corp.example.evil"), TlsClient::of(&ca));
    let contacts = || get("/mailer/contacts");
    let with_token = || contacts().header("X-Attache-Token", token.as_str());
    for (number, (client, request, status, caller, reason)) in [
        (&billing, contacts(), 200, json!("billing"), json!(null)),
        // Resumed: the session has the certificate of the first handshake.
        (&billing, contacts(), 200, json!("billing"), json!(null)),
        (&billing, get("/mailer/admin"), 403, json!("billing"), json!("caller_path")),
        (&billing, with_token(), 401, json!(null), json!("two_callers")),
        (&unknown, contacts(), 401, json!(null), json!("unknown_certificate")),
        (&unknown, with_token(), 200, json!("reports"), json!(null)),
        (&without, contacts(), 401, json!(null), json!("no_proof")),
        (
            &without,
            contacts().header("X-Forwarded-Client-Cert", "DNS=billing.corp.example"),
            401,
            json!(null),
            json!("no_proof"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("proof-{number}");
        let answer = client.send(attache.outbound(), request.header("X-Request-Id", id.as_str())).await;
        assert_eq!(answer.expect("an answer").status, status, "{id}");
        let line = attache.access_log_line("the request", |line| line["request_id"] == *id).await;
        assert_eq!((&line["caller"], &line["reason"]), (&caller, &reason), "{line:#}");
    }
    // The next request of an open connection is of another configuration.
    let mut kept = billing.connect(attache.outbound()).await.expect("a connection");
    assert_eq!(kept.exchange(contacts()).await.expect("an answer").status, 200);
    attache
        .reload(&format!("{WITH_CLIENTS}{}", mailer("")).replace("billing.corp", "other.corp"), "applied")
        .await;
    assert_eq!(kept.exchange(contacts()).await.expect("an answer").status, 401);
}

#[tokio::test]
async fn a_token_of_an_issuers_new_key_waits_for_the_keys() {
    let (old, new) = (new_key(), new_key());
    let keys = third_party().answers(200, &key_set(&old).replace("\"k\"", "\"old\""));
    let third_party = third_party();
    let yaml = "
issuers: { cluster: { issuer: 'https://id.example', audience: attache, jwks: { url: '{{keys}}/keys' } } }
callers:
  billing: { jwt: { issuer: cluster, subject: 'system:serviceaccount:billing:default' }, services: [mailer] }
services:
  mailer: { account: { authorization: none }, server_url: '{{third_party}}' }
";
    let setup = attache().given("keys", keys.url()).given("third_party", third_party.url());
    let attache = setup.with(yaml).await;
    let fetched = async || (attache.status().await["issuers"]["cluster"]["keys"] == 1).then_some(());
    eventually("the first keys", fetched).await;
    let set = key_set(&new);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{set}", set.len()).into_bytes();
    keys.does(move |_| vec![Step::Pause(Duration::from_millis(300)), Step::Send(answer.clone())]);
    attache.sighup();
    keys.head(1).await;
    // The fetch is under way.
    let ask = |token: &str| post("/mailer/x", "body").header("Authorization", bearer(token));
    let (good, expired) = (jwt(&new, json!({})), jwt(&new, json!({ "exp": 1 })));
    let (good, expired) = tokio::join!(attache.send(ask(&good)), attache.send(ask(&expired)));
    assert_eq!(good.status, 200, "{}", good.text());
    expired.problem("caller_unauthenticated", 401, "http_request_denied");
    let received = third_party.only_request().await;
    assert_eq!((received.header("authorization"), received.body.as_slice()), (None, &b"body"[..]));
    // A token of another key is no reason to fetch within ten seconds.
    let forged = jwt(&new_key(), json!({}));
    attache.send(ask(&forged)).await.problem("caller_unauthenticated", 401, "http_request_denied");
    assert_eq!((keys.requests().len(), third_party.requests().len()), (2, 1));
}

#[tokio::test]
async fn an_oauth2_account_of_a_caller_serves_it_alone_and_renews_its_own_token() {
    let third_party = third_party();
    let (shared, own) = (token_endpoint().issues("shared-token"), token_endpoint().issues("billing-token"));
    let [billing, reports] = [webhook_key(), webhook_key()];
    let yaml = "
accounts:
  shared: { authorization: { oauth2: { grant: client_credentials, token_url: '{{shared}}', client_id: a, client_secret: { env: SHARED } } } }
  own: { authorization: { oauth2: { grant: client_credentials, token_url: '{{own}}', client_id: b, client_secret: { env: OWN } } } }
callers:
  billing: { tokens: [{ id: a, sha256: {{billing}} }], services: { mailer: { account: own } } }
  reports: { tokens: [{ id: a, sha256: {{reports}} }], services: [mailer] }
services:
  mailer: { account: shared, server_url: '{{third_party}}' }
";
    let setup = attache().given("third_party", third_party.url()).given("shared", shared.url());
    let setup = setup.given("own", own.url()).given("billing", sha256_hex(&billing));
    let setup = setup.given("reports", sha256_hex(&reports));
    let attache = setup.env("SHARED", secret("shared")).env("OWN", secret("own")).with(yaml).await;
    let ask = |token: &str| get("/mailer/x").header("Authorization", bearer(token));
    let sent =
        || third_party.requests().pop().and_then(|last| last.header("authorization").map(str::to_owned));
    for (token, expected) in [(&billing, "billing"), (&reports, "shared"), (&billing, "billing")] {
        assert_eq!(attache.send(ask(token)).await.status, 200);
        assert!(
            sent().is_some_and(|sent| sent.starts_with(&format!("Bearer {expected}-token"))),
            "{:?}",
            sent()
        );
    }
    assert_eq!((shared.count(), own.count()), (1, 1));
    // The token of one account is refused; the other's is not replaced.
    third_party.does(|request| {
        let is_old = request.header("authorization").is_some_and(|sent| sent.contains("billing-token"));
        let status = if is_old { "401 Unauthorized" } else { "200 OK" };
        vec![Step::Send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes())]
    });
    assert_eq!(attache.send(ask(&reports)).await.status, 200);
    attache.send(ask(&billing)).await;
    assert_eq!((shared.count(), own.count()), (1, 2));
}
