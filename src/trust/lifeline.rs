//! What a live connection hangs on.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use tokio::sync::Notify;

use super::ended::Ended;
use crate::primitives::{AtomicU64, Mutex, yield_now};

/// One connection's right to read and write, held by the connection and by the index of those that
/// are live.
///
/// One word says whether a poll is under way and whether the connection was cut. A poll begins only
/// where neither holds; whoever cuts waits until the poll that was under way has ended. So a cut
/// that has returned is a cut that no poll outlives, and a poll takes no lock.
#[derive(Default)]
pub(crate) struct Lifeline {
    /// Of [`BUSY`] and [`CUT`].
    state: AtomicU64,
    /// Set before [`CUT`] is, by whoever ends the connection: `None` by the broker's dropping it.
    /// Who comes second ended nothing.
    ended: OnceLock<Option<Arc<Ended>>>,
    // A stream that was split is polled by two tasks.
    reader: AtomicWaker,
    writer: AtomicWaker,
    watchers: Notify,
    farewell: Mutex<Option<Box<[u8]>>>,
}

impl Lifeline {
    /// Begins a poll; the reason, where the connection is over. Polls of one connection come one
    /// after the other: its stream is borrowed for each.
    pub(crate) fn begin(&self) -> Result<Turn<'_>, Ended> {
        match self.state.compare_exchange(0, BUSY, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(Turn(self)),
            Err(_) => Err(self.reason()),
        }
    }

    /// Why the connection is over; `None` where it is not.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.is_cut().then(|| self.reason())
    }

    /// Waits until the connection is over.
    pub(crate) async fn over(self: Arc<Self>) -> Ended {
        // Made first, so that what is told after the look is not missed.
        let told = self.watchers.notified();
        if !self.is_cut() {
            told.await;
        }
        self.reason()
    }

    /// Leaves words to be said after a cut, in the place of those left before. What comes after it
    /// comes too late: whoever cut may have returned, and only what it found there may follow.
    pub(crate) fn leave_words(&self, words: &[u8]) {
        let mut left = self.farewell.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_cut() {
            *left = Some(words.into());
        }
    }

    /// Takes the words that were left.
    pub(crate) fn take_words(&self) -> Option<Box<[u8]>> {
        self.farewell.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets no further poll begin. One that is under way goes on: see [`wait`](Self::wait).
    pub(super) fn cut(&self, why: &Arc<Ended>) -> Mark {
        let first = self.ended.set(Some(Arc::clone(why))).is_ok();
        let before = self.state.fetch_or(CUT, Ordering::SeqCst);
        Mark { first, busy: before & BUSY != 0 }
    }

    /// Waits until no poll is under way, which takes as long as an encryption and a write to a
    /// socket: a poll waits for nothing itself.
    pub(super) fn wait(&self) {
        while self.state.load(Ordering::SeqCst) & BUSY != 0 {
            yield_now();
        }
    }

    /// Tells whoever waits on the connection that it is over. A waker that panics, which the panic
    /// hook tells, keeps nobody else asleep.
    pub(super) fn wake(&self) {
        let wakes: [&dyn Fn(); 3] =
            [&|| self.reader.wake(), &|| self.writer.wake(), &|| self.watchers.notify_waiters()];
        for wake in wakes {
            // Unwind safe: each is whole before it calls the waker.
            let _panicked = catch_unwind(AssertUnwindSafe(wake));
        }
    }

    /// The broker has dropped the connection: whoever watches it from afar is told so, and keeps
    /// neither the words nor the tasks that used to poll it.
    pub(super) fn let_go(&self) {
        let _ended_before = self.ended.set(None);
        self.state.fetch_or(CUT, Ordering::SeqCst);
        self.watchers.notify_waiters();
        drop((self.take_words(), self.reader.take(), self.writer.take()));
    }

    pub(super) fn is_cut(&self) -> bool {
        self.state.load(Ordering::SeqCst) & CUT != 0
    }

    fn reason(&self) -> Ended {
        self.ended.get().and_then(Option::as_deref).cloned().unwrap_or(Ended::Dropped)
    }
}

impl fmt::Debug for Lifeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The words are the broker's, and nobody else's business.
        f.debug_struct("Lifeline").field("ended", &self.ended()).finish_non_exhaustive()
    }
}

/// What cutting a connection came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Whether nobody had ended it before.
    pub(super) first: bool,
    /// Whether a poll is under way.
    pub(super) busy: bool,
}

/// A poll under way.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Lifeline);

impl Turn<'_> {
    /// The poll waits for something to read.
    pub(crate) fn waits_to_read(&self, waker: &Waker) {
        self.0.reader.register(waker);
    }

    /// The poll waits until it can write.
    pub(crate) fn waits_to_write(&self, waker: &Waker) {
        self.0.writer.register(waker);
    }

    /// Ends the poll. Where the connection was cut meanwhile what the poll came to does not count,
    /// and this is the reason.
    pub(crate) fn end(self) -> Result<(), Ended> {
        let lifeline = self.0;
        drop(self);
        lifeline.ended().map_or(Ok(()), Err)
    }
}

