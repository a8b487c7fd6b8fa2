//! Accepting again after the listener has failed.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::instance::Outcome;

/// When the next try is due. Shared by all clones of an acceptor: they run out of the same file
/// descriptors. It outlives a single wait, so that dropping one in a `select!` forgets nothing.
#[derive(Default)]
pub(super) struct Backoff(Mutex<State>);

#[derive(Default)]
struct State {
    /// No try before this.
    due: Option<Instant>,
    /// How long the last failure was waited out; zero after a success.
    delay: Duration,
    /// How many connections in a row were lost before they were accepted.
    lost_in_a_row: u32,
    /// When a failure was last logged for somebody to look at.
    warned: Option<Instant>,
}

impl Backoff {
    /// Tries until a connection is accepted; `count` is told of every failure.
    pub(super) async fn accepted<T, F>(
        &self,
        mut accept: impl FnMut() -> F,
        count: impl Fn(Outcome),
    ) -> T
    where
        F: Future<Output = io::Result<T>>,
    {
        loop {
            let due = self.state().due;
            if let Some(due) = due {
                sleep_until(due).await;
            }
            match accept().await {
                Ok(accepted) => {
                    self.state().succeeded();
                    return accepted;
                }
                Err(error) if concerns_one_connection(error.kind()) => {
                    self.state().lost();
                    count(Outcome::ClientGone);
                    tracing::debug!(%error, "a connection was lost before it was accepted");
                }
                Err(error) => {
                    let (delay, look) = self.state().failed();
                    count(Outcome::AcceptFailed);
                    if look {
                        tracing::warn!(%error, ?delay, "accepting failed");
                    } else {
                        tracing::debug!(%error, ?delay, "accepting failed");
                    }
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn succeeded(&mut self) {
        self.due = None;
        self.delay = Duration::ZERO;
        self.lost_in_a_row = 0;
    }

    /// The next try is due at once, but for one in so many: a listener that does nothing but fail in
    /// this way must not keep a core busy.
    fn lost(&mut self) {
        self.lost_in_a_row = self.lost_in_a_row.wrapping_add(1);
        let pause = self.lost_in_a_row % LOST_WITHOUT_PAUSE == 0;
        self.due = pause.then(|| Instant::now() + PAUSE);
    }

    /// How long to wait, and whether somebody should look at it. An exhausted listener may fail and
    /// succeed by turns, at a pace that clients set, so it is worth a warning once in a while only.
    fn failed(&mut self) -> (Duration, bool) {
        let now = Instant::now();
        self.delay = (self.delay * 2).clamp(FIRST_DELAY, LAST_DELAY);
        self.due = Some(now + self.delay);
        let look = self.warned.is_none_or(|warned| now.duration_since(warned) >= BETWEEN_WARNINGS);
        if look {
            self.warned = Some(now);
        }
        (self.delay, look)
    }
}

/// Whether the error says no more than that one connection was lost before it was accepted; any
/// other is the listener's own, and trying again at once would fail again.
///
/// "Linux accept() […] passes already-pending network errors on the new socket as an error code
/// from accept()" ([accept(2)](https://man7.org/linux/man-pages/man2/accept.2.html)).
fn concerns_one_connection(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
    )
}

const FIRST_DELAY: Duration = Duration::from_millis(5);
const LAST_DELAY: Duration = Duration::from_secs(1);
const LOST_WITHOUT_PAUSE: u32 = 128;
const PAUSE: Duration = Duration::from_millis(1);
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);
