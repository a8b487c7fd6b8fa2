//! A ticket rests on its device's record, too, as it was in the handshake that it goes back to.

use mqtls::CaStatus::Active;
use mqtls::trust::Refusal;
use mqtls::{
    Caller, DeviceCertificate, DeviceStatus, InstanceSpec, Provisioning, RegisterDeviceCertificate,
};
use rustls::HandshakeKind::{Full, Resumed};
use rustls::{ClientConfig, SupportedProtocolVersion};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::line::on_versions;
use crate::support::{
    Door, Examinations, HeldHandshake, Identity, TestCa, VERSIONS, client, in_small_records,
};
use crate::ticket_tools::{DEVICE_DELETED, Declines, come, device_changed};

/// A door, a CA that it knows, and two devices of it.
struct Fleet {
    door: Door,
    ca: TestCa,
    device: Identity,
    other: Identity,
}

/// What an operator does while a ticket is out.
type Change = fn(&Fleet);

/// Why the ticket is declined.
type Reason = fn(&Fleet) -> String;

/// Why the device is refused then.
type Expected = fn(&Fleet) -> Refusal;

impl Fleet {
    fn new() -> Self {
        Self::at(Door::open())
    }

    fn at(door: Door) -> Self {
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let [device, other] = ["device", "other"].map(|name| ca.device(name));
        Self { door, ca, device, other }
    }

    /// A client that is the device, and holds a ticket from a handshake that was resumed this often.
    async fn with_ticket(
        &self,
        resumed: usize,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let client = client(Some(&self.device), version);
        assert_eq!(come(&self.door, &client).await.0, Full);
        for _ in 0..resumed {
            assert_eq!(come(&self.door, &client).await.0, Resumed);
        }
        client
    }

    /// Begins a handshake of the device, up to where its certificate has been verified; and what it
    /// says last.
    async fn verified(&self, client: &ClientConfig) -> (HeldHandshake, Vec<u8>) {
        let examinations = Examinations::watch();
        let config = in_small_records(client.clone());
        let (mut held, mut records) =
            HeldHandshake::up_to_the_certificate(&self.door, config).await;
        let finished = records.pop_back().unwrap();
        held.pass(records).await;
        examinations.next().await;
        (held, finished)
    }

    fn deactivate(&self) {
        assert!(self.door.deactivate_device(&self.ca, &self.device).changed);
    }

    fn activate(&self) {
        assert!(self.door.activate_device(&self.ca, &self.device).changed);
    }

    fn delete(&self) {
        self.door.delete_device(&self.ca, &self.device);
    }

    fn register(&self, status: DeviceStatus) {
        register(&self.door, &self.ca, &self.device, status);
    }

    fn serial(&self) -> mqtls::SerialNumber {
        self.device.serial()
    }

    fn changed(&self) -> String {
        device_changed(&self.device)
    }

    fn inactive(&self) -> Refusal {
        Refusal::InactiveDevice { ca_serial: self.ca.serial(), serial: self.serial() }
    }

    /// How often the device came in on its record; `None` where there is none.
    fn connections(&self) -> Option<u64> {
        let record = self.door.instance.trust().device(&self.ca.serial(), &self.serial());
        record.map(|record| record.connections())
    }
}

fn register(door: &Door, ca: &TestCa, device: &Identity, status: DeviceStatus) {
    let operation = RegisterDeviceCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        ca_sn: ca.serial(),
        status,
        certificate: DeviceCertificate::from_der(device.chain.clone()).unwrap(),
    };
    operation.apply(&door.instances, &Caller::local()).unwrap();
}

fn deleted(_: &Fleet) -> String {
    DEVICE_DELETED.to_owned()
}

fn registered_only(spec: InstanceSpec) -> InstanceSpec {
    spec.provisioning(Provisioning::RegisteredOnly)
}

#[tokio::test]
async fn r02_a_ticket_of_a_device_that_is_inactive_or_gone_is_declined_and_its_bearer_refused() {
    let changes: [(Change, Reason, Expected); 3] = [
        (Fleet::deactivate, Fleet::changed, Fleet::inactive),
        (Fleet::delete, deleted, |fleet| Refusal::UnknownDevice(fleet.serial())),
        (
            |fleet| {
                fleet.delete();
                fleet.register(DeviceStatus::Inactive);
            },
            deleted,
            Fleet::inactive,
        ),
    ];
    for (version, (resumed, (change, reason, refusal))) in
        on_versions([0, 2].into_iter().flat_map(|it| changes.map(|change| (it, change))))
    {
        let fleet = Fleet::at(Door::open_as(registered_only));
        fleet.register(DeviceStatus::Active);
        let client = fleet.with_ticket(resumed, version).await;
        let mut declines = Declines::watch();
        change(&fleet);
        let visit = fleet.door.visit(client, "localhost").await;
        assert_eq!(visit.not_believed(), refusal(&fleet));
        assert_eq!(declines.take(), [reason(&fleet)]);
    }
}

