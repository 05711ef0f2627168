//! A source that begins with its predecessor's token.

use super::*;

fn heir(idp: &Arc<Idp>, change: impl FnOnce(&mut OAuth2)) -> Arc<TokenSource> {
    let mut config = stub::config("https://id.erp.example/token");
    change(&mut config);
    let stats = Arc::new(AccountStats::new());
    TokenSource::with_exchange("erp", config, idp.clone(), stats, Handle::current())
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
    source.inherit(&before, Instant::now());
    drop(before);
    let fetching = tokio::time::timeout(secs(5), source.fetch()).await;
    assert!(fetching.is_err());
    assert_eq!((usable_now(&source), source.status(Instant::now()).state), (Some(0), TokenState::Valid));
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
    source.inherit(&before, Instant::now());
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
async fn an_inherited_token_that_is_refused_is_dropped_once() {
    let before = predecessor(3600).await;
    sleep(MIN_AGE).await;
    let idp = Idp::new(|_| token(3600));
    let source = heir(&idp, |config| config.scopes = vec!["more".into()]);
    source.inherit(&before, Instant::now());
    assert!(source.refuse(0, Instant::now()));
    assert_eq!(source.get().await.unwrap().generation(), 1);
    assert!(source.refuse(0, Instant::now()), "a newer one is here");
    assert_eq!(usable_now(&source), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_would_be_sent_otherwise_is_not_inherited() {
    let before = predecessor(3600).await;
    let idp = Idp::new(|_| token(3600));
    let inherits = |change: fn(&mut OAuth2)| {
        let source = heir(&idp, change);
        source.inherit(&before, Instant::now());
        usable_now(&source).is_some()
    };
    assert!(inherits(|config| config.scopes = vec!["more".into()]));
    assert!(!inherits(|config| config.header = FieldName::from_static("X-Token")));
    assert!(!inherits(|config| config.prefix = "Token ".into()));
    assert!(!inherits(|config| config.bearer_token_type = crate::config::model::BearerTokenType::IdToken));
}

#[tokio::test(start_paused = true)]
async fn an_expired_or_unused_token_is_not_inherited() {
    let idp = Idp::new(|_| token(3600));
    let before = predecessor(60).await;
    sleep(secs(60)).await;
    let source = heir(&idp, |_| ());
    source.inherit(&before, Instant::now());
    assert_eq!(usable_now(&source), None);
    source.inherit(&heir(&idp, |_| ()), Instant::now());
    assert_eq!(usable_now(&source), None);
}

#[tokio::test(start_paused = true)]
async fn only_an_inherited_token_is_dropped_as_such() {
    let before = predecessor(3600).await;
    let idp = Idp::new(|_| token(3600));
    let source = heir(&idp, |config| config.scopes = vec!["more".into()]);
    source.inherit(&before, Instant::now());
    assert!(source.has_inherited());
    source.drop_inherited();
    assert_eq!(usable_now(&source), None);
    source.get().await.unwrap();
    source.drop_inherited();
    assert_eq!(usable_now(&source), Some(1), "one of its own stays");
}
