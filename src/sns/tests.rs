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

#[tokio::test]
async fn a_request_that_leaves_hands_its_fetch_to_one_that_waits() {
    let sns = Sns::default();
    let Begin::Fetch(end) = sns.store().begin(&url(), None, Instant::now()) else { panic!("no fetch") };
    let fetch = Fetch { sns: &sns, url: &url(), client: None, end: Some(end) };
    let Begin::Wait(mut ended) = sns.store().begin(&url(), None, Instant::now()) else { panic!("no wait") };
    drop(fetch);
    assert!(ended.changed().await.is_err());
    assert!(matches!(sns.store().begin(&url(), None, Instant::now()), Begin::Fetch(_)));
}

#[tokio::test]
async fn those_that_wait_are_told_of_the_end() {
    let sns = Sns::default();
    let Begin::Fetch(end) = sns.store().begin(&url(), None, Instant::now()) else { panic!("no fetch") };
    let fetch = Fetch { sns: &sns, url: &url(), client: None, end: Some(end) };
    let way = way();
    let url = url();
    let waiting = sns.fetch(&url, None, &way);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
    fetch.end(Ok(Err(CertificateFault::Missing)));
    waiting.await;
    assert_eq!(sns.lookup(&url), Lookup::Refused(CertificateFault::Missing));
}
