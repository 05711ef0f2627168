use crate::config::model::{
    Assertion, Authorization, ClientAuth, Config, CustomParams, CustomResponse, Grant, JsonParam, OAuth2,
    Param, PresentedToken, SelfSigned, SignedAssertion, StateStore,
};
use crate::config::model::{LastValues, ReadFault};
use crate::config::parse::parse;
use crate::config::secrets::{ReadError, SecretSource};
use crate::config::source::Source;
use crate::config::{Mode, Problems, load};
use crate::jwt::Algorithm;
use crate::secret::Secret;
use http::Method;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CASES: &str = "tests/config_cases";

/// A machine with the files of the golden cases, and the given `STATE_DIRECTORY`.
#[derive(Default)]
struct Cases {
    state_directory: Option<&'static str>,
    fresh: Cell<usize>,
}

impl SecretSource for Cases {
    fn env(&self, name: &str) -> Result<String, ReadError> {
        match (name, self.state_directory) {
            ("STATE_DIRECTORY", Some(dir)) => Ok(dir.to_owned()),
            ("STATE_DIRECTORY", None) => Err(missing()),
            _ => Ok("s3cret".to_owned()),
        }
    }
    fn file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let name = path.file_name().ok_or_else(missing)?;
        std::fs::read(Path::new(CASES).join("secrets").join(name)).map_err(|_| missing())
    }
    fn fresh_file(&self, _: &Path) -> Result<Vec<u8>, ReadError> {
        self.fresh.set(self.fresh.get() + 1);
        Ok(format!("token-{}", self.fresh.get()).into())
    }
    fn credential(&self, _: &str) -> Result<Vec<u8>, ReadError> {
        Err(missing())
    }
}

fn missing() -> ReadError {
    ReadError::new(ReadFault::Missing, "missing")
}

/// A machine whose secrets must not be read.
struct Silent;

impl SecretSource for Silent {
    fn env(&self, name: &str) -> Result<String, ReadError> {
        panic!("asked for {name}")
    }
    fn file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        assert!(path.ends_with("public.pem"), "asked for {}", path.display());
        Err(missing())
    }
    fn fresh_file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        panic!("asked for {}", path.display())
    }
    fn credential(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        panic!("asked for {name}")
    }
}

fn read(text: &str, machine: &dyn SecretSource, offline: bool) -> (Option<Config>, Problems) {
    parse(
        &[Source::new("etc/a.yaml".into(), text.to_owned())],
        machine,
        offline,
        &LastValues::default(),
        None,
    )
}

fn good(text: &str) -> Config {
    let (config, problems) = read(text, &Cases::default(), false);
    config.unwrap_or_else(|| panic!("{}", problems.render_human(false)))
}

fn with(keys: &str) -> String {
    format!(
        "state: {{ key: {{ file: state-key }} }}\naccounts: {{ a: {{ authorization: {{ oauth2: {{ {keys} }} }} }} }}"
    )
}

fn of(config: &Config, account: &str) -> OAuth2 {
    let Authorization::OAuth2(oauth2) = &config.accounts[account].authorization else { panic!("no oauth2") };
    (**oauth2).clone()
}

fn account(keys: &str) -> OAuth2 {
    of(&good(&with(keys)), "a")
}

fn signed(grant: Grant) -> SignedAssertion {
    let Grant::JwtBearer(Assertion::Signed(assertion)) = grant else { panic!("not signed: {grant:?}") };
    *assertion
}

fn named(claim: &Option<String>) -> &str {
    claim.as_deref().unwrap_or_default()
}

fn file(name: &str) -> PresentedToken {
    PresentedToken::File(Path::new(CASES).join("secrets").join(name))
}

