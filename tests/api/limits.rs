//! What one instance may have at most, whatever the others have.

use std::num::NonZeroU32;
use std::time::Duration;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::control::{Cause, ErrorCode};
use mqtls::instance::Outcome;
use mqtls::trust::{Refusal, RegisterError};
use mqtls::{ClientAuth, Refused};
use tokio::time::advance;

use crate::line::{Line, assert_all_up};
use crate::shared::Street;
use crate::support::{
    Door, HeldHandshake, TestCa, VERSIONS, client, hello_by_hand, host_names, record, rsa_key,
};

#[test]
fn an_instance_has_as_many_cas_as_it_may_have() {
    let door = Door::open_as(|spec| spec.max_cas(2));
    let other = door.beside_as("other", |spec| spec);
    let cas = ["one", "two", "three"].map(TestCa::root);
    door.register(&cas[0], Active).unwrap();
    door.register(&cas[1], Inactive).unwrap();
    let error = door.register(&cas[2], Active).unwrap_err();
    assert_eq!((error.code(), error.http_status()), (ErrorCode::CaNumExceed, 500));
    let Cause::Register(RegisterError::TooManyCas(2)) = error.cause() else { panic!("{error:?}") };
    assert_eq!(door.instance.trust().len(), 2);
    // What is there is told as such.
    let error = door.register(&cas[0], Active).unwrap_err();
    assert_eq!(error.code(), ErrorCode::SnNotUnique);
    for ca in &cas {
        other.register(ca, Active).unwrap();
    }
    door.delete(&cas[1]);
    door.register(&cas[2], Active).unwrap();
    assert_eq!(door.register(&cas[1], Active).unwrap_err().code(), ErrorCode::CaNumExceed);
}

#[test]
fn an_instance_has_as_many_names_as_it_may_have() {
    let door = Door::open_as(|spec| spec.max_names(2));
    let rsa = door.server_ca.server_over(rsa_key(), &["a.test"], |_| {});
    door.put("rsa", &rsa);
    // A name with two certificates is one name.
    door.set_sni("default", "a.test#default;a.test#rsa;*.a.test#default").unwrap();
    let before = door.instance.sni().table().unwrap();
    // Refused before anything is loaded: there is no such certificate.
    let config = "a.test#nowhere;b.test#nowhere;*.c.test#nowhere";
    let error = door.set_sni("nowhere", config).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ParameterFieldCheckFailed);
    let Cause::TooManyNames { names: 3, limit: 2 } = error.cause() else { panic!("{error:?}") };
    assert!(std::sync::Arc::ptr_eq(&before, &door.instance.sni().table().unwrap()));
    let other = door.beside_as("other", |spec| spec);
    other.set_sni("default", "a.test#default;b.test#default;*.c.test#default").unwrap();
}

#[tokio::test]
async fn an_instance_has_as_many_connections_as_it_may_have() {
    for version in VERSIONS {
        let door = Door::open_as(|spec| spec.client_auth(ClientAuth::Optional).max_connections(3));
        let other = door.beside_as("other", |spec| spec.client_auth(ClientAuth::Optional));
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let device = ca.device("device");
        let mut lines = vec![
            Line::up(&door, Some(&device), version).await,
            Line::up(&door, None, version).await,
            Line::up(&door, Some(&device), version).await,
        ];
        for identity in [None, Some(&device)] {
            let visit = door.knock(identity, version).await;
            assert_eq!(visit.turned_away_at_the_gate(), Refusal::TooManyConnections);
        }
        assert_eq!(door.instances.stats().of(Outcome::TooManyConnections), 2);
        assert_eq!(door.instance.connections(), 3);
        assert_all_up(&mut lines).await;
        let mut others = vec![];
        for _ in 0..5 {
            others.push(Line::up(&other, None, version).await);
        }
        assert_all_up(&mut others).await;
        // One that has ended counts until it is dropped.
        door.deactivate(&ca);
        let visit = door.knock(None, version).await;
        assert_eq!(visit.turned_away_at_the_gate(), Refusal::TooManyConnections);
        lines.truncate(2);
        let mut last = Line::up(&door, None, version).await;
        last.exchange().await;
    }
}