#[tokio::test]
async fn r02_a_ticket_from_before_a_change_of_the_record_is_declined_also_where_all_is_as_it_was() {
    /// How often the device came in on its record after the next handshake, and before it.
    type Connections = fn(u64) -> u64;
    let changes: [(Change, Reason, Connections); 3] = [
        (
            |fleet| {
                fleet.deactivate();
                fleet.activate();
            },
            Fleet::changed,
            |before| before + 1,
        ),
        (Fleet::delete, deleted, |_| 1),
        (
            |fleet| {
                fleet.delete();
                fleet.register(DeviceStatus::Active);
            },
            deleted,
            |_| 1,
        ),
    ];
    for (version, (resumed, (change, reason, connections))) in
        on_versions([0, 2].into_iter().flat_map(|it| changes.map(|change| (it, change))))
    {
        let fleet = Fleet::new();
        let client = fleet.with_ticket(resumed, version).await;
        let before = fleet.connections().unwrap();
        let mut declines = Declines::watch();
        change(&fleet);
        assert_eq!(come(&fleet.door, &client).await.0, Full);
        assert_eq!(declines.take(), [reason(&fleet)]);
        assert_eq!(fleet.connections(), Some(connections(before)));
        assert_eq!(come(&fleet.door, &client).await.0, Resumed);
        assert_eq!(declines.take(), [""; 0]);
    }
}

#[tokio::test]
async fn r02_a_device_that_is_inactive_under_one_ca_does_not_resume_through_another() {
    for version in VERSIONS {
        let (door, root) = (Door::open(), TestCa::root("root"));
        let sub = root.child("sub");
        let device = sub.device("device").with_chain(&[&sub]);
        let client = client(Some(&device), version);
        door.register(&root, Active).unwrap();
        assert_eq!(come(&door, &client).await.0, Full);
        door.register(&sub, Active).unwrap();
        for expected in [Full, Resumed] {
            let (kind, connection) = come(&door, &client).await;
            assert_eq!(kind, expected);
            assert_eq!(connection.device().unwrap().ca_serial(), &sub.serial());
        }
        let mut declines = Declines::watch();
        door.deactivate_device(&root, &device);
        let inactive = Refusal::InactiveDevice { ca_serial: sub.serial(), serial: device.serial() };
        let visit = door.visit(client.clone(), "localhost").await;
        assert_eq!(visit.not_believed(), inactive);
        assert_eq!(declines.take(), [device_changed(&device)]);
        door.activate_device(&root, &device);
        for expected in [Full, Resumed] {
            assert_eq!(come(&door, &client).await.0, expected);
        }
    }
}

#[tokio::test]
async fn r05_a_change_of_the_record_between_verification_and_ticket_leaves_the_ticket_useless() {
    let changes: [(Change, Reason, Option<Expected>); 4] = [
        (Fleet::deactivate, Fleet::changed, Some(Fleet::inactive)),
        (
            |fleet| {
                fleet.deactivate();
                fleet.activate();
            },
            Fleet::changed,
            None,
        ),
        (Fleet::delete, deleted, None),
        (
            |fleet| {
                fleet.delete();
                fleet.register(DeviceStatus::Active);
            },
            deleted,
            None,
        ),
    ];
    for (version, (change, reason, then)) in on_versions(changes) {
        let fleet = Fleet::new();
        fleet.with_ticket(0, version).await;
        let client = client(Some(&fleet.device), version);
        let (mut held, finished) = fleet.verified(&client).await;
        change(&fleet);
        held.pass([finished]).await;
        let refusal = held.release().await.turned_away_at_the_gate();
        assert_eq!(refusal, Refusal::DeviceChangedMeanwhile(fleet.serial()));
        // What was turned away has a ticket nevertheless.
        let mut declines = Declines::watch();
        match then {
            Some(refusal) => {
                let visit = fleet.door.visit(client, "localhost").await;
                assert_eq!(visit.not_believed(), refusal(&fleet));
            }
            None => assert_eq!(come(&fleet.door, &client).await.0, Full),
        }
        assert_eq!(declines.take(), [reason(&fleet)]);
    }
}