#[test]
fn every_grant_has_its_own_keys() {
    let config = load(&Path::new(CASES).join("valid_oauth2_grants.yaml"), Mode::Full).config.unwrap();
    let login_required_on = |account| of(&config, account).login_required_on;
    assert_eq!(login_required_on("refresh-token"), ["grant_revoked", "INVALID_SESSION"]);
    assert_eq!(login_required_on("password"), [""; 0]);
    let of = |account| of(&config, account).grant;
    assert_eq!(of("client-credentials"), Grant::ClientCredentials);
    let Grant::RefreshToken { refresh_token } = of("refresh-token") else { panic!("no refresh token") };
    assert_eq!(refresh_token, Secret::new("hunter2.subject.token"));
    let Grant::AuthorizationCode { authorization_url, redirect_url, authorization_params, issuer } =
        of("authorization-code")
    else {
        panic!("no code")
    };
    assert_eq!(authorization_url.as_str(), "https://id.example/authorize");
    assert_eq!(redirect_url.unwrap().as_str(), "http://localhost:8400/callback");
    assert_eq!(issuer.as_deref(), Some("https://id.example/tenant/"));
    assert_eq!(authorization_params[1], ("prompt".to_owned(), "consent".to_owned()));
    let Grant::DeviceCode { device_authorization_url } = of("device-code") else { panic!("no device") };
    assert_eq!(device_authorization_url.as_str(), "https://id.example/device");
    assert_eq!(
        of("token-exchange"),
        Grant::TokenExchange {
            subject_token: file("subject-token"),
            subject_token_type: "urn:ietf:params:oauth:token-type:access_token".to_owned(),
            actor: Some((file("subject-token"), "urn:example:robot".to_owned())),
            requested_token_type: Some("urn:ietf:params:oauth:token-type:jwt".to_owned()),
        }
    );
    assert_eq!(of("jwt-bearer-elsewhere"), Grant::JwtBearer(Assertion::Presented(file("subject-token"))));
    let assertion = signed(of("jwt-bearer"));
    assert_eq!((named(&assertion.issuer), named(&assertion.subject)), ("attache", "someone@example.com"));
    assert_eq!((named(&assertion.audience), assertion.lifetime.as_secs()), ("https://id.example/token", 300));
    assert_eq!(assertion.key.algorithm(), Algorithm::EdDsa);
    let claims = serde_json::json!({ "tenant": "7", "level": 7, "roles": ["a", { "b": [true, null, 1.5] }] });
    assert_eq!(serde_json::Value::from(assertion.claims), claims);
    assert!(!assertion.scope_claim);
}

#[test]
fn a_request_that_is_not_of_the_rfc() {
    let config = load(&Path::new(CASES).join("valid_oauth2_grants.yaml"), Mode::Full).config.unwrap();
    let of = |account| match of(&config, account) {
        OAuth2 { grant: Grant::Custom(grant), client_auth, .. } => (*grant, client_auth),
        other => panic!("not custom: {other:?}"),
    };
    let secret = || Secret::new("hunter2-from-a-file");
    let (custom, client_auth) = of("custom");
    assert_eq!((custom.method, custom.assertion, client_auth), (Method::PUT, None, ClientAuth::None));
    let ids = vec![JsonParam::Value(1.into()), JsonParam::Secret(secret())];
    let nested =
        vec![("password".to_owned(), JsonParam::Secret(secret())), ("ids".to_owned(), JsonParam::List(ids))];
    assert_eq!(
        custom.params,
        CustomParams::Json(vec![
            ("secret".to_owned(), JsonParam::Secret(secret())),
            ("nested".to_owned(), JsonParam::Object(nested)),
            ("flag".to_owned(), JsonParam::Value(true.into())),
        ])
    );
    let names: Vec<&[u8]> = custom.headers.iter().map(|(name, _)| &name.spelling()[..]).collect();
    assert_eq!(names, [&b"X-Version"[..], b"Authorization"]);
    assert_eq!(
        custom.response,
        CustomResponse {
            token: "/data/token".into(),
            expires_in: "/expires_in".into(),
            expires_at: Some("/data/end".into()),
            error: "/code".into(),
        }
    );
    let scopes = |value| ("scopes".to_owned(), value);
    assert_eq!(
        of("custom-get").0.params,
        CustomParams::Query(vec![
            scopes(Param::from("a")),
            scopes(Param::from(secret())),
            ("level".to_owned(), Param::from("3")),
        ])
    );
    let (custom, client_auth) = of("custom-basic");
    assert!(matches!(custom.params, CustomParams::Form(params) if params.len() == 1));
    assert!(matches!(client_auth, ClientAuth::BasicRaw(secrets) if secrets.len() == 2));
    let (custom, _) = of("custom-assertion");
    assert_eq!((custom.method, custom.params), (Method::POST, CustomParams::Form(Vec::new())));
    let Some(Assertion::Signed(assertion)) = custom.assertion else { panic!("no assertion") };
    assert_eq!(
        (assertion.issuer.as_deref(), assertion.subject, assertion.audience),
        (Some("4711"), None, None)
    );
}

