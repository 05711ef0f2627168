use super::*;
use crate::config::model::Grant;
use crate::secret::Secret;

fn oauth2() -> OAuth2 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("attache.yaml");
    let text = "accounts: { a: { authorization: { oauth2: { grant: client_credentials, client_id: a, \
                token_url: 'https://id.example/t', client_secret: { env: PATH } } } } }";
    std::fs::write(&path, text).unwrap();
    let config = crate::config::load(&path, crate::config::Mode::Offline).config.unwrap();
    crate::cli::file::oauth2(&config.accounts["a"]).unwrap().clone()
}

fn inspected() -> Inspected {
    Inspected {
        is_stored: false,
        latency: Duration::from_millis(12),
        token_type: Some("Bearer".into()),
        expires_in: Some(Duration::from_secs(3600)),
        scope: Some("a b".into()),
        missing_scopes: Vec::new(),
        issuer: Some("https://id.example".into()),
        audience: vec!["api".into()],
        expires_at: Some(1_900_000_000),
        second_secret: false,
    }
}

#[test]
fn a_token_is_described() {
    let found = LiveFinding::of_token("erp", &oauth2(), Ok(inspected()));
    assert_eq!(
        found.human(),
        "account erp: token in 12 ms, Bearer, valid for 3600 s, scopes a b\n    issuer https://id.example\n    \
         audience api\n    expires 2030-03-17T17:46:40Z\n"
    );
    assert_eq!((found.problem(), found.is_error(), found.is_warning()), (None, false, false));
}

#[test]
fn a_token_with_fewer_scopes_than_requested_is_a_warning() {
    let found = Inspected { missing_scopes: vec!["c".into()], second_secret: true, ..inspected() };
    let found = LiveFinding::of_token("erp", &oauth2(), Ok(found));
    assert!(found.is_warning());
    assert!(found.human().starts_with("account erp: warning: granted without the scopes c; the first "));
    assert_eq!(found.problem().unwrap()["code"], "live_token");
}

#[test]
fn an_account_that_needs_a_login_has_help() {
    let mut oauth2 = oauth2();
    let device_authorization_url = "https://id.example/d".parse().unwrap();
    oauth2.grant = Grant::DeviceCode { device_authorization_url };
    let found = LiveFinding::of_token("erp", &oauth2, Err(Failure::needs_login()));
    let problem = found.problem().unwrap();
    assert_eq!(problem["severity"], "error");
    assert_eq!(problem["message"], "account erp: the account needs a login");
    assert_eq!(problem["help"], "run `attache login erp`");
    for key in ["file", "line", "column"] {
        assert!(problem[key].is_null());
    }
    oauth2.grant = Grant::RefreshToken { refresh_token: Secret::new("s3cret") };
    let found = LiveFinding::of_token("erp", &oauth2, Err(Failure::needs_login()));
    assert_eq!(found.problem().unwrap()["help"], "give the account another `refresh_token`");
}

#[test]
fn findings_are_sorted_by_kind_and_name() {
    let mut all = [
        LiveFinding::new(FindingSubject::Webhook, "a", String::new()),
        LiveFinding::failed(FindingSubject::Service, "b", String::new()),
        LiveFinding::new(FindingSubject::Service, "a", String::new()),
        LiveFinding::failed(FindingSubject::Account, "z", String::new()),
    ];
    all.sort();
    let order: Vec<_> = all.iter().map(|found| (found.kind.as_str(), &*found.name)).collect();
    assert_eq!(order, [("account", "z"), ("service", "a"), ("service", "b"), ("webhook", "a")]);
}
