//! `attache login`: the test acts as the browser and the identity provider, and `attache run` uses the stored token.

use crate::harness::*;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use url::{Url, form_urlencoded};

const STATE_KEY: &str = "0123456789abcdefghijkl";

type Form = HashMap<String, String>;

/// An identity provider that answers token requests by their form, and records the forms.
struct Provider {
    stub: Stub,
    forms: Arc<Mutex<Vec<Form>>>,
}

impl Provider {
    fn new(answer: impl Fn(&str, &Form, usize) -> (u16, String) + Send + Sync + 'static) -> Self {
        let (stub, forms) = (third_party(), Arc::<Mutex<Vec<Form>>>::default());
        let kept = Arc::clone(&forms);
        stub.does(move |request| {
            let form: Form = form_urlencoded::parse(&request.body).into_owned().collect();
            let mut kept = kept.lock().expect("no test panics");
            let (status, body) = answer(&request.target(), &form, kept.len());
            kept.push(form);
            let length = body.len();
            vec![Step::Send(
                format!(
                    "HTTP/1.1 {status} Stubbed\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .into_bytes(),
            )]
        });
        Self { stub, forms }
    }

    /// Issues `refresh_token` for a code or a device, and `access_token` for `refresh_token`.
    fn that_signs_in(refresh_token: &str, access_token: &str) -> Self {
        let (refresh_token, access_token) = (refresh_token.to_owned(), access_token.to_owned());
        Self::new(move |_, form, _| match &*form["grant_type"] {
            "refresh_token" if form["refresh_token"] == refresh_token => (200, token(&access_token, None)),
            "authorization_code" => (200, token(&access_token, Some(&refresh_token))),
            _ => (400, r#"{"error":"invalid_grant"}"#.to_owned()),
        })
    }

    fn forms(&self) -> Vec<Form> {
        self.forms.lock().expect("no test panics").clone()
    }
}

fn token(access_token: &str, refresh_token: Option<&str>) -> String {
    let mut answer = serde_json::json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": 3600, "scope": "contacts.read",
    });
    if let Some(refresh_token) = refresh_token {
        answer["refresh_token"] = refresh_token.into();
    }
    answer.to_string()
}

/// Writes a file with one account `crm` that has a login.
struct File {
    setup: Setup,
    path: PathBuf,
    state: tempfile::TempDir,
}

const BY_CODE: &str = "grant: authorization_code, authorization_url: 'https://id.example/authorize?tenant=t', \
                       authorization_params: { prompt: consent }";
const BY_DEVICE: &str = "grant: device_code, device_authorization_url: '{{id}}/device'";

fn file(provider: &Provider, service: &Stub, grant: &str) -> File {
    let state = tempfile::tempdir().expect("a folder");
    let yaml = format!(
        "
state: {{ dir: '{{{{state}}}}', key: {{ env: STATE_KEY }} }}
accounts:
  crm:
    authorization:
      oauth2: {{ {grant}, token_url: '{{{{id}}}}/token', client_id: attache, scopes: [contacts.read, offline_access] }}
  plain: {{ authorization: none }}
services:
  crm: {{ account: crm, server_url: '{{{{third_party}}}}', timeout: 5s }}
"
    );
    let setup = attache()
        .given("id", provider.stub.url())
        .given("third_party", service.url())
        .given("state", state.path().join("grants").display().to_string())
        .env("STATE_KEY", STATE_KEY);
    let path = setup.write(&yaml);
    File { setup, path, state }
}

impl File {
    fn login(&self, arguments: &[&str]) -> Interactive {
        let path = self.path.display().to_string();
        let arguments = [&["login", "-c", &path], arguments].concat();
        interactive(&arguments, [("STATE_KEY", STATE_KEY)])
    }

    /// Returns the stored grant.
    fn kept(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.state.path().join("grants")).into_iter().flatten();
        let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".grant")).collect()
    }
}

/// Returns the URL for the user's browser, by its parameters.
struct Asked {
    parameters: BTreeMap<String, String>,
    redirect: Url,
}

