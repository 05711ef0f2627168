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
fn an_address_that_names_what_sns_does_not_have_waits_and_others_do_not() {
    let (mut store, now) = (CertificateStore::default(), Instant::now());
    assert!(is_fetched(&mut store, 1, client(1), now));
    store.end(&url(1), client(1), MISSING, now);
    assert!(!is_fetched(&mut store, 1, client(2), now + REFUSED - SECOND), "it is known to be missing");
    assert!(!is_fetched(&mut store, 2, client(1), now + BLAME - SECOND));
    assert!(is_fetched(&mut store, 2, client(2), now + SECOND));
    store.abandon(&url(2), client(2), now + SECOND);
    assert!(is_fetched(&mut store, 2, client(1), now + BLAME));
    let of_a_network = |last: &str| format!("2001:db8::{last}").parse().ok();
    assert!(is_fetched(&mut store, 3, of_a_network("1"), now + BLAME));
    store.end(&url(3), of_a_network("1"), MISSING, now + BLAME);
    assert!(!is_fetched(&mut store, 4, of_a_network("ffff"), now + BLAME + SECOND));
}

#[test]
fn a_client_that_leaves_during_fetches_does_not_use_the_rate_up() {
    let (mut store, now) = (CertificateStore::default(), Instant::now());
    let began = (0..100).filter(|&n| {
        let is_fetched = is_fetched(&mut store, n, client(1), now);
        if is_fetched {
            store.abandon(&url(n), client(1), now);
        }
        is_fetched
    });
    assert_eq!(began.count(), 1);
    assert!(is_fetched(&mut store, 0, client(2), now), "the same certificate for another client");
    assert!(is_fetched(&mut store, 100, client(1), now + LEFT));
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
        let at = now + BLAME * (number as u32);
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
