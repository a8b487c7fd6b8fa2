//! A ticket rests on every CA of the path that was verified, registered or not.

use mqtls::CaStatus::{Active, Inactive};
use mqtls::trust::Refusal;
use rustls::ClientConfig;
use rustls::HandshakeKind::{Full, Resumed};

use crate::support::{Door, Identity, NOW, TestCa, VERSIONS, client, date};
use crate::ticket_tools::{CA_DELETED, Declines, come};

/// A root, a sub-CA, and a device below it that sends the sub-CA's certificate along.
struct Fleet {
    root: TestCa,
    sub: TestCa,
    /// The sub-CA's key under another name.
    alias: TestCa,
    device: Identity,
}

impl Fleet {
    fn new() -> Self {
        let root = TestCa::root("root");
        let sub = root.child("sub");
        let alias = TestCa::self_signed(std::sync::Arc::clone(&sub.key), "alias", |_| {});
        let device = sub.device("device").with_chain(&[&sub]);
        Self { root, sub, alias, device }
    }
}

/// Whether the device comes back, and how.
#[derive(Debug)]
enum Then {
    /// With its ticket.
    Resumes,
    /// By a full handshake, and by the ticket of that one again. Admitted by this CA.
    ShakesHands(fn(&Fleet) -> &TestCa),
    /// Not at all.
    IsRefused(fn(&Fleet) -> Refusal),
}

type Operation = fn(&Door, &Fleet);

struct Case {
    before: Operation,
    after: Operation,
    /// Why the ticket is declined.
    reason: fn(&Fleet) -> Option<String>,
    then: Then,
}

fn changed(ca: &TestCa) -> Option<String> {
    Some(format!("the status of CA {} changed", ca.serial()))
}

fn registered(ca: &TestCa) -> Option<String> {
    Some(format!("what is registered about intermediate CA {}, or its key, changed", ca.serial()))
}

fn root_only(door: &Door, fleet: &Fleet) {
    door.register(&fleet.root, Active).unwrap();
}

fn both(door: &Door, fleet: &Fleet) {
    door.register(&fleet.root, Active).unwrap();
    door.register(&fleet.sub, Active).unwrap();
}

fn refused_for_sub() -> Then {
    Then::IsRefused(|fleet| Refusal::InactiveCa(fleet.sub.serial()))
}

/// The sub-CA alone is on the sealed path.
fn with_sub_as_anchor() -> [Case; 3] {
    [
        Case {
            before: both,
            after: |door, fleet| drop(door.deactivate(&fleet.sub)),
            reason: |fleet| changed(&fleet.sub),
            then: refused_for_sub(),
        },
        Case {
            before: both,
            after: |door, fleet| drop(door.deactivate(&fleet.root)),
            reason: |_| None,
            then: Then::Resumes,
        },
        Case {
            before: both,
            after: |door, fleet| drop(door.delete(&fleet.sub)),
            reason: |_| Some(CA_DELETED.to_owned()),
            then: Then::ShakesHands(|fleet| &fleet.root),
        },
    ]
}

/// The sub-CA is on the sealed path without a record, as it is when the ticket comes. Its key was
/// refused meanwhile.
fn with_sub_refused_meanwhile() -> [Case; 4] {
    [
        Case {
            before: root_only,
            after: |door, fleet| {
                door.register(&fleet.sub, Inactive).unwrap();
                door.delete(&fleet.sub);
            },
            reason: |fleet| registered(&fleet.sub),
            then: Then::ShakesHands(|fleet| &fleet.root),
        },
        Case {
            before: root_only,
            after: |door, fleet| {
                door.register(&fleet.alias, Inactive).unwrap();
                door.activate(&fleet.alias);
            },
            reason: |fleet| registered(&fleet.sub),
            then: Then::ShakesHands(|fleet| &fleet.root),
        },
        Case {
            before: |door, fleet| {
                root_only(door, fleet);
                door.register(&fleet.alias, Active).unwrap();
            },
            after: |door, fleet| {
                door.deactivate(&fleet.alias);
                door.activate(&fleet.alias);
            },
            reason: |fleet| registered(&fleet.sub),
            then: Then::ShakesHands(|fleet| &fleet.root),
        },
        // It was refused before, and not since.
        Case {
            before: |door, fleet| {
                root_only(door, fleet);
                door.register(&fleet.sub, Inactive).unwrap();
                door.delete(&fleet.sub);
            },
            after: |_, _| {},
            reason: |_| None,
            then: Then::Resumes,
        },
    ]
}

/// The sub-CA is on the sealed path without a record, and gets one.
fn with_sub_unregistered() -> [Case; 5] {
    [
        Case {
            before: root_only,
            after: |door, fleet| drop(door.register(&fleet.sub, Inactive).unwrap()),
            reason: |fleet| registered(&fleet.sub),
            then: refused_for_sub(),
        },
        Case {
            before: root_only,
            after: |door, fleet| {
                door.register(&fleet.sub, Active).unwrap();
                door.deactivate(&fleet.sub);
            },
            reason: |fleet| registered(&fleet.sub),
            then: refused_for_sub(),
        },
        Case {
            before: root_only,
            after: |door, fleet| drop(door.register(&fleet.sub, Active).unwrap()),
            reason: |fleet| registered(&fleet.sub),
            then: Then::ShakesHands(|fleet| &fleet.sub),
        },
        Case {
            before: root_only,
            after: |door, fleet| {
                door.register(&fleet.alias, Inactive).unwrap();
            },
            reason: |fleet| registered(&fleet.sub),
            then: refused_for_sub(),
        },
        Case {
            before: root_only,
            after: |door, fleet| {
                door.register(&fleet.sub, Active).unwrap();
                door.deactivate(&fleet.root);
            },
            reason: |fleet| registered(&fleet.sub),
            then: Then::ShakesHands(|fleet| &fleet.sub),
        },
    ]
}

