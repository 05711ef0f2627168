//! A secret that can't be read makes only its own account or webhook unavailable.

use crate::harness::*;

/// Two services with their own accounts; the secret of `erp` is in a file.
const TWO: &str = "
    accounts:
      erp: { authorization: { header: { name: X-Key, value: { file: '{{erp_key}}' } } } }
      mailer: { authorization: { header: { name: X-Key, value: { env: MAILER_KEY } } } }
    services:
      erp: { account: erp, server_url: '{{third_party}}' }
      mailer: { account: mailer, server_url: '{{third_party}}' }";

fn two(third_party: &Stub) -> Setup {
    attache().given("third_party", third_party.url()).env("MAILER_KEY", secret("mailer"))
}

async fn gauge(attache: &Attache, label: &str, name: &str) -> Option<f64> {
    attache.metrics().await.value("attache_credential_unavailable", &[(label, name)])
}

async fn degraded(attache: &Attache, label: &str, name: &str) -> Option<f64> {
    attache.metrics().await.value("attache_credential_degraded", &[(label, name)])
}

fn unavailable(answer: &Response) {
    answer.problem("credential_unavailable", 503, "proxy_configuration_error");
}

/// Waits until a request to `service` gets this answer.
async fn serves(attache: &Attache, service: &str, status: u16) {
    let target = format!("/{service}/x");
    let answered = async || (attache.send(get(target.clone())).await.status == status).then_some(());
    eventually(&format!("{service} to answer {status}"), answered).await;
}

#[tokio::test]
async fn a_missing_secret_takes_down_its_own_account() {
    let third_party = third_party();
    let attache = two(&third_party).folder("erp_key").with(TWO).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    let refused = attache.send(get("/erp/x")).await;
    let problem = refused.problem("credential_unavailable", 503, "proxy_configuration_error");
    assert_eq!(problem["service"], "erp");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("`erp`")), "{problem}");
    assert_eq!(third_party.seen().heads, 1);
    assert_eq!(gauge(&attache, "account", "erp").await, Some(1.0));
    assert_eq!(gauge(&attache, "account", "mailer").await, None);
    assert_eq!(degraded(&attache, "account", "erp").await, None);
    let errors = [("direction", "outbound"), ("service", "erp"), ("code", "credential_unavailable")];
    assert_eq!(attache.metrics().await.value("attache_errors_total", &errors), Some(1.0));
    let line = attache.access_log_line("the refusal", |line| line["service"] == "erp").await;
    assert_eq!(
        [&line["code"], &line["reason"], &line["account"], &line["path"]],
        ["credential_unavailable", "secret_missing", "erp", "/erp/x"]
    );
}

#[tokio::test]
async fn a_missing_secret_is_reported_in_the_log_and_the_status() {
    let third_party = third_party();
    let attache = two(&third_party).folder("erp_key").with(TWO).await;
    attache.stderr_line("ERROR.*accounts.erp.authorization.header.value.file").await;
    attache.stderr_line("ready").await;
    let reported = attache.said().matches("erp.authorization.header.value.file can't be read").count();
    assert_eq!(reported, 1, "once, though the file's other problems are printed as well");
    let status = attache.status().await;
    let problem = &status["config"]["last_reload"]["problems"][0];
    assert_eq!((&problem["severity"], &problem["code"]), (&"error".into(), &"secret_unavailable".into()));
    let credential = &status["accounts"]["erp"]["credential"];
    assert_eq!(
        (&credential["state"], &credential["reason"]),
        (&"unavailable".into(), &"secret_missing".into())
    );
    assert!(status["accounts"]["mailer"]["credential"].is_null());
}

#[tokio::test]
async fn a_file_that_appears_is_used_without_a_restart() {
    let (third_party, key) = (third_party(), secret("erp"));
    let attache = two(&third_party).folder("erp_key").with(TWO).await;
    unavailable(&attache.send(get("/erp/x")).await);
    attache.rewrite_file("erp_key", &key);
    serves(&attache, "erp", 200).await;
    assert_eq!(third_party.head(0).await.all("x-key"), [key]);
    assert_eq!(gauge(&attache, "account", "erp").await, None);
}

