//! Why a connection did not reach the broker.

use std::io;

use crate::instance::Outcome;
use crate::name::HostName;
use crate::trust::Refusal;

/// Why a connection did not reach the broker. Counted by [`Outcome`] already; for your log, at
/// `debug` at most, since a client alone can cause each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No whole ClientHello within its time.
    #[error("the client sent no whole ClientHello in time")]
    HelloTimeout,
    /// No whole handshake before the deadline.
    #[error("the handshake was not complete in time")]
    HandshakeTimeout,
    /// The client closed the connection, or the network did.
    #[error("the connection broke during the handshake")]
    Gone(#[source] io::Error),
    /// What the client sent is no TLS that is spoken here, or it ended the handshake itself.
    #[error("the TLS handshake failed")]
    Tls(#[source] rustls::Error),
    /// The instance has no certificate map yet; the client was told `unrecognized_name`.
    #[error("the instance has no certificates yet")]
    UnrecognizedName(Option<HostName>),
    /// No certificate for the name, nor the default, suits the client; it was told
    /// `access_denied`.
    #[error("no certificate suits the client's signature schemes and cipher suites")]
    NoUsableCertificate(Option<HostName>),
    /// The client showed no certificate and must; it was told `certificate_required`.
    #[error("the client showed no certificate")]
    NoDeviceCertificate,
    /// The device is not believed. Where its chain was refused it was told `unknown_ca`, whatever the
    /// reason; where it did not prove that it holds the key, `decrypt_error`; where only the gate
    /// refused, nothing.
    #[error("the device is not believed")]
    Device(#[source] Refusal),
}

impl Refused {
    /// Under which outcome it is counted.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::HelloTimeout => Outcome::HelloTimeout,
            Self::HandshakeTimeout => Outcome::HandshakeTimeout,
            Self::Gone(_) => Outcome::ClientGone,
            Self::Tls(rustls::Error::AlertReceived(_)) => Outcome::ClientAlert,
            Self::Tls(_) => Outcome::ProtocolError,
            Self::UnrecognizedName(_) => Outcome::UnrecognizedName,
            Self::NoUsableCertificate(_) => Outcome::NoUsableCertificate,
            Self::NoDeviceCertificate => Outcome::NoDeviceCertificate,
            Self::Device(refusal) => refusal.into(),
        }
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
