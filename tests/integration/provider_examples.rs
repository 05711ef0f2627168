//! The examples of `examples/providers` with a form of their own: the requests that leave are those that the provider
//! documents. Each test runs the shipped file, with the addresses of stubs and with files of its own for the secrets.

use crate::harness::*;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The file of a provider, with stubs in the place of its hosts and a file for each secret.
struct Example {
    yaml: String,
    setup: Setup,
}

fn example(name: &str) -> Example {
    let yaml = std::fs::read_to_string(format!("examples/providers/{name}.yaml")).expect("the example");
    Example { yaml, setup: attache().folder("state") }
}

impl Example {
    /// Replaces the origin of a URL.
    fn at(mut self, origin: &str, stub: &Stub) -> Self {
        assert!(self.yaml.contains(origin), "{origin}:\n{}", self.yaml);
        self.yaml = self.yaml.replace(origin, &stub.url());
        self
    }

    /// Replaces `/run/secrets/NAME` by a file with this content.
    fn secret(mut self, name: &str, content: &str) -> Self {
        let path = format!("/run/secrets/{name}");
        assert!(self.yaml.contains(&path), "{path}:\n{}", self.yaml);
        self.yaml = self.yaml.replace(&path, &format!("'{{{{{name}}}}}'"));
        self.setup = self.setup.file(name, content);
        self
    }

    async fn start(mut self) -> Attache {
        assert!(!self.yaml.contains("/run/secrets/"), "a secret is left:\n{}", self.yaml);
        self.yaml = self.yaml.replace(
            "\n  key: { file: '{{attache-state-key}}' }",
            "\n  key: { file: '{{attache-state-key}}' }\n  dir: '{{state}}'",
        );
        self.setup.with(&self.yaml).await
    }
}

/// Returns a new private key in PEM, and its public half as ring takes it: the key info without its prefix.
fn key(algorithm: &str, prefix: usize) -> (String, Vec<u8>) {
    let run = |words: &[&str]| {
        let output = Command::new("openssl").args(words).output().expect("openssl");
        assert!(output.status.success(), "openssl {words:?}");
        output.stdout
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key").display().to_string();
    let mut words = vec!["genpkey", "-out", &path];
    words.extend(algorithm.split(' '));
    run(&words);
    let pem = std::fs::read_to_string(&path).expect("the key");
    (pem, run(&["pkey", "-in", &path, "-pubout", "-outform", "DER"])[prefix..].to_vec())
}

fn p256() -> (String, Vec<u8>) {
    key("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", 26)
}

/// Returns header and claims of a token, whose signature it verifies. The times are checked and left out.
fn verified(
    token: &str,
    algorithm: &'static dyn VerificationAlgorithm,
    public: &[u8],
    lifetime: u64,
) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').expect("a signature");
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64");
    let key = UnparsedPublicKey::new(algorithm, public);
    key.verify(message.as_bytes(), &decode(signature)).expect("a good signature");
    let (header, claims) = message.split_once('.').expect("a header");
    let json = |part| serde_json::from_slice::<Value>(&decode(part)).expect("JSON");
    let mut claims = json(claims);
    let members = claims.as_object_mut().expect("an object");
    let [issued, end] =
        ["iat", "exp"].map(|name| members.remove(name).and_then(|time| time.as_u64()).expect(name));
    assert_eq!(end - issued, lifetime);
    (json(header), claims)
}