impl Asked {
    async fn by(login: &Interactive) -> Self {
        let line = login.says("the URL", |line| line.trim().starts_with("https://id.example/")).await;
        let url = Url::parse(line.trim()).expect("a URL");
        let parameters: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(parameters.len(), url.query_pairs().count(), "no parameter twice: {url}");
        let redirect = Url::parse(&parameters["redirect_uri"]).expect("a redirect URL");
        Self { parameters, redirect }
    }

    fn address(&self) -> SocketAddr {
        let address = format!("127.0.0.1:{}", self.redirect.port().expect("a port"));
        address.parse().expect("an address")
    }

    fn state(&self) -> &str {
        &self.parameters["state"]
    }

    /// Returns the target of the redirect with these parameters and the right state.
    fn back(&self, query: &str) -> String {
        format!("{}?{query}&state={}", self.redirect.path(), self.state())
    }

    async fn come_back(&self, query: &str) -> Response {
        send(self.address(), get(self.back(query))).await
    }
}

#[tokio::test]
async fn a_code_becomes_a_refresh_token_that_attache_uses() {
    let (refresh_token, access_token, code) = (secret("refresh"), secret("access"), secret("code"));
    let (service, provider) = (third_party(), Provider::that_signs_in(&refresh_token, &access_token));
    let file = file(&provider, &service, BY_CODE);
    let login = file.login(&["crm"]);
    let asked = Asked::by(&login).await;
    for (name, value) in [
        ("tenant", "t"),
        ("prompt", "consent"),
        ("response_type", "code"),
        ("client_id", "attache"),
        ("scope", "contacts.read offline_access"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(asked.parameters[name], value);
    }
    assert_eq!((asked.redirect.host_str(), asked.redirect.path()), (Some("127.0.0.1"), "/callback"));
    let page = asked.come_back(&format!("code={code}")).await;
    assert_eq!(page.status, 200);
    for (name, value) in [("cache-control", "no-store"), ("referrer-policy", "no-referrer")] {
        assert_eq!(page.header(name), Some(value));
    }
    assert!(page.header("content-security-policy").is_some_and(|csp| csp.contains("default-src 'none'")));
    let ended = login.finish().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("`crm` is signed in") && ended.stdout.contains("/status"), "{ended:?}");

    let form = &provider.forms()[0];
    assert_eq!((&*form["code"], &*form["redirect_uri"]), (&*code, asked.redirect.as_str()));
    let digest = ring::digest::digest(&ring::digest::SHA256, form["code_verifier"].as_bytes());
    assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(digest), asked.parameters["code_challenge"]);
    assert!(!ended.stdout.contains(&form["code_verifier"]));

    let attache = file.setup.at(&file.path).await;
    assert_eq!(attache.send(get("/crm/x")).await.status, 200);
    assert_eq!(service.only_request().await.all("authorization"), [format!("Bearer {access_token}")]);
}

#[tokio::test]
async fn a_running_attache_uses_a_new_login() {
    let service = third_party();
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let File { setup, path, state } = file(&provider, &service, BY_CODE);
    let attache = setup.at(&path).await;
    attache.send(get("/crm/x")).await.problem("token_rejected", 502, "proxy_configuration_error");
    let at = path.display().to_string();
    let login = interactive(&["login", "crm", "-c", &at], [("STATE_KEY", STATE_KEY)]);
    Asked::by(&login).await.come_back(&format!("code={}", secret("code"))).await;
    assert_eq!(login.finish().await.code, Some(0));
    let signed_in = async || (attache.send(get("/crm/x")).await.status == 200).then_some(());
    eventually("attache to apply it", signed_in).await;
    drop(state);
}

