//! The number of token requests over minutes of virtual time.

use super::*;

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn tokens_of_five_seconds_in_constant_use_are_never_waited_for_nor_sent_after_their_end() {
    for latency in [20, 300, 900] {
        let idp = Idp::slow(latency * MS, |_| token(5));
        let source = idp.source();
        let mut ends = Vec::new();
        source.get().await.unwrap();
        let began = Instant::now();
        while began.elapsed() < secs(600) {
            let moment = now(&source);
            let token =
                source.current(moment).unwrap_or_else(|| panic!("a request waits at {:?}", began.elapsed()));
            // The endpoint counts from when it answers, and never from before it was asked.
            ends.push((token.generation(), token.usable_until() + secs(1)));
            assert!(moment.instant < token.usable_until() + secs(1), "sent after its end");
            sleep(10 * MS).await;
        }
        ends.dedup();
        assert!(ends.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "no token was skipped");
        assert_eq!(idp.calls(), ends.len() + usize::from(idp.calls() > ends.len()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_the_endpoint_under_a_thousand_requests_a_second_costs_a_handful_of_calls() {
    let idp = Idp::slow(5 * MS, |_| down());
    let source = idp.source();
    let began = Instant::now();
    let mut answered = 0;
    while began.elapsed() < secs(60) {
        let mut callers = JoinSet::new();
        for _ in 0..10 {
            let source = source.clone();
            callers.spawn(async move { source.get().await.is_err() });
        }
        answered += callers.join_all().await.into_iter().filter(|refused| *refused).count();
        sleep(5 * MS).await;
    }
    assert!(answered > 50_000, "{answered}");
    assert!((5..20).contains(&idp.calls()), "{}", idp.calls());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_during_an_outage_costs_a_handful_of_calls_too() {
    let idp = Idp::slow(5 * MS, |call| if call == 1 { token(30) } else { down() });
    let source = idp.source();
    let began = Instant::now();
    while began.elapsed() < secs(90) {
        let _ = source.get().await;
        sleep(MS).await;
    }
    assert!((5..20).contains(&idp.calls()), "{}", idp.calls());
}