#[tokio::test]
async fn a_client_of_a_full_instance_is_refused_before_its_handshake() {
    let street = Street::with(
        |spec| spec.client_auth(ClientAuth::Disabled).max_connections(1),
        |spec| spec.client_auth(ClientAuth::Disabled),
    );
    let version = &rustls::version::TLS13;
    let up = street.one.visit(client(None, version), "one.test").await;
    let hello = record(22, 0x0301, &hello_by_hand(0x0303, Some(&host_names(&[b"one.test"]))));
    let (refused, told) = street.one.answer_to(&hello).await;
    assert!(matches!(refused, Refused::Device(Refusal::TooManyConnections)), "{refused:?}");
    assert!(told.is_empty());
    street.one.visit(client(None, version), "two.test").await.admitted().await;
    drop(up);
    street.one.visit(client(None, version), "one.test").await.admitted().await;
}

#[tokio::test]
async fn of_many_handshakes_at_once_no_more_get_through_than_may() {
    for version in VERSIONS {
        let door = Door::open_as(|spec| spec.client_auth(ClientAuth::Optional).max_connections(2));
        let mut held = vec![];
        for _ in 0..5 {
            // All pass the first look: none is up yet.
            held.push(HeldHandshake::up_to_the_certificate(&door, client(None, version)).await);
        }
        let mut up = vec![];
        let mut refused = 0;
        for (held, answer) in held {
            let visit = held.release_with(answer).await;
            match visit.server {
                Ok(connection) => up.push(connection),
                Err(Refused::Device(Refusal::TooManyConnections)) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((up.len(), refused), (2, 3));
        assert_eq!(door.instance.connections(), 2);
    }
}

/// A client that waits for a permit while its name moves counts where it gets.
#[tokio::test(start_paused = true)]
async fn whoever_is_led_elsewhere_while_waiting_counts_there() {
    let one = NonZeroU32::new(1).unwrap();
    let mut street = Street::with(
        |spec| spec.client_auth(ClientAuth::Disabled),
        |spec| spec.client_auth(ClientAuth::Disabled).handshakes_per_second(one),
    );
    let config = || client(None, &rustls::version::TLS13);
    street.one.acceptor = street.one.acceptor.clone().permits(1).patience(Duration::from_secs(5));
    let taken = street.one.visit(config(), "two.test").await;
    assert!(taken.server.is_ok());
    street.one.set_sni("own", "moves.test#own").unwrap();
    let (holder, answer) = HeldHandshake::up_to_the_answer(&street.one, config(), "one.test").await;
    let mut waits = HeldHandshake::begin_as(&street.one, config(), "moves.test");
    let hello = waits.flight().await;
    waits.pass(hello).await;
    street.one.set_sni("own", "").unwrap();
    street.two.set_sni("own", "moves.test#own").unwrap();
    assert!(holder.release_with(answer).await.server.is_ok());
    let visit = waits.release().await;
    assert!(matches!(visit.server, Err(Refused::TooManyHandshakes)), "{:?}", visit.server);
}

#[tokio::test(start_paused = true)]
async fn an_instance_takes_as_many_handshakes_in_a_second_as_it_may() {
    let three = NonZeroU32::new(3).unwrap();
    let street = Street::with(
        |spec| spec.client_auth(ClientAuth::Disabled).handshakes_per_second(three),
        |spec| spec.client_auth(ClientAuth::Disabled),
    );
    let knock = async |name: &str| {
        let visit = street.one.visit(client(None, &rustls::version::TLS13), name).await;
        match visit.server {
            Ok(_) => true,
            Err(Refused::TooManyHandshakes) => {
                assert_eq!(visit.client.unwrap_err(), None);
                false
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    for _ in 0..3 {
        assert!(knock("one.test").await);
    }
    assert!(!knock("one.test").await);
    for _ in 0..10 {
        assert!(knock("two.test").await);
    }
    advance(Duration::from_millis(334)).await;
    assert!(knock("one.test").await);
    assert!(!knock("one.test").await);
    assert_eq!(street.one.instances.stats().of(Outcome::TooManyHandshakes), 2);
    advance(Duration::from_secs(60)).await;
    for _ in 0..3 {
        assert!(knock("one.test").await);
    }
    assert!(!knock("one.test").await);
}