#[test]
fn a_token_that_attache_signs_has_only_the_claims_of_the_file() {
    let config = load(&Path::new(CASES).join("valid_oauth2_grants.yaml"), Mode::Full).config.unwrap();
    let of = |account: &str| match &config.accounts[account].authorization {
        Authorization::Jwt(jwt) => (**jwt).clone(),
        other => panic!("no jwt: {other:?}"),
    };
    let SelfSigned { assertion, header, prefix } = of("jwt");
    assert_eq!((&header.spelling()[..], &*prefix), (&b"Authorization"[..], "Bearer "));
    assert_eq!(assertion.key_id.as_deref(), Some("2X9R4HXF34"));
    assert_eq!(assertion.issuer.as_deref(), Some("57246542-96fe-1a63-e053-0824d011072a"));
    assert_eq!((assertion.subject, assertion.audience.as_deref()), (None, Some("appstoreconnect-v1")));
    assert_eq!(assertion.lifetime, Duration::from_secs(1200));
    let SelfSigned { assertion, header, prefix } = of("jwt-elsewhere");
    assert_eq!((&header.spelling()[..], &*prefix), (&b"X-Token"[..], ""));
    assert_eq!((assertion.issuer, assertion.key.algorithm()), (None, Algorithm::Rs384));
    assert_eq!(config.accounts["jwt-elsewhere"].headers.len(), 1);
}

#[test]
fn every_way_of_client_authentication_has_its_own_keys() {
    let config = load(&Path::new(CASES).join("valid_oauth2_grants.yaml"), Mode::Full).config.unwrap();
    let of = |account| of(&config, account);
    let ClientAuth::BasicRaw(secrets) = of("client-credentials").client_auth else { panic!("not raw") };
    assert_eq!(secrets, [Secret::new("hunter2-from-a-file"), Secret::new("hunter2-crlf")]);
    assert!(matches!(of("refresh-token").client_auth, ClientAuth::Post(_)));
    let ClientAuth::ClientSecretJwt { audience, .. } = of("secret-jwt").client_auth else { panic!("no JWT") };
    assert_eq!(audience, "https://id.example");
    let ClientAuth::PrivateKeyJwt(Assertion::Signed(assertion)) = of("key-jwt").client_auth else {
        panic!("no JWT")
    };
    assert_eq!((named(&assertion.issuer), named(&assertion.subject)), ("attache", "attache"));
    assert_eq!((named(&assertion.audience), assertion.lifetime.as_secs()), ("https://id.example", 60));
    assert_eq!((assertion.key.algorithm(), assertion.key_id.as_deref()), (Algorithm::Ps256, Some("k1")));
    assert!(assertion.certificate_sha256.is_some());
    let ClientAuth::PrivateKeyJwt(Assertion::Signed(assertion)) = of("key-jwt-for-another").client_auth
    else {
        panic!("no JWT")
    };
    assert_eq!((named(&assertion.issuer), named(&assertion.subject)), ("issuer", "attache"));
    assert_eq!(serde_json::Value::from(assertion.claims), serde_json::json!({ "nested": { "a": 1 } }));
    assert_eq!(
        of("workload").client_auth,
        ClientAuth::PrivateKeyJwt(Assertion::Presented(file("subject-token")))
    );
}