/// The root is on the sealed path, above the sub-CA without a record.
fn with_root_as_anchor() -> [Case; 3] {
    [
        Case {
            before: root_only,
            after: |door, fleet| drop(door.deactivate(&fleet.root)),
            reason: |fleet| changed(&fleet.root),
            then: Then::IsRefused(|fleet| Refusal::InactiveCa(fleet.root.serial())),
        },
        Case {
            before: root_only,
            after: |door, fleet| drop(door.delete(&fleet.root)),
            reason: |_| Some(CA_DELETED.to_owned()),
            then: Then::IsRefused(|_| Refusal::UnknownIssuer),
        },
        // Nothing of it is there any more when the ticket comes; it was, though.
        Case {
            before: root_only,
            after: |door, fleet| {
                door.register(&fleet.sub, Active).unwrap();
                door.delete(&fleet.sub);
            },
            reason: |fleet| registered(&fleet.sub),
            then: Then::ShakesHands(|fleet| &fleet.root),
        },
    ]
}

fn cases() -> impl Iterator<Item = Case> {
    with_sub_as_anchor()
        .into_iter()
        .chain(with_sub_refused_meanwhile())
        .chain(with_sub_unregistered())
        .chain(with_root_as_anchor())
}

async fn assert_resumes(door: &Door, client: &ClientConfig, through: &TestCa) {
    let (kind, connection) = come(door, client).await;
    assert_eq!(kind, Resumed);
    assert_eq!(connection.device().unwrap().ca_serial(), &through.serial());
}

#[tokio::test]
async fn r10_a_ticket_is_declined_where_a_ca_on_the_sealed_path_is_another_than_it_was() {
    for version in VERSIONS {
        for (at, Case { before, after, reason, then }) in cases().enumerate() {
            let (door, fleet) = (Door::open(), Fleet::new());
            before(&door, &fleet);
            let client = client(Some(&fleet.device), version);
            let (kind, connection) = come(&door, &client).await;
            assert_eq!(kind, Full);
            let mut declines = Declines::watch();
            after(&door, &fleet);
            match then {
                Then::Resumes => {
                    let (kind, again) = come(&door, &client).await;
                    assert_eq!(kind, Resumed, "case {at}");
                    assert_eq!(
                        again.device().unwrap().ca_serial(),
                        connection.device().unwrap().ca_serial()
                    );
                }
                Then::ShakesHands(through) => {
                    let (kind, again) = come(&door, &client).await;
                    assert_eq!(kind, Full, "case {at}");
                    let serial = through(&fleet).serial();
                    assert_eq!(again.device().unwrap().ca_serial(), &serial);
                    assert_resumes(&door, &client, through(&fleet)).await;
                }
                Then::IsRefused(refusal) => {
                    let visit = door.visit(client, "localhost").await;
                    assert_eq!(visit.not_believed(), refusal(&fleet), "case {at}");
                }
            }
            assert_eq!(declines.take(), Vec::from_iter(reason(&fleet)), "case {at}");
        }
    }
}

#[tokio::test]
async fn r10_of_twins_the_one_through_which_the_path_went_counts() {
    for version in VERSIONS {
        let door = Door::open();
        let first = TestCa::root("fleet");
        let second = first.twin(|_| {});
        door.register(&first, Active).unwrap();
        let client = client(Some(&first.device("device")), version);
        assert_eq!(come(&door, &client).await.0, Full);
        door.register(&second, Active).unwrap();
        assert_resumes(&door, &client, &first).await;
        let mut declines = Declines::watch();
        door.deactivate(&first);
        assert_eq!(come(&door, &client).await.0, Full);
        assert_eq!(declines.take(), Vec::from_iter(changed(&first)));
        door.activate(&first);
        assert_resumes(&door, &client, &second).await;
    }
}

#[tokio::test]
async fn r10_an_intermediate_stands_on_the_record_of_its_twin() {
    let end = NOW + 100;
    for version in VERSIONS {
        let door = Door::open();
        let root = TestCa::root("root");
        let old = root.child_with("sub", |params| params.not_after = date(end));
        let renewed = root.sign(std::sync::Arc::clone(&old.key), "sub", |params| {
            params.serial_number = Some(rcgen::SerialNumber::from_slice(&[7]));
        });
        assert_ne!(old.serial(), renewed.serial());
        door.register(&root, Active).unwrap();
        door.register(&old, Active).unwrap();
        // From here on the registered certificate is no anchor, and the renewed one, which is not
        // registered, leads to the root.
        door.clock.set(end + 1);
        let device = old.device("device").with_chain(&[&renewed]);
        let client = client(Some(&device), version);
        let (kind, connection) = come(&door, &client).await;
        assert_eq!(kind, Full);
        assert_eq!(connection.device().unwrap().ca_serial(), &root.serial());
        assert_resumes(&door, &client, &root).await;
        let mut declines = Declines::watch();
        door.deactivate(&old);
        let refusal = door.visit(client, "localhost").await.not_believed();
        assert_eq!(refusal, Refusal::InactiveCa(old.serial()));
        assert_eq!(declines.take(), Vec::from_iter(changed(&old)));
    }
}