fn bearer(request: &Received) -> String {
    let value = request.header("authorization").expect("a token");
    value.strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

fn form(request: &Received) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Sends a request through attache, and returns what the provider received.
async fn sent(attache: &Attache, third_party: &Stub, path: &str) -> Received {
    assert_eq!(attache.send(get(path)).await.status, 200);
    third_party.requests().pop().expect("a request")
}

/// developers.google.com/google-ads/api/rest/auth
#[tokio::test]
async fn google_ads_gets_the_developer_token_beside_the_access_token() {
    let (third_party, token) = (third_party(), secret("token"));
    let endpoint = token_endpoint().issues(&token);
    let developer_token = secret("developer");
    let mut example = example("google-ads").at("https://googleads.googleapis.com", &third_party);
    example.yaml = example.yaml.replace("https://oauth2.googleapis.com/token", &endpoint.url());
    let attache = example
        .secret("attache-state-key", &secret("state-key-of-32-characters"))
        .secret("google-ads-client-secret", &secret("client"))
        .secret("google-ads-refresh-token", &secret("refresh"))
        .secret("google-ads-developer-token", &developer_token)
        .start()
        .await;
    let request = get("/google-ads/v18/customers:listAccessibleCustomers").header("Developer_Token", "mine");
    assert_eq!(attache.send(request).await.status, 200);
    let received = third_party.only_request().await;
    assert_eq!(bearer(&received), token);
    assert_eq!(received.all("developer-token"), [developer_token]);
    assert_eq!(received.all("login-customer-id"), ["1234567890"]);
    assert!(!String::from_utf8_lossy(&received.head.raw).contains("mine"));
    assert_eq!(form(&endpoint.request(0).await)[0], pair("grant_type", "refresh_token"));
}

/// dev.twitch.tv/docs/api/reference
#[tokio::test]
async fn twitch_gets_the_client_id_with_each_request() {
    let (third_party, client_secret) = (third_party(), secret("client"));
    let endpoint = token_endpoint().issues(&secret("token"));
    let mut example = example("twitch").at("https://api.twitch.tv", &third_party);
    example.yaml = example.yaml.replace("https://id.twitch.tv/oauth2/token", &endpoint.url());
    let attache = example.secret("twitch-client-secret", &client_secret).start().await;
    let received = sent(&attache, &third_party, "/twitch/users").await;
    assert_eq!(received.all("client-id"), ["hof5gwx0su6owfnys0yan9c87zr6t"]);
    assert_eq!(received.target(), "/helix/users");
    assert_eq!(
        form(&endpoint.request(0).await),
        [
            pair("grant_type", "client_credentials"),
            pair("client_id", "hof5gwx0su6owfnys0yan9c87zr6t"),
            pair("client_secret", &client_secret),
        ]
    );
}

/// docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
#[tokio::test]
async fn a_github_app_exchanges_its_token_for_that_of_an_installation() {
    let token = secret("installation");
    let answer =
        json!({ "token": token, "expires_at": "2100-01-01T00:00:00Z", "permissions": { "issues": "read" } });
    // GitHub serves both.
    let github = third_party().scripted(move |request| match request.method.as_str() {
        "POST" => vec![json_answer(201, &answer.to_string())],
        _ => vec![json_answer(200, "[]")],
    });
    let (pem, public) = key("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", 24);
    let attache = example("github-app")
        .at("https://api.github.com", &github)
        .secret("github-app.pem", &pem)
        .start()
        .await;
    assert_eq!(bearer(&sent(&attache, &github, "/github/installation/repositories").await), token);
    let asked = github.requests().swap_remove(0);
    assert_eq!(asked.target(), "/app/installations/12345678/access_tokens");
    assert_eq!(
        (asked.all("accept"), asked.all("content-type")),
        (vec!["application/vnd.github+json"], vec!["application/json"])
    );
    assert_eq!(asked.body, b"{}");
    let (header, claims) = verified(&bearer(&asked), &RSA_PKCS1_2048_8192_SHA256, &public, 540);
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT" }));
    assert_eq!(claims, json!({ "iss": "Iv23liAbCdEfGhIjKlMn" }));
}

fn json_answer(status: u16, body: &str) -> Step {
    let head = format!(
        "HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Step::Send([head.as_bytes(), body.as_bytes()].concat())
}

/// developers.zoom.us/docs/internal-apps/s2s-oauth
#[tokio::test]
async fn zoom_gets_account_credentials() {
    let (third_party, client_secret) = (third_party(), secret("client"));
    let endpoint = token_endpoint().issues(&secret("token"));
    let mut example = example("zoom").at("https://api.zoom.us", &third_party);
    example.yaml = example.yaml.replace("https://zoom.us/oauth/token", &endpoint.url());
    let attache = example.secret("zoom-client-secret", &client_secret).start().await;
    sent(&attache, &third_party, "/zoom/users/me").await;
    let asked = endpoint.request(0).await;
    assert_eq!(
        form(&asked),
        [pair("grant_type", "account_credentials"), pair("account_id", "gYz8S9w5Q5yrDoIvmdClYw")]
    );
    let basic = BASE64_STANDARD.encode(format!("AbCdEfGhIjKlMnOpQrSt:{client_secret}"));
    assert_eq!(asked.all("authorization"), [format!("Basic {basic}")]);
}

/// docs.snowflake.com/en/developer-guide/sql-api/authenticating
#[tokio::test]
async fn snowflake_gets_a_token_that_attache_signs_and_its_type() {
    let third_party = third_party();
    let (pem, public) = key("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", 24);
    let example = example("snowflake").at("https://corp-shop.snowflakecomputing.com", &third_party);
    let attache = example.secret("snowflake-key.pem", &pem).start().await;
    let received = sent(&attache, &third_party, "/snowflake/statements").await;
    assert_eq!(received.all("x-snowflake-authorization-token-type"), ["KEYPAIR_JWT"]);
    let (header, claims) = verified(&bearer(&received), &RSA_PKCS1_2048_8192_SHA256, &public, 3540);
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT" }));
    let issuer = "CORP-SHOP.ATTACHE.SHA256:o/mD6eAqZ3rwpNkYIYqX0sLyUcnAVhBLk6Ojmh2hlbc=";
    assert_eq!(claims, json!({ "iss": issuer, "sub": "CORP-SHOP.ATTACHE" }));
}

/// developer.apple.com/documentation/appstoreconnectapi/generating-tokens-for-api-requests
#[tokio::test]
async fn app_store_connect_gets_one_token_for_many_requests() {
    let third_party = third_party();
    let (pem, public) = p256();
    let example = example("app-store-connect").at("https://api.appstoreconnect.apple.com", &third_party);
    let attache = example.secret("AuthKey_2X9R4HXF34.p8", &pem).start().await;
    let request = get("/app-store-connect/v1/apps").header("Authorization", "Bearer mine");
    assert_eq!(attache.send(request).await.status, 200);
    let first = bearer(&third_party.only_request().await);
    let (header, claims) = verified(&first, &ECDSA_P256_SHA256_FIXED, &public, 1140);
    assert_eq!(header, json!({ "alg": "ES256", "kid": "2X9R4HXF34", "typ": "JWT" }));
    assert_eq!(claims, json!({ "aud": "appstoreconnect-v1", "iss": "57246542-96fe-1a63-e053-0824d011072a" }));
    let again = bearer(&sent(&attache, &third_party, "/app-store-connect/v1/apps").await);
    assert_eq!(again, first);
    let status = attache.status().await;
    assert_eq!(status["accounts"]["app-store-connect"]["authorization"], "jwt");
    assert!(!attache.said().contains(&first), "LEAK: the token is in what attache says");
}

/// cloud.google.com/compute/docs/access/authenticate-workloads
#[tokio::test]
async fn the_metadata_server_is_asked_with_its_header() {
    let (third_party, token) = (third_party(), secret("token"));
    let endpoint = token_endpoint().issues_for(&token, 3599);
    let mut example = example("gce-metadata").at("https://storage.googleapis.com", &third_party);
    let origin = endpoint.url().replace("/token", "");
    example.yaml = example.yaml.replace("http://169.254.169.254", &origin);
    let attache = example.start().await;
    assert_eq!(bearer(&sent(&attache, &third_party, "/storage/b/bucket").await), token);
    let asked = endpoint.request(0).await;
    assert_eq!(asked.method, "GET");
    assert_eq!(asked.target(), "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!(asked.all("metadata-flavor"), ["Google"]);
    assert_eq!((asked.header("authorization"), asked.body.len()), (None, 0));
}

/// developers.notion.com/reference/versioning
#[tokio::test]
async fn notion_gets_the_version_of_its_api() {
    let (third_party, token) = (third_party(), secret("token"));
    let example = example("notion").at("https://api.notion.com", &third_party);
    let attache = example.secret("notion-token", &token).start().await;
    let received = sent(&attache, &third_party, "/notion/users/me").await;
    assert_eq!((bearer(&received), received.all("notion-version")), (token, vec!["2022-06-28"]));
}

/// docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_162790605110.html
#[tokio::test]
async fn netsuite_gets_the_scopes_in_the_assertion() {
    let third_party = third_party();
    let endpoint = token_endpoint().issues(&secret("token"));
    let origin = "https://1234567.suitetalk.api.netsuite.com";
    let mut example = example("netsuite");
    let path = "/services/rest/auth/oauth2/v1/token";
    example.yaml = example.yaml.replace(&format!("{origin}{path}"), &endpoint.url());
    let (pem, public) = key("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", 23);
    let attache = example.at(origin, &third_party).secret("netsuite-key.pem", &pem).start().await;
    sent(&attache, &third_party, "/netsuite/record/v1/customer").await;
    let form = form(&endpoint.request(0).await);
    let member = |name: &str| form.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    assert_eq!(member("grant_type"), Some("client_credentials"));
    assert_eq!(
        member("client_assertion_type"),
        Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
    );
    assert_eq!(member("scope"), None);
    let assertion = member("client_assertion").expect("an assertion");
    let (header, claims) = verified(assertion, &ECDSA_P384_SHA384_FIXED, &public, 300);
    assert_eq!(header, json!({ "alg": "ES384", "kid": "0t1cErtIfIcAtEiDoFnEtSuItE", "typ": "JWT" }));
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["scope"]),
        (&json!("58586d9e0ac26c2ecee01527b3644b12"), &json!(endpoint.url()), &json!(["rest_webservices"]))
    );
}

#[tokio::test]
async fn the_header_beside_a_token_is_there_when_a_request_is_sent_again() {
    let refuses_the_second = AtomicUsize::new(0);
    let third_party = third_party().scripted(move |_request| {
        let status = if refuses_the_second.fetch_add(1, Ordering::Relaxed) == 1 { 401 } else { 200 };
        vec![json_answer(status, "{}")]
    });
    let endpoint = token_endpoint().issues_each(|nth| secret(&format!("token-{nth}")));
    let mut example = example("twitch").at("https://api.twitch.tv", &third_party);
    example.yaml = example.yaml.replace("https://id.twitch.tv/oauth2/token", &endpoint.url());
    let attache = example.secret("twitch-client-secret", &secret("client")).start().await;
    sent(&attache, &third_party, "/twitch/users").await;
    sent(&attache, &third_party, "/twitch/users").await;
    let received = third_party.requests();
    let tokens: Vec<String> = received.iter().map(bearer).collect();
    assert_eq!((tokens.len(), &tokens[0]), (3, &tokens[1]));
    assert_ne!(tokens[1], tokens[2]);
    assert!(received.iter().all(|request| request.all("client-id") == ["hof5gwx0su6owfnys0yan9c87zr6t"]));
}

/// core.telegram.org/bots/api#making-requests
#[tokio::test]
async fn telegram_gets_the_token_in_the_path() {
    let (third_party, token) = (third_party(), format!("110201543:{}", secret("bot")));
    let example = example("telegram").at("https://api.telegram.org", &third_party);
    let attache = example.secret("telegram-bot-token", &token).start().await;
    let received = sent(&attache, &third_party, "/telegram/getMe").await;
    assert_eq!((received.target(), received.header("authorization")), (format!("/bot{token}/getMe"), None));
}
