//! Embedders with an accept loop of their own: a plain blocking rustls server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::{Admission, ClientAuth, Device, Ended, Refusal};
use rustls::server::ServerSessionMemoryCache;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, HandshakeKind, ServerConfig,
    ServerConnection, Stream, StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName};

use crate::support::{Door, Identity, TestCa, VERSIONS, client, provider};

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
            let mut stream =
                StreamOwned::new(connection, patient(TcpStream::connect(address).unwrap()));
            stream.write_all(b"?").unwrap();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
        });
        let tcp = patient(listener.accept().unwrap().0);
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(server)).unwrap(), tcp);
        assert!(stream.conn.is_handshaking());
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
        let verdict = judge(&stream.conn);
        stream.write_all(b"!").unwrap();
        verdict
    })
}

/// The same stream, which fails a test that would wait for ever.
fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn name(admission: Admission) -> Option<String> {
    admission.device().and_then(Device::common_name).map(ToOwned::to_owned)
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

#[test]
fn l02_what_admit_let_in_is_live_until_its_ca_is_deactivated() {
    for version in VERSIONS {
        let door = Door::open();
        let (ca, other) = (TestCa::root("fleet"), TestCa::root("other fleet"));
        let [first, second] = [&ca, &other].map(|ca| {
            door.register(ca, Active).unwrap();
            let config = Arc::new(client(Some(&ca.device("device")), version));
            let server = door.instance.server_config();
            serve(&server, &config, |connection| door.instance.admit(connection)).unwrap()
        });
        assert_eq!(door.instance.trust().connections(), 2);
        assert_eq!((first.ended(), second.ended()), (None, None));
        let told = first.revoked();
        assert_eq!(door.deactivate(&ca).connections.ended, 1);
        assert_eq!(first.ended(), Some(Ended::CaInactive(ca.serial())));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(told), Ended::CaInactive(ca.serial()));
        assert_eq!(second.ended(), None);
        let told = second.revoked();
        drop((first, second));
        assert_eq!(runtime.block_on(told), Ended::Dropped);
        assert_eq!(door.instance.trust().connections(), 0);
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

#[test]
fn resolver_and_verifier_answer_in_a_configuration_of_the_embedders_own() {
    for version in VERSIONS {
        let door = Door::unconfigured(ClientAuth::Required, provider());
        let own = Arc::new(
            ServerConfig::builder_with_details(provider(), Arc::clone(&door.clock) as _)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_client_cert_verifier(door.instance.verifier())
                .with_cert_resolver(door.instance.resolver()),
        );
        let (ca, retired) = (TestCa::root("fleet"), TestCa::root("retired"));
        door.register(&ca, Active).unwrap();
        door.register(&retired, Inactive).unwrap();
        let device = ca.device("device-1");
        let stranger = TestCa::root("stranger").device("device-1");

        let alert = refused(&own, &device, version);
        assert_eq!(alert, AlertDescription::AccessDenied, "nothing is configured yet");

        let [first, second] = [(); 2].map(|()| door.server_ca.server(&["localhost"]));
        door.put("first", &first);
        door.put("second", &second);
        for (id, shown) in [("first", &first), ("second", &second)] {
            door.set_sni("first", &format!("localhost#{id}")).unwrap();
            let config = Arc::new(client(Some(&device), version));
            let admitted = serve(&own, &config, |connection| door.instance.admit(connection));
            assert_eq!(admitted.map(name), Ok(Some("device-1".to_owned())));
            assert_eq!(&shown_to(&own, &config), shown.end_entity());
        }
        for nobody in [&stranger, &retired.device("device-1")] {
            assert_eq!(refused(&own, nobody, version), AlertDescription::UnknownCA);
        }
        door.deactivate(&ca);
        assert_eq!(refused(&own, &device, version), AlertDescription::UnknownCA);
    }
}

/// The certificate that a client is shown.
fn shown_to(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let (near, far) = talk(server, client);
    far.unwrap();
    near.unwrap().peer_certificates().unwrap()[0].clone().into_owned()
}

/// The alert with which a server refuses a device.
fn refused(
    server: &Arc<ServerConfig>,
    device: &Identity,
    version: &'static SupportedProtocolVersion,
) -> AlertDescription {
    let (near, far) = talk(server, &Arc::new(client(Some(device), version)));
    far.unwrap_err();
    match near.unwrap_err().downcast().unwrap() {
        rustls::Error::AlertReceived(alert) => alert,
        other => panic!("{other}"),
    }
}

/// A handshake and a byte each way; how it went for the client, and for the server.
fn talk(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (std::io::Result<ClientConnection>, std::io::Result<ServerConnection>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let far = scope.spawn(move || {
            let mut tcp = patient(listener.accept()?.0);
            let mut connection = ServerConnection::new(Arc::clone(server)).unwrap();
            let talked = Stream::new(&mut connection, &mut tcp).read_exact(&mut [0; 1]);
            if let Err(error) = talked {
                // The alert is still in the buffer; a close with unread bytes would overtake it.
                while connection.wants_write() {
                    connection.write_tls(&mut tcp)?;
                }
                tcp.shutdown(Shutdown::Write)?;
                std::io::copy(&mut tcp, &mut std::io::sink())?;
                return Err(error);
            }
            Stream::new(&mut connection, &mut tcp).write_all(b"!")?;
            Ok(connection)
        });
        let near = || {
            let name = ServerName::try_from("localhost").unwrap();
            let mut connection = ClientConnection::new(Arc::clone(client), name).unwrap();
            let mut tcp = patient(TcpStream::connect(address)?);
            let mut stream = Stream::new(&mut connection, &mut tcp);
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0; 1])?;
            Ok(connection)
        };
        (near(), far.join().unwrap())
    })
}
