use super::*;
use crate::signature::sns::testing::{certificate, topic};

const SECOND: Duration = Duration::from_secs(1);

fn url(number: usize) -> CertificateUrl {
    let url = format!("https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-{number}.pem");
    topic().certificate_url(&url).expect("a URL")
}

fn client(number: u8) -> Option<IpAddr> {
    Some([192, 0, 2, number].into())
}

fn is_fetched(store: &mut CertificateStore, number: usize, client: Option<IpAddr>, now: Instant) -> bool {
    matches!(store.begin(&url(number), client, now), Begin::Fetch(_))
}

fn good() -> Result<Result<Arc<SigningCertificate>, CertificateFault>, ()> {
    Ok(Ok(Arc::new(certificate())))
}

const MISSING: Result<Result<Arc<SigningCertificate>, CertificateFault>, ()> =
    Ok(Err(CertificateFault::Missing));

#[test]
fn a_certificate_is_fetched_once_a_day_and_survives_a_failure() {
    let (mut store, now) = (CertificateStore::default(), Instant::now());
    assert_eq!(store.lookup(&url(1), now), Lookup::Needed);
    assert!(is_fetched(&mut store, 1, None, now));
    assert!(matches!(store.begin(&url(1), None, now), Begin::Wait(_)), "one at a time");
    store.end(&url(1), None, good(), now);
    assert!(matches!(store.lookup(&url(1), now + FRESH - SECOND), Lookup::Known(_)));
    assert!(matches!(store.begin(&url(1), None, now + FRESH - SECOND), Begin::NotNow));
    let later = now + FRESH;
    assert_eq!(store.lookup(&url(1), later), Lookup::Needed);
    assert!(is_fetched(&mut store, 1, None, later));
    store.end(&url(1), None, Err(()), later);
    assert!(matches!(store.lookup(&url(1), later + FAILED - SECOND), Lookup::Known(_)));
    assert!(is_fetched(&mut store, 1, None, later + FAILED));
    store.end(&url(1), None, MISSING, later);
    let withdrawn = store.lookup(&url(1), later);
    assert_eq!(withdrawn, Lookup::Refused(CertificateFault::Missing), "SNS withdrew it");
}

#[test]
fn an_address_names_few_that_sns_does_not_have_and_does_not_use_the_rate_up() {
    let (mut store, now) = (CertificateStore::default(), Instant::now());
    let of_a_network = |last: usize| format!("2001:db8::{last:x}").parse().ok();
    for (first, at) in [(0, now), (100, now + NAMED)] {
        let begun = (first..first + 100).filter(|&number| {
            let begins = is_fetched(&mut store, number, of_a_network(number), at);
            store.end(&url(number), of_a_network(number), MISSING, at);
            begins
        });
        assert_eq!(begun.count(), MAX_NAMED);
        assert!(!is_fetched(&mut store, first, client(2), at + NAMED), "it is known to be missing");
    }
    assert!(is_fetched(&mut store, 200, client(2), now + NAMED));
}

/// Many clients may be behind the proxy.
#[test]
fn a_client_that_names_what_sns_does_not_have_keeps_no_other_of_its_address_waiting() {
    let (mut store, now) = (CertificateStore::default(), Instant::now());
    assert!(is_fetched(&mut store, 1, client(1), now));
    store.end(&url(1), client(1), MISSING, now);
    for number in 2..10 {
        assert!(is_fetched(&mut store, number, client(1), now), "{number}");
        let result = if number % 2 == 0 { good() } else { Err(()) };
        store.end(&url(number), client(1), result, now);
    }
}

#[test]
fn fetches_under_way_count_for_their_address() {
    let (mut store, now) = (CertificateStore::default(), Instant::now());
    let running = (0..10).filter(|number| is_fetched(&mut store, *number, client(1), now)).count();
    assert_eq!(running, MAX_NAMED);
    assert!(is_fetched(&mut store, 10, client(2), now));
}

#[test]
fn unknown_certificates_are_few_and_a_known_one_is_not_hindered() {
    let (mut store, now) = (CertificateStore::default(), Instant::now());
    assert!(is_fetched(&mut store, 0, None, now));
    store.end(&url(0), None, good(), now);
    let later = now + FRESH;
    let begun = (1..1000).filter(|number| {
        let begins = is_fetched(&mut store, *number, client((number % 200) as u8), later);
        store.end(&url(*number), client((number % 200) as u8), MISSING, later);
        begins
    });
    assert_eq!(begun.count(), 10, "the burst");
    assert!(is_fetched(&mut store, 0, None, later), "a certificate that was good before");
    assert!(is_fetched(&mut store, 2000, None, later + 2 * SECOND), "30 a minute");
}

#[test]
fn fetches_at_the_same_time_and_memory_are_bounded() {
    let (mut store, now) = (CertificateStore::default(), Instant::now());
    let running = (0..10).filter(|number| is_fetched(&mut store, *number, None, now)).count();
    assert_eq!(running, MAX_RUNNING);
    for number in 0..MAX_RUNNING {
        store.end(&url(number), None, good(), now);
    }
    for number in 10..200 {
        let at = now + NAMED * (number as u32);
        assert!(is_fetched(&mut store, number, None, at));
        store.end(&url(number), None, MISSING, at);
    }
    assert_eq!(store.entries.len(), MAX_ENTRIES);
    assert!(matches!(store.lookup(&url(0), now), Lookup::Known(_)), "certificates stay");
    assert!((0..MAX_CONFIRMATIONS).all(|_| store.begin_confirmation()) && !store.begin_confirmation());
    store.end_confirmation();
    assert!(store.begin_confirmation());
    (0..100).for_each(|number| store.confirmed([number; 32]));
    assert!(store.is_confirmed(&[99; 32]) && store.is_confirmed(&[36; 32]) && !store.is_confirmed(&[35; 32]));
}