#[test]
fn a_client_certificate_is_one_pem_text_that_the_client_accepts() {
    let config = load(&Path::new(CASES).join("valid_oauth2_grants.yaml"), Mode::Full).config.unwrap();
    let account = of(&config, "mutual-tls");
    let clients = crate::transport::tls::TlsClients::default();
    assert!(clients.for_account(&account.tls).is_ok());
    let identity = account.tls.identity.unwrap();
    // Other content of the files is dropped.
    assert!(identity.expose().starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(!identity.expose().contains("hunter2"));
    assert_eq!(account.tls.ca.unwrap().certificates.len(), 1);
    assert_eq!((account.client_auth, account.retry_on), (ClientAuth::None, vec![]));
}

#[test]
fn every_part_of_the_token_request_can_be_configured() {
    let config = load(&Path::new(CASES).join("valid_oauth2_grants.yaml"), Mode::Full).config.unwrap();
    let account = of(&config, "client-credentials");
    assert_eq!((account.header.as_str(), &*account.prefix), ("x-auth-token", ""));
    assert_eq!((account.default_lifetime.as_secs(), account.token_timeout.as_secs()), (3600, 3));
    assert_eq!(account.retry_on, [401, 403]);
    let params: Vec<_> = account.token_params.iter().map(|(n, v)| (&**n, v.expose())).collect();
    assert_eq!(
        params,
        [
            ("resource", "https://a.example"),
            ("resource", "https://b.example"),
            ("audience", "https://erp.example"),
            ("account", "hunter2-from-a-file"),
        ]
    );
    let secrets: Vec<_> =
        account.token_params.iter().filter(|(_, v)| matches!(v, Param::Secret(_))).collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!(account.scope(), "read,write");
    let (name, value) = &account.token_headers[0];
    assert_eq!(name.spelling(), "X-Tenant");
    assert_eq!((name.as_str(), value.as_bytes()), ("x-tenant", &b"hunter2-from-a-file"[..]));
    assert!(value.is_sensitive());
    assert!(!config.services["erp"].outbound.as_ref().unwrap().retry_on_401);
}

#[test]
fn keys_left_out_have_their_defaults() {
    let account = account(
        "grant: client_credentials, token_url: 'https://id.example/t', client_id: c, client_secret: { env: S }",
    );
    assert_eq!(account.client_auth, ClientAuth::Basic(vec![Secret::new("s3cret")]));
    assert_eq!((account.header.as_str(), &*account.prefix), ("authorization", "Bearer "));
    assert_eq!(account.default_lifetime, Duration::from_secs(300));
    assert_eq!(account.token_timeout, Duration::from_secs(10));
    assert_eq!(account.retry_on, [401]);
    assert_eq!((account.tls.ca, account.tls.identity), (None, None));
}

#[test]
fn without_a_client_secret_some_grants_need_no_client_authentication() {
    for keys in [
        "grant: jwt_bearer, assertion: { key: { file: p256.pem }, issuer: i }",
        "grant: token_exchange, subject_token: { env: T }",
        "grant: authorization_code, client_id: c, authorization_url: 'https://id.example/a'",
        "grant: device_code, client_id: c, device_authorization_url: 'https://id.example/d'",
    ] {
        let without = account(&format!("{keys}, token_url: 'https://id.example/t'"));
        assert_eq!(without.client_auth, ClientAuth::None, "{keys}");
        let client = if keys.contains("client_id") { "" } else { "client_id: c, " };
        let with = format!("{keys}, {client} token_url: 'https://id.example/t', client_secret: {{ env: S }}");
        assert!(matches!(account(&with).client_auth, ClientAuth::Basic(_)), "{keys}");
    }
}

#[test]
fn a_service_account_provides_what_the_file_leaves_out() {
    let google = account("grant: jwt_bearer, assertion: { key: { file: service-account.json } }");
    assert_eq!(google.token_url.as_str(), "https://oauth2.googleapis.com/token");
    assert_eq!((google.client_id, google.client_auth), (None, ClientAuth::None));
    let assertion = signed(google.grant);
    assert_eq!(named(&assertion.issuer), "robot@p.iam.gserviceaccount.com");
    assert_eq!(assertion.subject, assertion.issuer);
    assert_eq!(named(&assertion.audience), "https://oauth2.googleapis.com/token");
    assert_eq!(assertion.key_id.as_deref(), Some("k1"));
    assert!(assertion.scope_claim);

    let explicit = account(
        "grant: jwt_bearer, token_url: 'https://proxy.example/t', client_id: c, assertion: { key: { file: service-account.json }, issuer: i, subject: s, audience: a, key_id: k2 }",
    );
    assert_eq!(explicit.token_url.as_str(), "https://proxy.example/t");
    let assertion = signed(explicit.grant);
    assert_eq!(
        (named(&assertion.issuer), named(&assertion.subject), named(&assertion.audience)),
        ("i", "s", "a")
    );
    assert_eq!(assertion.key_id.as_deref(), Some("k2"));

    let between = account(
        "grant: jwt_bearer, token_url: 'https://proxy.example/t', client_id: c, assertion: { key: { file: service-account.json } }",
    );
    let assertion = signed(between.grant);
    assert_eq!(named(&assertion.audience), "https://oauth2.googleapis.com/token");
    assert_eq!(named(&assertion.issuer), "robot@p.iam.gserviceaccount.com");
}

#[test]
fn the_issuer_is_the_client_and_the_audience_is_the_token_url_as_written() {
    let account = account(
        "grant: jwt_bearer, token_url: 'https://ID.example', client_id: c, assertion: { key: { file: p256.pem } }",
    );
    let assertion = signed(account.grant);
    assert_eq!((named(&assertion.issuer), named(&assertion.subject)), ("c", "c"));
    assert_eq!(named(&assertion.audience), "https://ID.example");
    assert_eq!(assertion.key.algorithm(), Algorithm::Es256);
}

#[test]
fn a_token_that_another_program_renews_is_not_part_of_the_fingerprint() {
    let text =
        with("grant: token_exchange, token_url: 'https://id.example/t', subject_token: { file: token }");
    let machine = Cases::default();
    let [one, two] = [(); 2].map(|()| read(&text, &machine, false).0.unwrap());
    assert_eq!(machine.fresh.get(), 2);
    assert_eq!(one.fingerprint, two.fingerprint);
    let Grant::TokenExchange { subject_token, .. } = of(&one, "a").grant else { panic!("no exchange") };
    assert_eq!(subject_token, PresentedToken::File("etc/token".into()));
}

#[test]
fn the_state_is_in_systemds_folder_or_beside_the_configuration() {
    let dir = |text: &str, state_directory, offline| -> PathBuf {
        let machine = Cases { state_directory, ..Cases::default() };
        let (config, problems) = read(text, &machine, offline);
        config.unwrap_or_else(|| panic!("{}", problems.render_human(false))).state.unwrap().dir
    };
    let text = "state: { key: { file: state-key } }";
    assert_eq!(dir(text, Some("/var/lib/a:/var/lib/b"), false), Path::new("/var/lib/a"));
    assert_eq!(dir(text, Some(""), false), Path::new("etc/state"));
    assert_eq!(dir(text, None, false), Path::new("etc/state"));
    assert_eq!(dir(text, Some("/var/lib/a"), true), Path::new("etc/state"));
    let given = "state: { dir: here, key: [{ file: state-key }, { file: webhook-key }] }";
    assert_eq!(dir(given, Some("/var/lib/a"), false), Path::new("etc/here"));
    let StateStore { keys, .. } = good(given).state.unwrap();
    assert_eq!(keys, [Secret::new("hunter2-0123456789abcdefghij"), Secret::new("hunter2-0123456789abcdef")]);
}

#[test]
fn offline_no_secret_is_read_and_values_from_a_key_are_not_missing() {
    for keys in [
        "grant: jwt_bearer, assertion: { key: { file: sa.json } }",
        "grant: jwt_bearer, assertion: { key: { credential: sa }, algorithm: PS256 }",
        "grant: jwt_bearer, token_url: 'https://id.example/t', assertion: { key: { file: key.pem }, certificate: public.pem }",
        "grant: token_exchange, token_url: 'https://id.example/t', subject_token: { file: token }",
        "grant: client_credentials, token_url: 'https://id.example/t', client_id: c, client_auth: private_key_jwt, client_assertion: { key: { env: K } }",
        "grant: client_credentials, token_url: 'https://id.example/t', client_id: c, client_secret: [{ env: A }, { env: B }]",
        "grant: client_credentials, token_url: 'https://id.example/t', client_id: c, client_auth: none, tls: { ca: public.pem, client_certificate: public.pem, client_key: key.pem }",
        "grant: refresh_token, token_url: 'https://id.example/t', client_id: c, client_auth: none, refresh_token: { env: R }, token_headers: { X: { env: X } }",
    ] {
        let (config, problems) = read(&with(keys), &Silent, true);
        assert!(config.is_some() && problems.is_empty(), "{keys}\n{}", problems.render_human(false));
    }
}

#[test]
fn a_refresh_token_without_a_state_is_refused_at_the_grant() {
    let account = |grant| {
        format!(
            "accounts: {{ a: {{ authorization: {{ oauth2: {{ token_url: 'https://id.example/t', client_id: c, client_auth: none, {grant} }} }} }} }}"
        )
    };
    for (grant, kept) in [
        ("grant: refresh_token, refresh_token: { env: R }", true),
        ("grant: device_code, device_authorization_url: 'https://id.example/d'", true),
        ("grant: authorization_code, authorization_url: 'https://id.example/a'", true),
        ("grant: client_credentials", false),
    ] {
        let (config, problems) = read(&account(grant), &Cases::default(), false);
        assert_eq!(config.is_none(), kept, "{grant}");
        assert_eq!(problems.len(), usize::from(kept), "{}", problems.render_human(false));
        let with_state = format!("state: {{ key: {{ file: state-key }} }}\n{}", account(grant));
        let config = good(&with_state);
        assert_eq!(of(&config, "a").grant.refreshes(), kept, "{grant}");
    }
}
