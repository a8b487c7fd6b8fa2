//! Those who come to a door with tickets.

use std::fmt;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, PoisonError};

use mqtls::{Handshake, Sha256};
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, Error, HandshakeKind, NamedGroup,
    RootCertStore, ServerConnection, SideData, SupportedProtocolVersion,
};
use rustls_pki_types::ServerName;

use super::super::fixed;
use super::door::Door;
use super::fleet::{Device, Fleet};

/// A client with tickets of its own for one door.
pub struct Visitor {
    /// None where it is anonymous.
    pub device: Option<Arc<Device>>,
    config: Arc<ClientConfig>,
    purse: Arc<Purse>,
    /// What its tickets say, the one that it offers next at the end.
    plain: Vec<Vec<u8>>,
}

impl Visitor {
    pub fn new(
        device: Option<&Arc<Device>>,
        fleet: &Fleet,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(fleet.root.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_details(fixed::provider(), fixed::clock())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match device {
            None => builder.with_no_client_auth(),
            Some(device) => {
                builder.with_client_auth_cert(device.chain.clone(), device.key()).unwrap()
            }
        };
        let purse = Arc::new(Purse::default());
        config.resumption = rustls::client::Resumption::store(Arc::clone(&purse) as _);
        Self { device: device.cloned(), config: Arc::new(config), purse, plain: vec![] }
    }

    pub fn is_tls12(&self) -> bool {
        self.purse.lock().tls12.is_some()
    }

    /// Which one it shows.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.device.as_ref().map(|device| &*device.chain[0])
    }

    /// Of the certificate.
    pub fn sha256(&self) -> Option<Sha256> {
        self.certificate().map(Sha256::of)
    }

    /// The serial numbers of the registered CAs on its path.
    pub fn over(&self) -> &[Vec<u8>] {
        self.device.as_ref().map_or(&[], |device| &device.over)
    }

    /// What the ticket says that it offers next. Gets new ones by a full handshake where it has
    /// none, which on TLS 1.2 is once: there a ticket may be offered again.
    pub fn plain(&mut self, door: &Door) -> &[u8] {
        if self.plain.is_empty() {
            self.purse.lock().is_open = true;
            door.glass.take_sealed();
            let (context, shaken) = self.shake(door);
            let server = shaken.unwrap();
            assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
            // What makes the record that the first ticket names.
            let _admission = context.admit(&server).unwrap();
            self.purse.lock().is_open = false;
            self.plain = door.glass.take_sealed();
        }
        self.plain.last().unwrap()
    }

    /// Whether rustls bears a ticket with this session. On TLS 1.2 it takes for granted that a secret
    /// which was sealed is as long as all are, and panics where one is not.
    pub fn can_offer(&self, session: &[u8]) -> bool {
        let genuine = self.plain.last().unwrap();
        !self.is_tls12() || session.starts_with(&genuine[..UP_TO_THE_SECRET])
    }

    /// Comes to the door with its next ticket, which says this there; also what is sealed next.
    pub fn come(
        &mut self,
        door: &Door,
        says: &[u8],
    ) -> (Handshake, Result<ServerConnection, Error>, Vec<Vec<u8>>) {
        door.glass.take_sealed();
        door.glass.say(Some(says));
        let (context, shaken) = self.shake(door);
        door.glass.say(None);
        let left = self.purse.lock().tls13.len();
        if self.purse.lock().tls12.is_none() {
            self.plain.truncate(left);
        }
        (context, shaken, door.glass.take_sealed())
    }

    fn shake(&self, door: &Door) -> (Handshake, Result<ServerConnection, Error>) {
        let mut context = door.handshake();
        let config = context.config();
        let name = ServerName::try_from("a.com").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let shaken = context.step(|| {
            let mut server = ServerConnection::new(config)?;
            while client.is_handshaking() || server.is_handshaking() {
                say(&mut client, &mut server)?;
                say(&mut server, &mut client)?;
            }
            Ok(server)
        });
        (context, shaken)
    }
}

fn say<A: SideData, B: SideData>(
    from: &mut impl DerefMut<Target = ConnectionCommon<A>>,
    to: &mut impl DerefMut<Target = ConnectionCommon<B>>,
) -> Result<(), Error> {
    let mut words = vec![];
    while from.wants_write() {
        from.write_tls(&mut words).unwrap();
    }
    let mut words = words.as_slice();
    while !words.is_empty() {
        to.read_tls(&mut words).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// Takes tickets only while it is open, so that none is taken whose session was tampered with.
#[derive(Default)]
struct Purse(Mutex<Held>);

#[derive(Default)]
struct Held {
    is_open: bool,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Vec<Tls13ClientSessionValue>,
}

impl Purse {
    fn lock(&self) -> impl DerefMut<Target = Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Purse {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        let mut held = self.lock();
        if held.is_open {
            held.tls12 = Some(value);
        }
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut held = self.lock();
        if held.is_open {
            held.tls13.push(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().tls13.pop()
    }
}

impl fmt::Debug for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Purse")
    }
}

/// The server name, the version, the suite, and how long the secret is.
const UP_TO_THE_SECRET: usize = 2 + "a.com".len() + 2 + 2 + 1;