#[tokio::test]
async fn the_last_value_is_used_while_its_file_is_missing() {
    let (third_party, key) = (third_party(), secret("erp"));
    let attache = two(&third_party).file("erp_key", &key).with(TWO).await;
    let before = attache.reloads("applied").await;
    std::fs::remove_file(attache.path_of("erp_key")).expect("remove");
    attache.reloaded("applied", before).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    assert_eq!(third_party.head(0).await.all("x-key"), std::slice::from_ref(&key));
    assert_eq!(gauge(&attache, "account", "erp").await, Some(1.0));
    assert_eq!(degraded(&attache, "account", "erp").await, Some(1.0));
    assert_eq!(attache.status().await["accounts"]["erp"]["credential"]["state"], "degraded");
    // It is kept through further changes, including refused ones.
    attache.reload(&format!("{TWO}\n    via: nonsense"), "rejected").await;
    attache.reload(&format!("{TWO}\n    via: true"), "applied").await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    attache.rewrite_file("erp_key", &secret("next"));
    eventually("the gauge to go", async || gauge(&attache, "account", "erp").await.is_none().then_some(()))
        .await;
}

#[tokio::test]
async fn an_empty_or_malformed_file_counts_as_missing() {
    let (third_party, key) = (third_party(), secret("erp"));
    let attache = two(&third_party).file("erp_key", &key).with(TWO).await;
    for (content, reason) in [("", "secret_empty"), ("\u{0}", "secret_malformed")] {
        attache.rewrite_file("erp_key", content);
        let reported = async || {
            let status = attache.status().await;
            (status["accounts"]["erp"]["credential"]["reason"] == reason).then_some(())
        };
        eventually(reason, reported).await;
        assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    }
}

#[tokio::test]
async fn the_last_value_is_used_for_its_own_account_and_reference_only() {
    let third_party = third_party();
    let attache = two(&third_party).file("erp_key", &secret("erp")).with(TWO).await;
    let gone = attache.path_of("erp_key").display().to_string();
    let before = attache.reloads("applied").await;
    std::fs::remove_file(attache.path_of("erp_key")).expect("remove");
    attache.reloaded("applied", before).await;
    // Another account with the same file.
    attache
        .reload(
            &TWO.replace("account: erp,", "account: other,").replace("erp: { auth", "other: { auth"),
            "applied",
        )
        .await;
    unavailable(&attache.send(get("/erp/x")).await);
    assert_eq!(gauge(&attache, "account", "other").await, Some(1.0));
    assert_eq!(gauge(&attache, "account", "erp").await, None);
    // The same account with another file.
    attache.reload(&TWO.replace("{{erp_key}}", &format!("{gone}-2")), "applied").await;
    unavailable(&attache.send(get("/erp/x")).await);
}

#[tokio::test]
async fn another_accounts_change_is_applied_while_a_secret_is_missing() {
    let third_party = third_party();
    let attache = two(&third_party).folder("erp_key").with(TWO).await;
    let more = format!(
        "{TWO}\n      third: {{ account: {{ authorization: none }}, server_url: '{{{{third_party}}}}' }}"
    );
    attache.reload(&more, "applied").await;
    assert_eq!(attache.send(get("/third/x")).await.status, 200);
    unavailable(&attache.send(get("/erp/x")).await);
}

#[tokio::test]
async fn an_error_of_the_text_still_refuses_all_of_it() {
    let third_party = third_party();
    let attache = two(&third_party).folder("erp_key").with(TWO).await;
    attache
        .reload(&TWO.replace("name: X-Key, value: { file", "name: 'no header', value: { file"), "rejected")
        .await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
}

#[tokio::test]
async fn the_request_is_checked_before_the_secret() {
    let third_party = third_party();
    let attache = two(&third_party).folder("erp_key").with(TWO).await;
    attache.send(get("/erp/../x")).await.problem("request_invalid", 400, "http_request_error");
}

#[tokio::test]
async fn check_and_a_strict_start_refuse_a_missing_secret() {
    let third_party = third_party();
    let setup = two(&third_party).folder("erp_key");
    let path = setup.write(TWO).display().to_string();
    for (arguments, code) in [
        (&["check", "-c", &path][..], 1),
        (&["run", "--strict", "-c", &path], 1),
        (&["check", "--offline", "-c", &path], 0),
    ] {
        let finished = command(arguments).env("MAILER_KEY", &secret("mailer")).finish().await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert_eq!(finished.stderr.contains("accounts.erp.authorization.header.value.file"), code == 1);
    }
}