#[tokio::test]
async fn r05_the_ticket_of_a_first_handshake_names_the_record_that_the_gate_makes() {
    for version in VERSIONS {
        let fleet = Fleet::new();
        let client = client(Some(&fleet.device), version);
        let (mut held, finished) = fleet.verified(&client).await;
        assert_eq!(fleet.connections(), None);
        held.pass([finished]).await;
        let admitted = held.release().await.admitted().await;
        assert_eq!(fleet.connections(), Some(1));
        let mut declines = Declines::watch();
        let (kind, again) = come(&fleet.door, &client).await;
        assert_eq!(kind, Resumed);
        assert!(declines.take().is_empty());
        assert_eq!(fleet.connections(), Some(2));
        assert_eq!(again.device().unwrap().sha256(), admitted.device().unwrap().sha256());
    }
}

#[tokio::test]
async fn r05_the_ticket_of_a_first_handshake_that_the_gate_refused_is_declined() {
    let nothing: Change = |_| {};
    let changes: [(Change, Expected, Reason, Change); 3] = [
        (
            |fleet| {
                fleet.door.deactivate(&fleet.ca);
                fleet.door.activate(&fleet.ca);
            },
            |fleet| Refusal::ChangedMeanwhile(fleet.ca.serial()),
            |fleet| format!("the status of CA {} changed", fleet.ca.serial()),
            nothing,
        ),
        (
            |fleet| {
                fleet.register(DeviceStatus::Active);
                fleet.delete();
            },
            |fleet| Refusal::DeviceChangedMeanwhile(fleet.serial()),
            deleted,
            nothing,
        ),
        (
            |fleet| register(&fleet.door, &fleet.ca, &fleet.other, DeviceStatus::Active),
            |_| Refusal::TooManyDevices,
            deleted,
            |fleet| drop(fleet.door.delete_device(&fleet.ca, &fleet.other)),
        ),
    ];
    for (version, (change, refusal, reason, undo)) in on_versions(changes) {
        let fleet = Fleet::at(Door::open_as(|spec| spec.max_devices(1)));
        let client = client(Some(&fleet.device), version);
        let (mut held, finished) = fleet.verified(&client).await;
        change(&fleet);
        held.pass([finished]).await;
        assert_eq!(held.release().await.turned_away_at_the_gate(), refusal(&fleet));
        assert_eq!(fleet.connections(), None);
        undo(&fleet);
        let mut declines = Declines::watch();
        for expected in [Full, Resumed] {
            assert_eq!(come(&fleet.door, &client).await.0, expected);
        }
        assert_eq!(declines.take(), [reason(&fleet)]);
        assert_eq!(fleet.connections(), Some(2));
    }
}

#[tokio::test]
async fn r05_a_device_registered_behind_its_verification_makes_its_first_ticket_useless() {
    for version in VERSIONS {
        for status in [DeviceStatus::Active, DeviceStatus::Inactive] {
            let fleet = Fleet::new();
            let client = client(Some(&fleet.device), version);
            let (mut held, finished) = fleet.verified(&client).await;
            fleet.register(status);
            held.pass([finished]).await;
            let visit = held.release().await;
            let mut declines = Declines::watch();
            if status == DeviceStatus::Active {
                visit.admitted().await;
                assert_eq!(come(&fleet.door, &client).await.0, Full);
            } else {
                assert_eq!(visit.turned_away_at_the_gate(), fleet.inactive());
                let visit = fleet.door.visit(client, "localhost").await;
                assert_eq!(visit.not_believed(), fleet.inactive());
            }
            assert_eq!(declines.take(), [DEVICE_DELETED]);
        }
    }
}

#[tokio::test]
async fn r05_of_two_first_handshakes_at_a_time_one_ticket_names_the_record() {
    for version in VERSIONS {
        let fleet = Fleet::new();
        let [winner, loser] = [(), ()].map(|()| client(Some(&fleet.device), version));
        let (mut first, finished) = fleet.verified(&winner).await;
        let (mut second, last) = fleet.verified(&loser).await;
        first.pass([finished]).await;
        let first = first.release().await.admitted().await;
        second.pass([last]).await;
        let second = second.release().await.admitted().await;
        assert_eq!(fleet.door.instance.trust().device_count(), 1);
        assert_eq!(fleet.connections(), Some(2));
        assert!(first.handle().ended().is_none() && second.handle().ended().is_none());
        let mut declines = Declines::watch();
        assert_eq!(come(&fleet.door, &winner).await.0, Resumed);
        assert!(declines.take().is_empty());
        for expected in [Full, Resumed] {
            assert_eq!(come(&fleet.door, &loser).await.0, expected);
        }
        assert_eq!(declines.take(), [DEVICE_DELETED]);
        assert_eq!(fleet.door.instance.trust().device_count(), 1);
    }
}

