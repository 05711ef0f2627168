//! attache with third-party programs: a certified OpenID provider, nginx, curl, the HTTP clients of Python, and the
//! libraries with which GitHub and Stripe sign.

use crate::harness::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

/// A service `crm` with an OAuth2 account; `oauth2` and `service` are further members of the two.
fn crm(oauth2: &str, service: &str) -> String {
    let grant = if oauth2.contains("password") { "password" } else { "client_credentials" };
    format!(
        "
        accounts:
          crm:
            authorization:
              oauth2: {{ grant: {grant}, token_url: '{{{{provider}}}}/token', client_id: attache,
                        client_secret: {{ env: CLIENT_SECRET }}, {oauth2} }}
        services:
          crm: {{ account: crm, server_url: '{{{{third_party}}}}', timeout: 10s, {service} }}"
    )
}

fn attache_with(provider: &Peer, third_party: impl Into<String>, client_secret: &str) -> Setup {
    let setup = attache().given("provider", provider.url()).given("third_party", third_party);
    setup.env("CLIENT_SECRET", client_secret).env("PASSWORD", secret("password"))
}

/// Returns the only bearer token in a request.
pub(crate) fn bearer(request: &Received) -> String {
    let values = request.all("authorization");
    let [value] = values[..] else { panic!("one Authorization, not {}", values.len()) };
    value.strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

/// Asserts that no output of attache contains the token.
pub(crate) async fn assert_unsaid(attache: &Attache, answer: &Response, token: &str) {
    let (metrics, status) = (attache.metrics().await.0, attache.status().await.to_string());
    let answer = String::from_utf8_lossy(&answer.raw).into_owned();
    for place in [answer, metrics, status, attache.said()] {
        assert!(!place.contains(token), "LEAK: a token is in what attache says");
    }
}

// A token of a provider that authenticates the client.

/// Asks the provider about a token (RFC 7662).
async fn introspect(provider: &Peer, client_secret: &str, method: &str, token: &str) -> Value {
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let client_secret = encode(client_secret);
    let (credentials, form) = match method {
        "client_secret_basic" => (Some(format!("attache:{client_secret}")), String::new()),
        _post => (None, format!("&client_id=attache&client_secret={client_secret}")),
    };
    let request = post("/token/introspection", format!("token={}{form}", encode(token)))
        .header("Content-Type", "application/x-www-form-urlencoded");
    let request = match credentials {
        Some(credentials) => {
            request.header("Authorization", format!("Basic {}", STANDARD.encode(credentials)))
        }
        None => request,
    };
    send(provider.address(), request).await.json()
}

#[tokio::test]
async fn a_provider_knows_the_token_that_is_injected() {
    // Characters that have to be encoded in a form, and in a form inside of Basic (RFC 6749 section 2.3.1).
    let client_secret = format!("{} +%&=:/?\"'~", secret("client"));
    for (method, client_auth) in [("client_secret_basic", "basic"), ("client_secret_post", "post")] {
        let environment = [("PEER_CLIENT_SECRET", client_secret.as_str()), ("PEER_CLIENT_AUTH", method)];
        let provider = Peer::serve("oidc/server.mjs", &environment).await;
        let third_party = third_party();
        let lines = format!("client_auth: {client_auth}, scopes: 'contacts.read, contacts.write'");
        let attache = attache_with(&provider, third_party.url(), &client_secret).with(&crm(&lines, "")).await;
        for _ in 0..3 {
            let answer = attache.send(get("/crm/contacts").header("Authorization", "Bearer mine")).await;
            assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        }
        let answer = attache.send(get("/crm/contacts")).await;
        let tokens: Vec<String> = third_party.requests().iter().map(bearer).collect();
        assert!(tokens.len() == 4 && tokens.iter().all(|token| *token == tokens[0]), "one token for all");
        provider.line("issued", |line| line == "issued").await;
        let known = introspect(&provider, &client_secret, method, &tokens[0]).await;
        assert_eq!(known["active"], true, "{method}: {known}");
        assert_eq!(known["client_id"], "attache", "{known}");
        assert_eq!(known["scope"], "contacts.read contacts.write", "{known}");
        assert_eq!(provider.count("issued"), 1, "{method}");
        assert_unsaid(&attache, &answer, &tokens[0]).await;
    }
}

#[tokio::test]
async fn a_provider_that_refuses_the_client_is_a_502() {
    let right = secret("client");
    let provider = Peer::serve("oidc/server.mjs", &[("PEER_CLIENT_SECRET", &right)]).await;
    let third_party = third_party();
    let attache = attache_with(&provider, third_party.url(), &secret("wrong")).with(&crm("", "")).await;
    for _ in 0..3 {
        let answer = attache.send(get("/crm/contacts")).await;
        answer.problem("token_rejected", 502, "proxy_configuration_error");
    }
    provider.line("the refusal", |line| line == "refused invalid_client").await;
    assert_eq!(third_party.seen().heads, 0);
}

/// Ten seconds, because the provider counts whole seconds: of a shorter lifetime, the rounding would be too large a
/// part.
#[tokio::test]
async fn a_providers_token_is_renewed_before_it_expires() {
    let client_secret = secret("client");
    let environment = [("PEER_CLIENT_SECRET", client_secret.as_str()), ("PEER_TOKEN_TTL", "10")];
    let provider = Peer::serve("oidc/server.mjs", &environment).await;
    let third_party = third_party();
    let attache = attache_with(&provider, third_party.url(), &client_secret).with(&crm("", "")).await;
    let known = async |token: &str| {
        introspect(&provider, &client_secret, "client_secret_basic", token).await["active"].clone()
    };
    assert_eq!(attache.send(get("/crm/contacts")).await.status, 200);
    let first = bearer(&third_party.head(0).await);
    // No request is sent meanwhile.
    eventually("a second token", async || (provider.count("issued") == 2).then_some(())).await;
    assert_eq!(known(&first).await, true, "the first is still good");
    let renewed = async || {
        assert_eq!(attache.send(get("/crm/contacts")).await.status, 200);
        let token = bearer(third_party.requests().last().expect("a request"));
        (token != first).then_some(token)
    };
    let second = eventually("the second token to be sent", renewed).await;
    assert_eq!(known(&second).await, true);
    assert_eq!(provider.count("issued"), 2);
}

// The grants that this provider doesn't have.

/// Returns the claims of a token, if the provider has signed them (RS256) with a key it publishes.
async fn claims(provider: &Peer, token: &str) -> Value {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let parse = |text: &str| -> Value { serde_json::from_slice(&decode(text)).expect("JSON") };
    let (signed, signed_as) = token.rsplit_once('.').expect("a JWT");
    let (header, payload) = signed.split_once('.').expect("a JWT");
    let keys = send(provider.address(), get("/jwks")).await.json();
    let keys = keys["keys"].as_array().expect("keys");
    let key = keys.iter().find(|key| key["kid"] == parse(header)["kid"]).expect("the key it is signed with");
    let part = |name: &str| decode(key[name].as_str().expect("part of a key"));
    let key = signature::RsaPublicKeyComponents { n: part("n"), e: part("e") };
    let verified = key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decode(signed_as));
    verified.expect("the token is as it was signed");
    parse(payload)
}

