//! The times of renewals and the lengths of pauses: pure functions of the past and a random number from 0 to 1.
//!
//! The random part spreads requests that would otherwise coincide: many accounts of one provider that got their tokens
//! in the same second, many instances of attache that saw the same outage.

use std::time::Duration;

/// Upper limit of a token's lifetime.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest `Retry-After` that is honoured.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// Interval at which an account that needs a login reads its stored grant.
pub(super) const LOGIN_POLL: Duration = Duration::from_secs(1);
/// Interval of the tries of a refresh token that was refused but did not come by rotation: the user may have been
/// suspended for a while.
pub(super) const RETRY_GRANT: Duration = Duration::from_secs(60 * 60);
/// The shortest time between two SIGHUPs that make an account forget its pauses.
pub(super) const NUDGE: Duration = Duration::from_secs(60);

/// The hold of a token whose predecessor was refused: within it, another refusal does not replace it. It doubles while
/// successors are refused as well, so that a service which refuses every token causes no stream of token requests.
pub(super) const MIN_HOLD: Duration = Duration::from_secs(10);
/// See [`MIN_HOLD`].
pub(super) const MAX_HOLD: Duration = Duration::from_secs(10 * 60);

/// Token endpoints round the moment of expiry down to a second.
const MIN_SKEW: Duration = Duration::from_secs(1);
const MAX_SKEW: Duration = Duration::from_secs(10);
const UNAVAILABLE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
const REJECTED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// Returns how long a token is sent: its lifetime less a tenth, and less at least 1 s and at most 10 s, for clocks that
/// differ and the time the request is on its way. At least half of the lifetime.
pub(super) fn usable_for(lifetime: Duration) -> Duration {
    lifetime - (lifetime / 10).clamp(MIN_SKEW, MAX_SKEW).min(lifetime / 2)
}

/// Returns the hold of a token that replaces a refused one with the hold `previous`.
pub(super) fn next_hold(previous: Duration) -> Duration {
    (previous * 2).clamp(MIN_HOLD, MAX_HOLD)
}

/// Returns when a token is renewed: at 70 to 85 % of the time it is used, and early enough that a renewal which takes
/// twice as long as the last one still ends in time. Zero for a token that took that long to get.
pub(super) fn renew_after(lifetime: Duration, took: Duration, random: f64) -> Duration {
    let usable = usable_for(lifetime);
    usable.mul_f64(0.70 + 0.15 * random.clamp(0.0, 1.0)).min(usable.saturating_sub(took.saturating_mul(2)))
}

/// Returns the pause after the `failures`-th failure in a row of an endpoint that is down: from 0.5 s doubling to 30 s,
/// and no shorter than the endpoint asked for, up to an hour.
pub(super) fn pause_unavailable(failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    back_off(UNAVAILABLE, failures, random).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// Returns the pause after the `failures`-th refusal in a row: 30 s doubling to 5 min. Only a person can mend it, and a
/// provider may lock a client that tries a wrong secret too often. Not shorter than the endpoint asked for, up to an hour.
pub(super) fn pause_rejected(failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    back_off(REJECTED, failures, random).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// Doubles from `first` to `max`, then takes up to a fifth off.
fn back_off((first, max): (Duration, Duration), failures: u32, random: f64) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    doubled.min(max).mul_f64(1.0 - 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_skew_is_a_tenth_within_one_and_ten_seconds_and_half_at_most() {
        assert_eq!(usable_for(Duration::from_secs(5)), Duration::from_secs(4));
        assert_eq!(usable_for(Duration::from_secs(60)), Duration::from_secs(54));
        assert_eq!(usable_for(Duration::from_secs(1)), Duration::from_millis(500));
        assert_eq!(usable_for(Duration::from_secs(3600)), Duration::from_secs(3590));
        assert_eq!(usable_for(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn holds_double_up_to_their_limit() {
        let holds: Vec<_> = std::iter::successors(Some(Duration::ZERO), |hold| Some(next_hold(*hold)))
            .map(|hold| hold.as_secs())
            .take(9)
            .collect();
        assert_eq!(holds, [0, 10, 20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        let pauses: Vec<_> = (1..=9).map(|n| pause_unavailable(n, None, 0.0).as_secs_f64()).collect();
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(pause_unavailable(u32::MAX, None, 1.0), Duration::from_secs(24));
        assert_eq!(pause_rejected(1, None, 0.0), Duration::from_secs(30));
        assert_eq!(pause_rejected(9, None, 0.0), Duration::from_secs(300));
    }

    #[test]
    fn retry_after_lengthens_a_pause_up_to_an_hour_and_never_shortens_it() {
        let pause =
            |failures, secs| pause_unavailable(failures, Some(Duration::from_secs(secs)), 0.0).as_secs_f64();
        assert_eq!(pause(1, 7), 7.0);
        assert_eq!(pause(1, 86400), 3600.0);
        assert_eq!(pause(1, 0), 0.5);
        assert_eq!(pause(7, 1), 30.0);
        assert_eq!(pause_rejected(1, Some(Duration::from_secs(3600)), 0.0), Duration::from_secs(3600));
    }

    proptest! {
        #[test]
        fn renewal_comes_before_the_end_of_use_and_that_before_expiry(
            ms in 1_u64..=2_592_000_000,
            took in 0_u64..=10_000,
            random in 0.0..=1.0,
        ) {
            let (lifetime, took) = (Duration::from_millis(ms), Duration::from_millis(took));
            let (renew, usable) = (renew_after(lifetime, took, random), usable_for(lifetime));
            prop_assert!(renew < usable && usable < lifetime);
            prop_assert!(renew + 2 * took <= usable || renew.is_zero());
            prop_assert!(renew >= usable.mul_f64(0.69) || renew + 2 * took >= usable - Duration::from_millis(1));
        }
    }
}
