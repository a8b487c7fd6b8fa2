//! What one handshake knows: when it began, what the verifier found, and what a ticket claims.
//!
//! rustls keeps a config's verifier private and gives it no connection to speak of. The listener
//! runs each handshake inside [`Observed::scope`]; verifier, ticketer and session storage, called from
//! within, find their slots here. Two slots: with one, a ticket that somebody else offered would be
//! taken for what the verifier found, and its owner's identity sealed into the next ticket.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::candidate::Candidate;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use super::state::Moment;
use super::verdict::Verdict;
use crate::lent::{borrow, lend, lend_to};

/// What is known of a client when its handshake is over. Claims only: see the gate.
#[derive(Default)]
pub(crate) struct Claims {
    /// What the verifier found; `None` where it was not asked.
    pub(crate) finding: Option<Result<Verdict, Refusal>>,
    /// What the ticket says with which the handshake was resumed. On a full one it is nothing that
    /// anybody may believe.
    pub(crate) candidate: Option<Candidate>,
}

/// Takes what is known of the client of this registry's handshake, to be called inside
/// [`Observed`]'s scope.
pub(crate) fn take_claims(registry: &CaRegistry) -> Claims {
    of(registry, |handshake| std::mem::take(&mut handshake.claims)).unwrap_or_default()
}

/// When the handshake began; now, where nobody observes it for this registry.
pub(super) fn moment(registry: &CaRegistry) -> Moment {
    of(registry, |handshake| handshake.moment).unwrap_or_else(Moment::now)
}

/// Keeps what the verifier found, where somebody observes the handshake.
pub(super) fn note(registry: &CaRegistry, finding: Result<Verdict, Refusal>) {
    let _unobserved = of(registry, |handshake| handshake.claims.finding = Some(finding));
}

/// Keeps what the ticket claims that was looked at last, where somebody observes the handshake.
pub(super) fn note_candidate(registry: &CaRegistry, candidate: Option<Candidate>) {
    let _unobserved = of(registry, |handshake| handshake.claims.candidate = candidate);
}

/// Keeps that rustls goes on without what a ticket claims, where somebody observes the handshake.
pub(super) fn note_full(registry: &CaRegistry) {
    let _unobserved = of(registry, |handshake| handshake.is_full = true);
}

/// Whether the client goes on with the ticket that it came with, if that is good for long enough, when
/// rustls asks whether it is to issue one.
pub(super) fn keeps_ticket(
    registry: &CaRegistry,
    is_good_for_long: impl FnOnce(&Candidate) -> bool,
) -> bool {
    let keeps = of(registry, |handshake| {
        // As it does on TLS 1.3, where a client uses a ticket once and is to get the next one.
        handshake.asked_before_any |= handshake.tickets == 0;
        let candidate = handshake.candidate().filter(|_| !handshake.asked_before_any);
        candidate.is_some_and(is_good_for_long)
    });
    keeps.unwrap_or(false)
}

/// How many tickets were offered, with one more; `None` where nobody observes the handshake.
pub(super) fn count_ticket(registry: &CaRegistry) -> Option<u32> {
    of(registry, |handshake| {
        handshake.tickets = handshake.tickets.saturating_add(1);
        handshake.tickets
    })
}

/// Shows what is known of the client; `None` where nobody observes the handshake.
pub(super) fn with_known<R>(registry: &CaRegistry, look: impl FnOnce(Known<'_>) -> R) -> Option<R> {
    of(registry, |handshake| {
        look(match (&handshake.claims.finding, handshake.candidate()) {
            (Some(Ok(verdict)), _) => Known::Believed(verdict),
            (Some(Err(_)), _) => Known::Refused,
            (None, Some(candidate)) => Known::Claimed(candidate),
            (None, None) => Known::Nothing,
        })
    })
}

/// The handshake that is observed, where that is one of this registry's: a connection that was made
/// with one instance's configuration in another one's handshake tells that handshake nothing.
fn of<R>(registry: &CaRegistry, with: impl FnOnce(&mut UnderWay) -> R) -> Option<R> {
    let of_registry = |handshake: &mut Box<UnderWay>| {
        let its_own = std::ptr::eq(handshake.registry.as_ref(), registry);
        its_own.then(|| with(handshake))
    };
    borrow(&HANDSHAKE, of_registry).flatten()
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
pub(crate) struct Observed(Option<Box<UnderWay>>);

/// In a box, since it moves into each step and out of it.
struct UnderWay {
    /// Against which the handshake is judged.
    registry: Arc<CaRegistry>,
    moment: Moment,
    claims: Claims,
    /// How many tickets were offered.
    tickets: u32,
    /// Whether it is known to be a full one.
    is_full: bool,
    /// Whether rustls asked for tickets of ours before it opened one of the client's.
    asked_before_any: bool,
}

impl UnderWay {
    /// What a ticket claims, where rustls may go on with it.
    fn candidate(&self) -> Option<&Candidate> {
        self.claims.candidate.as_ref().filter(|_| !self.is_full)
    }
}

impl Observed {
    /// A handshake that begins now.
    pub(crate) fn begin(registry: Arc<CaRegistry>) -> Self {
        Self(Some(Box::new(UnderWay {
            registry,
            moment: Moment::now(),
            claims: Claims::default(),
            tickets: 0,
            is_full: false,
            asked_before_any: false,
        })))
    }

    /// Runs the handshake.
    pub(crate) async fn scope<F: Future>(self, handshake: F) -> F::Output {
        lend_to(&HANDSHAKE, self.0, handshake).await
    }

    /// What is known of the client, now that the last step is done.
    pub(crate) fn into_claims(self) -> Claims {
        self.0.map(|handshake| handshake.claims).unwrap_or_default()
    }

    /// Runs one step of it.
    pub(crate) fn step<R>(&mut self, step: impl FnOnce() -> R) -> R {
        lend(&HANDSHAKE, &mut self.0, step)
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

thread_local! {
    static HANDSHAKE: Cell<Option<Box<UnderWay>>> = const { Cell::new(None) };
}
