//! A device as seen from its own side: TCP, TLS with the PEM files, and nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, HandshakeKind, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::files::{Fingerprint, certificates, key};
use super::tickets::Tickets;
use crate::pki::{Pki, SECOND_SERVER_CA, SERVER_CA};
use crate::schemes::RSA;

/// A device that connects to one address.
#[derive(Clone)]
pub(super) struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
}

impl Client {
    /// The device whose files of the PKI have this name. It believes both instances' server CAs, so
    /// that it is the broker that refuses it, or nobody.
    pub(super) fn new(pki: &Pki, address: SocketAddr, name: &str, keys: Keys) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for root in [SERVER_CA, SECOND_SERVER_CA] {
            for root in certificates(&pki.path(root))? {
                roots.add(root)?;
            }
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Offering { verifier, keys }))
            .with_client_auth_cert(
                certificates(&pki.path(&format!("{name}.pem")))?,
                key(&pki.path(&format!("{name}.key")))?,
            )?;
        let tickets = Arc::new(Tickets::new());
        let held: Arc<dyn ClientSessionStore> = Arc::<Tickets>::clone(&tickets);
        config.resumption = Resumption::store(held);
        Ok(Self { address, config: Arc::new(config), tickets })
    }

    /// Connects under a server name. The chain shown is checked against the name and the demo's
    /// server CAs, as any client would.
    pub(super) async fn connect(&self, server_name: &str) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(server_name.to_owned())?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        within("connecting", async {
            let tcp = TcpStream::connect(self.address).await?;
            tcp.set_nodelay(true)?;
            connector.connect(name, tcp).await
        })
        .await
    }

    /// Whether a ticket was offered since this was asked last.
    pub(super) fn offered_a_ticket(&self) -> bool {
        self.tickets.were_offered()
    }

    /// Which certificate is shown under a server name.
    pub(super) async fn certificate_shown(&self, server_name: &str) -> Result<Fingerprint> {
        let stream = self.connect(server_name).await?;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        Ok(Fingerprint::of(shown.context("no certificate was shown")?))
    }
}

/// How a connection's handshake went.
pub(super) fn handshake(stream: &TlsStream<TcpStream>, offered_a_ticket: bool) -> String {
    let ticket = if offered_a_ticket { "ticket offered" } else { "no ticket" };
    let kind = match stream.get_ref().1.handshake_kind() {
        Some(HandshakeKind::Full) => "full handshake",
        Some(HandshakeKind::FullWithHelloRetryRequest) => "full handshake in two steps",
        Some(HandshakeKind::Resumed) => "resumed",
        None => "handshake under way",
    };
    format!("{ticket}, {kind}")
}

/// Which of the server's key types a client can check.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keys {
    /// All that the crypto provider knows.
    Any,
    /// RSA alone, as some old devices have it.
    RsaOnly,
}

/// Waits for the network, for a bounded time.
pub(super) async fn within<T, E>(what: &str, wait: impl Future<Output = Result<T, E>>) -> Result<T>
where
    E: Into<anyhow::Error>,
{
    match timeout(PATIENCE, wait).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => anyhow::bail!("{what} took longer than {PATIENCE:?}"),
    }
}

/// The alert that the server sent, where an error stems from one.
pub(super) fn alert(error: &anyhow::Error) -> Option<AlertDescription> {
    error.chain().find_map(|cause| {
        let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
        match inner.downcast_ref::<rustls::Error>()? {
            rustls::Error::AlertReceived(alert) => Some(*alert),
            _ => None,
        }
    })
}

/// The ordinary verifier, offering no more signature schemes than the client is to have.
#[derive(Debug)]
struct Offering {
    verifier: Arc<WebPkiServerVerifier>,
    keys: Keys,
}

impl ServerCertVerifier for Offering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.verifier.supported_verify_schemes();
        match self.keys {
            Keys::Any => {}
            Keys::RsaOnly => schemes.retain(|scheme| RSA.contains(scheme)),
        }
        schemes
    }
}

/// How long the tour waits for any one thing.
const PATIENCE: Duration = Duration::from_secs(5);
