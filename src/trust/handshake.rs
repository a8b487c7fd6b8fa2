//! What one handshake knows: when it began, what the verifier found, and what a ticket claims.
//!
//! rustls keeps a config's verifier private and gives it no connection to speak of. The listener
//! runs each handshake inside [`Observed::scope`]; verifier and ticketer, called from within, find
//! their slots here. Two slots: with one, a ticket that somebody else offered would be taken for what the
//! verifier found, and its owner's identity sealed into the next ticket.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::candidate::Candidate;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use super::state::Moment;
use super::verdict::Verdict;

/// Takes what the verifier of this registry found; `None` where it was not asked. To be called
/// inside [`Observed`]'s scope or step.
pub(crate) fn take_finding(registry: &CaRegistry) -> Option<Result<Verdict, Refusal>> {
    with_found(registry, |found| found.finding.take()).flatten()
}

/// Takes what the ticket claims with which the handshake was resumed; on a full one it is nothing
/// that anybody may believe. To be called inside [`Observed`]'s scope or step.
pub(crate) fn take_candidate(registry: &CaRegistry) -> Option<Candidate> {
    with_found(registry, |found| found.candidate.take()).flatten()
}

/// When the handshake began; now, where nobody observes it for this registry.
pub(super) fn moment(registry: &CaRegistry) -> Moment {
    of(registry, |handshake| handshake.moment).unwrap_or_else(Moment::now)
}

/// Keeps what the verifier found, where somebody observes the handshake.
pub(super) fn note(registry: &CaRegistry, finding: Result<Verdict, Refusal>) {
    let _unobserved = with_found(registry, |found| found.finding = Some(finding));
}

/// Keeps what the ticket claims that was looked at last, where somebody observes the handshake.
pub(super) fn note_candidate(registry: &CaRegistry, candidate: Option<Candidate>) {
    let _unobserved = with_found(registry, |found| found.candidate = candidate);
}

/// How many tickets were offered, with one more; `None` where nobody observes the handshake.
pub(super) fn count_ticket(registry: &CaRegistry) -> Option<u32> {
    with_found(registry, |found| {
        found.tickets = found.tickets.saturating_add(1);
        found.tickets
    })
}

/// Shows what is known of the client; `None` where nobody observes the handshake.
pub(super) fn with_known<R>(registry: &CaRegistry, look: impl FnOnce(Known<'_>) -> R) -> Option<R> {
    with_found(registry, |found| {
        look(match (&found.finding, &found.candidate) {
            (Some(Ok(verdict)), _) => Known::Believed(verdict),
            (Some(Err(_)), _) => Known::Refused,
            (None, Some(candidate)) => Known::Claimed(candidate),
            (None, None) => Known::Nothing,
        })
    })
}

fn with_found<R>(registry: &CaRegistry, with: impl FnOnce(&mut Found) -> R) -> Option<R> {
    of(registry, |handshake| with(handshake.found.borrow_mut().get_or_insert_default()))
}

/// The handshake that is observed, where that is one of this registry's: a connection that was made
/// with one instance's configuration in another one's handshake tells that handshake nothing.
fn of<R>(registry: &CaRegistry, with: impl FnOnce(&Observed) -> R) -> Option<R> {
    let its_own = |handshake: &Observed| {
        std::ptr::eq(handshake.registry.as_ref(), registry).then(|| with(handshake))
    };
    HANDSHAKE.try_with(its_own).ok().flatten()
}

/// What is known of the client while its handshake is under way.
pub(super) enum Known<'a> {
    /// The verifier believes its certificate.
    Believed(&'a Verdict),
    /// The verifier does not.
    Refused,
    /// It showed no certificate, and offered a ticket that says this.
    Claimed(&'a Candidate),
    /// Neither.
    Nothing,
}

/// One handshake, and what is found in it.
pub(crate) struct Observed {
    /// Against which it is judged.
    registry: Arc<CaRegistry>,
    moment: Moment,
    /// In a box, since it moves into each step and out of it.
    found: RefCell<Option<Box<Found>>>,
}

#[derive(Default)]
struct Found {
    /// What the verifier found.
    finding: Option<Result<Verdict, Refusal>>,
    /// What a ticket claims.
    candidate: Option<Candidate>,
    /// How many tickets were offered.
    tickets: u32,
}

impl Observed {
    /// A handshake that begins now.
    pub(crate) fn begin(registry: Arc<CaRegistry>) -> Self {
        Self { registry, moment: Moment::now(), found: RefCell::default() }
    }

    /// Runs the handshake.
    pub(crate) fn scope<F: Future>(self, handshake: F) -> impl Future<Output = F::Output> {
        HANDSHAKE.scope(self, handshake)
    }

    /// Runs one step of it. Where the step panics all that was found is forgotten.
    pub(crate) fn step<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let registry = Arc::clone(&self.registry);
        let so_far = Self { registry, moment: self.moment, found: self.found.take().into() };
        let take = |handshake: &Self| handshake.found.take();
        let (done, found) = HANDSHAKE.sync_scope(so_far, || (step(), HANDSHAKE.with(take)));
        self.found.replace(found);
        done
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("moment", &self.moment).finish_non_exhaustive()
    }
}

tokio::task_local! {
    static HANDSHAKE: Observed;
}
