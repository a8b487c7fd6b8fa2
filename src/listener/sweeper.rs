//! Ending connections whose time is over, and freeing replaced certificates, while others come.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::hosts::Hosts;

/// When the next sweep is due. Shared by all clones of an acceptor, and kept between connections:
/// where they come every few milliseconds, nobody waits for a second in one go.
#[derive(Default)]
pub(super) struct Sweeper {
    due: Mutex<Option<Instant>>,
}

impl Sweeper {
    /// Sweeps each second, for as long as it is polled.
    pub(super) async fn run(&self, hosts: &Hosts) -> Infallible {
        loop {
            match self.due() {
                Some(due) => sleep_until(due).await,
                None => {
                    let hosts = hosts.clone();
                    // A table of a hundred thousand names takes a while to free.
                    let _not_waited_for = spawn_blocking(move || hosts.sweep());
                }
            }
        }
    }

    /// When it is due; `None` where that is now, for the one who asks and for nobody else.
    fn due(&self) -> Option<Instant> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let next = *due.get_or_insert(now + EVERY);
        if next > now {
            return Some(next);
        }
        *due = Some(now + EVERY);
        None
    }
}

const EVERY: Duration = Duration::from_secs(1);
