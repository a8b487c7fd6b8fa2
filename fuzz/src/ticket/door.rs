//! An instance whose tickets are sealed by nothing, and those who come to it.

use std::fmt;
use std::mem;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, PoisonError};

use mqtls::{
    ActiveCaCertificate, CaCertificate, CaStatus, Caller, CertificateMaterial, ClientAuth,
    Handshake, InactivateCaCertificate, Instance, InstanceSpec, Instances, Memory, RegisterCa,
    Resumption, SetSniConfig, Sha256, Tickets,
};
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::server::ProducesTickets;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, Error, NamedGroup, RootCertStore,
    ServerConnection, SideData, SupportedProtocolVersion,
};
use rustls_pki_types::ServerName;

use super::super::fixed;
use super::fleet::{Ca, Device, Fleet};

/// One instance.
pub struct Door {
    instances: Instances,
    instance: Arc<Instance>,
    pub glass: Arc<Glass>,
}

impl Door {
    pub fn open(client_auth: ClientAuth, fleet: &Fleet) -> Self {
        let (source, glass) = (Memory::new(), Arc::new(Glass::default()));
        let server = fleet.server();
        let material = CertificateMaterial::from_der(server.chain.clone(), server.key()).unwrap();
        let tickets = Tickets::new()
            .per_handshake(Tickets::MAX_PER_HANDSHAKE)
            .sealed_by(Arc::clone(&glass) as _);
        let spec = InstanceSpec::new("fuzzed".parse().unwrap())
            .client_auth(client_auth)
            .resumption(Resumption::On(tickets));
        source.insert("fuzzed".parse().unwrap(), "default".parse().unwrap(), material);
        let (instances, instance) = fixed::instance_of(source, spec);
        let door = Self { instances, instance, glass };
        SetSniConfig {
            mqtt_instance_id: door.instance.id().clone(),
            default_certificate: "default".parse().unwrap(),
            sni_config: "".parse().unwrap(),
        }
        .apply(&door.instances, &Caller::local())
        .unwrap();
        for ca in fleet.active() {
            door.register(ca, CaStatus::Active);
        }
        door.register(&fleet.retired, CaStatus::Inactive);
        door
    }

    fn register(&self, ca: &Ca, status: CaStatus) {
        let operation = RegisterCa {
            mqtt_instance_id: self.instance.id().clone(),
            name: String::new(),
            status,
            certificate: CaCertificate::from_der(&ca.der).unwrap(),
        };
        operation.apply(&self.instances, &Caller::local()).unwrap();
    }

    /// Deactivates all CAs and activates them again: no ticket of before is good.
    pub fn close_and_open(&self, fleet: &Fleet) {
        for ca in fleet.active() {
            let sn = CaCertificate::from_der(&ca.der).unwrap().serial().clone();
            let mqtt_instance_id = self.instance.id().clone();
            InactivateCaCertificate { mqtt_instance_id, sn: sn.clone() }
                .apply(&self.instances, &Caller::local())
                .unwrap();
            let mqtt_instance_id = self.instance.id().clone();
            ActiveCaCertificate { mqtt_instance_id, sn }
                .apply(&self.instances, &Caller::local())
                .unwrap();
        }
    }

    pub fn handshake(&self) -> Handshake {
        self.instance.handshake().unwrap()
    }
}

/// A client with tickets of its own for one door.
pub struct Visitor {
    /// Which certificate it shows; none where it is anonymous.
    pub certificate: Option<Vec<u8>>,
    config: Arc<ClientConfig>,
    purse: Arc<Purse>,
    /// What its tickets say, the one that it offers next at the end.
    plain: Vec<Vec<u8>>,
}

impl Visitor {
    pub fn new(
        device: Option<&Device>,
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
        let certificate = device.map(|device| device.chain[0].to_vec());
        Self { certificate, config: Arc::new(config), purse, plain: vec![] }
    }

    /// Of the certificate.
    pub fn sha256(&self) -> Option<Sha256> {
        self.certificate.as_ref().map(|der| Sha256::of(der))
    }

    /// What the ticket says that it offers next. Gets new ones by a full handshake where it has
    /// none, which on TLS 1.2 is once: there a ticket may be offered again.
    pub fn plain(&mut self, door: &Door) -> &[u8] {
        if self.plain.is_empty() {
            self.purse.lock().is_open = true;
            door.glass.forget();
            let (_context, shaken) = self.shake(door);
            let kind = shaken.unwrap().handshake_kind();
            assert_eq!(kind, Some(rustls::HandshakeKind::Full));
            self.purse.lock().is_open = false;
            self.plain = mem::take(&mut door.glass.lock().sealed);
        }
        self.plain.last().unwrap()
    }

    /// Comes to the door with its next ticket, which says this there.
    pub fn come(
        &mut self,
        door: &Door,
        says: &[u8],
    ) -> (Handshake, Result<ServerConnection, Error>) {
        door.glass.lock().says = Some(says.to_vec());
        let shaken = self.shake(door);
        door.glass.lock().says = None;
        door.glass.forget();
        let left = self.purse.lock().tls13.len();
        if self.purse.lock().tls12.is_none() {
            self.plain.truncate(left);
        }
        shaken
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

/// Seals nothing: a ticket is its own plain text, unless it is to say something else.
#[derive(Debug, Default)]
pub struct Glass(Mutex<Behind>);

#[derive(Debug, Default)]
struct Behind {
    sealed: Vec<Vec<u8>>,
    says: Option<Vec<u8>>,
}

impl Glass {
    /// What was sealed so far is of no interest.
    pub fn forget(&self) {
        self.lock().sealed.clear();
    }

    fn lock(&self) -> impl DerefMut<Target = Behind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducesTickets for Glass {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        3600
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.lock().sealed.push(plain.to_vec());
        Some(plain.to_vec())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        Some(self.lock().says.clone().unwrap_or_else(|| ticket.to_vec()))
    }
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
