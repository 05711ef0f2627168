use super::name_server::{DnsReply, NXDOMAIN, NameServer, REFUSED, SERVFAIL};
use super::*;

const GIVE_UP: Duration = Duration::from_millis(200);

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn records(addresses: &[&str], ttl: u32) -> DnsReply {
    DnsReply::Records(addresses.iter().map(|text| ip(text)).collect(), ttl)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn names(server: &NameServer, give_up: Duration) -> Names {
    let (config, options) = server.config(give_up);
    Names::with_config(config, options)
}

/// Returns the addresses, or the error type for the log.
fn texts(outcome: Result<Arc<[IpAddr]>, NoAddress>) -> Vec<String> {
    match outcome {
        Ok(addresses) => addresses.iter().map(IpAddr::to_string).collect(),
        Err(NoAddress::NotFound) => vec!["not found".into()],
        Err(error) => vec![error.reason().into()],
    }
}

async fn at(name: &Arc<Name>, now: Instant) -> Vec<String> {
    texts(name.addresses_at(now).await)
}

/// Waits until the lookup under way has ended.
async fn settled(name: &Name) {
    let pending = name.state().pending.clone();
    if let Some(mut pending) = pending {
        while pending.changed().await.is_ok() {}
    }
}

#[tokio::test]
async fn an_answer_is_cached_for_its_ttl() {
    let server = NameServer::start(records(&["192.0.2.1"], 20)).await;
    let (names, start) = (names(&server, GIVE_UP), Instant::now());
    let name = names.name("a.example");
    assert_eq!(at(&name, start).await, ["192.0.2.1"]);
    server.reply(records(&["192.0.2.2"], 20));
    assert_eq!(at(&name, start + seconds(19)).await, ["192.0.2.1"]);
    assert_eq!(server.lookups(), 1);
    assert_eq!(at(&name, start + seconds(21)).await, ["192.0.2.2"]);
    assert_eq!(server.lookups(), 2);
}

#[tokio::test]
async fn a_ttl_is_at_least_one_second_and_at_most_sixty() {
    let server = NameServer::start(records(&["192.0.2.1"], 86_400)).await;
    let (names, start) = (names(&server, GIVE_UP), Instant::now());
    let name = names.name("a.example");
    assert_eq!(at(&name, start).await, ["192.0.2.1"]);
    server.reply(records(&["192.0.2.2"], 0));
    assert_eq!(at(&name, start + seconds(59)).await, ["192.0.2.1"]);
    let late = start + seconds(62);
    assert_eq!(at(&name, late).await, ["192.0.2.2"]);
    assert_eq!(at(&name, late + Duration::from_millis(900)).await, ["192.0.2.2"]);
    assert_eq!(server.lookups(), 2);
}

#[tokio::test]
async fn stale_addresses_serve_while_the_name_server_fails() {
    for failure in [SERVFAIL, REFUSED, DnsReply::Silence] {
        let server = NameServer::start(records(&["192.0.2.1"], 60)).await;
        let (names, start) = (names(&server, GIVE_UP), Instant::now());
        let name = names.name("a.example");
        assert_eq!(at(&name, start).await, ["192.0.2.1"]);
        server.reply(failure);
        for minutes in [2, 30, 59] {
            assert_eq!(at(&name, start + seconds(60 * minutes)).await, ["192.0.2.1"]);
            settled(&name).await;
        }
        assert_eq!(server.lookups(), 4);
        assert_ne!(at(&name, start + seconds(3605)).await, ["192.0.2.1"]);
        server.reply(records(&["192.0.2.2"], 60));
        assert_eq!(at(&name, start + seconds(3610)).await, ["192.0.2.2"]);
    }
}

#[tokio::test]
async fn no_address_is_used_after_a_negative_answer() {
    for absent in [NXDOMAIN, records(&[], 60)] {
        let server = NameServer::start(records(&["192.0.2.1"], 60)).await;
        let (names, start) = (names(&server, GIVE_UP), Instant::now());
        let name = names.name("a.example");
        assert_eq!(at(&name, start).await, ["192.0.2.1"]);
        server.reply(absent);
        let late = start + seconds(70);
        assert_eq!(at(&name, late).await, ["not found"]);
        server.reply(SERVFAIL);
        assert_eq!(at(&name, late + seconds(1)).await, ["not found"]);
        assert_eq!(server.lookups(), 2, "a negative answer is cached for two seconds");
        assert_eq!(at(&name, late + seconds(3)).await, ["dns_error"]);
    }
}

#[tokio::test]
async fn a_lookup_outlives_the_request_that_started_it() {
    let (open, gate) = watch::channel(false);
    let server = NameServer::start(DnsReply::Gated(vec![ip("192.0.2.1")], 60, gate)).await;
    let names = names(&server, seconds(30));
    let name = names.name("a.example");
    let deadline = Duration::from_millis(20);
    assert!(timeout(deadline, name.addresses()).await.is_err(), "the server answered too early");
    let others = async { tokio::join!(name.addresses(), name.addresses()) };
    open.send_replace(true);
    let (one, other) = others.await;
    assert_eq!([texts(one), texts(other)], [["192.0.2.1"], ["192.0.2.1"]]);
    assert_eq!(server.lookups(), 1);
}

#[tokio::test]
async fn in_an_outage_one_request_in_two_seconds_waits() {
    let server = NameServer::start(records(&["192.0.2.1"], 1)).await;
    let (names, start) = (names(&server, seconds(30)), Instant::now());
    let name = names.name("a.example");
    assert_eq!(at(&name, start).await, ["192.0.2.1"]);
    server.reply(DnsReply::Silence);
    // Polls once: a request that has to wait is not done.
    let waits = async |now| timeout(Duration::ZERO, name.addresses_at(now)).await.is_err();
    let late = start + seconds(5);
    assert!(waits(late).await);
    assert!(!waits(late).await);
    assert!(!waits(late + Duration::from_millis(1900)).await);
    assert!(waits(late + seconds(2)).await);
    let begun = Instant::now();
    assert_eq!(at(&name, late + seconds(4)).await, ["192.0.2.1"]);
    assert!(begun.elapsed() >= STALE_WAIT);
    assert_eq!(server.lookups(), 2, "the requests share one lookup");
}

#[tokio::test]
async fn one_family_is_used_while_the_other_is_missing() {
    let server = NameServer::start(DnsReply::Silence).await;
    let (open, gate) = watch::channel(false);
    let gated = DnsReply::Gated(vec![ip("2001:db8::1")], 60, gate);
    server.reply_by_family(records(&["192.0.2.1"], 60), gated);
    let (names, start) = (names(&server, seconds(30)), Instant::now());
    let name = names.name("a.example");
    let name_task = names.name("a.example");
    assert_eq!(at(&name, start).await, ["192.0.2.1"]);
    assert_eq!(at(&name, start).await, ["192.0.2.1"]);
    open.send_replace(true);
    let both = async {
        while at(&name_task, start).await.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(seconds(10), both).await.expect("the second family is added");
    assert_eq!(at(&name, start).await, ["2001:db8::1", "192.0.2.1"]);
    assert_eq!(server.lookups(), 1);
}

#[tokio::test]
async fn one_family_without_an_answer_does_not_hide_the_other() {
    for failure in [SERVFAIL, NXDOMAIN, records(&[], 60)] {
        let server = NameServer::start(DnsReply::Silence).await;
        server.reply_by_family(records(&["192.0.2.1"], 60), failure);
        let name = names(&server, GIVE_UP).name("a.example");
        assert_eq!(at(&name, Instant::now()).await, ["192.0.2.1"]);
    }
    let server = NameServer::start(DnsReply::Silence).await;
    server.reply_by_family(SERVFAIL, records(&[], 60));
    let name = names(&server, GIVE_UP).name("a.example");
    assert_eq!(at(&name, Instant::now()).await, ["dns_error"]);
}

#[tokio::test]
async fn failed_connections_start_a_lookup_at_most_once_a_second() {
    let server = NameServer::start(records(&["192.0.2.1"], 60)).await;
    let (names, start) = (names(&server, GIVE_UP), Instant::now());
    let name = names.name("a.example");
    let tried = name.addresses_at(start).await.expect("an address");
    assert!(name.all_failed_at(&tried, start).await.is_none());
    assert_eq!(server.lookups(), 2);
    server.reply(records(&["192.0.2.2"], 60));
    assert!(name.all_failed_at(&tried, start + Duration::from_millis(900)).await.is_none());
    assert_eq!(server.lookups(), 2);
    let later = start + Duration::from_millis(1100);
    let (one, other) = tokio::join!(name.all_failed_at(&tried, later), name.all_failed_at(&tried, later));
    assert_eq!(one.as_deref(), Some(&[ip("192.0.2.2")][..]));
    assert_eq!(other, one);
    // A request that still has the former list gets the new one without a lookup.
    assert_eq!(name.all_failed_at(&tried, later).await, one);
    assert_eq!(server.lookups(), 3);
    assert_eq!(at(&name, later).await, ["192.0.2.2"]);
}

#[tokio::test]
async fn addresses_in_another_order_are_no_new_list() {
    let server = NameServer::start(records(&["192.0.2.1", "192.0.2.2"], 60)).await;
    let (names, start) = (names(&server, GIVE_UP), Instant::now());
    let name = names.name("a.example");
    let tried = name.addresses_at(start).await.expect("addresses");
    server.reply(records(&["192.0.2.2", "192.0.2.1"], 60));
    assert!(name.all_failed_at(&tried, start).await.is_none());
    server.reply(SERVFAIL);
    assert!(name.all_failed_at(&tried, start + seconds(2)).await.is_none());
    assert_eq!(at(&name, start + seconds(3)).await.len(), 2, "the addresses stay in use");
}

#[tokio::test]
async fn the_address_that_worked_stays_first() {
    let server = NameServer::start(records(&["192.0.2.1", "192.0.2.2", "2001:db8::1"], 10)).await;
    let (names, start) = (names(&server, GIVE_UP), Instant::now());
    let name = names.name("a.example");
    assert_eq!(at(&name, start).await, ["2001:db8::1", "192.0.2.1", "192.0.2.2"]);
    name.worked(ip("192.0.2.2"));
    name.worked(ip("192.0.2.9"));
    assert_eq!(at(&name, start).await, ["192.0.2.2", "2001:db8::1", "192.0.2.1"]);
    server.reply(records(&["192.0.2.3", "192.0.2.2"], 10));
    assert_eq!(at(&name, start + seconds(11)).await, ["192.0.2.2", "192.0.2.3"]);
    server.reply(records(&["192.0.2.3", "192.0.2.4"], 10));
    assert_eq!(at(&name, start + seconds(22)).await, ["192.0.2.3", "192.0.2.4"]);
}

#[tokio::test]
async fn a_name_keeps_its_entry_for_as_long_as_it_is_used() {
    let server = NameServer::start(records(&["192.0.2.1"], 60)).await;
    let names = names(&server, GIVE_UP);
    let before = names.name("a.example");
    assert_eq!(texts(before.addresses().await), ["192.0.2.1"]);
    let after = names.name("a.example");
    assert!(Arc::ptr_eq(&before, &after));
    drop(before);
    assert_eq!(texts(names.name("a.example").addresses().await), ["192.0.2.1"]);
    assert_eq!(server.lookups(), 1);
    for index in 0..1000 {
        names.name(&format!("{index}.example"));
    }
    assert!(locked(&names.entries).by_name.len() <= 64, "entries that are gone are removed");
    assert!(Arc::ptr_eq(&after, &names.name("a.example")));
}

#[tokio::test]
async fn localhost_is_internal_and_never_looked_up() {
    let server = NameServer::start(NXDOMAIN).await;
    let names = names(&server, GIVE_UP);
    let name = names.name("localhost");
    assert_eq!(texts(name.addresses().await), ["::1", "127.0.0.1"]);
    assert!(matches!(name.allowed(80, false).await, Err(NoAddress::Denied)));
    let allowed = name.allowed(80, true).await.expect("allowed");
    assert_eq!(allowed[1], SocketAddr::from(([127, 0, 0, 1], 80)));
    assert_eq!(server.lookups(), 0);
}

#[test]
fn address_families_alternate() {
    let list = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<_>>();
    let all = list(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "::1", "::2", "::2", "192.0.2.1"]);
    assert_eq!(*ordered(&all, None), list(&["::1", "192.0.2.1", "::2", "192.0.2.2", "192.0.2.3"]));
    let preferred = ordered(&all, Some(ip("::2")));
    assert_eq!(*preferred, list(&["::2", "192.0.2.1", "::1", "192.0.2.2", "192.0.2.3"]));
    let preferred = ordered(&all, Some(ip("192.0.2.3")));
    assert_eq!(*preferred, list(&["192.0.2.3", "::1", "192.0.2.1", "::2", "192.0.2.2"]));
}