#[tokio::test]
async fn a_password_is_exchanged_for_an_access_token_or_an_id_token() {
    let password_grant = "username: robot@example.com, password: { env: PASSWORD }, scopes: contacts.read";
    for (more, expected) in [
        ("", json!({ "sub": "robot@example.com", "amr": ["pwd"], "scope": "contacts.read", "aud": null })),
        (", bearer_token_type: id_token", json!({ "sub": "johndoe", "amr": null, "aud": "attache" })),
    ] {
        let provider = Peer::serve("oidc/mock.mjs", &[]).await;
        let third_party = third_party();
        let lines = format!("{password_grant}{more}");
        let attache =
            attache_with(&provider, third_party.url(), &secret("client")).with(&crm(&lines, "")).await;
        let answer = attache.send(get("/crm/contacts")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let asked = provider.line("what was asked", |line| line.starts_with("issued ")).await;
        let asked: Value = serde_json::from_str(&asked["issued ".len()..]).expect("JSON");
        let form =
            json!({ "grant_type": "password", "scope": "contacts.read", "username": "robot@example.com" });
        assert_eq!(asked, form);
        let token = bearer(&third_party.only_request().await);
        let claims = claims(&provider, &token).await;
        for (name, value) in expected.as_object().expect("claims") {
            assert_eq!(claims[name], *value, "{name}");
        }
        assert_unsaid(&attache, &answer, &token).await;
    }
}

// An upstream over TLS.

/// nginx as the service `mailer`, with a header account. `lines` are further keys, such as `tls`.
async fn mailer_at(nginx: &Nginx, ca: &CertificateAuthority, lines: &str) -> Attache {
    let account = "account: { authorization: { header: { name: X-API-KEY, value: { env: API_KEY } } } }";
    let yaml = mailer(&format!("server_url: {{{{nginx}}}}/v3\nprivate_network: true\n{account}\n{lines}"));
    // Longer than the callers' forged values: nginx logs lengths.
    let api_key = secret(&"k".repeat(64));
    attache().given("nginx", nginx.url()).file("ca", &ca.pem()).env("API_KEY", api_key).with(&yaml).await
}

#[tokio::test]
async fn nginx_receives_over_tls_only_the_forwarded_fields() {
    let ca = CertificateAuthority::new();
    let nginx = Nginx::start(&ca, "localhost").await;
    let attache = mailer_at(&nginx, &ca, "tls: { ca: '{{ca}}' }").await;
    let url = format!("http://{}/mailer/a%2Fb//c;v=1/%7E?q=%20&&q=+#f", attache.outbound());
    let forged = [
        "X-API-KEY: forged",
        "x_api_key: forged",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: gopher",
        "Forwarded: for=6.6.6.6",
        "X-Attache-Token: forged",
        "X-Attache-User: forged",
        "Proxy-Authorization: Bearer forged",
    ];
    let forged: Vec<&str> = forged.iter().flat_map(|header| ["-H", header]).collect();
    let honest = curl(&["--fail", &url]).await;
    let forger = curl(&[&["--fail", &url], forged.as_slice()].concat()).await;
    let requests: [Value; 2] = nginx.requests().await;
    for (curl, request) in [honest, forger].iter().zip(&requests) {
        assert_eq!(curl.code, Some(0), "{curl:?}");
        assert!(curl.stdout.contains(r#""uri":"/v3/a%2Fb//c;v=1/%7E?q=%20&&q=+""#), "{curl:?}");
        assert_eq!(request["request"], "GET /v3/a%2Fb//c;v=1/%7E?q=%20&&q=+ HTTP/1.1");
        assert_eq!(request["host"], nginx.authority());
        assert_eq!((&request["sni"], &request["tls"]), (&"localhost".into(), &"TLSv1.3".into()));
        assert_eq!(request["api_key_length"], "64+", "attache's own");
        for absent in ["authorization_scheme", "x_forwarded_for", "x_attache_token", "transfer_encoding"] {
            assert_eq!(request[absent], "", "{absent}");
        }
        assert!(request["user_agent"].as_str().is_some_and(|agent| agent.starts_with("curl/")), "{request}");
    }
    // No byte of the forged values was forwarded, not even in a header that this log doesn't show.
    assert_eq!(requests[0]["request_length"], requests[1]["request_length"]);
    assert_eq!(requests[0]["connection"], requests[1]["connection"], "the connection is kept");
    assert_eq!(requests[1]["requests_on_connection"], "2");
}

#[tokio::test]
async fn the_response_of_nginx_is_unchanged_except_for_its_links() {
    let ca = CertificateAuthority::new();
    let nginx = Nginx::start(&ca, "localhost").await;
    let attache = mailer_at(&nginx, &ca, "tls: { ca: '{{ca}}' }").await;
    let denied = attache.send(get("/mailer/denied")).await;
    assert_eq!((denied.status, denied.text().as_str()), (401, "{\"error\":\"unauthorized\"}\n"));
    let moved = attache.send(get("/mailer/moved")).await;
    assert_eq!(moved.status, 302);
    assert_eq!(moved.header("location"), Some("/mailer/elsewhere"));
    for answer in [denied, moved] {
        assert!(answer.header("server").is_some_and(|server| server.starts_with("nginx")));
        assert_eq!(answer.header("proxy-status"), None);
    }
}

#[tokio::test]
async fn nginx_receives_every_byte_of_an_upload() {
    let ca = CertificateAuthority::new();
    let nginx = Nginx::start(&ca, "localhost").await;
    let attache = mailer_at(&nginx, &ca, "tls: { ca: '{{ca}}' }\ntimeout: 20s").await;
    let url = format!("http://{}/mailer/files", attache.outbound());
    let (_folder, file, content) = upload();
    let from_curl = curl(&["--fail", "--upload-file", &file, &format!("{url}/curl")]).await;
    assert_eq!(from_curl.code, Some(0), "{from_curl:?}");
    let from_python =
        python_client(&["--method", "PUT", "--upload", "3000000", &format!("{url}/python")]).await;
    let statuses: Vec<&Value> = from_python.iter().map(|answer| &answer["status"]).collect();
    assert_eq!(statuses, [201, 204], "made by the one, replaced by the other");
    let [curl, requests, httpx]: [Value; 3] = nginx.requests().await;
    assert_eq!(curl["content_length"], content.len().to_string(), "{curl}");
    for python in [requests, httpx] {
        assert_eq!(python["request"], "PUT /v3/files/python HTTP/1.1");
        assert_eq!(python["transfer_encoding"], "chunked", "{python}");
    }
    assert!(nginx.file("/v3/files/curl") == content.as_bytes());
    assert!(nginx.file("/v3/files/python") == vec![b'x'; 3_000_000]);
}

#[tokio::test]
async fn nginx_is_not_trusted_without_its_ca_or_by_another_name() {
    let ca = CertificateAuthority::new();
    for (name, lines) in [("localhost", ""), ("other.example", "tls: { ca: '{{ca}}' }")] {
        let nginx = Nginx::start(&ca, name).await;
        let attache = mailer_at(&nginx, &ca, lines).await;
        let answer = attache.send(get("/mailer/x")).await;
        answer.problem("service_tls", 502, "tls_certificate_error");
        assert_eq!(nginx.received(), [] as [Value; 0], "{name}");
    }
}

/// Only third-party programs besides attache: curl, the provider, nginx.
#[tokio::test]
async fn a_providers_token_reaches_nginx() {
    let (ca, client_secret) = (CertificateAuthority::new(), secret("client"));
    let nginx = Nginx::start(&ca, "localhost").await;
    let provider = Peer::serve("oidc/server.mjs", &[("PEER_CLIENT_SECRET", &client_secret)]).await;
    let yaml = crm("", "private_network: true, tls: { ca: '{{ca}}' }");
    let setup = attache_with(&provider, nginx.url(), &client_secret).file("ca", &ca.pem());
    let attache = setup.with(&yaml).await;
    let url = format!("http://{}/crm/contacts", attache.outbound());
    let curl = curl(&["--fail", "-H", "Authorization: Basic forged", &url, &url]).await;
    assert_eq!(curl.code, Some(0), "{curl:?}");
    for request in nginx.requests::<2>().await {
        let sent = (&request["authorization_scheme"], &request["authorization_length"]);
        assert_eq!(sent, (&"Bearer".into(), &"16-63".into()), "{request}");
    }
    provider.line("issued", |line| line == "issued").await;
    assert_eq!(provider.count("issued"), 1);
}

// The clients of internal programs.

/// Returns the last line that curl printed, as `--write-out` has it: the status and the number of opened connections.
const STATUS_AND_CONNECTIONS: &str = "\n%{http_code} %{num_connects}";

#[tokio::test]
async fn curl_sends_and_receives() {
    let third_party = third_party().echoes();
    let attache = attache_for(&third_party, "").await;
    let url = format!("http://{}/mailer/messages?to=a%40b", attache.outbound());
    let curl = curl(&["--data", "subject=hello", "--write-out", STATUS_AND_CONNECTIONS, &url]).await;
    assert_eq!((curl.code, curl.stdout.as_str()), (Some(0), "subject=hello\n200 1"), "{curl:?}");
    let request = third_party.only_request().await;
    assert_eq!(request.head.start, b"POST /messages?to=a%40b HTTP/1.1");
    assert_eq!(request.all("host"), [third_party.authority()]);
    assert_eq!(request.all("content-type"), ["application/x-www-form-urlencoded"]);
}

#[tokio::test]
async fn curl_keeps_its_connection() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let url = format!("http://{}/mailer/x", attache.outbound());
    let curl = curl(&["--write-out", STATUS_AND_CONNECTIONS, &url, &url, &url]).await;
    assert_eq!((curl.code, curl.stdout.as_str()), (Some(0), "ok\n200 1ok\n200 0ok\n200 0"), "{curl:?}");
    assert_eq!(third_party.seen().opened, 1);
}

/// Creates a file to upload, and returns its content. It exists as long as its folder.
fn upload() -> (tempfile::TempDir, String, String) {
    let content: String = (0..300_000).map(|n| format!("{n:09}\n")).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("upload");
    std::fs::write(&file, &content).expect("write a file");
    (folder, file.display().to_string(), content)
}

#[tokio::test]
async fn curl_uploads_a_file_whole() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "timeout: 20s").await;
    let url = format!("http://{}/mailer/files", attache.outbound());
    let (_folder, file, content) = upload();
    // curl sends `Expect: 100-continue` for a file of this size.
    for (nth, more) in [&[][..], &["-H", "Transfer-Encoding: chunked"]].into_iter().enumerate() {
        let curl = curl(&[&["--fail", "--upload-file", &file, &url], more].concat()).await;
        assert_eq!((curl.code, curl.stdout.as_str()), (Some(0), "ok"), "{curl:?}");
        let request = third_party.requests().swap_remove(nth);
        assert!(request.complete && request.body == content.as_bytes(), "{:?}", request.head.fields);
        assert_eq!(request.header("transfer-encoding").is_some(), nth == 1, "{:?}", request.head.fields);
    }
}

