//! When to renew, and how long to pause: pure functions of what is known and a random number from 0 to 1.
//!
//! The random part spreads what would otherwise come together: many accounts of one provider that got their tokens
//! in the same second, many instances of attache that saw the same outage.

use std::time::Duration;

/// No token is believed to live longer.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest `Retry-After` that is honoured.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How often an account that needs a login looks whether there was one: a look at a file, not a token request.
pub(super) const LOGIN_POLL: Duration = Duration::from_secs(1);

/// Token endpoints round the moment of expiry down to a second.
const MIN_SKEW: Duration = Duration::from_secs(1);
const MAX_SKEW: Duration = Duration::from_secs(10);
const UNAVAILABLE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
const REJECTED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(120));

/// How long a token is sent: its lifetime less a tenth, and less at least 1 s and at most 10 s, for the clocks that
/// differ and the time the request is on its way.
pub(super) fn usable_for(lifetime: Duration) -> Duration {
    lifetime.saturating_sub((lifetime / 10).clamp(MIN_SKEW, MAX_SKEW))
}

/// When a token is renewed: at 70 to 85 % of the time it is used, and early enough that a renewal which takes twice as
/// long as the last one still comes before the end. Of a token that took that long to get, nothing is left to wait for.
pub(super) fn renew_after(lifetime: Duration, took: Duration, random: f64) -> Duration {
    let usable = usable_for(lifetime);
    usable.mul_f64(0.70 + 0.15 * random.clamp(0.0, 1.0)).min(usable.saturating_sub(took.saturating_mul(2)))
}

/// The pause after the `failures`-th failure in a row of an endpoint that is down: from 0.5 s doubling to 30 s, and
/// no shorter than the endpoint asked for, up to a minute.
pub(super) fn pause_unavailable(failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    back_off(UNAVAILABLE, failures, random).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// The pause after the `failures`-th refusal in a row: 30 s doubling to 2 min. Only a person can mend it, and a
/// provider may lock an account that tries a wrong password too often.
pub(super) fn pause_rejected(failures: u32, random: f64) -> Duration {
    back_off(REJECTED, failures, random)
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
    fn the_skew_is_a_tenth_within_one_and_ten_seconds() {
        assert_eq!(usable_for(Duration::from_secs(5)), Duration::from_secs(4));
        assert_eq!(usable_for(Duration::from_secs(60)), Duration::from_secs(54));
        assert_eq!(usable_for(Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(usable_for(Duration::from_secs(3600)), Duration::from_secs(3590));
        assert_eq!(usable_for(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        let pauses: Vec<_> = (1..=9).map(|n| pause_unavailable(n, None, 0.0).as_secs_f64()).collect();
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(pause_unavailable(u32::MAX, None, 1.0), Duration::from_secs(24));
        assert_eq!(pause_rejected(1, 0.0), Duration::from_secs(30));
        assert_eq!(pause_rejected(9, 0.0), Duration::from_secs(120));
    }

    #[test]
    fn retry_after_lengthens_a_pause_up_to_a_minute_and_never_shortens_it() {
        let pause =
            |failures, secs| pause_unavailable(failures, Some(Duration::from_secs(secs)), 0.0).as_secs_f64();
        assert_eq!(pause(1, 7), 7.0);
        assert_eq!(pause(1, 86400), 60.0);
        assert_eq!(pause(1, 0), 0.5);
        assert_eq!(pause(7, 1), 30.0);
    }

    proptest! {
        #[test]
        fn renewal_comes_before_the_end_of_use_and_that_before_expiry(
            ms in 1001_u64..=2_592_000_000,
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
