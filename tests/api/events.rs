//! Whoever watches is told what happens, and holds nobody up.

use std::time::Duration;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::trust::Refusal;
use mqtls::{
    Acceptor, Caller, ClientAuth, DeviceCertificate, DeviceStatus, Ended, Event, Events,
    InstanceSpec, LoadRevocationList, Outcome, RegisterDeviceCertificate, RevocationList,
};

use crate::line::Line;
use crate::support::{Door, NOW, PlainHandshake, TestCa, VERSIONS, client, date};

fn all(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next()).collect()
}

#[tokio::test]
async fn what_operators_do_is_told_when_it_is_done_and_what_changed_nothing_is_not() {
    let door = Door::open();
    let mut events = door.instances.events();
    let instance = || door.instance.id().clone();
    let ca = TestCa::root("fleet");
    let ca_serial = || ca.serial();
    let device = ca.device("device");
    let serial = || device.serial();
    let status =
        |status| Event::CaStatusChanged { instance: instance(), ca_serial: ca_serial(), status };
    let device_status = |status| Event::DeviceStatusChanged {
        instance: instance(),
        ca_serial: ca_serial(),
        serial: serial(),
        status,
    };
    let ended = |why, count| Event::ConnectionsEnded { instance: instance(), why, count };

    door.register(&ca, Active).unwrap();
    assert_eq!(all(&mut events), [status(Some(Active))]);
    assert!(door.register(&ca, Inactive).is_err());
    door.activate(&ca);
    assert_eq!(all(&mut events), []);

    let _lines = Line::several(2, &door, &device, VERSIONS[1]).await;
    let recorded =
        Event::DeviceRecorded { instance: instance(), ca_serial: ca_serial(), serial: serial() };
    assert_eq!(all(&mut events), [recorded], "once, with the first of two");

    door.deactivate_device(&ca, &device);
    let why = Ended::DeviceInactive { ca_serial: ca_serial(), serial: serial() };
    assert_eq!(all(&mut events), [device_status(Some(DeviceStatus::Inactive)), ended(why, 2)]);
    door.deactivate_device(&ca, &device);
    assert_eq!(all(&mut events), []);
    door.activate_device(&ca, &device);
    assert_eq!(all(&mut events), [device_status(Some(DeviceStatus::Active))]);
    door.activate_device(&ca, &device);
    assert_eq!(all(&mut events), []);

    let _line = Line::up(&door, Some(&device), VERSIONS[1]).await;
    door.deactivate(&ca);
    let why = Ended::CaInactive(ca_serial());
    assert_eq!(all(&mut events), [status(Some(Inactive)), ended(why, 1)]);
    door.activate(&ca);
    let _line = Line::up(&door, Some(&device), VERSIONS[1]).await;
    door.delete_device(&ca, &device);
    let why = Ended::DeviceDeleted { ca_serial: ca_serial(), serial: serial() };
    assert_eq!(all(&mut events), [status(Some(Active)), device_status(None), ended(why, 1)]);

    let _line = Line::up(&door, Some(&device), VERSIONS[1]).await;
    assert_eq!(all(&mut events).len(), 1, "it is recorded anew");
    let list = RevocationList::from_der(&ca.list(1, &[serial()], |_| {})).unwrap();
    for expected in [2, 0] {
        let sn = ca_serial();
        let operation =
            LoadRevocationList { mqtt_instance_id: instance(), sn, revocation_list: list.clone() };
        operation.apply(&door.instances, &Caller::local()).unwrap();
        let loaded = Event::RevocationListLoaded { instance: instance(), ca_serial: ca_serial() };
        let expected = &[loaded, ended(Ended::Revoked(ca_serial()), 1)][..expected];
        assert_eq!(all(&mut events), expected);
    }
    door.delete(&ca);
    assert_eq!(all(&mut events), [status(None)]);
}

#[tokio::test]
async fn a_device_that_an_operator_registers_is_told_and_whom_that_ends() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    let (twin, device) = (ca.twin(|_| {}), ca.device("device"));
    door.register(&ca, Active).unwrap();
    let _line = Line::up(&door, Some(&device), VERSIONS[1]).await;
    door.register(&twin, Active).unwrap();
    let mut events = door.instances.events();
    let operation = RegisterDeviceCertificate {
        mqtt_instance_id: door.instance.id().clone(),
        ca_sn: twin.serial(),
        status: DeviceStatus::Inactive,
        certificate: DeviceCertificate::from_der(device.chain.clone()).unwrap(),
    };
    operation.apply(&door.instances, &Caller::local()).unwrap();
    let instance = || door.instance.id().clone();
    let (ca_serial, serial) = (twin.serial(), device.serial());
    let why = Ended::DeviceInactive { ca_serial: ca_serial.clone(), serial: serial.clone() };
    let status = Some(DeviceStatus::Inactive);
    let registered = Event::DeviceStatusChanged { instance: instance(), ca_serial, serial, status };
    let ended = Event::ConnectionsEnded { instance: instance(), why, count: 1 };
    assert_eq!(all(&mut events), [registered, ended]);
    operation.apply(&door.instances, &Caller::local()).unwrap_err();
    assert_eq!(all(&mut events), []);
}

