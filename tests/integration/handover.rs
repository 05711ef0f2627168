//! The token of an account that a reload changes: no reload waits for a token endpoint, and a token is sent to no
//! origin to which it was not sent before.

use crate::harness::*;
use std::time::{Duration, Instant};

/// Accounts and services with the placeholders `{{third_party}}` and `{{token_url}}`.
fn erp(account: &str, services: &[(&str, &str)]) -> String {
    let mut yaml = format!(
        "accounts:\n  erp:\n    authorization:\n      oauth2: {{ grant: client_credentials, token_url: '{{{{token_url}}}}', \
         client_id: attache, client_secret: {{ env: CLIENT_SECRET }}{account} }}\nservices:{}\n",
        if services.is_empty() { " {}" } else { "" }
    );
    for (name, url) in services {
        yaml.push_str(&format!("  {name}: {{ account: erp, server_url: '{{{{{url}}}}}', timeout: 5s }}\n"));
    }
    yaml
}

const ERP: &[(&str, &str)] = &[("erp", "third_party")];

async fn start(third_party: &Stub, endpoint: &TokenEndpoint) -> Attache {
    let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
    let attache = setup.env("CLIENT_SECRET", secret("client")).with(&erp("", ERP)).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    attache
}

fn authorizations(third_party: &Stub) -> Vec<String> {
    let requests = third_party.requests();
    requests.iter().flat_map(|request| request.all("authorization")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_old_token_is_used_until_the_new_one_arrives() {
    let third_party = third_party();
    let (first, second) = (secret("first"), secret("second"));
    let endpoint = token_endpoint().issues(&first);
    let attache = start(&third_party, &endpoint).await;
    let endpoint = endpoint.issues(&second).delays(ms(1500));
    attache.reload(&erp(", scopes: contacts.read", ERP), "applied").await;
    endpoint.request(1).await;
    // The endpoint is slow, and no request waits for it.
    let answer = attache.send(get("/erp/x")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head_after < ms(1000), "{:?}", answer.head_after);
    let fresh = async || {
        attache.send(get("/erp/x")).await;
        authorizations(&third_party).pop().filter(|last| *last == format!("Bearer {second}"))
    };
    eventually("the new token", fresh).await;
    assert!(authorizations(&third_party).is_sorted(), "each of the first before any of the second");
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test]
async fn a_changed_account_without_a_new_token_keeps_the_old_one() {
    let third_party = third_party();
    let endpoint = token_endpoint().issues(&secret("first"));
    let attache = start(&third_party, &endpoint).await;
    let endpoint = endpoint.rejects("invalid_scope");
    attache.reload(&erp(", scopes: contacts.read", ERP), "applied").await;
    endpoint.request(1).await;
    attache.stderr_line("the token endpoint refused the account").await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
}

#[tokio::test]
async fn a_key_is_disabled_at_once_while_a_token_endpoint_hangs() {
    let (third_party, app, key) = (third_party(), app(), webhook_key());
    let endpoint = token_endpoint().issues(&secret("first"));
    let webhook = |line: &str| {
        format!(
            "  hook:\n    webhook:\n      user: bot\n      forward_to: '{{{{app}}}}'\n      api_keys: [{{ id: k, sha256: {}{line} }}]\n\
             users: {{ bot: {{}} }}\npublic_url: https://hooks.example\n",
            sha256_hex(&key)
        )
    };
    let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
    let setup = setup.given("app", app.url()).env("CLIENT_SECRET", secret("client"));
    let attache = setup.with(&(erp("", ERP) + &webhook(""))).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    assert_eq!(attache.hook(post(format!("/webhooks/{key}"), "{}")).await.status, 200);
    let _endpoint = endpoint.hangs();
    let written = Instant::now();
    attache.rewrite(&(erp(", scopes: contacts.read", ERP) + &webhook(", disabled: true")));
    let refused = async || {
        let answer = attache.hook(post(format!("/webhooks/{key}"), "{}")).await;
        (answer.status == 404).then_some(())
    };
    eventually("the key to be refused", refused).await;
    assert!(written.elapsed() < Duration::from_secs(1), "{:?}", written.elapsed());
    assert_eq!(attache.send(get("/erp/x")).await.status, 200, "with the old token");
}

#[tokio::test]
async fn a_token_does_not_follow_its_account_to_another_origin() {
    let (old, new) = (third_party(), third_party());
    let (first, second) = (secret("first"), secret("second"));
    let endpoint = token_endpoint().issues(&first);
    let mut attache = start(&old, &endpoint).await;
    attache.give("new", new.url());
    let endpoint = endpoint.issues(&second).delays(ms(300));
    let both = [("erp", "third_party"), ("other", "new")];
    attache.reload(&erp(", scopes: contacts.read", &both), "applied").await;
    assert_eq!(attache.send(get("/other/x")).await.status, 200);
    assert_eq!(authorizations(&new), [format!("Bearer {second}")]);
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test]
async fn an_account_that_serves_fewer_origins_keeps_its_token() {
    let (old, new) = (third_party(), third_party());
    let first = secret("first");
    let endpoint = token_endpoint().issues(&first);
    let both = [("erp", "third_party"), ("other", "new")];
    let setup = attache().given("third_party", old.url()).given("new", new.url());
    let setup = setup.given("token_url", endpoint.url()).env("CLIENT_SECRET", secret("client"));
    let attache = setup.with(&erp("", &both)).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    let _endpoint = endpoint.hangs();
    attache.reload(&erp(", scopes: contacts.read", &both[1..]), "applied").await;
    assert_eq!(attache.send(get("/other/x")).await.status, 200);
    assert_eq!(authorizations(&new), [format!("Bearer {first}")]);
}

/// Asserts that after these reloads, the first of which changes the account while its token endpoint hangs, the new
/// origin has seen no token of the changed account, and gets one that was obtained since.
async fn the_old_token_stays_behind(reloads: &[&[(&str, &str)]]) {
    let (old, new) = (third_party(), third_party());
    let (first, second) = (secret("first"), secret("second"));
    let endpoint = token_endpoint().issues(&first);
    let mut attache = start(&old, &endpoint).await;
    attache.give("new", new.url());
    let endpoint = endpoint.issues(&second).delays(ms(1500));
    for services in reloads {
        attache.reload(&erp(", scopes: contacts.read", services), "applied").await;
    }
    assert_eq!(attache.send(get("/other/x")).await.status, 200);
    assert_eq!(authorizations(&new), [format!("Bearer {second}")]);
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test]
async fn a_token_does_not_follow_its_account_by_a_second_reload() {
    the_old_token_stays_behind(&[ERP, &[("other", "new")]]).await;
    the_old_token_stays_behind(&[ERP, &[("erp", "third_party"), ("other", "new")]]).await;
}

#[tokio::test]
async fn a_token_does_not_follow_its_account_by_way_of_no_services() {
    the_old_token_stays_behind(&[&[], &[("other", "new")]]).await;
    the_old_token_stays_behind(&[ERP, &[], &[("other", "new")]]).await;
}
