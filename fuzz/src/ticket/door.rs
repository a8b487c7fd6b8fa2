//! An instance whose tickets are sealed by nothing.

use std::mem;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, PoisonError};

use mqtls::{
    ActiveCaCertificate, ActiveDeviceCertificate, CaCertificate, CaStatus, Caller,
    CertificateMaterial, ClientAuth, DeleteCaCertificate, DeleteDeviceCertificate,
    DeviceCertificate, DeviceStatus, Handshake, InactivateCaCertificate,
    InactivateDeviceCertificate, Instance, InstanceSpec, Instances, Memory, RegisterCa,
    RegisterDeviceCertificate, Resumption, SerialNumber, SetSniConfig, Tickets,
};
use rustls::server::ProducesTickets;

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
        door.register(&fleet.deleted, CaStatus::Active);
        let operation = RegisterDeviceCertificate {
            mqtt_instance_id: door.instance.id().clone(),
            ca_sn: serial(&fleet.root.serial),
            status: DeviceStatus::Inactive,
            certificate: DeviceCertificate::from_der(fleet.inactive.chain.clone()).unwrap(),
        };
        operation.apply(&door.instances, &Caller::local()).unwrap();
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

    /// Deactivates all CAs and activates them again, all but one, which it deletes: no ticket of
    /// before is good. Does the same to one of the devices of the root, and forgets another.
    pub fn close_and_open(&self, fleet: &Fleet, changed: &Device, forgotten: &Device) {
        fleet.active().into_iter().for_each(|ca| self.toggle(ca));
        let mqtt_instance_id = self.instance.id().clone();
        DeleteCaCertificate { mqtt_instance_id, sn: serial(&fleet.deleted.serial) }
            .apply(&self.instances, &Caller::local())
            .unwrap();
        let of = |device: &Device| {
            let id = self.instance.id().clone();
            (id, serial(&fleet.root.serial), serial(&device.serial))
        };
        let (mqtt_instance_id, ca_sn, device_sn) = of(changed);
        InactivateDeviceCertificate { mqtt_instance_id, ca_sn, device_sn }
            .apply(&self.instances, &Caller::local())
            .unwrap();
        let (mqtt_instance_id, ca_sn, device_sn) = of(changed);
        ActiveDeviceCertificate { mqtt_instance_id, ca_sn, device_sn }
            .apply(&self.instances, &Caller::local())
            .unwrap();
        let (mqtt_instance_id, ca_sn, device_sn) = of(forgotten);
        DeleteDeviceCertificate { mqtt_instance_id, ca_sn, device_sn }
            .apply(&self.instances, &Caller::local())
            .unwrap();
    }

    /// Deactivates a CA and activates it again.
    pub fn toggle(&self, ca: &Ca) {
        let of = || (self.instance.id().clone(), serial(&ca.serial));
        let (mqtt_instance_id, sn) = of();
        InactivateCaCertificate { mqtt_instance_id, sn }
            .apply(&self.instances, &Caller::local())
            .unwrap();
        let (mqtt_instance_id, sn) = of();
        ActiveCaCertificate { mqtt_instance_id, sn }
            .apply(&self.instances, &Caller::local())
            .unwrap();
    }

    pub fn handshake(&self) -> Handshake {
        self.instance.handshake().unwrap()
    }
}

fn serial(octets: &[u8]) -> SerialNumber {
    SerialNumber::from_der_content(&[&[0], octets].concat()).unwrap()
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
    /// What was sealed since this was last called.
    pub fn take_sealed(&self) -> Vec<Vec<u8>> {
        mem::take(&mut self.lock().sealed)
    }

    /// What every ticket is to say from now on; itself where nothing is.
    pub fn say(&self, says: Option<&[u8]>) {
        self.lock().says = says.map(<[u8]>::to_vec);
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
