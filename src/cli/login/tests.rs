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