/// Two webhooks; the secret of `signed` is in a file.
const HOOKS: &str = "
    users: { bot: {} }
    services:
      signed:
        webhook:
          user: bot
          forward_to: '{{app}}'
          api_keys: [{ id: k, sha256: {{signed}} }]
          allow_from: [{{from}}]
          verify: { scheme: github, secret: { file: '{{hook_secret}}' } }
      plain:
        webhook: { user: bot, forward_to: '{{app}}', api_keys: [{ id: k, sha256: {{plain}} }] }";

struct Hooks {
    signed: String,
    plain: String,
    secret: String,
}

impl Hooks {
    fn new() -> Self {
        Self { signed: webhook_key(), plain: webhook_key(), secret: secret("hook") }
    }

    fn setup(&self, app: &Stub) -> Setup {
        let setup = attache().given("app", app.url()).given("from", "127.0.0.0/8");
        setup.given("signed", sha256_hex(&self.signed)).given("plain", sha256_hex(&self.plain))
    }

    fn call(&self) -> Request {
        let signature = hex(&mac(&self.secret, b"{}"));
        post(format!("/webhooks/{}", self.signed), "{}")
            .header("X-Hub-Signature-256", format!("sha256={signature}"))
    }
}

#[tokio::test]
async fn a_missing_secret_takes_down_its_own_webhook() {
    let (app, hooks) = (app(), Hooks::new());
    let attache = hooks.setup(&app).folder("hook_secret").with(HOOKS).await;
    assert_eq!(attache.hook(post(format!("/webhooks/{}", hooks.plain), "{}")).await.status, 200);
    // Signed or not, every call is refused.
    unavailable(&attache.hook(hooks.call()).await);
    let refused = attache.hook(post(format!("/webhooks/{}", hooks.signed), "{}")).await;
    let problem = refused.problem("credential_unavailable", 503, "proxy_configuration_error");
    assert_eq!(problem["service"], "signed");
    let unknown = attache.hook(post(format!("/webhooks/{}", webhook_key()), "{}")).await;
    unknown.problem("webhook_unknown", 404, "http_request_denied");
    assert_eq!(app.seen().heads, 1);
    assert_eq!(gauge(&attache, "service", "signed").await, Some(1.0));
    assert_eq!(gauge(&attache, "service", "plain").await, None);
    let line = attache.access_log_line("the refusal", |line| line["service"] == "signed").await;
    assert_eq!([&line["code"], &line["reason"]], ["credential_unavailable", "secret_missing"]);
    let status = attache.status().await;
    assert_eq!(status["webhooks"][1]["state"], "credential_unavailable", "{status}");
    assert_eq!(status["services"]["signed"]["credential"]["state"], "unavailable");
    attache.rewrite_file("hook_secret", &hooks.secret);
    let let_in = async || (attache.hook(hooks.call()).await.status == 200).then_some(());
    eventually("the webhook to become available", let_in).await;
}

#[tokio::test]
async fn the_address_is_checked_before_the_secret() {
    let (app, hooks) = (app(), Hooks::new());
    let setup = hooks.setup(&app).folder("hook_secret").given("from", "192.0.2.1");
    let attache = setup.with(HOOKS).await;
    attache.hook(hooks.call()).await.problem("request_denied", 403, "http_request_denied");
}

#[tokio::test]
async fn a_webhooks_last_secret_is_used_while_its_file_is_missing() {
    let (app, hooks) = (app(), Hooks::new());
    let attache = hooks.setup(&app).file("hook_secret", &hooks.secret).with(HOOKS).await;
    let before = attache.reloads("applied").await;
    std::fs::remove_file(attache.path_of("hook_secret")).expect("remove");
    attache.reloaded("applied", before).await;
    assert_eq!(attache.hook(hooks.call()).await.status, 200);
    let unsigned = attache.hook(post(format!("/webhooks/{}", hooks.signed), "{}")).await;
    unsigned.problem("signature_invalid", 401, "http_request_denied");
    assert_eq!(gauge(&attache, "service", "signed").await, Some(1.0));
}

