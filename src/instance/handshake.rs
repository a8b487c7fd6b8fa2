//! The context of one handshake, and the gate at its end.

use std::future::Future;
use std::sync::Arc;

use rustls::{HandshakeKind, ServerConnection};
use rustls_pki_types::CertificateDer;

use super::tenant::Instance;
use crate::certificate::Sha256;
use crate::sni::{self, SniTable};
use crate::trust::{self, ClientAuth, Device, Moment, Refusal, Verdict};

pub(crate) use crate::sni::went_unanswered;

/// What one handshake is answered from: the certificates, and the moment whose states count.
#[derive(Debug)]
pub(crate) struct HandshakeContext {
    table: Arc<SniTable>,
    moment: Moment,
}

impl HandshakeContext {
    /// Opens a context at this moment. `None` where the instance has no certificates yet.
    pub(crate) fn open(instance: &Instance) -> Option<Self> {
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
    /// its handshake is complete. `None` for a client that showed no certificate where it need not.
    ///
    /// The chain that the client showed is verified anew, with the CAs as they are now, which costs
    /// what it cost in the handshake: such a connection has no context that would know what the
    /// verifier saw. Ask before the first byte of application data is handled, and close the
    /// connection where it refuses. What it does not do: count, log, or end the connection when a CA
    /// is deactivated later.
    ///
    /// # Errors
    ///
    /// When the device is not believed now. Also for a connection whose handshake is not complete or
    /// was resumed, since nothing was proven in it: take [`server_config`](Self::server_config),
    /// which never resumes.
    pub fn admit(&self, connection: &ServerConnection) -> Result<Option<Device>, Refusal> {
        if connection.is_handshaking() || resumed(connection) {
            return Err(Refusal::NotProven);
        }
        match connection.peer_certificates() {
            Some([end_entity, intermediates @ ..]) => {
                let now = self.now().ok_or(Refusal::NoTime)?;
                let verifier = self.verifier();
                let verdict = verifier.examine(end_entity, intermediates, now, Moment::now())?;
                verdict.admit(self.trust()).map(Some)
            }
            Some([]) | None if self.client_auth() != ClientAuth::Required => Ok(None),
            Some([]) | None => Err(Refusal::NotProven),
        }
    }

    /// The gate behind a completed handshake, to be asked inside the context's scope: the device
    /// that the connection belongs to, if everything that let it in still stands. `None` for a
    /// client that showed no certificate where it need not.
    ///
    /// Here a claim becomes an answer. Live connections enter their index on this way.
    pub(crate) fn gate(&self, connection: &ServerConnection) -> Result<Option<Device>, Refusal> {
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        let verdict = if resumed(connection) {
            trust::take_candidate().ok_or(Refusal::NotProven)?.verdict(shown)?
        } else {
            found(shown)?
        };
        match verdict {
            Some(verdict) => verdict.admit(self.trust()).map(Some),
            None if self.client_auth() != ClientAuth::Required => Ok(None),
            None => Err(Refusal::NotProven),
        }
    }
}

/// What the verifier found about the certificate that the client showed in a full handshake. What
/// a ticket claimed there counts for nothing: it opened, and that is all.
fn found(shown: Option<&CertificateDer<'_>>) -> Result<Option<Verdict>, Refusal> {
    match (shown, trust::take_finding()) {
        (None, None) => Ok(None),
        (Some(shown), Some(finding)) => {
            let verdict = finding?;
            let its_own = Sha256::of(shown) == verdict.claimed_device().sha256();
            if its_own { Ok(Some(verdict)) } else { Err(Refusal::NotProven) }
        }
        (None, Some(_)) | (Some(_), None) => Err(Refusal::NotProven),
    }
}

fn resumed(connection: &ServerConnection) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::Resumed)
}
