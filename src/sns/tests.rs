use super::*;
use crate::config::model::{ForwardProxy, ProxyRules, ServerUrl};
use crate::signature::sns::testing::topic;
use crate::transport;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpListener;

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

/// A way through a forward proxy that says nothing.
fn through(proxy: &TcpListener) -> Way {
    let url = format!("http://{}", proxy.local_addr().expect("an address")).parse().expect("a URL");
    let url = ServerUrl::of(&url).expect("a server");
    let proxy = Some(Arc::new(ForwardProxy { url, authorization: None }));
    let rules = Some(Arc::new(ProxyRules { https: proxy, ..ProxyRules::default() }));
    Way { proxy: UsedProxy { rules, is_own: true }, ..way() }
}

/// Dropping the future is what a client that leaves does.
#[tokio::test]
async fn a_certificate_is_fetched_once_however_many_requests_leave() {
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let (sns, way, url) = (Sns::default(), through(&proxy), url());
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::ZERO, sns.fetch(&url, None, &way)).await.is_err());
        assert_eq!(sns.fetches.lock().expect("the fetches").len(), 1);
    }
    drop(proxy);
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