impl Drop for Turn<'_> {
    /// Also where the poll panicked: whoever cuts must not wait for ever.
    fn drop(&mut self) {
        self.0.state.fetch_and(!BUSY, Ordering::SeqCst);
    }
}

const BUSY: u64 = 1;
const CUT: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn expired() -> Arc<Ended> {
        Arc::new(Ended::Expired)
    }

    #[test]
    fn no_poll_begins_after_a_cut_and_the_first_reason_stays() {
        let lifeline = Lifeline::default();
        lifeline.begin().unwrap().end().unwrap();
        assert!(lifeline.cut(&expired()).first);
        assert!(!lifeline.cut(&Arc::new(Ended::InstanceRemoved)).first);
        assert_eq!(lifeline.begin().unwrap_err(), Ended::Expired);
        assert_eq!(lifeline.ended(), Some(Ended::Expired));
    }

    #[test]
    fn of_all_who_end_it_one_is_the_first_and_its_reason_stays() {
        for seed in 0..2_000 {
            let lifeline = Lifeline::default();
            let firsts = std::thread::scope(|scope| {
                let cuts = [Ended::Expired, Ended::InstanceRemoved].map(|why| {
                    let (why, lifeline) = (Arc::new(why), &lifeline);
                    scope.spawn(move || lifeline.cut(&why).first.then(|| Ended::clone(&why)))
                });
                if seed % 2 == 0 {
                    lifeline.let_go();
                }
                cuts.into_iter().filter_map(|cut| cut.join().unwrap()).collect::<Vec<_>>()
            });
            match firsts.as_slice() {
                [why] => assert_eq!(lifeline.ended().as_ref(), Some(why)),
                [] if seed % 2 == 0 => assert_eq!(lifeline.ended(), Some(Ended::Dropped)),
                several => panic!("ended by {several:?}"),
            }
        }
    }

    #[test]
    fn a_drop_behind_a_cut_and_a_cut_behind_a_drop_change_no_reason() {
        let lifeline = Lifeline::default();
        assert!(lifeline.cut(&expired()).first);
        lifeline.let_go();
        assert_eq!(lifeline.ended(), Some(Ended::Expired));

        let lifeline = Lifeline::default();
        lifeline.let_go();
        assert!(!lifeline.cut(&expired()).first, "there was nothing to end");
        assert_eq!(lifeline.ended(), Some(Ended::Dropped));
    }

    #[test]
    fn a_handle_to_a_dropped_connection_keeps_neither_words_nor_tasks() {
        struct Task;
        impl std::task::Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let lifeline = Lifeline::default();
        let task = Arc::new(Task);
        let turn = lifeline.begin().unwrap();
        turn.waits_to_read(&Waker::from(Arc::clone(&task)));
        turn.waits_to_write(&Waker::from(Arc::clone(&task)));
        turn.end().unwrap();
        lifeline.leave_words(b"bye");
        lifeline.let_go();
        assert_eq!(Arc::strong_count(&task), 1);
        assert_eq!(lifeline.take_words(), None);
        lifeline.leave_words(b"too late");
        assert_eq!(lifeline.take_words(), None);
    }

    #[test]
    fn what_a_poll_came_to_does_not_count_where_a_cut_came_meanwhile() {
        let lifeline = Lifeline::default();
        let turn = lifeline.begin().unwrap();
        assert!(lifeline.cut(&expired()).busy);
        assert_eq!(turn.end().unwrap_err(), Ended::Expired);
        lifeline.wait();
    }

    #[test]
    fn a_waker_that_panics_keeps_nobody_else_asleep() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("injected");
            }
        }
        #[derive(Default)]
        struct Told(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Told {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (lifeline, told) = (Lifeline::default(), Arc::new(Told::default()));
        let turn = lifeline.begin().unwrap();
        turn.waits_to_read(&Waker::from(Arc::new(Panics)));
        turn.waits_to_write(&Waker::from(Arc::clone(&told)));
        turn.end().unwrap();
        lifeline.cut(&expired());
        lifeline.wake();
        assert!(told.0.load(Ordering::SeqCst));
    }

    #[test]
    fn a_poll_that_panics_keeps_nobody_waiting() {
        let lifeline = Lifeline::default();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _turn = lifeline.begin().unwrap();
            panic!("injected");
        }));
        assert!(polled.is_err());
        assert!(!lifeline.cut(&expired()).busy);
        lifeline.wait();
    }

    #[tokio::test]
    async fn a_watcher_hears_of_a_cut_and_of_a_drop() {
        for (end, heard) in [
            (Lifeline::let_go as fn(&Lifeline), Ended::Dropped),
            (
                |lifeline| {
                    lifeline.cut(&expired());
                    lifeline.wake();
                },
                Ended::Expired,
            ),
        ] {
            let lifeline = Arc::new(Lifeline::default());
            let before = tokio::spawn(Arc::clone(&lifeline).over());
            tokio::task::yield_now().await;
            end(&lifeline);
            assert_eq!(before.await.unwrap(), heard);
            assert_eq!(lifeline.over().await, heard);
        }
    }
}