#[tokio::test]
async fn only_the_answer_to_this_login_counts() {
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let file = file(&provider, &third_party(), BY_CODE);
    let login = file.login(&["crm"]);
    let asked = Asked::by(&login).await;
    let path = asked.redirect.path();
    // Browsers open unused connections, and other programs send arbitrary requests.
    let idle = [Connection::open(asked.address()).await, Connection::open(asked.address()).await];
    let _refused = try_send(asked.address(), get(format!("/{}", "x".repeat(64 * 1024)))).await;
    for (status, request) in [
        (404, get("/favicon.ico")),
        (404, get(asked.back("code=x").replacen(path, "/callback/", 1))),
        (404, request("HEAD", asked.back("code=x"))),
        (404, post(asked.back("code=x"), "")),
        (400, get(path)),
        (400, get(format!("{path}?code=x&state=<script>"))),
        (400, get(format!("{path}?error=access_denied"))),
        (400, get(asked.back("code=x&state=y"))),
    ] {
        let page = send(asked.address(), request).await;
        assert_eq!(page.status, status);
        assert!(!page.text().contains("script"), "{}", page.text());
    }
    assert_eq!(provider.forms().len(), 0);
    assert_eq!(asked.come_back("code=x").await.status, 200);
    assert_eq!(login.finish().await.code, Some(0));
    drop(idle);
}

#[tokio::test]
async fn a_refusal_is_reported() {
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let file = file(&provider, &third_party(), BY_CODE);
    let login = file.login(&["crm"]);
    let asked = Asked::by(&login).await;
    let page = asked.come_back("error=access_denied&error_description=not%0Atoday%1b%5b2J").await;
    assert!(page.status == 200 && !page.text().contains("today"), "{}", page.text());
    let ended = login.finish().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("access_denied (not today [2J)"), "{}", ended.stderr);
    assert_eq!((provider.forms().len(), file.kept().len()), (0, 0));
}

#[tokio::test]
async fn the_address_of_a_browser_elsewhere_is_pasted() {
    for whole in [true, false] {
        let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
        let file = file(&provider, &third_party(), BY_CODE);
        let mut login = file.login(&["crm", "--no-browser"]);
        let asked = Asked::by(&login).await;
        login.says("how to paste", |line| line.contains("paste")).await;
        login.types("http://127.0.0.1:1/callback?code=x&state=another");
        login.notes("still waiting").await;
        let back = asked.back(&format!("code={}", secret("code")));
        let pasted = asked.redirect.join(&back).expect("a URL");
        login.types(if whole { pasted.as_str() } else { pasted.query().expect("a query") });
        let ended = login.finish().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(matches!(&file.kept()[..], [kept] if kept.starts_with("crm%40")), "{:?}", file.kept());
    }
}

#[tokio::test]
async fn the_redirect_url_of_the_file_is_listened_on() {
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let url = format!("http://localhost:{}/back/here", free.port());
    let file = file(&provider, &third_party(), &format!("{BY_CODE}, redirect_url: '{url}'"));
    let login = file.login(&["crm"]);
    let asked = Asked::by(&login).await;
    assert_eq!(asked.redirect.as_str(), url);
    assert_eq!(asked.come_back("code=x").await.status, 200);
    assert_eq!(login.finish().await.code, Some(0));
    assert_eq!(provider.forms()[0]["redirect_uri"], url);
}

