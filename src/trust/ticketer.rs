//! Tickets that are worth no more than what they rest on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use super::binding::Binding;
use super::candidate::{Back, Candidate};
use super::declined::Declined;
use super::handshake::{self, Known};
use super::plain_text::PlainText;
use super::registry::CaRegistry;
use super::resumption::Sealing;
use super::verdict::Verdict;
use super::verifier::ClientAuth;

/// Seals what a session rests on into its ticket, and declines a ticket of which something no
/// longer holds.
///
/// rustls asks the verifier in a full handshake and then never again: with a ticket it believes
/// what it believed once, and issues the next one. So it is asked here. A ticket that is declined
/// never fails a handshake: it makes it a full one, in which the verifier is asked.
pub(crate) struct BindingTicketer {
    sealing: Sealing,
    registry: Arc<CaRegistry>,
    client_auth: ClientAuth,
    clock: Arc<dyn TimeProvider>,
}

impl BindingTicketer {
    pub(crate) fn new(
        sealing: Sealing,
        registry: Arc<CaRegistry>,
        client_auth: ClientAuth,
        clock: Arc<dyn TimeProvider>,
    ) -> Self {
        Self { sealing, registry, client_auth, clock }
    }

    /// What a ticket says for this part of rustls'.
    fn seal(&self, session: &[u8], known: Known<'_>) -> Option<Vec<u8>> {
        let verdict = match known {
            Known::Claimed(candidate) => return candidate.seal(session),
            Known::Refused => return None,
            Known::Believed(verdict) => Some(verdict),
            Known::Nothing if self.client_auth == ClientAuth::Required => return None,
            Known::Nothing => None,
        };
        let (incarnation, full_at) = (self.sealing.incarnation, self.now()?);
        let binding = Binding { incarnation, full_at, device: verdict.map(Verdict::bind) };
        let certificate = verdict.map(Verdict::recorded_certificate);
        PlainText::write(session, certificate, 0, |octets| binding.write(octets))
    }

    /// Opens a ticket: rustls' part of it, and what stands behind that.
    fn open(&self, ticket: &[u8]) -> Result<(Vec<u8>, Candidate), Declined> {
        // A TLS 1.3 ClientHello has room for hundreds, each of which would cost a decryption.
        match handshake::count_ticket(&self.registry) {
            None => return Err(Declined::NoContext),
            Some(count) if count > MAX_OFFERED => return Err(Declined::TooMany),
            Some(_) => {}
        }
        if ticket.len() > self.sealing.largest {
            return Err(Declined::TooLarge);
        }
        let plain = self.sealing.inner.decrypt(ticket).ok_or(Declined::Sealed)?;
        Candidate::recall(&plain, |binding| self.check(binding), &self.registry)
    }

    /// Whether a ticket is this instance's, and from a time that counts; and the time.
    fn check(&self, binding: &Binding<'_>) -> Result<Back, Declined> {
        if binding.incarnation != self.sealing.incarnation {
            return Err(Declined::OtherInstance);
        }
        let now = self.clock.current_time().ok_or(Declined::NoTime)?;
        // What was valid at the full handshake may not have been before it.
        let age = now.as_secs().checked_sub(binding.full_at).ok_or(Declined::ClockSetBack)?;
        if Duration::from_secs(age) > self.sealing.lineage {
            return Err(Declined::TooOld);
        }
        match &binding.device {
            None if self.client_auth == ClientAuth::Required => Err(Declined::Anonymous),
            Some(device) if now.as_secs() > device.not_after => Err(Declined::PathExpired),
            None | Some(_) => {
                let since_full = u32::try_from(age).unwrap_or(u32::MAX);
                Ok(Back { now, since_full })
            }
        }
    }

    fn now(&self) -> Option<u64> {
        self.clock.current_time().map(|now| now.as_secs())
    }
}

impl ProducesTickets for BindingTicketer {
    /// Also asked of one handshake. On TLS 1.2 that is once rustls has decided whether to resume: it
    /// issues no ticket where the answer is no, and a resumed client goes on with the one that it has
    /// ([RFC 5077](https://www.rfc-editor.org/rfc/rfc5077) section 3.3: the server *may* renew it). On
    /// TLS 1.3 the answer is always the same.
    fn enabled(&self) -> bool {
        let is_young = |ticket: &Candidate| ticket.is_younger_than(self.lifetime() / KEPT_FOR);
        self.sealing.inner.enabled() && !handshake::keeps_ticket(&self.registry, is_young)
    }

    fn lifetime(&self) -> u32 {
        let lineage = u32::try_from(self.sealing.lineage.as_secs()).unwrap_or(MAX_LIFETIME);
        self.sealing.inner.lifetime().min(lineage).min(MAX_LIFETIME)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let plain = handshake::with_known(&self.registry, |known| self.seal(session, known))??;
        let ticket = self.sealing.inner.encrypt(&plain)?;
        let fits = ticket.len() <= self.sealing.largest;
        if !fits {
            tracing::trace!(bytes = ticket.len(), "no ticket: it would be too large");
        }
        fits.then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        // Whatever was noted for an earlier one is gone: rustls goes on with the last that opened.
        match self.open(ticket) {
            Ok((session, candidate)) => {
                handshake::note_candidate(&self.registry, Some(candidate));
                Some(session)
            }
            Err(declined) => {
                handshake::note_candidate(&self.registry, None);
                tracing::trace!(reason = %declined, "ticket declined");
                None
            }
        }
    }
}

impl fmt::Debug for BindingTicketer {
    /// Without the inner one: that may show keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindingTicketer")
            .field("lineage", &self.sealing.lineage)
            .field("largest", &self.sealing.largest)
            .finish_non_exhaustive()
    }
}

/// A ticket of TLS 1.2 is kept for one part in so many of the time for which it is announced, and
/// then exchanged when it is used. Keys that open a ticket for half of that time at least, as rustls'
/// own do, still open it when a client comes back three eighths of that time after it was last there.
const KEPT_FOR: u32 = 8;
/// More than any client keeps for one server.
const MAX_OFFERED: u32 = 8;
/// "Servers MUST NOT use any value greater than 604800 seconds (7 days)" (RFC 8446 section 4.6.1).
const MAX_LIFETIME: u32 = 604_800;
