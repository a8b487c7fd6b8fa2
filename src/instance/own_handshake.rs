//! A handshake in an accept loop of the embedder's own.

use std::fmt;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use super::admission::Admission;
use super::handshake::HandshakeContext;
use super::route::Route;
use super::tenant::Instance;
use crate::trust::Refusal;

/// One handshake in an accept loop of the embedder's own, with what [`Acceptor`](crate::Acceptor)
/// gives each of its own: one certificate table from beginning to end, resumption, and a gate that
/// knows what the verifier saw. Made by [`Instance::handshake`].
///
/// rustls asks for certificates, tickets and belief from within its calls: make the
/// [`ServerConnection`] and let it process what came inside [`step`](Self::step), until the handshake
/// is complete, and then ask [`admit`](Self::admit). What is done outside of a step is not seen: the
/// handshake is a full one then, and the gate refuses it.
///
/// ```no_run
/// # use std::{io, net::TcpStream, sync::Arc};
/// # use mqtls::{Admission, Instance};
/// # use rustls::ServerConnection;
/// fn let_in(instance: &Arc<Instance>, tcp: &mut TcpStream) -> io::Result<Admission> {
///     // The ClientHello first: the handshake begins with it.
///     let mut reader = rustls::server::Acceptor::default();
///     let hello = loop {
///         if reader.read_tls(tcp)? == 0 {
///             return Err(io::ErrorKind::UnexpectedEof.into());
///         }
///         if let Some(hello) = reader.accept().map_err(|(error, _)| io::Error::other(error))? {
///             break hello;
///         }
///     };
///     let mut handshake = instance.handshake().ok_or(io::ErrorKind::NotConnected)?;
///     let config = match hello.client_hello().alpn() {
///         Some(offered) => handshake.config_for(offered),
///         None => handshake.config(),
///     };
///     let connection = handshake.step(|| hello.into_connection(config));
///     let mut connection: ServerConnection =
///         connection.map_err(|(error, _)| io::Error::other(error))?;
///     while connection.is_handshaking() {
///         handshake.step(|| connection.complete_io(tcp))?;
///     }
///     handshake.admit(&connection).map_err(io::Error::other)
/// }
/// ```
pub struct Handshake {
    instance: Arc<Instance>,
    context: HandshakeContext,
}

impl Handshake {
    pub(super) fn begin(route: Route) -> Option<Self> {
        let instance = Arc::clone(route.instance());
        Some(Self { instance, context: HandshakeContext::open(route)? })
    }

    /// The instance.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The configuration to make the connection with. Outside of a step it resumes nothing.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.instance.config_for(None::<std::iter::Empty<&[u8]>>)
    }

    /// The same for a client that offers these protocols in ALPN: one that offers a protocol of MQTT
    /// is agreed with on it, any other one comes in without.
    pub fn config_for<'a>(&self, offered: impl Iterator<Item = &'a [u8]>) -> Arc<ServerConfig> {
        self.instance.config_for(Some(offered))
    }

    /// Runs a step of the handshake: whatever makes the connection, or has it process what came.
    pub fn step<R>(&mut self, step: impl FnOnce() -> R) -> R {
        self.context.step(step)
    }

    /// The gate, to be asked once the handshake is complete and before the first byte of
    /// application data is handled. Unlike [`Instance::admit`] it verifies nothing anew.
    ///
    /// # Errors
    ///
    /// When the device is not believed, when something that let it in has changed meanwhile, and
    /// when the handshake is not complete or was not taken in steps of this.
    pub fn admit(self, connection: &ServerConnection) -> Result<Admission, Refusal> {
        if connection.is_handshaking() {
            return Err(Refusal::NotProven);
        }
        self.instance.gate(connection, self.context.into_claims()).map(Admission)
    }
}

impl Route {
    /// Begins a handshake in an accept loop of the embedder's own, as [`Instance::handshake`] does, for
    /// the client that asked for the name. `None` where the instance was removed meanwhile.
    pub fn handshake(self) -> Option<Handshake> {
        Handshake::begin(self)
    }
}

impl Instance {
    /// Begins a handshake in an accept loop of the embedder's own. `None` before the first
    /// [`SetSniConfig`](crate::SetSniConfig), and once the instance is removed.
    ///
    /// From now on changes count as made during the handshake: begin it when the ClientHello is
    /// there, not while the client is waited for.
    pub fn handshake(self: &Arc<Self>) -> Option<Handshake> {
        Handshake::begin(Route::to(self)?)
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("instance", self.instance.id()).finish_non_exhaustive()
    }
}