#[tokio::test]
async fn python_sends_and_receives() {
    let third_party = third_party().echoes();
    let attache = attache_for(&third_party, "").await;
    let url = format!("http://{}/mailer/messages?to=a%40b", attache.outbound());
    let header = ["--header", "X-Campaign: autumn"];
    let got = python_client(&[&header[..], &[&url]].concat()).await;
    let posted =
        python_client(&[&header[..], &["--method", "POST", "--body", "{\"n\": 1}", &url]].concat()).await;
    let clients: Vec<&Value> = got.iter().chain(&posted).map(|answer| &answer["client"]).collect();
    assert_eq!(clients, ["requests", "httpx", "requests", "httpx"]);
    for (nth, answer) in got.iter().chain(&posted).enumerate() {
        let (method, body) = if nth < 2 { ("GET", "") } else { ("POST", "{\"n\": 1}") };
        assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &body.into()), "{answer}");
        assert!(answer["headers"]["x-attache-request-id"].is_string(), "{answer}");
        let request = third_party.head(nth).await;
        assert_eq!((request.method.as_str(), request.target().as_str()), (method, "/messages?to=a%40b"));
        assert_eq!(request.all("x-campaign"), ["autumn"]);
    }
}

#[tokio::test]
async fn python_uploads_in_chunks() {
    let third_party = third_party().counts_bodies();
    let attache = attache_for(&third_party, "timeout: 20s").await;
    let url = format!("http://{}/mailer/files", attache.outbound());
    for (nth, answer) in
        python_client(&["--method", "PUT", "--upload", "3000000", &url]).await.iter().enumerate()
    {
        assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &"ok".into()), "{answer}");
        let request = third_party.head(nth).await;
        assert_eq!((request.body_length, request.complete), (3_000_000, true), "{answer}");
        assert_eq!(request.header("transfer-encoding"), Some("chunked"), "{answer}");
    }
}

