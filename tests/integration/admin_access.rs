//! Proofs that the admin listener asks for.

use crate::harness::*;

const OPEN: [&str; 4] = ["/livez", "/readyz", "/metrics", "/.well-known/jwks.json"];
const CLOSED: [&str; 8] =
    ["/", "/status", "/events", "/page.css", "/page.js", "/icon.svg", "/nothing", "/status/"];

const LISTEN: &str = "listen:
  outbound: 127.0.0.1:0
  webhooks: 127.0.0.1:0
  admin:
    address: 127.0.0.1:0
    tokens:
      - { id: ops, sha256: '{{hash}}' }
      - { id: old, sha256: '{{old}}', expires_at: 2020-01-01T00:00:00Z }
      - { id: later, sha256: '{{later}}', not_before: 2090-01-01T00:00:00Z }
      - { id: lost, sha256: '{{lost}}', disabled: true }
";

async fn with_tokens(tokens: &[String; 4]) -> Attache {
    let [good, old, later, lost] = tokens.each_ref().map(sha256_hex);
    let setup = attache().given("third_party", "http://127.0.0.1:1");
    let setup = setup.given("hash", good).given("old", old).given("later", later).given("lost", lost);
    setup.with(&format!("{LISTEN}{}", mailer(""))).await
}

fn tokens() -> [String; 4] {
    ["good", "old", "later", "lost"].map(secret)
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn with_tokens_everything_but_health_metrics_and_keys_asks_for_one() {
    let tokens = tokens();
    let attache = with_tokens(&tokens).await;
    for path in OPEN {
        assert_eq!(send(attache.admin(), get(path)).await.status, 200, "{path}");
    }
    for path in CLOSED {
        let answer = send(attache.admin(), get(path)).await;
        assert_eq!(answer.status, 401, "{path}");
        let challenges = answer.all("www-authenticate");
        assert_eq!(
            challenges,
            ["Bearer realm=\"attache\"", "Basic realm=\"attache\", charset=\"UTF-8\""],
            "{path}"
        );
    }
    let bearer = format!("Bearer {}", tokens[0]);
    for proof in
        [&bearer, &bearer.replace("Bearer", "bearer"), &basic("", &tokens[0]), &basic("ops", &tokens[0])]
    {
        for path in ["/", "/status", "/page.css"] {
            let answer = send(attache.admin(), get(path).header("Authorization", proof.as_str())).await;
            assert_eq!(answer.status, 200, "{path}");
        }
    }
    // A name that is no address: only a proof makes it harmless.
    let named = get("/status").without_host().header("Host", "attache.internal");
    let answer = send(attache.admin(), named.header("Authorization", bearer.as_str())).await;
    assert_eq!(answer.status, 200);
}

/// Attempts at the status without the right to see it.
#[tokio::test]
async fn nothing_else_is_a_proof() {
    let tokens = tokens();
    let attache = with_tokens(&tokens).await;
    let [good, old, later, lost] = &tokens;
    let one = |value: String| vec![("Authorization", value)];
    let attempts = [
        one(format!("Bearer {old}")),
        one(format!("Bearer {later}")),
        one(format!("Bearer {lost}")),
        one(format!("Bearer {}", secret("guess"))),
        one("Bearer ".to_owned()),
        one(format!("Bearer {}", sha256_hex(good))),
        one(format!("Bearer {} {good}", secret("guess"))),
        one(format!("Bearer {good},{good}")),
        one(format!("Bearer {}", &good[..good.len() - 1])),
        one(format!("Bearer {good}x")),
        one(format!("Bearer {}", good.to_uppercase())),
        one(good.clone()),
        one(format!("Token {good}")),
        one(format!("Digest {good}")),
        one(basic(good, "")),
        one(format!("Basic {good}")),
        one("Basic !!!".to_owned()),
        one(format!("Bearer{good}")),
        vec![
            ("Authorization", format!("Bearer {}", secret("guess"))),
            ("Authorization", format!("Bearer {good}")),
        ],
        vec![("Authorization", format!("Bearer {good}")), ("Authorization", format!("Bearer {good}"))],
        vec![("Proxy-Authorization", format!("Bearer {good}"))],
        vec![("X-Attache-Token", good.clone())],
        vec![("Cookie", format!("token={good}"))],
        vec![("X-Forwarded-For", "127.0.0.1".to_owned())],
    ];
    for fields in attempts {
        let request =
            fields.iter().fold(get("/status"), |request, (name, value)| request.header(name, value.as_str()));
        assert_eq!(send(attache.admin(), request).await.status, 401, "{fields:?}");
    }
    for target in [
        format!("/status?token={good}"),
        format!("/status?access_token={good}"),
        "//status".into(),
        "/%73tatus".into(),
        "/livez/../status".into(),
        "http://127.0.0.1/status".into(),
    ] {
        assert_eq!(send(attache.admin(), get(target.as_str())).await.status, 401, "{target}");
    }
    let from_another_site = get("/status")
        .header("Authorization", basic("", good))
        .header("Sec-Fetch-Site", "cross-site")
        .header("Sec-Fetch-Mode", "no-cors");
    assert_eq!(send(attache.admin(), from_another_site).await.status, 403);
}

#[tokio::test]
async fn tokens_are_taken_up_and_withdrawn_by_a_reload() {
    let (tokens, next) = (tokens(), secret("next"));
    let mut attache = with_tokens(&tokens).await;
    let status = async |attache: &Attache, token: &str| {
        let request = get("/status").header("Authorization", format!("Bearer {token}"));
        send(attache.admin(), request).await.status
    };
    assert_eq!(status(&attache, &tokens[0]).await, 200);
    attache.give("hash", sha256_hex(&next));
    attache.reload(&format!("{LISTEN}{}", mailer("")), "applied").await;
    assert_eq!((status(&attache, &tokens[0]).await, status(&attache, &next).await), (401, 200));
}

#[tokio::test]
async fn the_status_command_sends_a_token_and_speaks_tls() {
    let (ca, clients, token) = (CertificateAuthority::new(), CertificateAuthority::new(), secret("admin"));
    let (certificate, key) = ca.leaf_pem("localhost");
    let setup = attache().given("third_party", "http://127.0.0.1:1").given("hash", sha256_hex(&token));
    let setup = setup.file("certificate", &certificate).file("key", &key).file("ca", &ca.pem());
    let setup = setup.file("client_ca", &clients.pem()).file("token", &format!("{token}\n"));
    let listen = "listen:
  outbound: 127.0.0.1:0
  webhooks: 127.0.0.1:0
  admin:
    address: 127.0.0.1:0
    tls: { certificate: '{{certificate}}', key: '{{key}}', client_ca: '{{client_ca}}' }
    tokens: [{ id: ops, sha256: '{{hash}}' }]
";
    let attache = setup.with(&format!("{listen}{}", mailer(""))).await;
    let address = format!("https://{}", attache.admin());
    let (ca_path, token_path) =
        (attache.path_of("ca").display().to_string(), attache.path_of("token").display().to_string());
    let known = ["status", "--admin", &address, "--ca", &ca_path, "--server-name", "localhost"];
    let finished = command(&[&known[..], &["--token-file", &token_path]].concat()).finish().await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let by_variable = command(&known).env("ATTACHE_ADMIN_TOKEN", &token).finish().await;
    assert_eq!(by_variable.code, Some(0), "{}", by_variable.stderr);
    let without = command(&known).finish().await;
    assert_eq!(without.code, Some(2));
    assert!(without.stderr.contains("401"), "{}", without.stderr);
    let distrusted = command(&["status", "--admin", &address, "--token-file", &token_path]).finish().await;
    assert_eq!(distrusted.code, Some(2));
    assert!(distrusted.stderr.contains("certificate"), "{}", distrusted.stderr);
    // A client certificate is a proof too.
    let own = clients.leaf_pem("localhost");
    let client = TlsClient::with_certificate(&ca, &own);
    let answer = client.send(attache.admin(), get("/status")).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let listeners = &answer.json()["listeners"]["admin"];
    assert_eq!(listeners["client_certificates"], true);
    assert!(listeners["certificate_expires_at"].is_string(), "{listeners}");
    let anonymous = TlsClient::of(&ca).send(attache.admin(), get("/status")).await.expect("an answer");
    assert_eq!(anonymous.status, 401);
    let plain = send(attache.admin(), get("/status")).await;
    assert_eq!(plain.status, 400);
    assert!(plain.text().contains("https://"), "{}", plain.text());
    let metrics = TlsClient::of(&ca).send(attache.admin(), get("/metrics")).await.expect("an answer");
    let expiry = Metrics(metrics.text())
        .value("attache_listener_certificate_expiry_timestamp_seconds", &[("listener", "admin")]);
    assert!(expiry.is_some_and(|at| at > 1.7e9), "{expiry:?}");
}

#[tokio::test]
async fn a_kept_connection_proves_nothing_once_the_authority_of_its_client_is_gone() {
    let (ca, clients, others) =
        (CertificateAuthority::new(), CertificateAuthority::new(), CertificateAuthority::new());
    let (certificate, key) = ca.leaf_pem("localhost");
    let setup = attache().given("third_party", "http://127.0.0.1:1").file("certificate", &certificate);
    let setup = setup.file("key", &key).file("client_ca", &clients.pem());
    let listen = "listen:
  outbound: 127.0.0.1:0
  webhooks: 127.0.0.1:0
  admin: { address: 127.0.0.1:0, tls: { certificate: '{{certificate}}', key: '{{key}}', client_ca: '{{client_ca}}' } }
";
    let attache = setup.with(&format!("{listen}{}", mailer(""))).await;
    let admin = TlsClient::with_certificate(&ca, &clients.leaf_pem("ops.example"));
    let mut kept = admin.connect(attache.admin()).await.expect("a connection");
    assert_eq!(kept.exchange(get("/status")).await.expect("an answer").status, 200);
    attache.rewrite_file("client_ca", &others.pem());
    let mut watching = TlsClient::of(&ca).connect(attache.admin()).await.expect("a connection");
    let applied = async || {
        let metrics = watching.exchange(get("/metrics")).await.expect("an answer").text().to_owned();
        metrics.contains("attache_config_reloads_total{result=\"applied\"} 1").then_some(())
    };
    eventually("the reload", applied).await;
    assert_eq!(kept.exchange(get("/status")).await.expect("an answer").status, 401);
    assert_eq!(kept.exchange(get("/livez")).await.expect("an answer").status, 200);
}
