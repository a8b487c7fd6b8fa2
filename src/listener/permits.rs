//! Permits to compute a handshake: a queue before them, and a limit to how long one is held while
//! somebody waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// So many permits, handed out in the order in which they are asked for.
///
/// Not tokio's `Semaphore`: whom to cut depends on how many wait without a permit on its way to
/// them, and a semaphore does not tell.
pub(super) struct Permits {
    limits: Limits,
    state: Mutex<State>,
}

/// How many at a time, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many permits there are.
    pub(super) permits: usize,
    /// How many may wait for one.
    pub(super) waiting: usize,
    /// How long one is held at least before it may be taken away.
    pub(super) patience: Duration,
}

impl Permits {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Asks for a permit. `None` where none is free and no more may wait for one. Costs the
    /// logarithm of the number of those who hold one or wait.
    pub(super) fn ask(&self) -> Option<Permit<'_>> {
        let notices = Arc::new(Notices::default());
        let mut state = self.state();
        if state.in_use() >= self.limits.permits && state.queue.len() >= self.limits.waiting {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.queue.insert(number, Arc::clone(&notices));
        self.settle(state);
        Some(Permit { permits: self, number, notices })
    }

    /// Gives what is free to those who wait longest, and takes from those who have held theirs
    /// longest, and too long, what the others wait for: no more than they need.
    ///
    /// To be called after each change. Wakes nobody under the lock.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        let (mut granted, mut cut) = (Vec::new(), Vec::new());
        while state.in_use() < self.limits.permits {
            let Some((number, notices)) = state.queue.pop_first() else { break };
            state.holders.insert(number, Holder { since: now, notices: Arc::clone(&notices) });
            granted.push(notices);
        }
        // A permit goes to each of those who wait as soon as those who were told have left.
        while state.queue.len() > state.leaving {
            let Some(oldest) = state.holders.first_entry() else { break };
            if now.duration_since(oldest.get().since) < self.limits.patience {
                break;
            }
            cut.push(oldest.remove().notices);
            state.leaving += 1;
        }
        drop(state);
        granted.iter().for_each(|notices| notices.granted.notify_one());
        cut.iter().for_each(|notices| notices.cut.notify_one());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Numbered in the order of arrival, which is also the order in which permits are granted.
#[derive(Default)]
struct State {
    next: u64,
    queue: BTreeMap<u64, Arc<Notices>>,
    holders: BTreeMap<u64, Holder>,
    /// How many hold a permit that was taken away, and have not noticed yet.
    leaving: usize,
}

impl State {
    fn in_use(&self) -> usize {
        self.holders.len() + self.leaving
    }
}

struct Holder {
    since: Instant,
    notices: Arc<Notices>,
}

#[derive(Default)]
struct Notices {
    granted: Notify,
    cut: Notify,
}

/// A place in the queue, then a permit; given back when dropped, whichever it is by then.
pub(super) struct Permit<'a> {
    permits: &'a Permits,
    number: u64,
    notices: Arc<Notices>,
}

impl Permit<'_> {
    /// Waits until it is granted.
    pub(super) async fn granted(&self) {
        self.notices.granted.notified().await;
    }

    /// Waits until it is taken away, which happens to a permit that is held for too long while
    /// somebody waits. To be awaited as long as it is held.
    pub(super) async fn taken_away(&self) {
        let held_long = sleep_until(Instant::now() + self.permits.limits.patience);
        tokio::select! {
            biased;
            () = self.notices.cut.notified() => return,
            // Somebody may be waiting already. Who comes later looks for himself.
            () = held_long => self.permits.settle(self.permits.state()),
        }
        self.notices.cut.notified().await;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.permits.state();
        let waited = state.queue.remove(&self.number).is_some();
        if !waited && state.holders.remove(&self.number).is_none() {
            // Not zero: who is neither waiting nor holding was counted here when it was cut.
            state.leaving -= 1;
        }
        self.permits.settle(state);
    }
}
