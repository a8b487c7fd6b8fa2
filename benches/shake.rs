//! Handshakes on plain connections, of which the server's part is timed.

#![allow(dead_code, reason = "each bench that includes this file uses a part of it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtls::{Handshake, Instance};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

use crate::visit::server_name;

/// What a handshake came to.
pub(crate) struct Shaken {
    kind: HandshakeKind,
    /// On the server's part.
    spent: Duration,
    /// From the client to the server, and back.
    pub(crate) bytes: [usize; 2],
}

/// One handshake on plain connections.
pub(crate) fn shake(config: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Shaken {
    let plain = |config: &Arc<ServerConfig>| Arc::clone(config);
    shake_in_steps(config, client, plain, |_, step| step(), |_, _| {})
}

/// The same with the context that an accept loop of the embedder's own gives it, and the gate.
pub(crate) fn shake_in_context(instance: &Arc<Instance>, client: &Arc<ClientConfig>) -> Shaken {
    let begin = |instance: &Arc<Instance>| instance.handshake().unwrap();
    let admit = |context: Handshake, server: &_| context.admit(server).unwrap();
    shake_in_steps(instance, client, begin, |context, step| context.step(step), admit)
}

/// All that `begin`, each step and `end` do is timed; what `end` returns is dropped outside.
fn shake_in_steps<S, C: Configured, E>(
    server: &S,
    client: &Arc<ClientConfig>,
    begin: impl FnOnce(&S) -> C,
    mut within: impl FnMut(&mut C, &mut dyn FnMut()),
    end: impl FnOnce(C, &ServerConnection) -> E,
) -> Shaken {
    let mut client = ClientConnection::new(Arc::clone(client), server_name()).unwrap();
    let mut to_server = Vec::new();
    let mut to_client = Vec::new();
    let mut bytes = [0; 2];

    let mut start = Instant::now();
    let mut context = begin(server);
    let mut server = ServerConnection::new(context.config()).unwrap();
    let mut spent = start.elapsed();
    while client.is_handshaking() || server.is_handshaking() {
        to_server.clear();
        while client.wants_write() {
            client.write_tls(&mut to_server).unwrap();
        }
        to_client.clear();

        start = Instant::now();
        let mut received = to_server.as_slice();
        within(&mut context, &mut || {
            while !received.is_empty() {
                server.read_tls(&mut received).unwrap();
                server.process_new_packets().unwrap();
            }
        });
        while server.wants_write() {
            server.write_tls(&mut to_client).unwrap();
        }
        spent += start.elapsed();
        bytes = [bytes[0] + to_server.len(), bytes[1] + to_client.len()];

        let mut received = to_client.as_slice();
        while !received.is_empty() {
            client.read_tls(&mut received).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    start = Instant::now();
    let ended = end(context, &server);
    spent += start.elapsed();
    assert!(server.peer_certificates().is_some());
    drop(ended);
    Shaken { kind: server.handshake_kind().unwrap(), spent, bytes }
}

/// What a server's connection is made with.
pub(crate) trait Configured {
    fn config(&self) -> Arc<ServerConfig>;
}

impl Configured for Arc<ServerConfig> {
    fn config(&self) -> Arc<ServerConfig> {
        Self::clone(self)
    }
}

impl Configured for Handshake {
    fn config(&self) -> Arc<ServerConfig> {
        self.config()
    }
}

/// One after the other, over and over.
pub(crate) fn in_turn(clients: Vec<Arc<ClientConfig>>) -> impl FnMut() -> Arc<ClientConfig> {
    let mut clients = clients.into_iter().cycle();
    move || clients.next().unwrap()
}

/// What a handshake took that must have been of this kind.
pub(crate) fn of_kind(expected: HandshakeKind, shaken: Shaken) -> Duration {
    assert_eq!(shaken.kind, expected);
    shaken.spent
}