#[tokio::test]
async fn a_device_is_confirmed_elsewhere() {
    let (refresh_token, device_code) = (secret("refresh"), secret("device"));
    let provider = Provider::new(move |target, form, nth| match (target, nth) {
        ("/device", _) => {
            let answer = serde_json::json!({
                "device_code": device_code, "user_code": "WDJB-MJHT", "expires_in": 600, "interval": 1,
                "verification_uri": "https://id.example/device",
                "verification_uri_complete": "https://id.example/device?user_code=WDJB-MJHT",
            });
            (200, answer.to_string())
        }
        (_, 1) => (400, r#"{"error":"authorization_pending"}"#.to_owned()),
        _ if form["device_code"] == device_code => (200, token(&secret("first"), Some(&refresh_token))),
        _ => (400, r#"{"error":"invalid_grant"}"#.to_owned()),
    });
    let file = file(&provider, &third_party(), BY_DEVICE);
    let login = file.login(&["crm"]);
    login.says("the URL", |line| line.trim() == "https://id.example/device").await;
    login.says("the code", |line| line.trim() == "code: WDJB-MJHT").await;
    login.says("both", |line| line.trim() == "https://id.example/device?user_code=WDJB-MJHT").await;
    let ended = login.finish().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((file.kept().len(), provider.forms().len()), (1, 3));
    assert_eq!(provider.forms()[0]["scope"], "contacts.read offline_access");
}

#[tokio::test]
async fn a_scope_that_was_not_granted_is_a_warning() {
    let refresh_token = secret("refresh");
    let provider = Provider::that_signs_in(&refresh_token, &secret("access"));
    let crm = file(&provider, &third_party(), BY_CODE);
    let yaml = std::fs::read_to_string(&crm.path).expect("the file");
    std::fs::write(&crm.path, yaml.replace("[contacts.read,", "[contacts.read, contacts.write,"))
        .expect("write");
    let login = crm.login(&["crm"]);
    Asked::by(&login).await.come_back(&format!("code={}", secret("code"))).await;
    let ended = login.finish().await;
    assert_eq!((ended.code, crm.kept().len()), (Some(0), 1), "{ended:?}");
    assert!(ended.stderr.ends_with("warning: granted without the scopes contacts.write"), "{ended:?}");
}

#[tokio::test]
async fn without_a_refresh_token_the_access_token_is_stored_and_help_is_printed() {
    let (service, access_token) = (third_party(), secret("access"));
    let answer = token(&access_token, None);
    let provider = Provider::new(move |_, _, _| (200, answer.clone()));
    let file = file(&provider, &service, BY_CODE);
    let login = file.login(&["crm"]);
    Asked::by(&login).await.come_back("code=x").await;
    let ended = login.finish().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("`crm` is signed in until 20"), "{}", ended.stdout);
    for part in ["no refresh token", "access_type", "first consent"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    // The account has both.
    for part in ["offline_access", "OpenID"] {
        assert!(!ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let attache = file.setup.at(&file.path).await;
    assert_eq!(attache.send(get("/crm/x")).await.status, 200);
    assert_eq!(service.only_request().await.all("authorization"), [format!("Bearer {access_token}")]);
    assert_eq!(provider.forms().len(), 1);
}

/// GitHub OAuth Apps and Notion state neither.
#[tokio::test]
async fn without_an_expiry_the_access_token_lasts_until_it_is_revoked() {
    let (service, access_token) = (third_party(), secret("access"));
    let answer = serde_json::json!({ "access_token": access_token, "token_type": "bearer" }).to_string();
    let provider = Provider::new(move |_, _, _| (200, answer.clone()));
    let file = file(&provider, &service, BY_CODE);
    let login = file.login(&["crm"]);
    Asked::by(&login).await.come_back("code=x").await;
    let ended = login.finish().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("until its access token is revoked"), "{}", ended.stdout);
    let attache = file.setup.at(&file.path).await;
    assert_eq!(attache.send(get("/crm/x")).await.status, 200);
    assert_eq!(service.only_request().await.all("authorization"), [format!("Bearer {access_token}")]);
    assert_eq!(attache.status().await["accounts"]["crm"]["token"]["state"], "valid");
}

#[tokio::test]
async fn the_address_of_an_https_redirect_is_pasted() {
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let url = "https://app.example/oauth/back";
    let file = file(&provider, &third_party(), &format!("{BY_CODE}, redirect_url: '{url}'"));
    let mut login = file.login(&["crm", "--no-browser"]);
    let asked = Asked::by(&login).await;
    assert_eq!(asked.redirect.as_str(), url);
    login.says("how to paste", |line| line.contains(url) && line.contains("copy the address")).await;
    login.types(&format!("https://app.example{}", asked.back("code=x")));
    let ended = login.finish().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains("127.0.0.1") && !ended.stdout.contains("Waiting"), "{ended:?}");
    assert_eq!(provider.forms()[0]["redirect_uri"], url);
}

#[tokio::test]
async fn a_redirect_of_another_issuer_is_refused() {
    for (issuer, iss) in
        [("", "https://evil.example"), (", issuer: 'https://id.example/a'", "https://id.example/b")]
    {
        let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
        let file = file(&provider, &third_party(), &format!("{BY_CODE}{issuer}"));
        let login = file.login(&["crm"]);
        let asked = Asked::by(&login).await;
        let page = asked.come_back(&format!("code=x&iss={iss}")).await;
        assert!(page.text().contains("Not signed in"), "{}", page.text());
        let ended = login.finish().await;
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(&format!("names the issuer {iss}")), "{}", ended.stderr);
        assert_eq!((provider.forms().len(), file.kept().len()), (0, 0));
    }
}

#[tokio::test]
async fn a_code_that_the_provider_refuses() {
    let provider = Provider::new(|_, _, _| (400, r#"{"error":"invalid_grant"}"#.to_owned()));
    let file = file(&provider, &third_party(), BY_CODE);
    let login = file.login(&["crm"]);
    Asked::by(&login).await.come_back(&format!("code={}", secret("code"))).await;
    let ended = login.finish().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("invalid_grant"), "{}", ended.stderr);
}

#[tokio::test]
async fn an_unusable_store_is_reported_before_the_user_is_asked() {
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let file = file(&provider, &third_party(), BY_CODE);
    std::fs::write(file.state.path().join("grants"), "not a folder").expect("write");
    let ended = file.login(&["crm"]).finish().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("state.dir") && ended.stderr.contains("grants"), "{}", ended.stderr);
    assert_eq!((ended.stdout.as_str(), provider.forms().len()), ("", 0));
}

#[tokio::test]
async fn another_users_folder_is_refused_with_the_command_to_run() {
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let file = file(&provider, &third_party(), BY_CODE);
    let folder = file.state.path().join("grants");
    std::fs::create_dir(&folder).expect("a folder");
    if std::os::unix::fs::chown(&folder, Some(65534), None).is_err() {
        // Only root can change the owner, and only root can write into it then.
        return;
    }
    let ended = file.login(&["crm"]).finish().await;
    assert_eq!(ended.code, Some(1));
    let command = format!("sudo -u '#65534' attache login crm -c {}", file.path.display());
    assert!(ended.stderr.contains(&command), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[tokio::test]
async fn ctrl_c_ends_it() {
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let file = file(&provider, &third_party(), BY_CODE);
    let login = file.login(&["crm", "--no-browser"]);
    Asked::by(&login).await;
    login.says("how to paste", |line| line.contains("paste")).await;
    login.interrupt();
    let ended = login.finish().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
}

#[tokio::test]
async fn accounts_without_a_login_are_refused() {
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let file = file(&provider, &third_party(), BY_CODE);
    for (account, said) in [("crn", "did you mean `crm`?"), ("plain", "those that can: `crm`")] {
        let ended = file.login(&[account]).finish().await;
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    assert_eq!(file.login(&[]).finish().await.code, Some(2));
}

#[tokio::test]
async fn an_account_written_in_place() {
    let provider = Provider::that_signs_in(&secret("refresh"), &secret("access"));
    let state = tempfile::tempdir().expect("a folder");
    let yaml = format!(
        "
state: {{ dir: '{}', key: {{ env: STATE_KEY }} }}
services:
  crm:
    server_url: https://crm.example
    account: {{ authorization: {{ oauth2: {{ {BY_CODE}, token_url: '{}/token', client_id: attache }} }} }}
",
        state.path().display(),
        provider.stub.url()
    );
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("attache.yaml");
    std::fs::write(&path, yaml).expect("write");
    let path = path.display().to_string();
    let login = interactive(&["login", "services/crm", "-c", &path], [("STATE_KEY", STATE_KEY)]);
    Asked::by(&login).await.come_back("code=x").await;
    assert_eq!(login.finish().await.code, Some(0));
    assert_eq!(
        std::fs::read_dir(state.path()).expect("a folder").flatten().count(),
        2,
        "a grant and its lock"
    );
}
