//! An idle timeout that costs nothing while there is activity.

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// An idle timeout. The timer is created only when something waits.
pub(super) struct Idle {
    limit: Duration,
    since: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    /// Returns a timeout that starts now.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), sleep: None }
    }

    /// Records activity.
    pub(super) fn touch(&mut self) {
        self.since = Instant::now();
    }

    /// Resolves once the limit has passed since the last activity. Cancel safe.
    pub(super) async fn elapsed(&mut self) {
        loop {
            let due = self.since + self.limit;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            sleep.as_mut().await;
            // The timer may have been set before the last activity.
            if Instant::now() >= due {
                return;
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn activity_restarts_the_timeout() {
        let (start, mut idle) = (Instant::now(), Idle::new(3 * SECOND));
        for _ in 0..3 {
            tokio::select! {
                biased;
                () = idle.elapsed() => unreachable!("there was activity"),
                () = tokio::time::sleep(2 * SECOND) => idle.touch(),
            }
        }
        idle.elapsed().await;
        assert_eq!(start.elapsed(), 9 * SECOND);
    }
}
