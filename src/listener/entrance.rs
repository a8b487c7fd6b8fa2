//! Whether connections are still let in, and how many handshakes are under way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The one entrance of an acceptor and all its clones.
#[derive(Default)]
pub(super) struct Entrance {
    state: Mutex<State>,
    /// Told when the first drain begins.
    closed: Notify,
    /// Told when a drain's time is over.
    over: Notify,
    /// Told when a drain has nobody to wait for any more.
    empty: Notify,
}

impl Entrance {
    /// Begins a handshake; `None` once a drain has begun.
    pub(super) fn enter(&self) -> Option<Guest<'_>> {
        let mut state = self.state();
        if state.draining {
            return None;
        }
        state.under_way += 1;
        Some(Guest { entrance: self, inside: true })
    }

    /// Waits until a drain begins.
    pub(super) async fn closed(&self) {
        // Made first, so that what is told after the look is not missed.
        let closed = self.closed.notified();
        if !self.state().draining {
            closed.await;
        }
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) -> Begun {
        let mut state = self.state();
        state.draining = true;
        let begun = Begun { under_way: state.under_way, cut: state.cut };
        drop(state);
        self.closed.notify_waiters();
        begun
    }

    /// Waits until no handshake is under way, then ends those that are by `deadline`.
    pub(super) async fn drain(&self, begun: Begun, deadline: Instant) -> Drained {
        // Whether they left in time or not shows in the state.
        let _elapsed = timeout_at(deadline, self.emptied()).await;
        let mut state = self.state();
        if state.under_way > 0 {
            state.cut = state.under_way;
            state.under_way = 0;
            state.over = true;
        }
        let cut = state.cut - begun.cut;
        drop(state);
        self.over.notify_waiters();
        self.empty.notify_waiters();
        Drained { finished: begun.under_way - cut, cut }
    }

    async fn emptied(&self) {
        let empty = self.empty.notified();
        if self.state().under_way > 0 {
            empty.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    draining: bool,
    /// A drain's time is over: nobody gets through any more.
    over: bool,
    under_way: usize,
    /// How many were under way when it was over.
    cut: usize,
}

/// What a drain found when it began.
pub(super) struct Begun {
    under_way: usize,
    cut: usize,
}

/// A handshake under way, at its end when dropped.
pub(super) struct Guest<'a> {
    entrance: &'a Entrance,
    inside: bool,
}

impl Guest<'_> {
    /// Waits until a drain's time is over.
    pub(super) async fn shown_out(&self) {
        let over = self.entrance.over.notified();
        if !self.entrance.state().over {
            over.await;
        }
    }

    /// Ends the handshake; whether that was in time. Said under the lock under which a drain
    /// counts, so that nobody gets through whom a drain reports as cut.
    pub(super) fn leave(&mut self) -> bool {
        let mut state = self.entrance.state();
        let in_time = !state.over;
        if std::mem::take(&mut self.inside) && in_time {
            // Not zero: this guest is one of those who are counted.
            state.under_way -= 1;
            let last = state.draining && state.under_way == 0;
            drop(state);
            if last {
                self.entrance.empty.notify_waiters();
            }
        }
        in_time
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What became of the handshakes that were under way when [`Acceptor::drain`](super::Acceptor::drain)
/// was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// How many ended by themselves: admitted, refused, or dropped by their caller.
    pub finished: usize,
    /// How many were cut at the deadline.
    pub cut: usize,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_a_drain_reports_as_cut_leaves_too_late() {
        let entrance = Entrance::default();
        let (mut first, mut second) = (entrance.enter().unwrap(), entrance.enter().unwrap());
        let begun = entrance.close();
        assert!(entrance.enter().is_none());
        assert!(first.leave());
        let drained = entrance.drain(begun, Instant::now() + Duration::from_secs(1)).await;
        assert_eq!(drained, Drained { finished: 1, cut: 1 });
        assert!(!second.leave());
    }
}
