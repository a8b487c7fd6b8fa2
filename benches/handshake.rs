//! What does a mutual TLS handshake cost the server, beside bare rustls?
//!
//! **Timed** is the server's part alone: from its `ServerConnection::new` to the end of the
//! handshake, every call that reads, processes and writes. The client's part is driven in memory
//! between these calls and not counted. The device's certificate is P-256 and issued by the CA
//! itself, the server's is P-256, the key exchange X25519.
//!
//! **The baseline** is a rustls `ServerConfig` with one certificate and a `WebPkiClientVerifier`
//! with one root. Like ours it resumes nothing and sends no tickets: rustls' defaults would cost
//! it more.
//!
//! `tls13` and `tls12` compare the configurations (`Instance::server_config`) on plain connections.
//! `tls13-resumed` and `tls12-resumed` are resumed handshakes on plain connections: ours in the
//! context that `Instance::handshake` gives, from its beginning through the gate, which enters the
//! connection among those that are live; the baseline's with rustls' own `Ticketer`. The baseline
//! issues a ticket in each; ours does on TLS 1.3, and on TLS 1.2 leaves the client the one that it
//! came with. In `tls12-resumed-renewed` that is so old that ours renews it.
//! Sixteen devices come in turn, with names of 1 to 61 characters: a ticket goes through a
//! hash in blocks of 128 bytes and through a cipher in blocks of 16, so that a few bytes more cost
//! nothing with one certificate and a block or two with another. **`bytes`** is how many the handshakes of
//! one device take on the wire, which sends no CA certificate.
//! `tls13-listener` compares `Acceptor::accept` with tokio-rustls' `TlsAcceptor` over in-memory
//! streams, by the time in which the server's future is polled: ours reads the ClientHello first,
//! has a deadline and a permit, and ends with the gate. Both issue a ticket that nobody uses.
//!
//! Our instance holds 100,000 names, which share one certificate, and 10,000 CAs.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fleet::Fleet;
use mqtls::{Acceptor, Connection, Instance};
use rustls::HandshakeKind::{Full, Resumed};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, NamedGroup, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use shake::{in_turn, of_kind, shake, shake_in_context};
use side_by_side::{Bar, Contenders, SideBySide, Terms, each};
use support::{Door, Identity, NOW, TestCa, client, provider};
use tokio::io::DuplexStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use visit::knock;

mod fleet;
mod shake;
mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;
mod visit;

fn main() -> ExitCode {
    let mut benches = SideBySide::from_args("handshake");
    for (case, version) in VERSIONS {
        benches.compare(case, TERMS, || {
            let servers = Servers::new();
            let client = Arc::new(servers.forgetful_client(version));
            let again = Arc::clone(&client);
            let ours = servers.door.instance.server_config();
            Contenders {
                mqtls: each(move || of_kind(Full, shake(&ours, &client))),
                baseline: each(move || of_kind(Full, shake(&servers.bare, &again))),
            }
        });
    }
    for (case, version) in VERSIONS {
        benches.compare(format!("{case}-resumed"), RESUMED, || {
            let servers = Servers::new();
            Returning::to(&servers, || servers.clients_of_all_lengths(version)).contenders()
        });
    }
    benches.compare("tls12-resumed-renewed", RESUMED, || {
        let servers = Servers::new();
        let returning = Returning::to(&servers, || {
            let mut clients = servers.clients_of_all_lengths(&rustls::version::TLS12);
            for client in clients.iter_mut().map(Arc::make_mut) {
                client.resumption = Resumption::store(Arc::new(FirstSession::default()));
            }
            clients
        });
        let context = servers.door.instance.handshake().unwrap();
        let lifetime = u64::from(context.config().ticketer.lifetime());
        servers.door.clock.set(NOW + lifetime / 4);
        returning.contenders()
    });
    benches.report("bytes", bytes_on_the_wire);
    benches.compare("tls13-listener", LISTENER, || {
        let servers = Servers::new();
        let client = Arc::new(servers.forgetful_client(&rustls::version::TLS13));
        let again = Arc::clone(&client);
        let runtime = Arc::new(Builder::new_current_thread().enable_time().build().unwrap());
        let runtime_again = Arc::clone(&runtime);
        let ours = servers.door.acceptor.clone();
        let bare = TlsAcceptor::from(servers.resuming_bare());
        Contenders {
            mqtls: each(move || knock(&runtime, &client, |io| accept(&ours, io))),
            baseline: each(move || knock(&runtime_again, &again, |io| accept_bare(&bare, io))),
        }
    });
    benches.finish()
}

