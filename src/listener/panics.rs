//! A panic in one handshake costs that one connection.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// Runs a future to its end; `None` where it panics. The panic hook has printed the panic by then.
///
/// An accept loop that awaits its handshakes inline, or one whose runtime is told to shut down on a
/// panic, would otherwise end with the first client that finds a fault. In a program that is built
/// with `panic = "abort"` nothing can be caught.
pub(super) async fn caught<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| {
        // Unwind safe: what a handshake owns is never polled again and dropped with it, and what it
        // shares is whole at every moment: published tables, single atomic words, and queues whose
        // locks are held across no call that could panic.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_payload) => Poll::Ready(None),
        }
    })
    .await
}