#[tokio::test]
async fn one_of_several_secrets_is_absent_alone() {
    let (app, hooks) = (app(), Hooks::new());
    let several = HOOKS
        .replace("secret: { file", "secrets: [{ env: NO_SUCH_SECRET }, { file")
        .replace("' } }", "' }] }");
    let attache = hooks.setup(&app).file("hook_secret", &hooks.secret).with(&several).await;
    assert_eq!(attache.hook(hooks.call()).await.status, 200);
    assert_eq!(gauge(&attache, "service", "signed").await, Some(1.0));
    assert_eq!(attache.status().await["services"]["signed"]["credential"]["state"], "degraded");
}

#[tokio::test]
async fn a_key_whose_value_cannot_be_read_is_absent() {
    let (app, hooks) = (app(), Hooks::new());
    let keys = HOOKS.replace(
        "[{ id: k, sha256: {{plain}} }]",
        "[{ id: a, value: { env: NO_SUCH_KEY } }, { id: k, sha256: {{plain}} }]",
    );
    let attache = hooks.setup(&app).file("hook_secret", &hooks.secret).with(&keys).await;
    assert_eq!(attache.hook(post(format!("/webhooks/{}", hooks.plain), "{}")).await.status, 200);
    assert_eq!(gauge(&attache, "service", "plain").await, Some(1.0));
    // A placeholder for a value is not a key either.
    let guessed =
        attache.hook(post("/webhooks/not%20read%20-%20services.plain.webhook.api_keys[0].value", "{}")).await;
    guessed.problem("webhook_unknown", 404, "http_request_denied");
}

#[tokio::test]
async fn a_missing_key_of_the_assertion_takes_down_every_webhook() {
    let (app, hooks) = (app(), Hooks::new());
    let assertion = "
    identity: { assertion: { key: { file: '{{assertion_key}}' }, issuer: attache, audience: app } }";
    let setup = hooks.setup(&app).file("hook_secret", &hooks.secret).folder("assertion_key");
    let attache = setup.with(&format!("{assertion}{HOOKS}")).await;
    unavailable(&attache.hook(hooks.call()).await);
    unavailable(&attache.hook(post(format!("/webhooks/{}", hooks.plain), "{}")).await);
    assert_eq!(app.seen().heads, 0);
    assert_eq!(gauge(&attache, "service", "plain").await, Some(1.0));
}

const SEALED: &str = "
    state: { dir: '{{state}}', key: { file: '{{state_key}}' } }
    accounts:
      kept:
        authorization:
          oauth2:
            grant: refresh_token
            token_url: {{token_url}}
            client_id: attache
            client_secret: { env: CLIENT_SECRET }
            refresh_token: { env: REFRESH_TOKEN }
      other:
        authorization:
          oauth2: { grant: client_credentials, token_url: '{{token_url}}', client_id: attache, client_secret: { env: CLIENT_SECRET } }
    services:
      kept: { account: kept, server_url: '{{third_party}}' }
      other: { account: other, server_url: '{{third_party}}' }";

#[tokio::test]
async fn a_missing_state_key_takes_down_the_accounts_it_seals() {
    let (third_party, endpoint) = (third_party(), token_endpoint().issues(&secret("token")));
    let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
    let setup = setup.env("CLIENT_SECRET", secret("client")).env("REFRESH_TOKEN", secret("refresh"));
    let attache = setup.folder("state").folder("state_key").with(SEALED).await;
    unavailable(&attache.send(get("/kept/x")).await);
    assert_eq!(attache.send(get("/other/x")).await.status, 200);
    assert_eq!(gauge(&attache, "account", "kept").await, Some(1.0));
    assert_eq!(gauge(&attache, "account", "other").await, None);
    assert!(!attache.path_of("state").exists(), "nothing is stored that can't be sealed");
    attache.rewrite_file("state_key", &secret("state-key-0123456789abcdef"));
    serves(&attache, "kept", 200).await;
}

#[tokio::test]
async fn a_missing_client_secret_or_presented_token_has_the_same_effect() {
    let (third_party, endpoint) = (third_party(), token_endpoint().issues(&secret("token")));
    let yaml = "
    accounts:
      erp:
        authorization:
          oauth2:
            grant: token_exchange
            token_url: '{{token_url}}'
            client_id: attache
            client_secret: [{ env: CLIENT_SECRET }, { env: NO_SUCH_SECRET }]
            subject_token: { file: '{{subject}}' }
    services:
      erp: { account: erp, server_url: '{{third_party}}' }";
    let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
    let attache = setup.env("CLIENT_SECRET", secret("client")).folder("subject").with(yaml).await;
    unavailable(&attache.send(get("/erp/x")).await);
    assert_eq!(endpoint.count(), 0);
    attache.rewrite_file("subject", &secret("subject"));
    serves(&attache, "erp", 200).await;
    assert_eq!(attache.status().await["accounts"]["erp"]["credential"]["state"], "degraded");
}