#[tokio::test]
async fn r06_whatever_changes_about_other_devices_the_device_still_resumes() {
    for version in VERSIONS {
        let fleet = Fleet::new();
        let client = fleet.with_ticket(0, version).await;
        let beside = fleet.door.beside("mqtt-other");
        beside.register(&fleet.ca, Active).unwrap();
        let mut declines = Declines::watch();
        for _ in 0..250 {
            for (door, device) in [(&fleet.door, &fleet.other), (&beside, &fleet.device)] {
                register(door, &fleet.ca, device, DeviceStatus::Active);
                door.deactivate_device(&fleet.ca, device);
                door.activate_device(&fleet.ca, device);
                door.delete_device(&fleet.ca, device);
            }
        }
        assert_eq!(come(&fleet.door, &client).await.0, Resumed);
        assert!(declines.take().is_empty());
    }
}

#[tokio::test]
async fn r06_activating_a_device_that_is_active_leaves_its_ticket_good() {
    for version in VERSIONS {
        let fleet = Fleet::new();
        let client = fleet.with_ticket(0, version).await;
        assert!(!fleet.door.activate_device(&fleet.ca, &fleet.device).changed);
        assert_eq!(come(&fleet.door, &client).await.0, Resumed);
    }
}

#[tokio::test]
async fn r06_a_device_registered_beforehand_resumes_from_its_first_handshake_on() {
    for version in VERSIONS {
        let fleet = Fleet::at(Door::open_as(registered_only));
        fleet.register(DeviceStatus::Active);
        let client = fleet.with_ticket(1, version).await;
        assert_eq!(come(&fleet.door, &client).await.0, Resumed);
        assert_eq!(fleet.connections(), Some(3));
    }
}

#[tokio::test]
async fn r01_a_device_that_is_let_in_on_the_record_of_its_cas_twin_resumes() {
    for version in VERSIONS {
        let door = Door::open_as(registered_only);
        let [old, renewed] = {
            let old = TestCa::root("fleet");
            [old.clone(), old.twin(|_| {})]
        };
        door.register(&renewed, Active).unwrap();
        door.register(&old, Active).unwrap();
        let device = old.device("device");
        register(&door, &old, &device, DeviceStatus::Active);
        let as_registered = client(Some(&device), version);
        for expected in [Full, Resumed, Resumed] {
            let (kind, connection) = come(&door, &as_registered).await;
            assert_eq!(kind, expected);
            assert_eq!(connection.device().unwrap().ca_serial(), &renewed.serial());
        }
        // Let in on octets that are not the record's, it could not come back with a ticket.
        let otherwise = client(Some(&signed_otherwise(&device)), version);
        let refusal = door.visit(otherwise, "localhost").await.not_believed();
        assert_eq!(refusal, Refusal::UnknownDevice(device.serial()));
    }
}

/// The same certificate with its CA's signature (r, s) written as (r, n - s), which is as good.
fn signed_otherwise(device: &Identity) -> Identity {
    let der = device.end_entity();
    let (_, x509) = X509Certificate::from_der(der).unwrap();
    let signature = &x509.signature_value.data;
    // A SEQUENCE of two INTEGERs, and each length in one octet.
    let (r, s) = signature[2..].split_at(2 + usize::from(signature[3]));
    let tagged = |tag: u8, body: &[u8]| [&[tag, u8::try_from(body.len()).unwrap()], body].concat();
    let signature = tagged(0x30, &[r, &tagged(0x02, &from_the_order(&s[2..]))].concat());
    let before = &der[4..der.len() - x509.signature_value.data.len() - 3];
    let body = [before, &tagged(0x03, &[&[0], &signature[..]].concat())].concat();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let der = [&[0x30, 0x82], &length[..], &body].concat();
    Identity { chain: vec![der.into()], key: std::sync::Arc::clone(&device.key) }
}

/// What this number lacks to the order of P-256 (SEC 2 section 2.4.2), as the octets of an INTEGER.
fn from_the_order(number: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 33] = [
        0x00, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc,
        0x63, 0x25, 0x51,
    ];
    let (mut octets, mut borrowed) = (ORDER.to_vec(), false);
    let digits = number.iter().rev().chain(std::iter::repeat(&0));
    for (octet, digit) in octets.iter_mut().rev().zip(digits) {
        let (less, first) = octet.overflowing_sub(*digit);
        let (less, second) = less.overflowing_sub(borrowed.into());
        (*octet, borrowed) = (less, first || second);
    }
    let zeros = octets.windows(2).take_while(|it| it[0] == 0 && it[1] < 0x80).count();
    octets.split_off(zeros)
}
