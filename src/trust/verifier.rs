//! The registry's face towards rustls.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::budget::Budget;
use super::handshake;
use super::path::PathCheck;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use super::state::Moment;
use super::verdict::Verdict;

/// Whether clients must, may or cannot show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// Every client must show a certificate that is believed.
    #[default]
    Required,
    /// A client may show none, and is anonymous then. One that shows a certificate which is not
    /// believed is refused, never taken for anonymous.
    Optional,
    /// No client is asked.
    Disabled,
}

/// Believes devices by the status of their CA: a [`CaRegistry`] behind rustls'
/// `ClientCertVerifier`.
///
/// It names no CA to clients (the hints are empty): that would tell one fleet about another, and
/// go stale. Every refusal is the alert `unknown_ca`; the reason goes to the log at `trace`. An
/// instance with no active CA refuses every device.
#[derive(Debug)]
pub struct DeviceVerifier {
    registry: Arc<CaRegistry>,
    client_auth: ClientAuth,
    algorithms: WebPkiSupportedAlgorithms,
}

impl DeviceVerifier {
    pub(crate) fn new(
        registry: Arc<CaRegistry>,
        client_auth: ClientAuth,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { registry, client_auth, algorithms }
    }

    /// Holds a chain against the registry as it is for a handshake that began at `moment`.
    pub(crate) fn examine(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        moment: Moment,
    ) -> Result<Verdict, Refusal> {
        let (registry, algorithms) = (self.registry.as_ref(), &self.algorithms);
        let budget = Budget::default();
        let check = PathCheck { registry, algorithms, now, moment };
        let finding = check.verify(end_entity, intermediates, &budget);
        tracing::trace!(
            device = ?finding.as_ref().ok().map(|verdict| verdict.claimed_device().sha256()),
            refusal = finding.as_ref().err().map(tracing::field::display),
            signature_checks = budget.spent(),
            "device certificate examined"
        );
        finding
    }
}

impl ClientCertVerifier for DeviceVerifier {
    /// rustls asks when a connection is made, and where it could ask the client for its certificate: in
    /// full handshakes only. What a ticket claimed there is void.
    fn offer_client_auth(&self) -> bool {
        handshake::note_candidate(&self.registry, None);
        self.client_auth != ClientAuth::Disabled
    }

    fn client_auth_mandatory(&self) -> bool {
        self.client_auth == ClientAuth::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// Called before CertificateVerify: the client has proven nothing yet, so what is found is
    /// kept with the handshake and nowhere else.
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let finding =
            self.examine(end_entity, intermediates, now, handshake::moment(&self.registry));
        let believed = finding.is_ok();
        handshake::note(&self.registry, finding);
        if believed {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
