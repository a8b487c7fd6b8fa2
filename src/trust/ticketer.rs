//! Tickets that are worth no more than what they rest on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use super::binding::Binding;
use super::candidate::{Candidate, Offered};
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
        let certificate = verdict.map(|verdict| &**verdict.claimed_device().certificate());
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
    fn check(&self, binding: &Binding<'_>) -> Result<Offered, Declined> {
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
                let after = u32::try_from(age).map_err(|_| Declined::TooOld)?;
                Ok(Offered { now, after })
            }
        }
    }

    fn now(&self) -> Option<u64> {
        self.clock.current_time().map(|now| now.as_secs())
    }
}

impl ProducesTickets for BindingTicketer {
    /// On TLS 1.2, rustls asks once it has decided whether to resume. It issues no ticket where the
    /// answer is no, and a resumed client goes on with the one that it has: "it MAY renew the ticket by
    /// including a NewSessionTicket handshake message"
    /// ([RFC 5077](https://www.rfc-editor.org/rfc/rfc5077) section 3.3). On TLS 1.3, where it asks before
    /// it opens one as well, the answer is always the inner one's.
    fn enabled(&self) -> bool {
        let is_young =
            |ticket: &Candidate| ticket.is_younger_than(self.lifetime() / RENEWED_AFTER_ONE_IN);
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

/// On TLS 1.2 a ticket that is used is renewed once this part of its announced lifetime is over. Keys
/// that open it for half of that lifetime at least, as rustls' own do, still do so when a client comes
/// back three eighths of the lifetime after it was last there.
const RENEWED_AFTER_ONE_IN: u32 = 8;
/// More than any client keeps for one server.
const MAX_OFFERED: u32 = 8;
/// "Servers MUST NOT use any value greater than 604800 seconds (7 days)" (RFC 8446 section 4.6.1).
const MAX_LIFETIME: u32 = 604_800;