#[tokio::test]
async fn a_missing_certificate_takes_down_its_own_service() {
    let ca = CertificateAuthority::new();
    let (third_party, plain) = (third_party().with_tls(&ca), third_party());
    let yaml = "
    services:
      pinned: { account: { authorization: none }, server_url: '{{third_party}}', private_network: true, tls: { ca: '{{ca}}' } }
      plain: { account: { authorization: none }, server_url: '{{plain}}' }";
    let setup = attache().given("third_party", third_party.url()).given("plain", plain.url());
    let attache = setup.folder("ca").with(yaml).await;
    unavailable(&attache.send(get("/pinned/x")).await);
    assert_eq!(attache.send(get("/plain/x")).await.status, 200);
    assert_eq!(gauge(&attache, "service", "pinned").await, Some(1.0));
    attache.rewrite_file("ca", &ca.pem());
    serves(&attache, "pinned", 200).await;
    // A partially written certificate counts as missing.
    let before = attache.reloads("applied").await;
    attache.rewrite_file("ca", "-----BEGIN CERTIFICATE-----\n");
    attache.reloaded("applied", before).await;
    assert_eq!(attache.send(get("/pinned/x")).await.status, 200);
    assert_eq!(gauge(&attache, "service", "pinned").await, Some(1.0));
}

#[tokio::test]
async fn the_problem_of_a_missing_variable_names_the_restart() {
    let third_party = third_party();
    let attache = two(&third_party).folder("erp_key").with(TWO).await;
    attache.reload(&TWO.replace("MAILER_KEY", "NO_SUCH_KEY"), "applied").await;
    unavailable(&attache.send(get("/mailer/x")).await);
    attache.stderr_line("a running process sees no new ones").await;
    attache.reload(TWO, "applied").await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
}

#[tokio::test]
async fn a_folder_that_appears_with_its_secret_is_detected() {
    let third_party = third_party();
    let yaml = TWO.replace("{{erp_key}}", "{{folder}}/erp");
    let attache = two(&third_party).folder("folder").with(&yaml).await;
    unavailable(&attache.send(get("/erp/x")).await);
    std::fs::create_dir(attache.path_of("folder")).expect("a folder");
    std::fs::write(attache.path_of("folder").join("erp"), secret("erp")).expect("write");
    serves(&attache, "erp", 200).await;
}

#[tokio::test]
async fn commands_name_the_missing_secret() {
    let (app, hooks) = (app(), Hooks::new());
    let setup = hooks.setup(&app).folder("hook_secret").file("captured", "POST / HTTP/1.1\r\n\r\n{}");
    let (path, captured) = (setup.write(HOOKS).display().to_string(), setup.value("captured"));
    let verify =
        command(&["verify", "--service", "signed", "--request", &captured, "-c", &path]).finish().await;
    assert_eq!(verify.code, Some(2), "{verify:?}");
    assert!(verify.stderr.contains("services.signed.webhook.verify.secret.file can't be read"), "{verify:?}");
    let urls = command(&["urls", "--reveal", "-c", &path]).finish().await;
    assert_eq!(urls.code, Some(0), "{urls:?}");
    assert!(urls.stderr.contains("note: a secret can't be read"), "{urls:?}");
}

#[tokio::test]
async fn a_login_needs_the_key_that_seals_it() {
    let yaml = SEALED.replace("grant: refresh_token", "grant: authorization_code");
    let yaml =
        yaml.replace("refresh_token: { env: REFRESH_TOKEN }", "authorization_url: 'http://127.0.0.1:1/'");
    let setup =
        attache().given("third_party", "http://127.0.0.1:1").given("token_url", "http://127.0.0.1:1/");
    let setup = setup.folder("state").folder("state_key");
    let path = setup.write(&yaml).display().to_string();
    let login =
        command(&["login", "kept", "-c", &path]).env("CLIENT_SECRET", &secret("client")).finish().await;
    assert_eq!(login.code, Some(1), "{login:?}");
    assert!(login.stderr.contains("account `kept` can't be used: state.key.file can't be read"), "{login:?}");
}
