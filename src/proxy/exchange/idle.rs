//! A time limit between two signs of life, which costs nothing while there are any.

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A limit on silence. The timer is made only when something waits.
pub(super) struct Idle {
    limit: Duration,
    since: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    /// A limit that begins now.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), sleep: None }
    }

    /// A sign of life.
    pub(super) fn touch(&mut self) {
        self.since = Instant::now();
    }

    /// Resolves when the limit has passed since the last sign of life. Cancel safe.
    pub(super) async fn elapsed(&mut self) {
        loop {
            let due = self.since + self.limit;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            sleep.as_mut().await;
            // The timer may be older than the last sign of life.
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
    async fn signs_of_life_put_the_limit_off() {
        let (start, mut idle) = (Instant::now(), Idle::new(3 * SECOND));
        for _ in 0..3 {
            tokio::select! {
                biased;
                () = idle.elapsed() => unreachable!("there was life"),
                () = tokio::time::sleep(2 * SECOND) => idle.touch(),
            }
        }
        idle.elapsed().await;
        assert_eq!(start.elapsed(), 9 * SECOND);
    }
}
