//! The steps of one handshake, without anything that it shares with others.

use std::sync::Arc;

use rustls::server::Acceptor as ClientHelloReader;
use rustls::{AlertDescription, CertificateError, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::lingering;
use super::refused::Refused;
use crate::instance::{HandshakeContext, Instance, Route};
use crate::name::HostName;
use crate::sni::NotShown;
use crate::trust::{self, Admitted, Refusal};

/// A refused client: the reason, and what is still to be done with its stream.
pub(super) struct TurnedAway<IO>(pub(super) Refused, pub(super) Rest<IO>);

/// What is still to be done with a refused client's stream.
pub(super) enum Rest<IO> {
    /// To be told with this alert.
    Tell(AlertDescription, IO),
    Close(IO),
    /// Nothing: it is closed.
    Closed,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Rest<IO> {
    pub(super) async fn done(self) {
        match self {
            Self::Tell(alert, io) => lingering::refuse(alert, io).await,
            Self::Close(io) => lingering::close(io).await,
            Self::Closed => {}
        }
    }
}

impl<IO> From<Refused> for TurnedAway<IO> {
    /// Nothing is said to the client.
    fn from(refused: Refused) -> Self {
        Self(refused, Rest::Closed)
    }
}

/// Reads a whole ClientHello.
pub(super) async fn read_hello<IO>(io: IO) -> Result<StartHandshake<IO>, TurnedAway<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut reader = LazyConfigAcceptor::new(ClientHelloReader::default(), io);
    (&mut reader).await.map_err(|error| {
        let rest = reader.take_io().map_or(Rest::Closed, Rest::Close);
        TurnedAway(Refused::of_io(error), rest)
    })
}

/// Takes a client from its ClientHello through the gate.
pub(super) async fn shake_hands<IO>(
    route: Route,
    start: StartHandshake<IO>,
    server_name: Option<HostName>,
) -> Result<(TlsStream<IO>, Admitted), TurnedAway<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let instance = Arc::clone(route.instance());
    let route = match route.decide(&start.client_hello()) {
        Ok(route) => route,
        Err(why) => return Err(nothing_shown(why, start, server_name)),
    };
    let Some(context) = HandshakeContext::open(route) else {
        return Err(nobody_answers(start, server_name));
    };
    let config = instance.config_for(start.client_hello().alpn());
    let claims = || trust::take_claims(instance.trust());
    let shaken = async {
        // Within the scope: this call reads the ClientHello.
        match start.into_stream(config).into_fallible().await {
            Ok(stream) => match instance.gate(stream.get_ref().1, claims()) {
                Ok(admitted) => Ok((stream, admitted)),
                Err(refusal) => Err(Refused::Device(refusal).into()),
            },
            Err((error, io)) => Err(TurnedAway(why(&instance, error), Rest::Close(io))),
        }
    };
    context.scope(shaken).await
}

/// A client that asks for a name for which nobody answers.
pub(super) fn nobody_answers<IO>(
    start: StartHandshake<IO>,
    server_name: Option<HostName>,
) -> TurnedAway<IO> {
    let alert = AlertDescription::UnrecognisedName;
    TurnedAway(Refused::UnrecognizedName(server_name), Rest::Tell(alert, start.io))
}

/// A client for whom the instance has no certificate.
fn nothing_shown<IO>(
    why: NotShown,
    start: StartHandshake<IO>,
    server_name: Option<HostName>,
) -> TurnedAway<IO> {
    let refused = match why {
        NotShown::NoServerName | NotShown::UnknownName => Refused::UnrecognizedName(server_name),
        NotShown::NoUsableCertificate => Refused::NoUsableCertificate(server_name),
        NotShown::Expired => Refused::CertificateExpired(server_name),
    };
    TurnedAway(refused, Rest::Tell(why.alert(), start.io))
}

/// The reason behind a failed handshake, to be asked inside its context: rustls knows of a refused
/// certificate only that it was refused.
fn why(instance: &Instance, error: std::io::Error) -> Refused {
    match (Refused::of_io(error), trust::take_claims(instance.trust()).finding) {
        (Refused::Tls(Error::NoCertificatesPresented), _) => Refused::NoDeviceCertificate,
        (Refused::Tls(Error::InvalidCertificate(_)), Some(Err(refusal))) => {
            Refused::Device(refusal)
        }
        (Refused::Tls(Error::InvalidCertificate(CertificateError::BadSignature)), Some(Ok(_))) => {
            Refused::Device(Refusal::NotProven)
        }
        (refused, _) => refused,
    }
}
