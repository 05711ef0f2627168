//! The rate at which each query of the status page is rendered.
//!
//! An update comes once a second, or less often if the report takes long, and renders the queries that are due. The
//! queries share [`BUDGET`]: one that takes less than its share gets all it needs, and the rest is shared by the others.
//! So a query that takes long to render is rendered less often, and delays no other. A query that is new is rendered at
//! once, unless other new ones have just been: a client that opens streams without end gets no more than the share of new
//! ones.

use super::super::page::Query;
use super::PAUSE;
use std::time::Duration;
use tokio::time::Instant;

/// Time a second for queries that were rendered before.
const BUDGET: Duration = Duration::from_millis(80);
/// After a report, and after a new query, no other is made for so many times the time that it took.
const REST: u32 = 20;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Pace {
    report: Duration,
    known: Vec<KnownQuery>,
    next_new: Option<Instant>,
}

#[derive(Debug)]
struct KnownQuery {
    query: Query,
    /// The duration of the last rendering.
    cost: Duration,
    last: Instant,
}

impl Pace {
    /// Notes what a report took.
    pub(super) fn reported(&mut self, cost: Duration) {
        self.report = cost;
    }

    /// Returns the time until the next update.
    pub(super) fn pause(&self) -> Duration {
        PAUSE.max(self.report * REST)
    }

    /// Forgets the other queries.
    pub(super) fn keep(&mut self, is_open: impl Fn(&Query) -> bool) {
        self.known.retain(|known| is_open(&known.query));
    }

    /// Returns true if the query may be rendered now.
    pub(super) fn is_due(&self, query: &Query, now: Instant) -> bool {
        match self.known.iter().find(|known| known.query == *query) {
            Some(known) => known.last + self.period(known.cost) <= now,
            None => self.next_new.is_none_or(|next| next <= now),
        }
    }

    /// Notes what a rendering took.
    pub(super) fn rendered(&mut self, query: Query, cost: Duration, now: Instant) {
        if let Some(known) = self.known.iter_mut().find(|known| known.query == query) {
            (known.cost, known.last) = (cost, now);
        } else {
            self.known.push(KnownQuery { query, cost, last: now });
            self.next_new = Some(self.next_new.unwrap_or(now).max(now) + cost * REST);
        }
    }

    /// The time between two renderings of a query that takes so long.
    fn period(&self, cost: Duration) -> Duration {
        let mut costs: Vec<Duration> = self.known.iter().map(|known| known.cost).collect();
        costs.sort_unstable();
        let (mut left, mut share) = (BUDGET, BUDGET);
        for (at, &cost) in costs.iter().enumerate() {
            // The cheapest first: what they leave is for the others.
            share = left / u32::try_from(costs.len() - at).unwrap_or(u32::MAX);
            if cost > share {
                break;
            }
            left -= cost;
        }
        // As a known query is rendered in an update, a little less than a second is a second.
        let exact =
            if cost <= share { PAUSE } else { PAUSE.mul_f64(cost.as_secs_f64() / share.as_secs_f64()) };
        exact.saturating_sub(PAUSE / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(costs: &[u64]) -> Pace {
        let mut pace = Pace::default();
        for (number, &cost) in costs.iter().enumerate() {
            pace.rendered(query(number), Duration::from_millis(cost), Instant::now());
        }
        pace
    }

    fn query(number: usize) -> Query {
        Query::parse(&format!("q={number}"))
    }

    /// Returns which queries are rendered in each of so many updates, once a second, and how long that takes.
    fn run(costs: &[u64], updates: u32) -> (Vec<u32>, Duration) {
        let (mut pace, start) = (pace(costs), Instant::now());
        let (mut times, mut spent) = (vec![0; costs.len()], Duration::ZERO);
        for update in 1..=updates {
            let now = start + PAUSE * update;
            for (number, &cost) in costs.iter().enumerate() {
                if pace.is_due(&query(number), now) {
                    let cost = Duration::from_millis(cost);
                    pace.rendered(query(number), cost, now);
                    times[number] += 1;
                    spent += cost;
                }
            }
        }
        (times, spent)
    }

    #[test]
    fn a_query_that_takes_long_delays_no_other() {
        let (times, spent) = run(&[5, 5, 200, 200], 100);
        assert_eq!(times[..2], [100, 100], "the cheap ones come in every update");
        assert!(times[2] >= 16 && times[2] == times[3], "{times:?}");
        assert!(spent <= BUDGET * 110, "{spent:?}");
    }

    #[test]
    fn the_budget_holds_however_many_there_are() {
        let (times, spent) = run(&[40; 16], 100);
        assert!(times.iter().all(|&times| (11..=13).contains(&times)), "{times:?}");
        assert!(spent <= BUDGET * 115, "{spent:?}");
        assert_eq!(run(&[3; 16], 10).0, [10; 16]);
    }

    #[test]
    fn new_queries_have_a_budget_of_their_own() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.is_due(&query(0), now));
        pace.rendered(query(0), Duration::from_millis(100), now);
        assert!(!pace.is_due(&query(1), now + PAUSE) && pace.is_due(&query(0), now + PAUSE * 2));
        assert!(pace.is_due(&query(1), now + PAUSE * 2));
        pace.reported(Duration::from_millis(100));
        assert_eq!(pace.pause(), PAUSE * 2);
    }
}
