//! Nobody comes in by a bare server config without being asked.

use std::io::{Read, Write};
use std::sync::Arc;

use mqtls::CaStatus::Active;
use rustls::client::TicketRequest;
use rustls::server::ServerSessionMemoryCache;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use rustls_pki_types::ServerName;

use crate::support::{Door, Identity, TestCa, VERSIONS, client};

#[test]
fn r08_every_handshake_of_a_bare_server_config_is_a_full_one() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let config = Arc::new(asking_for_tickets(&ca.device("device"), version));
        for _ in 0..3 {
            let server = ServerConnection::new(door.instance.server_config()).unwrap();
            let (server, client) = greet(server, Arc::clone(&config));
            assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(client.tls13_tickets_received(), 0);
        }
    }
}

/// Without this the tests above could be passed by a client that never tries.
#[test]
fn the_same_client_resumes_with_a_server_that_does() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let client = Arc::new(asking_for_tickets(&ca.device("device"), version));
        let mut resuming = ServerConfig::clone(&door.instance.server_config());
        resuming.session_storage = ServerSessionMemoryCache::new(8);
        resuming.send_tls13_tickets = 2;
        let resuming = Arc::new(resuming);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let server = ServerConnection::new(Arc::clone(&resuming)).unwrap();
            let (server, _client) = greet(server, Arc::clone(&client));
            assert_eq!(server.handshake_kind(), Some(expected));
        }
    }
}

/// A client that keeps what it could resume with, and on TLS 1.3 asks for it.
fn asking_for_tickets(
    device: &Identity,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut config = client(Some(device), version);
    config.send_ticket_request = Some(TicketRequest { new_session_count: 2, resumption_count: 2 });
    config
}

/// A handshake in memory with a byte each way behind it, so that the client has read every ticket.
fn greet(
    mut server: ServerConnection,
    config: Arc<ClientConfig>,
) -> (ServerConnection, ClientConnection) {
    let server_name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(config, server_name).unwrap();
    client.writer().write_all(b"?").unwrap();
    server.writer().write_all(b"!").unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        deliver(&wire, |wire| server.read_tls(wire));
        server.process_new_packets().unwrap();
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        deliver(&wire, |wire| client.read_tls(wire));
        client.process_new_packets().unwrap();
    }
    let mut byte = [0];
    server.reader().read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"?");
    client.reader().read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!");
    (server, client)
}

fn deliver(mut wire: &[u8], mut read: impl FnMut(&mut dyn Read) -> std::io::Result<usize>) {
    while !wire.is_empty() {
        read(&mut wire).unwrap();
    }
}