/// How many bytes a handshake takes on the wire.
fn bytes_on_the_wire() -> String {
    let servers = Servers::new();
    let (instance, bare) = (&servers.door.instance, servers.resuming_bare());
    let device = servers.devices.get(2).unwrap();
    let mut lines = vec![];
    for (case, version) in VERSIONS {
        let [ours, theirs] = [(); 2].map(|()| Arc::new(client(Some(device), version)));
        for kind in ["full", "resumed"] {
            let (ours, theirs) = (shake_in_context(instance, &ours), shake(&bare, &theirs));
            let [of_client, of_server] = ours.bytes;
            let [of_client_bare, of_server_bare] = theirs.bytes;
            lines.push(format!(
                "{case} {kind}: {of_client} from the client and {of_server} from the server, with \
                 bare rustls {of_client_bare} and {of_server_bare}"
            ));
        }
    }
    let certificate = device.end_entity().len();
    format!("with a certificate of {certificate} bytes, {}", lines.join("; "))
}

/// Two servers, each with devices that have been there once.
struct Returning {
    instance: Arc<Instance>,
    bare: Arc<ServerConfig>,
    /// With a memory of their own for each: a ticket of the one is of no use to the other.
    clients: [Vec<Arc<ClientConfig>>; 2],
}

impl Returning {
    fn to(servers: &Servers, clients: impl Fn() -> Vec<Arc<ClientConfig>>) -> Self {
        let (instance, bare) = (Arc::clone(&servers.door.instance), servers.resuming_bare());
        let [ours, theirs] = [clients(), clients()];
        for (ours, theirs) in ours.iter().zip(&theirs) {
            of_kind(Full, shake_in_context(&instance, ours));
            of_kind(Full, shake(&bare, theirs));
        }
        Self { instance, bare, clients: [ours, theirs] }
    }

    fn contenders(self) -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration> {
        let Self { instance, bare, clients } = self;
        let [mut ours, mut theirs] = clients.map(in_turn);
        Contenders {
            mqtls: each(move || of_kind(Resumed, shake_in_context(&instance, &ours()))),
            baseline: each(move || of_kind(Resumed, shake(&bare, &theirs()))),
        }
    }
}

/// A client's memory for one session of TLS 1.2: it goes on with the first ticket that it gets.
#[derive(Default)]
struct FirstSession(OnceLock<Tls12ClientSessionValue>);

impl ClientSessionStore for FirstSession {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        let _kept = self.0.set(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.get().cloned()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

impl fmt::Debug for FirstSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstSession")
    }
}

/// The two servers, and the device that comes to both.
struct Servers {
    door: Door,
    bare: Arc<ServerConfig>,
    /// By the length of their names.
    devices: Vec<Identity>,
}

impl Servers {
    fn new() -> Self {
        let Fleet { door, ca } = Fleet::of(CAS);
        let server = door.server_ca.server(&["localhost"]);
        door.put("s", &server);
        // Short, so that so many fit into a configuration.
        let names = (1..NAMES).map(|number| format!("{number:x}.a#s;"));
        door.set_sni("s", &(names.collect::<String>() + "localhost#s")).unwrap();
        assert_eq!(door.instance.sni().table().unwrap().map().len(), NAMES);
        let bare = Arc::new(bare_config(&door, &ca, &server));
        let devices = (1..64).step_by(64 / LENGTHS).map(|length| ca.device(&"d".repeat(length)));
        Self { bare, devices: devices.collect(), door }
    }

    fn clients_of_all_lengths(
        &self,
        version: &'static SupportedProtocolVersion,
    ) -> Vec<Arc<ClientConfig>> {
        self.devices.iter().map(|device| Arc::new(client(Some(device), version))).collect()
    }

    /// A client that comes for the first time each time.
    fn forgetful_client(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let mut config = client(self.devices.first(), version);
        config.resumption = Resumption::disabled();
        config
    }

    /// The baseline with tickets of rustls' own, as many as ours.
    fn resuming_bare(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.bare);
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        config.send_tls13_tickets = 1;
        Arc::new(config)
    }
}

fn bare_config(door: &Door, ca: &TestCa, server: &Identity) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let mut config = ServerConfig::builder_with_details(provider(), Arc::clone(&door.clock) as _)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(server.chain.clone(), server.key_der())
        .unwrap();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_tls13_tickets = 0;
    config
}

async fn accept(acceptor: &Acceptor, io: DuplexStream) -> Connection<DuplexStream> {
    let connection = acceptor.accept(io).await.unwrap();
    assert!(connection.device().is_some());
    connection
}

async fn accept_bare(acceptor: &TlsAcceptor, io: DuplexStream) -> TlsStream<DuplexStream> {
    let stream = acceptor.accept(io).await.unwrap();
    assert!(stream.get_ref().1.peer_certificates().is_some());
    stream
}

const NAMES: usize = 100_000;
const CAS: usize = 10_000;
/// A handshake is a slice: it takes a good quarter of a millisecond on both sides together.
const TERMS: Terms = Terms::new(1, Bar::Ratio(1.03));
/// A slice has all lengths.
const RESUMED: Terms = Terms::new(LENGTHS as u64, Bar::Ratio(1.05));
const LENGTHS: usize = 16;
const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("tls13", &rustls::version::TLS13), ("tls12", &rustls::version::TLS12)];
const LISTENER: Terms = Terms::new(1, Bar::None);
