use super::*;
use crate::config;

const FILE: &str = "
accounts:
  erp:
    authorization:
      oauth2: { grant: client_credentials, token_url: 'https://id.example/t', client_id: a, client_secret: { env: PATH } }
  plain: { authorization: none }
services: {}
";

fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("attache.yaml");
    std::fs::write(&path, text).unwrap();
    config::load(&path, Mode::Offline).config.unwrap()
}

#[test]
fn an_account_without_a_login_is_refused() {
    let config = config(FILE);
    let said = find(&config, "erq").unwrap_err();
    assert_eq!(said, "there is no account `erq`; did you mean `erp`?");
    for name in ["erp", "plain"] {
        let said = find(&config, name).unwrap_err();
        assert!(said.contains("authorization_code and device_code"), "{said}");
    }
}

#[test]
fn the_help_for_a_missing_refresh_token_leaves_out_what_the_account_has() {
    let said = |rest: &str| {
        let oauth2 = format!("client_id: a, token_url: 'https://id.example/t', {rest}");
        let text = format!(
            "state: {{ key: {{ env: PATH }} }}\naccounts:\n  crm:\n    authorization:\n      oauth2: {{ {oauth2} }}\nservices: {{}}\n"
        );
        help::for_refresh_token(find(&config(&text), "crm").unwrap())
    };
    let code = "grant: authorization_code, authorization_url: 'https://id.example/a'";
    let bare = said(code);
    for part in ["`offline_access`", "{ prompt: consent }", "{ access_type: offline, prompt: consent }"] {
        assert!(bare.contains(part), "{part}: {bare}");
    }
    let scoped = said(&format!("{code}, scopes: [openid, offline_access]"));
    assert!(!scoped.contains("`offline_access`") && scoped.contains("{ prompt: consent }"), "{scoped}");
    let complete = said(&format!(
        "{code}, scopes: [offline_access], authorization_params: {{ access_type: offline, prompt: consent }}"
    ));
    assert!(complete.starts_with("some give one only at the first consent"), "{complete}");
    let device = said("grant: device_code, device_authorization_url: 'https://id.example/d'");
    assert!(!device.contains("authorization_params"), "{device}");
}