#[tokio::test]
async fn every_client_understands_that_the_service_does_not_answer() {
    let third_party = third_party().hangs();
    let attache = attache_for(&third_party, "timeout: 300ms").await;
    let url = format!("http://{}/mailer/x", attache.outbound());
    for answer in python_client(&[&url]).await {
        assert_eq!(answer["status"], 504, "{answer}");
        assert_eq!(answer["headers"]["proxy-status"], "attache; error=http_response_timeout", "{answer}");
        let problem: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
        assert_eq!(problem["code"], "service_timeout", "{answer}");
        assert_eq!(problem["detail"], "Mailer is not answering.", "{answer}");
    }
    let status = "\n%{http_code} %{content_type}";
    let curl = curl(&["-H", "Accept: text/plain", "--write-out", status, &url]).await;
    let (text, status) = curl.stdout.rsplit_once('\n').expect("two lines");
    assert_eq!((curl.code, text.trim_end()), (Some(0), "Mailer is not answering."), "{curl:?}");
    assert!(status.starts_with("504 text/plain"), "{curl:?}");
}

// The callers of webhooks.

/// Bytes in the vendor's payload that any program would change by parsing and writing it again.
const PAYLOAD: &str =
    "{ \"zen\" : \"Keep it\\u0020logically awesome \u{2013} \u{1f419}\",\r\n\t\"n\":1.0, \"n\":1e0 }\n\n";

