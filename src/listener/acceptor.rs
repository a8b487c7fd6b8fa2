//! From an accepted stream to a connection that has passed the gate.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor as ClientHelloReader;
use rustls::{CertificateError, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};
use tracing::Instrument;

use super::connection::Connection;
use super::lingering;
use super::refused::Refused;
use crate::instance::{HandshakeContext, Instance, Outcome, went_unanswered};
use crate::name::HostName;
use crate::trust::{self, Device, Refusal};

/// Takes streams through the TLS handshake of one instance. Cheap to clone; clones share the
/// permits.
///
/// Defaults: 10 seconds for the whole handshake, 5 of them for the ClientHello, 1024 handshakes at
/// a time.
#[derive(Clone, Debug)]
#[must_use]
pub struct Acceptor {
    instance: Arc<Instance>,
    deadline: Duration,
    hello_deadline: Duration,
    permits: Arc<Semaphore>,
}

impl Acceptor {
    /// An acceptor whose every connection belongs to `instance`, whatever server name it asks for.
    pub fn new(instance: &Arc<Instance>) -> Self {
        Self {
            instance: Arc::clone(instance),
            deadline: DEADLINE,
            hello_deadline: HELLO_DEADLINE,
            permits: Arc::new(Semaphore::new(PERMITS)),
        }
    }

    /// How long a handshake may take from the accepted stream to the gate, waiting for a permit
    /// included; at most an hour. A client that is not done by then is cut.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline: deadline.min(LONGEST), ..self }
    }

    /// How long a client may take to send a whole ClientHello; the deadline, where that is sooner.
    pub fn hello_deadline(self, hello_deadline: Duration) -> Self {
        Self { hello_deadline: hello_deadline.min(LONGEST), ..self }
    }

    /// How many handshakes may be computed at a time; at least one. A permit is taken once the
    /// whole ClientHello is there, so that silent clients hold none; a client that stalls later
    /// holds its permit until the deadline.
    pub fn permits(self, permits: usize) -> Self {
        let permits = permits.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(permits)), ..self }
    }

    /// Takes a stream through the handshake to the gate.
    ///
    /// A task of its own for each stream is up to the caller. Dropping the future closes the
    /// stream; such a connection is in no counter.
    ///
    /// # Errors
    ///
    /// When the client is refused, goes away or is too slow; then it has been told what it is to
    /// be told, and the stream is closed. The reason is logged at `debug` and counted in
    /// [`Instances::stats`](crate::Instances::stats).
    ///
    /// # Panics
    ///
    /// When the tokio runtime has no time driver: build it with `enable_time` or `enable_all`.
    pub async fn accept<IO>(&self, io: IO) -> Result<Connection<IO>, Refused>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let span = tracing::debug_span!(
            "connection",
            instance = %self.instance.id(),
            server_name = tracing::field::Empty,
        );
        let accepted = self.accept_by(Instant::now() + self.deadline, io);
        let result = accepted.instrument(span.clone()).await;
        let outcome = result.as_ref().err().map_or(Outcome::Admitted, Refused::outcome);
        self.instance.counters().count(outcome);
        span.in_scope(|| match &result {
            Ok(connection) => tracing::debug!(?connection, "admitted"),
            Err(refused) => tracing::debug!(?refused, ?outcome, "refused"),
        });
        result
    }

    async fn accept_by<IO>(&self, deadline: Instant, io: IO) -> Result<Connection<IO>, Refused>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let start = self.read_hello(deadline, io).await?;
        let server_name = start.client_hello().server_name().and_then(|name| name.parse().ok());
        tracing::Span::current().record("server_name", server_name.as_ref().map(HostName::as_str));
        let handshake = self.handshake(start, server_name.clone());
        let late = |_elapsed| Refused::HandshakeTimeout;
        match timeout_at(deadline, handshake).await.map_err(late)? {
            Ok((stream, device)) => {
                Ok(Connection::new(stream, self.instance.id().clone(), server_name, device))
            }
            Err((refused, rest)) => {
                // The permit is free again: lingering costs no place.
                match rest {
                    Rest::TellName(io) => lingering::refuse_name(io).await,
                    Rest::Close(io) => lingering::close(io).await,
                    Rest::Drop => {}
                }
                Err(refused)
            }
        }
    }

    async fn read_hello<IO>(&self, deadline: Instant, io: IO) -> Result<StartHandshake<IO>, Refused>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let hello_deadline = deadline.min(Instant::now() + self.hello_deadline);
        let mut reader = LazyConfigAcceptor::new(ClientHelloReader::default(), io);
        match timeout_at(hello_deadline, &mut reader).await {
            Err(_elapsed) => Err(Refused::HelloTimeout),
            Ok(Ok(start)) => Ok(start),
            Ok(Err(error)) => {
                if let Some(io) = reader.take_io() {
                    lingering::close(io).await;
                }
                Err(Refused::of_io(error))
            }
        }
    }

    async fn handshake<IO>(
        &self,
        start: StartHandshake<IO>,
        server_name: Option<HostName>,
    ) -> Result<(TlsStream<IO>, Option<Device>), (Refused, Rest<IO>)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // Closed never: nobody but this struct holds the semaphore, and it does not close it.
        let _permit = self.permits.acquire().await.ok();
        let Some(context) = HandshakeContext::open(&self.instance) else {
            return Err((Refused::UnrecognizedName(server_name), Rest::TellName(start.io)));
        };
        let config = self.instance.config_for(start.client_hello().alpn());
        let shaken = async {
            // Within the scope: this call reads the ClientHello.
            match start.into_stream(config).into_fallible().await {
                Ok(stream) => match self.instance.gate(stream.get_ref().1) {
                    Ok(device) => Ok((stream, device)),
                    Err(refusal) => Err((Refused::Device(refusal), Rest::Drop)),
                },
                Err((error, io)) => Err((why(error, server_name), Rest::Close(io))),
            }
        };
        context.scope(shaken).await
    }
}

/// What is still to be done with a refused client's stream.
enum Rest<IO> {
    TellName(IO),
    Close(IO),
    Drop,
}

/// The reason behind a failed handshake, to be asked inside its context: rustls knows of a refused
/// certificate only that it was refused.
fn why(error: std::io::Error, server_name: Option<HostName>) -> Refused {
    if went_unanswered() {
        return Refused::NoUsableCertificate(server_name);
    }
    match (Refused::of_io(error), trust::take_finding()) {
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

const DEADLINE: Duration = Duration::from_secs(10);
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);
const PERMITS: usize = 1024;
