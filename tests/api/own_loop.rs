//! Embedders with an accept loop of their own: a plain blocking rustls server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use mqtls::CaStatus::Active;
use mqtls::{ClientAuth, Device, Refusal};
use rustls::server::ServerSessionMemoryCache;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection, StreamOwned,
};
use rustls_pki_types::ServerName;

use crate::support::{Door, TestCa, VERSIONS, client};

/// Takes one client through a handshake on both sides of a loopback connection, and asks `judge`
/// while the client waits for its first byte.
fn serve<R>(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    judge: impl FnOnce(&ServerConnection) -> R,
) -> R {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let name = ServerName::try_from("localhost").unwrap();
            let connection = ClientConnection::new(Arc::clone(client), name).unwrap();
            let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
            stream.write_all(b"?").unwrap();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
        });
        let (tcp, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(server)).unwrap(), tcp);
        assert!(stream.conn.is_handshaking());
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
        let verdict = judge(&stream.conn);
        stream.write_all(b"!").unwrap();
        verdict
    })
}

fn name(device: Option<Device>) -> Option<String> {
    device.and_then(|device| device.common_name().map(ToOwned::to_owned))
}

#[test]
fn admit_tells_whose_connection_it_is_and_refuses_what_changed_since() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        let sub = ca.child("sub");
        door.register(&ca, Active).unwrap();
        let device = sub.device("device-1").with_chain(&[&sub]);
        let (server, client) =
            (door.instance.server_config(), Arc::new(client(Some(&device), version)));

        let admitted = serve(&server, &client, |connection| door.instance.admit(connection));
        assert_eq!(admitted.map(name), Ok(Some("device-1".to_owned())));

        let refused = serve(&server, &client, |connection| {
            door.deactivate(&ca);
            door.instance.admit(connection).map(name)
        });
        assert_eq!(refused, Err(Refusal::InactiveCa(ca.serial())));
        door.activate(&ca);
        let refused = serve(&server, &client, |connection| {
            door.delete(&ca);
            door.instance.admit(connection).map(name)
        });
        assert_eq!(refused, Err(Refusal::UnknownIssuer));
    }
}

#[test]
fn admit_takes_no_handshake_that_is_not_complete() {
    let door = Door::open();
    let connection = ServerConnection::new(door.instance.server_config()).unwrap();
    assert_eq!(door.instance.admit(&connection).map(name), Err(Refusal::NotProven));
}

#[test]
fn admit_takes_a_client_without_a_certificate_only_where_it_needs_none() {
    for version in VERSIONS {
        let optional = Door::open_with(ClientAuth::Optional);
        let required = Door::open();
        let client = Arc::new(client(None, version));
        let admitted = serve(&optional.instance.server_config(), &client, |connection| {
            let elsewhere = required.instance.admit(connection).map(name);
            assert_eq!(elsewhere, Err(Refusal::NotProven));
            optional.instance.admit(connection)
        });
        assert_eq!(admitted.map(name), Ok(None));
    }
}

/// The hole that is left to a configuration of the embedder's own: resumption asks no verifier.
#[test]
fn r08_admit_takes_no_resumed_handshake() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let mut resuming = ServerConfig::clone(&door.instance.server_config());
        resuming.session_storage = ServerSessionMemoryCache::new(8);
        resuming.send_tls13_tickets = 1;
        resuming.max_tls13_tickets = 1;
        let resuming = Arc::new(resuming);
        let client = Arc::new(client(Some(&ca.device("device-1")), version));
        let kinds = [
            (HandshakeKind::Full, Ok(Some("device-1".to_owned()))),
            (HandshakeKind::Resumed, Err(Refusal::NotProven)),
        ];
        for (kind, verdict) in kinds {
            let seen = serve(&resuming, &client, |connection| {
                (connection.handshake_kind().unwrap(), door.instance.admit(connection).map(name))
            });
            assert_eq!(seen, (kind, verdict), "{version:?}");
        }
    }
}
