//! Stopping: nobody new comes in, who is on the way may arrive, and who is in stays.

use std::time::Duration;

use mqtls::instance::Outcome;
use mqtls::listener::Drained;
use mqtls::{ClientAuth, Refused};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::listener::{Tally, assert_in_time, knock};
use crate::listener_load::{Established, Visitor, all_wait, once};
use crate::support::{Door, Peer, VERSIONS, client, hello_by_hand, provider, record};

const SECOND: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_drain_lets_nobody_in_on_any_clone() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Disabled);
        let before = door.acceptor.clone();
        let mut tally = Tally::of(&door);
        let mut established = Established::between(&door, client(None, version)).await;
        tally.expect(Outcome::Admitted);

        let start = Instant::now();
        let drained = door.acceptor.clone().deadline(SECOND).drain(5 * SECOND).await;
        assert_eq!(report(drained), (0, 0));
        assert_eq!(start.elapsed(), Duration::ZERO, "nothing is under way");

        let after = door.acceptor.clone().hellos(7).permits(7);
        for acceptor in [before, door.acceptor.clone(), after] {
            let mut late = Visitor::silent(&acceptor).await;
            assert!(matches!(late.refused().await, Refused::Draining));
            tally.expect(Outcome::Draining);
        }
        assert_eq!(report(door.acceptor.drain(5 * SECOND).await), (0, 0), "again");
        established.exchange().await;

        let other = mqtls::Acceptor::new(&door.instance);
        Visitor::stalled(&other, version).await.go_on().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_whoever_is_on_the_way_and_then_cuts() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Disabled);
        let acceptor = door.acceptor.clone().permits(2).patience(2 * DEADLINE);
        let mut established = Established::between(&door, client(None, version)).await;
        let mut silent = Visitor::silent(&acceptor).await;
        let mut in_time = Visitor::silent(&acceptor).await;
        let quick = Visitor::stalled(&acceptor, version).await;
        let mut stalled = Visitor::stalled(&acceptor, version).await;
        let mut waiting = Visitor::stalled(&acceptor, version).await;
        let mut broken = Visitor::silent(&acceptor).await;

        let start = Instant::now();
        let drain = tokio::spawn(door.acceptor.drain(4 * SECOND));
        all_wait().await;
        broken.near.write_all(b"no TLS at all").await.unwrap();
        broken.near.shutdown().await.unwrap();
        assert!(matches!(broken.refused().await, Refused::Tls(_)));
        quick.go_on().await.unwrap();
        assert!(waiting.heard_something().await, "the permit went on");
        sleep(2 * SECOND).await;
        waiting.go_on().await.unwrap();
        in_time.say_hello(version).await;
        in_time.go_on().await.unwrap();
        assert!(silent.waits().await && stalled.waits().await && !drain.is_finished());
        established.exchange().await;

        assert_eq!(report(drain.await.unwrap()), (4, 2));
        assert_in_time(start, 4 * SECOND);
        assert!(matches!(silent.refused().await, Refused::DrainTimeout));
        assert!(matches!(stalled.refused().await, Refused::DrainTimeout));
        assert_in_time(start, 4 * SECOND);
        established.exchange().await;
        let stats = door.instances.stats();
        assert_eq!((stats.of(Outcome::DrainTimeout), stats.of(Outcome::Admitted)), (2, 4));
        assert_eq!(stats.refused(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_done_when_the_last_handshake_is() {
    let door = Door::open_with(ClientAuth::Disabled);
    for (version, aborts) in [(VERSIONS[0], false), (VERSIONS[1], true)] {
        let acceptor = mqtls::Acceptor::new(&door.instance);
        let last = Visitor::stalled(&acceptor, version).await;
        let start = Instant::now();
        let drain = tokio::spawn(acceptor.drain(5 * SECOND));
        sleep(2 * SECOND).await;
        assert!(!drain.is_finished());
        if aborts {
            last.server.abort();
        } else {
            last.go_on().await.unwrap();
        }
        assert_eq!(report(drain.await.unwrap()), (1, 0));
        assert_in_time(start, 2 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_nobody_awaits_closes_the_entrance_and_cuts_nobody() {
    let door = Door::open_with(ClientAuth::Disabled);
    let mut slow = Visitor::stalled(&door.acceptor, VERSIONS[1]).await;
    let start = Instant::now();
    drop(door.acceptor.drain(SECOND));
    let mut late = Visitor::silent(&door.acceptor).await;
    assert!(matches!(late.refused().await, Refused::Draining));
    assert!(matches!(slow.refused().await, Refused::HandshakeTimeout), "its own deadline");
    assert_in_time(start, DEADLINE - Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn of_two_drains_the_earlier_deadline_counts_and_each_has_its_report() {
    for first_is_earlier in [true, false] {
        let door = Door::open_with(ClientAuth::Disabled);
        let mut stalled = Visitor::stalled(&door.acceptor, VERSIONS[0]).await;
        let early = Visitor::stalled(&door.acceptor, VERSIONS[0]).await;
        let later = Visitor::stalled(&door.acceptor, VERSIONS[1]).await;
        let start = Instant::now();
        let (first, second) = if first_is_earlier { (3, 5) } else { (5, 3) };
        let first = tokio::spawn(door.acceptor.drain(first * SECOND));
        early.go_on().await.unwrap();
        let second = tokio::spawn(door.acceptor.clone().drain(second * SECOND));
        later.go_on().await.unwrap();
        assert_eq!(report(first.await.unwrap()), (2, 1));
        assert_eq!(report(second.await.unwrap()), (1, 1));
        assert_in_time(start, 3 * SECOND);
        assert!(matches!(stalled.refused().await, Refused::DrainTimeout));
        assert_eq!(report(door.acceptor.drain(SECOND).await), (0, 0), "all is told");
    }
}

#[tokio::test(start_paused = true)]
async fn whom_a_drain_has_cut_is_not_admitted_however_late_it_learns() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Disabled);
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let mut peer = Peer::of(client(None, version));
        near.write_all(&peer.flight()).await.unwrap();
        // Nobody polls it but this test.
        let mut handshake = Box::pin(door.acceptor.accept(far));
        assert!(once(&mut handshake).await.is_none());
        peer.read_some(&mut near).await;
        near.write_all(&peer.flight()).await.unwrap();

        assert_eq!(report(door.acceptor.drain(SECOND).await), (0, 1));
        assert!(matches!(handshake.await, Err(Refused::DrainTimeout)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_that_reads_its_alert_holds_up_no_drain() {
    let door = Door::unconfigured(ClientAuth::Disabled, provider());
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let refused = knock(&door.acceptor, far);
    near.write_all(&record(22, 0x0301, &hello_by_hand(0x0303, None))).await.unwrap();
    near.read_u8().await.unwrap();
    let start = Instant::now();
    assert_eq!(report(door.acceptor.drain(SECOND).await), (0, 0));
    assert_eq!(start.elapsed(), Duration::ZERO);
    let refused = refused.await.unwrap().unwrap_err();
    assert!(matches!(refused, Refused::UnrecognizedName(None)), "{refused:?}");
    assert_in_time(start, SECOND);
}

fn report(drained: Drained) -> (usize, usize) {
    (drained.finished, drained.cut)
}
