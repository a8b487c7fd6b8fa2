//! What one handshake knows: when it began, and what the verifier found.
//!
//! rustls keeps a config's verifier private and gives it no connection to speak of. The listener
//! runs each handshake inside [`observe`]; the verifier, called from within, finds the slot here.

use std::cell::RefCell;
use std::future::Future;

use super::refusal::Refusal;
use super::state::Moment;
use super::verdict::Verdict;

/// Runs a handshake that began at `moment`, with a place for what the verifier finds.
pub(crate) fn observe<F: Future>(moment: Moment, handshake: F) -> impl Future<Output = F::Output> {
    HANDSHAKE.scope(Handshake { moment, finding: RefCell::new(None) }, handshake)
}

/// Takes what the verifier found; `None` where it was not asked. To be called inside [`observe`].
pub(crate) fn take_finding() -> Option<Result<Verdict, Refusal>> {
    HANDSHAKE.try_with(|handshake| handshake.finding.take()).ok().flatten()
}

/// When the handshake began; now, where nobody observes it.
pub(super) fn moment() -> Moment {
    HANDSHAKE.try_with(|handshake| handshake.moment).unwrap_or_else(|_unobserved| Moment::now())
}

/// Keeps what the verifier found, where somebody observes the handshake.
pub(super) fn note(finding: Result<Verdict, Refusal>) {
    let _unobserved = HANDSHAKE.try_with(|handshake| handshake.finding.replace(Some(finding)));
}

struct Handshake {
    moment: Moment,
    finding: RefCell<Option<Result<Verdict, Refusal>>>,
}

tokio::task_local! {
    static HANDSHAKE: Handshake;
}
