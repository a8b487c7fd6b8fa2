//! What do a million devices on record cost a handshake, an operator, and the memory?
//!
//! **Timed** is the server's part of a mutual TLS handshake on plain connections in the context that
//! `Instance::handshake` gives, through the gate, where the device's record is found and counted. On
//! our instance 1,000,000 devices are on record under one CA, and 256 of them, spread over all, come
//! in turn. **The baseline** is the same on an instance on which these 256 are on record and nobody
//! else. `full` are full handshakes, `tls13-resumed` and `tls12-resumed` those with a ticket.
//!
//! `page` is a page of 100 devices of the list of a CA's devices, from its middle, on both.
//!
//! Behind these: what a record weighs, its certificate of some 400 bytes included; and how long
//! deleting the CA takes, with all that is on record under it.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::cell::LazyCell;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use mqtls::trust::DeviceCursor;
use mqtls::{
    CaStatus, Caller, DeviceCertificate, DeviceStatus, InstanceSpec, RegisterDeviceCertificate,
};
use rcgen::KeyPair;
use rustls::HandshakeKind::{Full, Resumed};
use rustls::client::Resumption;
use rustls::{ClientConfig, SupportedProtocolVersion};
use shake::{in_turn, of_kind, shake_in_context};
use side_by_side::{Bar, Contenders, SideBySide, Terms, each, measures, whole};
use support::{Door, Identity, TestCa, client};

mod shake;
mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;
mod visit;

fn main() -> ExitCode {
    let mut benches = SideBySide::from_args("devices");
    let many = if measures() { MANY } else { 1_000 };
    let full = LazyCell::new(|| House::with(many));
    let empty = LazyCell::new(|| House::with(COMING));
    benches.compare(format!("full-{many}"), TERMS, || {
        let first_time = |house: &House| house.clients(&rustls::version::TLS13, true);
        Contenders {
            mqtls: full.shakes(first_time(&full), false),
            baseline: empty.shakes(first_time(&empty), false),
        }
    });
    for (case, version) in VERSIONS {
        benches.compare(format!("{case}-resumed-{many}"), TERMS, || Contenders {
            mqtls: full.shakes(full.clients(version, false), true),
            baseline: empty.shakes(empty.clients(version, false), true),
        });
    }
    benches.compare(format!("page-{many}"), PAGES, || Contenders {
        mqtls: full.pages(),
        baseline: empty.pages(),
    });
    benches.report("weight", || weigh(many / 10));
    benches.report(format!("delete-ca-{many}"), || {
        let start = Instant::now();
        let deleted = full.door.delete(&full.ca);
        format!("{} records forgotten in {:.1?}", deleted.devices, start.elapsed())
    });
    benches.finish()
}

/// An instance with so many devices on record under a CA, and those among them who come.
struct House {
    door: Door,
    ca: TestCa,
    coming: Vec<Identity>,
}

impl House {
    fn with(devices: usize) -> Self {
        let door = Door::open_as(|spec: InstanceSpec| spec.max_devices(devices + 1));
        let ca = TestCa::root("fleet");
        door.register(&ca, CaStatus::Active).unwrap();
        let key = Arc::new(KeyPair::generate().unwrap());
        let every = devices / COMING;
        let fill = |half| fill(&door, &ca, &key, (0..devices).skip(half).step_by(2), every);
        let coming = std::thread::scope(|scope| {
            let other = scope.spawn(|| fill(1));
            [fill(0), other.join().unwrap()].concat()
        });
        let coming = coming.into_iter().take(COMING).collect();
        assert_eq!(door.instance.trust().device_count(), devices);
        Self { door, ca, coming }
    }

    fn clients(
        &self,
        version: &'static SupportedProtocolVersion,
        forgetful: bool,
    ) -> Vec<Arc<ClientConfig>> {
        let client = |device| {
            let mut client = client(Some(device), version);
            if forgetful {
                client.resumption = Resumption::disabled();
            }
            Arc::new(client)
        };
        self.coming.iter().map(client).collect()
    }

    /// Handshakes of these in turn; with a ticket after a first one, where they are to be resumed.
    fn shakes(
        &self,
        clients: Vec<Arc<ClientConfig>>,
        resumed: bool,
    ) -> impl FnMut(u64) -> Duration + use<> {
        let instance = Arc::clone(&self.door.instance);
        let kind = if resumed { Resumed } else { Full };
        if resumed {
            for client in &clients {
                of_kind(Full, shake_in_context(&instance, client));
            }
        }
        let mut clients = in_turn(clients);
        each(move || of_kind(kind, shake_in_context(&instance, &clients())))
    }

    fn pages(&self) -> impl FnMut(u64) -> Duration + use<> {
        let (instance, ca) = (Arc::clone(&self.door.instance), self.ca.serial());
        let half = instance.trust().device_count() / 2;
        let mut middle: Option<DeviceCursor> = None;
        for _ in 0..half / 100 {
            middle = instance.trust().list_devices_of(&ca, middle, 100).unwrap().next;
        }
        whole(move || {
            let page = instance.trust().list_devices_of(&ca, middle, 100).unwrap();
            assert_eq!(page.devices.len(), 100);
            page
        })
    }
}

/// Registers devices with these numbers, and gives back every so many-th of them.
fn fill(
    door: &Door,
    ca: &TestCa,
    key: &Arc<KeyPair>,
    numbers: impl Iterator<Item = usize>,
    every: usize,
) -> Vec<Identity> {
    let record = |number| {
        let device = device(ca, key, number);
        register(door, ca, &device);
        (number % every == 0).then_some(device)
    };
    numbers.filter_map(record).collect()
}

/// A device with this number as its serial number. All have one key, which is slow to make.
fn device(ca: &TestCa, key: &Arc<KeyPair>, number: usize) -> Identity {
    ca.device_over(Arc::clone(key), &format!("device-{number}"), |params| {
        // Positive and of the usual length.
        let serial = [&[1; 8][..], &number.to_be_bytes()].concat();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    })
}

fn register(door: &Door, ca: &TestCa, device: &Identity) {
    RegisterDeviceCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        ca_sn: ca.serial(),
        status: DeviceStatus::Active,
        certificate: DeviceCertificate::from_der(device.chain.clone()).unwrap(),
    }
    .apply(&door.instances, &Caller::local())
    .unwrap();
}

/// What a record takes, in all tables.
fn weigh(number: usize) -> String {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, CaStatus::Active).unwrap();
    let key = Arc::new(KeyPair::generate().unwrap());
    let mut certificates = 0;
    let weight = measure(|| {
        for at in 0..number {
            let device = device(&ca, &key, at);
            certificates += device.end_entity().len();
            register(&door, &ca, &device);
        }
    });
    assert_eq!(door.instance.trust().device_count(), number);
    let each = weight.bytes_current / i64::try_from(number).unwrap();
    format!("{each} bytes a record, {} of them the certificate", certificates / number)
}

const MANY: usize = 1_000_000;
const COMING: usize = 256;
const TERMS: Terms = Terms::new(16, Bar::Ratio(1.02));
const PAGES: Terms = Terms::new(100, Bar::Ratio(1.5));
const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("tls13", &rustls::version::TLS13), ("tls12", &rustls::version::TLS12)];
