//! A source that begins with its predecessor's token.

use super::*;

fn heir(idp: &Arc<Idp>, change: impl FnOnce(&mut OAuth2)) -> Arc<TokenSource> {
    let mut config = stub::config("https://id.erp.example/token");
    change(&mut config);
    source_of(config, idp.clone())
}

/// A source whose token, good for so many seconds, is in use.
async fn predecessor(lifetime: u64) -> Arc<TokenSource> {
    let source = Idp::new(move |_| token(lifetime)).source();
    source.get().await.unwrap();
    source
}

#[tokio::test(start_paused = true)]
async fn the_old_token_serves_until_the_new_one_is_there() {
    let before = predecessor(3600).await;
    let idp = Idp::slow(secs(9), |_| token(3600));
    let source = heir(&idp, |config| config.scopes = vec!["more".into()]);
    source.inherit(&before, now(&before));
    drop(before);
    let fetching = tokio::time::timeout(secs(5), source.fetch()).await;
    assert!(fetching.is_err());
    assert_eq!((usable_now(&source), source.status(now(&source)).state), (Some(0), TokenState::Valid));
    source.fetch().await;
    assert_eq!((usable_now(&source), idp.calls()), (Some(1), 1));
    source.fetch().await;
    assert_eq!(idp.calls(), 1, "it has one of its own");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_gets_none_tries_again_and_serves_the_old_one_until_its_end() {
    let before = predecessor(60).await;
    let idp = Idp::new(|_| down());
    let source = heir(&idp, |config| config.scopes = vec!["more".into()]);
    source.inherit(&before, now(&before));
    source.fetch().await;
    assert_eq!(usable_now(&source), Some(0));
    sleep(secs(30)).await;
    assert_eq!(usable_now(&source), Some(0));
    assert!(idp.calls() > 2, "{}", idp.calls());
    sleep(secs(40)).await;
    assert_eq!(usable_now(&source), None);
    assert!(source.get().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_inherited_token_that_is_refused_is_replaced_once() {
    let before = predecessor(3600).await;
    let idp = Idp::new(|_| token(3600));
    let source = heir(&idp, |config| config.scopes = vec!["more".into()]);
    source.inherit(&before, now(&before));
    assert_eq!(source.successor(0).await.unwrap().generation(), 1);
    assert_eq!(source.successor(0).await.unwrap().generation(), 1);
    assert_eq!(idp.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unused_token_is_inherited_and_replaced_when_it_is_used() {
    let before = predecessor(3600).await;
    let middle = heir(&Idp::new(|_| token(3600)), |config| config.scopes = vec!["more".into()]);
    middle.fetch().await;
    let idp = Idp::new(|_| token(3600));
    let source = heir(&idp, |config| config.scopes = vec!["others".into()]);
    source.inherit(&middle, now(&before));
    sleep(secs(600)).await;
    assert_eq!(idp.calls(), 0);
    assert_eq!(usable_now(&source), Some(0));
    sleep(secs(2)).await;
    assert_eq!(usable_now(&source), Some(1));
}

#[tokio::test(start_paused = true)]
async fn another_kind_of_token_is_not_inherited() {
    let before = predecessor(3600).await;
    let idp = Idp::new(|_| token(3600));
    let inherits = |change: fn(&mut OAuth2)| {
        let source = heir(&idp, change);
        source.inherit(&before, now(&before));
        usable_now(&source).is_some()
    };
    assert!(inherits(|config| config.scopes = vec!["more".into()]));
    assert!(!inherits(|config| config.bearer_token_type = BearerTokenType::IdToken));
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_not_inherited() {
    let before = Idp::new(|call| if call == 1 { token(60) } else { down() }).source();
    before.get().await.unwrap();
    sleep(secs(60)).await;
    let idp = Idp::new(|_| token(3600));
    let source = heir(&idp, |_| ());
    source.inherit(&before, now(&before));
    assert_eq!(usable_now(&source), None);
}

#[tokio::test(start_paused = true)]
async fn only_an_inherited_token_is_dropped_as_such() {
    let before = predecessor(3600).await;
    let idp = Idp::new(|_| token(3600));
    let source = heir(&idp, |config| config.scopes = vec!["more".into()]);
    source.inherit(&before, now(&before));
    assert!(source.has_inherited());
    source.drop_inherited();
    assert_eq!(usable_now(&source), None);
    sleep(secs(1)).await;
    assert_eq!(usable_now(&source), None);
    source.get().await.unwrap();
    source.drop_inherited();
    sleep(secs(1)).await;
    assert_eq!(usable_now(&source), Some(1), "one of its own stays");
}