/// A webhook of a vendor, signed by the vendor's own library and sent through attache: returns what the library
/// printed, and what the receiver got.
async fn signed_webhook(scheme: &str, vendor_secret: &str) -> (Value, Received) {
    let app = app().answers(202, "accepted");
    let key = webhook_key();
    let yaml = "
        users: { hook-bot: {} }
        services:
          vendor:
            webhook: { user: hook-bot, forward_to: '{{app}}/hooks', api_keys: [{ id: k1, sha256: {{sha256}} }] }";
    let attache = attache().given("app", app.url()).given("sha256", sha256_hex(&key)).with(yaml).await;
    let url = format!("http://{}/webhooks/{key}", attache.webhooks());
    let finished = node("deliver.mjs", &[scheme, &url, PAYLOAD], &[("PEER_SECRET", vendor_secret)]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let sent: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!((&sent["status"], &sent["body"]), (&202.into(), &"accepted".into()), "{sent}");
    let received = app.only_request().await;
    assert_eq!(received.head.start, b"POST /hooks HTTP/1.1");
    assert_eq!(received.all("x-attache-user"), ["hook-bot"]);
    assert_eq!(received.all("x-attache-service"), ["vendor"]);
    assert_eq!(received.all("x-attache-key-id"), ["k1"]);
    assert_eq!(received.body, PAYLOAD.as_bytes(), "byte for byte");
    (sent, received)
}

/// Returns true if it is the HMAC-SHA256 of `signed`, in hex.
#[track_caller]
fn assert_signature(vendor_secret: &str, signed: &[u8], hex: &str) {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex"));
    let tag: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, vendor_secret.as_bytes());
    hmac::verify(&key, signed, &tag).expect("the vendor's signature of what we received");
}

