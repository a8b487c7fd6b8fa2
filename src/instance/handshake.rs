//! The context of one handshake, and the gate at its end.

use std::future::Future;

use rustls::{HandshakeKind, ServerConnection};
use rustls_pki_types::CertificateDer;

use super::admission::Admission;
use super::events::Event;
use super::route::Route;
use super::tenant::Instance;
use crate::sni::Pinned;
use crate::trust::{Admitted, Claims, ClientAuth, Known, Moment, Observed, Refusal, Verdict};

/// What one handshake is answered from, the certificates and the moment whose states count, and
/// what is found in it.
#[derive(Debug)]
pub(crate) struct HandshakeContext {
    pinned: Pinned,
    observed: Observed,
}

impl HandshakeContext {
    /// Opens a context at this moment. `None` where the instance was removed.
    pub(crate) fn open(route: Route) -> Option<Self> {
        let trust = route.instance().trust_shared();
        trust.check_open().ok()?;
        Some(Self { pinned: route.pin(), observed: Observed::begin(trust) })
    }

    /// Runs a handshake in this context. rustls reads the ClientHello when a connection is made of
    /// it, so that must happen within, too.
    pub(crate) fn scope<F: Future>(self, handshake: F) -> impl Future<Output = F::Output> {
        self.pinned.scope(self.observed.scope(handshake))
    }

    /// Runs one step of a handshake in this context.
    pub(super) fn step<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let Self { pinned, observed } = self;
        pinned.step(|| observed.step(step))
    }

    /// What is known of the client, now that the last step is done.
    pub(super) fn into_claims(self) -> Claims {
        self.observed.into_claims()
    }
}

impl Instance {
    /// The gate for embedders with an accept loop of their own: whose connection this is, asked once
    /// its handshake is complete.
    ///
    /// The chain that the client showed is verified anew, with the CAs as they are now, which costs
    /// what it cost in the handshake: such a connection has no context that would know what the
    /// verifier saw. Ask before the first byte of application data is handled, close the connection
    /// where it refuses, and when the [`Admission`] says that it is over. What it does not do: count,
    /// log, or keep you from reading and writing.
    ///
    /// # Errors
    ///
    /// When the device is not believed now. Also for a connection whose handshake is not complete or
    /// was resumed, since nothing was proven in it: take [`server_config`](Self::server_config),
    /// which never resumes, or begin with [`handshake`](Self::handshake), which knows what its
    /// tickets say.
    pub fn admit(&self, connection: &ServerConnection) -> Result<Admission, Refusal> {
        if connection.is_handshaking() || resumed(connection) {
            return Err(Refusal::NotProven);
        }
        let now = self.now().ok_or(Refusal::NoTime)?;
        match connection.peer_certificates() {
            Some([end_entity, intermediates @ ..]) => {
                let verifier = self.verifier();
                let verdict = verifier.examine(end_entity, intermediates, now, Moment::now())?;
                verdict.admit(self.trust(), now)
            }
            Some([]) | None if self.client_auth() != ClientAuth::Required => {
                self.trust().admit_anonymous(now)
            }
            Some([]) | None => Err(Refusal::NotProven),
        }
        .inspect(|admitted| self.announce_new(admitted))
        .map(Admission)
    }

    fn announce_new(&self, admitted: &Admitted) {
        if let Some(Known { device, .. }) = admitted.device.as_ref().filter(|_| admitted.is_new) {
            self.announce(|instance| Event::DeviceRecorded {
                instance,
                ca_serial: device.ca_serial().clone(),
                serial: device.serial().clone(),
            });
        }
    }

    /// The gate behind a completed handshake, of whose client this is claimed: the device that the
    /// connection belongs to, if everything that let it in still stands. No device for a client that
    /// showed no certificate where it need not.
    ///
    /// Here a claim becomes an answer, and the connection enters the index of those that are live.
    pub(crate) fn gate(
        &self,
        connection: &ServerConnection,
        claims: Claims,
    ) -> Result<Admitted, Refusal> {
        let now = self.now().ok_or(Refusal::NoTime)?;
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        let verdict = if resumed(connection) {
            claims.candidate.ok_or(Refusal::NotProven)?.verdict(shown)?
        } else {
            found(claims.finding, shown)?
        };
        match verdict {
            Some(verdict) => verdict.admit(self.trust(), now),
            None if self.client_auth() != ClientAuth::Required => self.trust().admit_anonymous(now),
            None => Err(Refusal::NotProven),
        }
        .inspect(|admitted| self.announce_new(admitted))
    }
}

/// What the verifier found about the certificate that the client showed in a full handshake. What a
/// ticket claimed there counts for nothing: it opened, and that is all.
fn found(
    finding: Option<Result<Verdict, Refusal>>,
    shown: Option<&CertificateDer<'_>>,
) -> Result<Option<Verdict>, Refusal> {
    match (shown, finding) {
        (None, None) => Ok(None),
        (Some(shown), Some(finding)) => {
            let verdict = finding?;
            let its_own = **shown == **verdict.claimed_device().certificate();
            if its_own { Ok(Some(verdict)) } else { Err(Refusal::NotProven) }
        }
        (None, Some(_)) | (Some(_), None) => Err(Refusal::NotProven),
    }
}

fn resumed(connection: &ServerConnection) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::Resumed)
}
