//! Why a connection did not reach the broker.

use std::io;

use crate::instance::Outcome;
use crate::name::HostName;
use crate::trust::Refusal;

/// Why a connection did not reach the broker. Counted by [`Outcome`] already; for your log, at
/// `debug` at most, since a client alone can cause nearly each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No whole ClientHello within its time.
    #[error("the client sent no whole ClientHello in time")]
    HelloTimeout,
    /// No whole ClientHello yet when as many others as may wait for theirs had come later. The
    /// client was told nothing.
    #[error("the client sent no whole ClientHello while too many others came")]
    HelloCrowdedOut,
    /// No whole handshake before the deadline.
    #[error("the handshake was not complete in time")]
    HandshakeTimeout,
    /// No permit was free and as many as may wait for one were waiting. The client was told nothing.
    #[error("too many wait for a permit")]
    QueueFull,
    /// The handshake had held its permit for longer than [`Acceptor::patience`], and longest of
    /// all, when another client waited for one. The client was told nothing.
    ///
    /// [`Acceptor::patience`]: super::Acceptor::patience
    #[error("the handshake took long while others waited")]
    Stalled,
    /// The client closed the connection, or the network did.
    #[error("the connection broke during the handshake")]
    Gone(#[source] io::Error),
    /// What the client sent is no TLS that is spoken here, or it ended the handshake itself.
    #[error("the TLS handshake failed")]
    Tls(#[source] rustls::Error),
    /// No name, or one that leads to no instance on the shared listener, or to one that has no certificate map yet
    /// or was removed, or whose [policy](crate::sni::SniPolicy) is against it; the client was told
    /// `unrecognized_name`.
    #[error("no instance answers for the server name")]
    UnrecognizedName(Option<HostName>),
    /// No certificate for the name, nor the default where the [policy](crate::sni::SniPolicy) asks it,
    /// suits the client; it was told `handshake_failure`.
    #[error("no certificate suits the client's signature schemes and cipher suites")]
    NoUsableCertificate(Option<HostName>),
    /// The certificate for the name has expired, and the [policy](crate::sni::SniPolicy) is not to show
    /// it; the client was told `handshake_failure`.
    #[error("the certificate for the server name has expired")]
    CertificateExpired(Option<HostName>),
    /// The client showed no certificate and must; it was told `certificate_required`.
    #[error("the client showed no certificate")]
    NoDeviceCertificate,
    /// The device is not believed. Where its chain was refused it was told `unknown_ca`, whatever the
    /// reason; where it did not prove that it holds the key, `decrypt_error`; where only the gate
    /// refused, nothing.
    #[error("the device is not believed")]
    Device(#[source] Refusal),
    /// The instance had taken as many handshakes of late as
    /// [`InstanceSpec::handshakes_per_second`](crate::InstanceSpec::handshakes_per_second) allows. The
    /// client was told nothing.
    #[error("the instance takes no more handshakes now")]
    TooManyHandshakes,
    /// The acceptor is draining. The client was told nothing.
    #[error("no more connections are taken")]
    Draining,
    /// The acceptor was draining, and the handshake was not complete when its time was over. The
    /// client was told nothing.
    #[error("the handshake was not complete when draining ended")]
    DrainTimeout,
    /// The handshake panicked, and the panic hook has had its say. The client was told nothing.
    #[error("the handshake panicked")]
    Panicked,
}

impl Refused {
    /// Under which outcome it is counted.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::HelloTimeout => Outcome::HelloTimeout,
            Self::HelloCrowdedOut => Outcome::HelloCrowdedOut,
            Self::HandshakeTimeout => Outcome::HandshakeTimeout,
            Self::QueueFull => Outcome::QueueFull,
            Self::Stalled => Outcome::Stalled,
            Self::Gone(_) => Outcome::ClientGone,
            Self::Tls(rustls::Error::AlertReceived(_)) => Outcome::ClientAlert,
            Self::Tls(_) => Outcome::ProtocolError,
            Self::UnrecognizedName(_) => Outcome::UnrecognizedName,
            Self::NoUsableCertificate(_) => Outcome::NoUsableCertificate,
            Self::CertificateExpired(_) => Outcome::CertificateExpired,
            Self::NoDeviceCertificate => Outcome::NoDeviceCertificate,
            Self::Device(refusal) => refusal.into(),
            Self::TooManyHandshakes => Outcome::TooManyHandshakes,
            Self::Draining => Outcome::Draining,
            Self::DrainTimeout => Outcome::DrainTimeout,
            Self::Panicked => Outcome::Panicked,
        }
    }

    /// Why the device is not believed, where that is the reason.
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Self::Device(refusal) = self { Some(refusal) } else { None }
    }

    /// What an error of tokio-rustls says: an error of rustls inside, or one of the stream.
    pub(super) fn of_io(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(tls) => Self::Tls(tls),
            // A ClientHello that is too large does not get as far as a TLS error.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Tls(rustls::Error::General(error.to_string()))
            }
            Err(error) => Self::Gone(error),
        }
    }
}
