//! The context of one handshake, and the gate at its end.

use std::future::Future;
use std::sync::Arc;

use rustls::{HandshakeKind, ServerConnection};

use super::admission::Admission;
use super::tenant::Instance;
use crate::certificate::Sha256;
use crate::sni::{self, SniTable};
use crate::trust::{self, Admitted, ClientAuth, Moment, Refusal};

pub(crate) use crate::sni::went_unanswered;

/// What one handshake is answered from: the certificates, and the moment whose states count.
///
/// Tickets hook in here: what a ticket says becomes a third slot beside these two.
#[derive(Debug)]
pub(crate) struct HandshakeContext {
    table: Arc<SniTable>,
    moment: Moment,
}

impl HandshakeContext {
    /// Opens a context at this moment. `None` where the instance has no certificates yet, or was
    /// removed.
    pub(crate) fn open(instance: &Instance) -> Option<Self> {
        instance.trust().check_open().ok()?;
        let table = instance.sni().table()?;
        Some(Self { table, moment: Moment::now() })
    }

    /// Runs a handshake in this context. rustls reads the ClientHello when a connection is made of
    /// it, so that must happen within, too.
    pub(crate) fn scope<F: Future>(self, handshake: F) -> impl Future<Output = F::Output> {
        sni::pin(self.table, trust::observe(self.moment, handshake))
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
    /// which never resumes.
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
        .map(Admission)
    }

    /// The gate behind a completed handshake, to be asked inside the context's scope: the device
    /// that the connection belongs to, if everything that let it in still stands. No device for a
    /// client that showed no certificate where it need not.
    ///
    /// Here a claim becomes an answer, and the connection enters the index of those that are live.
    pub(crate) fn gate(&self, connection: &ServerConnection) -> Result<Admitted, Refusal> {
        // Nothing issues tickets and nothing keeps sessions, so a resumed handshake, in which
        // rustls asks no verifier, is not ours.
        if resumed(connection) {
            return Err(Refusal::NotProven);
        }
        let now = self.now().ok_or(Refusal::NoTime)?;
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        match (shown, trust::take_finding()) {
            (None, None) if self.client_auth() != ClientAuth::Required => {
                self.trust().admit_anonymous(now)
            }
            (Some(shown), Some(finding)) => {
                let verdict = finding?;
                if Sha256::of(shown) != verdict.claimed_device().sha256() {
                    return Err(Refusal::NotProven);
                }
                verdict.admit(self.trust(), now)
            }
            (None, _) | (Some(_), None) => Err(Refusal::NotProven),
        }
    }
}

fn resumed(connection: &ServerConnection) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::Resumed)
}
