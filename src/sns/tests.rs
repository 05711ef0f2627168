use super::*;
use crate::signature::sns::testing::topic;
use crate::transport;
use std::time::Duration;

fn way() -> Way {
    Way { transport: Arc::new(transport::for_tests()), proxy: UsedProxy::default() }
}

fn url() -> CertificateUrl {
    let url = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-1.pem";
    topic().certificate_url(url).expect("a URL")
}

fn fetch(sns: &Sns) -> Fetch {
    let Begin::Fetch(end) = sns.store().begin(&url(), None, Instant::now()) else { panic!("no fetch") };
    Fetch { shared: Arc::clone(&sns.shared), url: url(), client: None, end, has_ended: false }
}

#[tokio::test]
async fn a_fetch_that_breaks_off_ends_the_waiting_and_is_not_repeated_at_once() {
    let sns = Sns::default();
    let fetch = fetch(&sns);
    let Begin::Wait(mut ended) = sns.store().begin(&url(), None, Instant::now()) else { panic!("no wait") };
    drop(fetch);
    assert!(ended.changed().await.is_err());
    assert!(matches!(sns.store().begin(&url(), None, Instant::now()), Begin::NotNow));
}

/// The way leads nowhere. Dropping the future is what a client that leaves does.
#[tokio::test]
async fn a_certificate_is_fetched_once_however_many_requests_leave() {
    let (sns, way, url) = (Sns::default(), way(), url());
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::ZERO, sns.fetch(&url, None, &way)).await.is_err());
        assert_eq!(sns.fetches.lock().expect("the fetches").len(), 1);
    }
    sns.fetch(&url, None, &way).await;
    assert!(matches!(sns.store().begin(&url, None, Instant::now()), Begin::NotNow), "a pause follows");
}

#[tokio::test]
async fn those_that_wait_are_told_of_the_end() {
    let sns = Sns::default();
    let fetch = fetch(&sns);
    let way = way();
    let url = url();
    let waiting = sns.fetch(&url, None, &way);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
    fetch.end(Ok(Err(CertificateFault::Missing)));
    waiting.await;
    assert_eq!(sns.lookup(&url), Lookup::Refused(CertificateFault::Missing));
}
