//! How many handshakes an instance takes in a second.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// A bucket that holds as many handshakes as a second may bring, and fills evenly.
pub(super) struct Rate(RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>);

impl Rate {
    pub(super) fn per_second(handshakes: NonZeroU32) -> Self {
        let clock = TokioClock { start: Instant::now() };
        Self(RateLimiter::direct_with_clock(Quota::per_second(handshakes), clock))
    }

    /// Whether one more may be taken now; then it is.
    pub(super) fn take(&self) -> bool {
        self.0.check().is_ok()
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").finish_non_exhaustive()
    }
}

/// Time as all waiting here has it: monotonic, and held by tests.
#[derive(Clone, Debug)]
struct TokioClock {
    start: Instant,
}

impl Clock for TokioClock {
    /// Since the clock was made.
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_brings_as_many_and_no_more() {
        let rate = Rate::per_second(NonZeroU32::new(10).unwrap());
        let take_all = || std::iter::from_fn(|| rate.take().then_some(())).take(100).count();
        assert_eq!(take_all(), 10);
        advance(Duration::from_millis(99)).await;
        assert_eq!(take_all(), 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(take_all(), 1);
        advance(Duration::from_millis(450)).await;
        assert_eq!(take_all(), 4);
        advance(Duration::from_secs(3600)).await;
        assert_eq!(take_all(), 10);
    }
}