#[tokio::test]
async fn a_webhook_signed_by_github_arrives_unchanged() {
    let vendor_secret = "what GitHub and the receiver share";
    let (sent, received) = signed_webhook("github", vendor_secret).await;
    let [signature] = received.all("x-hub-signature-256")[..] else { panic!("{:?}", received.fields) };
    assert_eq!(sent["signature"], signature);
    let hex = signature.strip_prefix("sha256=").expect("sha256=");
    assert_signature(vendor_secret, &received.body, hex);
    assert_eq!(received.all("x-github-event"), ["ping"]);
    assert_eq!(received.all("content-type"), ["application/json"]);
    assert_eq!(received.all("user-agent"), ["GitHub-Hookshot/044aadd"]);
}

#[tokio::test]
async fn a_webhook_signed_by_stripe_arrives_unchanged() {
    let vendor_secret = "whsec_what_stripe_and_our_program_share";
    let (sent, received) = signed_webhook("stripe", vendor_secret).await;
    let [signature] = received.all("stripe-signature")[..] else { panic!("{:?}", received.fields) };
    assert_eq!(sent["signature"], signature);
    let part = |name: &str| signature.split(',').find_map(|part| part.strip_prefix(name)).expect("a part");
    let signed = [part("t=").as_bytes(), b".", &received.body].concat();
    assert_signature(vendor_secret, &signed, part("v1="));
    assert_eq!(received.all("content-type"), ["application/json; charset=utf-8"]);
}

/// HAProxy closes a connection whose framing it does not accept.
#[tokio::test]
async fn haproxy_accepts_uploads_of_both_framings_on_one_connection() {
    let node = Peer::serve("echo.mjs", &[]).await;
    let haproxy = Haproxy::start(node.address()).await;
    let attache = attache().given("third_party", haproxy.url()).with(&mailer("")).await;
    let mut connection = Connection::open(attache.outbound()).await;
    let body = "0123456789abcdef".repeat(10_000);
    let half = &body.as_bytes()[..80_000];
    for _ in 0..3 {
        let whole = connection.exchange(post("/mailer/x", body.clone())).await;
        assert_eq!(whole.json()["body"], body.as_str());
        let chunked = connection.exchange(request("POST", "/mailer/x").chunked([half, half])).await;
        assert_eq!(chunked.json()["body"], body.as_str());
    }
}