#[tokio::test]
async fn certificates_ends_of_time_and_the_end_of_an_instance_are_told() {
    let door = Door::open_as(|spec: InstanceSpec| spec.max_lifetime(Duration::from_secs(1000)));
    let mut events = door.instances.events();
    let instance = || door.instance.id().clone();
    let ended = |why, count| Event::ConnectionsEnded { instance: instance(), why, count };
    door.put("other", &door.server_ca.server(&["other.test"]));
    for expected in [1, 0] {
        let generation = door.set_sni("default", "other.test#other").unwrap().generation;
        let changed = Event::CertificatesChanged { instance: instance(), generation };
        assert_eq!(all(&mut events), &[changed][..expected]);
    }
    assert!(door.set_sni("missing", "").is_err());
    assert_eq!(all(&mut events), []);

    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let short = ca.device_with("short", |params| params.not_after = date(NOW + 10));
    let _short = Line::up(&door, Some(&short), VERSIONS[1]).await;
    let _long = Line::several(3, &door, &ca.device("long"), VERSIONS[1]).await;
    all(&mut events);
    door.clock.set(NOW + 11);
    door.instance.sweep();
    assert_eq!(all(&mut events), [ended(Ended::Expired, 1)]);
    door.instance.sweep();
    assert_eq!(all(&mut events), []);
    door.clock.set(NOW + 1000);
    door.instance.sweep();
    assert_eq!(all(&mut events), [ended(Ended::LifetimeOver, 3)]);

    let _last = Line::up(&door, Some(&ca.device("last")), VERSIONS[1]).await;
    all(&mut events);
    door.instances.remove(door.instance.id()).unwrap();
    let removed = Event::InstanceRemoved { instance: instance() };
    assert_eq!(all(&mut events), [ended(Ended::InstanceRemoved, 1), removed]);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason_and_an_admission_is_not() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, Active).unwrap();
    let device = ca.device("device");
    let _known = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    let mut events = door.instances.events();
    let _again = door.knock(Some(&device), VERSIONS[1]).await.admitted().await;
    assert_eq!(all(&mut events), []);

    let instance = Some(door.instance.id().clone());
    let stranger = TestCa::root("strangers").device("stranger");
    door.knock(Some(&stranger), VERSIONS[1]).await.not_believed();
    door.knock(None, VERSIONS[1]).await.client.unwrap_err();
    let (outcome, refusal) = (Outcome::UnknownIssuer, Some(Refusal::UnknownIssuer));
    let first = Event::Refused { instance: instance.clone(), outcome, refusal };
    let (outcome, refusal) = (Outcome::NoDeviceCertificate, None);
    let second = Event::Refused { instance, outcome, refusal };
    assert_eq!(all(&mut events), [first, second]);
}

#[tokio::test]
async fn on_a_shared_listener_a_refusal_tells_to_whom_the_client_came() {
    let mut door = Door::open_as(|spec| spec.shared(["a.test".parse().unwrap()]));
    door.acceptor = Acceptor::shared(&door.instances);
    let mut events = door.instances.events();
    let stranger = TestCa::root("strangers").device("stranger");
    for (name, known) in [("a.test", true), ("b.test", false)] {
        let visit = door.visit(client(Some(&stranger), VERSIONS[1]), name).await;
        assert!(visit.server.is_err());
        let [Event::Refused { instance, .. }] = &all(&mut events)[..] else { panic!("{name}") };
        assert_eq!(instance.as_ref(), known.then(|| door.instance.id()), "{name}");
    }
}

#[tokio::test]
async fn who_reads_slowly_misses_the_oldest_and_is_told_how_many() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    let mut events = door.instances.events();
    door.register(&ca, Active).unwrap();
    for _ in 0..600 {
        door.deactivate(&ca);
        door.activate(&ca);
    }
    assert_eq!(events.next().await, Some(Event::Missed { count: 1201 - 1024 }));
    assert_eq!(all(&mut events).len(), 1024);
    // Whoever came later has missed nothing.
    let mut later = door.instances.events();
    door.deactivate(&ca);
    assert_eq!(all(&mut later).len(), 1);
    assert_eq!(all(&mut events).len(), 1);
}

#[tokio::test]
async fn refusals_push_out_nothing_but_refusals() {
    let door = Door::open_with(ClientAuth::Optional);
    let mut events = door.instances.events();
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    for _ in 0..1100 {
        let io = tokio::io::join(&b"not TLS at all"[..], tokio::io::sink());
        assert!(door.acceptor.accept(io).await.is_err());
    }
    door.deactivate(&ca);
    let told = all(&mut events);
    assert!(matches!(told[..2], [Event::CaStatusChanged { .. }, Event::CaStatusChanged { .. }]));
    assert_eq!(told[2], Event::Missed { count: 1100 - 1024 });
    assert_eq!(told.len(), 3 + 1024);
}

#[tokio::test]
async fn a_reader_waits_and_hears_of_the_end_of_the_set() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    let mut events = door.instances.events();
    let waiting = tokio::spawn(async move { (events.next().await, events) });
    tokio::task::yield_now().await;
    door.register(&ca, Active).unwrap();
    let (first, mut events) = waiting.await.unwrap();
    assert!(matches!(first, Some(Event::CaStatusChanged { .. })));
    door.deactivate(&ca);
    door.knock(None, VERSIONS[1]).await.client.unwrap_err();
    drop(door);
    assert!(matches!(events.next().await, Some(Event::CaStatusChanged { .. })));
    assert!(matches!(events.next().await, Some(Event::Refused { .. })));
    assert_eq!(events.next().await, None);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn an_accept_loop_of_ones_own_records_devices_and_that_is_told() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, Active).unwrap();
    let mut events = door.instances.events();
    let config = client(Some(&ca.device("device")), VERSIONS[1]);
    let mut shaken = PlainHandshake::between(door.instance.server_config(), config.into());
    shaken.finish().unwrap();
    for expected in [1, 0] {
        let _admission = door.instance.admit(&shaken.server).unwrap();
        assert_eq!(all(&mut events).len(), expected);
    }
    assert_eq!(door.instance.trust().device_count(), 1);
}
