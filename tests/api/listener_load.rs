//! More clients than there are places: who comes in, who waits, and who has to go.

use std::pin::pin;
use std::time::Duration;

use mqtls::instance::Outcome;
use mqtls::{Acceptor, CaStatus, ClientAuth, Connection, Refused};
use rustls::SupportedProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_rustls::client::TlsStream;
use tracing::Level;

use crate::listener::{Tally, assert_in_time, knock};
use crate::support::{Door, Log, Peer, TestCa, VERSIONS, client, hello_by_hand, provider, record};

const SECOND: Duration = Duration::from_secs(1);
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(3);
const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn c03_the_oldest_silent_socket_makes_room_for_a_new_one() {
    let door = Door::open_with(ClientAuth::Disabled);
    let acceptor = door.acceptor.clone().hellos(2);
    let mut tally = Tally::of(&door);
    let start = Instant::now();
    let mut first = Visitor::silent(&acceptor).await;
    let mut second = Visitor::silent(&acceptor).await;
    assert!(first.waits().await);

    let mut third = Visitor::silent(&acceptor).await;
    assert!(matches!(first.refused().await, Refused::HelloCrowdedOut));
    assert_in_time(start, Duration::ZERO);
    tally.expect(Outcome::HelloCrowdedOut);
    assert!(second.waits().await);

    third.say_hello(VERSIONS[1]).await;
    let fourth = Visitor::silent(&acceptor).await;
    assert!(second.waits().await, "who has said hello waits no more");
    third.go_on().await.unwrap();
    tally.expect(Outcome::Admitted);

    fourth.server.abort();
    all_wait().await;
    let mut fifth = Visitor::silent(&acceptor).await;
    assert!(second.waits().await, "who is dropped waits no more");

    let mut sixth = Visitor::silent(&acceptor).await;
    assert!(matches!(second.refused().await, Refused::HelloCrowdedOut));
    tally.expect(Outcome::HelloCrowdedOut);
    assert!(fifth.waits().await);
    for late in [&mut fifth, &mut sixth] {
        assert!(matches!(late.refused().await, Refused::HelloTimeout));
        assert_in_time(start, HELLO_DEADLINE);
        tally.expect(Outcome::HelloTimeout);
    }

    let mut others = [Visitor::silent(&acceptor).await, Visitor::silent(&acceptor).await];
    for other in &mut others {
        assert!(other.waits().await, "who was too late waits no more");
    }
}

#[tokio::test(start_paused = true)]
async fn c03_a_hello_that_has_come_is_heard_although_a_newcomer_came_with_it() {
    let door = Door::open_with(ClientAuth::Disabled);
    for version in VERSIONS {
        let acceptor = door.acceptor.clone().hellos(0);
        let mut first = Visitor::silent(&acceptor).await;
        // Both are ready when the first is looked at next.
        let (_near, far) = tokio::io::duplex(64);
        let _newcomer = knock(&acceptor, far);
        first.say_hello(version).await;
        first.go_on().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn c03_permits_are_waited_for_in_order_and_a_full_queue_refuses_at_once() {
    let door = Door::open_with(ClientAuth::Disabled);
    for version in VERSIONS {
        let acceptor = door.acceptor.clone().permits(1).waiting(2).patience(2 * DEADLINE);
        let start = Instant::now();
        let mut holder = Visitor::stalled(&acceptor, version).await;
        assert!(holder.heard_something().await);
        let first = Visitor::stalled(&acceptor, version).await;
        let mut second = Visitor::stalled(&acceptor, version).await;
        let mut third = Visitor::stalled(&acceptor, version).await;
        assert!(matches!(third.refused().await, Refused::QueueFull));
        assert_in_time(start, Duration::ZERO);

        first.server.abort();
        all_wait().await;
        let mut fourth = Visitor::stalled(&acceptor, version).await;
        assert!(fourth.waits().await, "there is room in the queue again");
        let mut fifth = Visitor::stalled(&acceptor, version).await;
        assert!(matches!(fifth.refused().await, Refused::QueueFull));

        holder.go_on().await.unwrap();
        assert!(second.heard_something().await);
        assert!(!fourth.heard_something().await, "who came first is first");
        second.go_on().await.unwrap();
        fourth.go_on().await.unwrap();
        assert_in_time(start, Duration::ZERO);
    }
    assert_eq!(door.instances.stats().of(Outcome::QueueFull), 4);
    assert_eq!(door.instances.stats().refused(), 4);
}

#[tokio::test(start_paused = true)]
async fn c03_where_nobody_may_wait_a_free_permit_is_still_given() {
    let door = Door::open_with(ClientAuth::Disabled);
    let acceptor = door.acceptor.clone().permits(1).waiting(0).patience(Duration::ZERO);
    for version in VERSIONS {
        let holder = Visitor::stalled(&acceptor, version).await;
        let mut other = Visitor::stalled(&acceptor, version).await;
        assert!(matches!(other.refused().await, Refused::QueueFull));
        holder.go_on().await.unwrap();
        Visitor::stalled(&acceptor, version).await.go_on().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn c03_a_stalled_handshake_gives_way_to_one_that_waits() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Disabled);
        let mut tally = Tally::of(&door);
        let acceptor = door.acceptor.clone().permits(1);
        let start = Instant::now();
        let mut stalled = Visitor::stalled(&acceptor, version).await;
        sleep(SECOND).await;
        let mut waiting = Visitor::stalled(&acceptor, version).await;
        sleep(PATIENCE - SECOND - Duration::from_millis(100)).await;
        assert!(stalled.waits().await, "it is given its time");
        assert!(!waiting.heard_something().await);
        assert!(matches!(stalled.refused().await, Refused::Stalled));
        assert_in_time(start, PATIENCE);
        tally.expect(Outcome::Stalled);
        waiting.go_on().await.unwrap();
        assert_in_time(start, PATIENCE);
        tally.expect(Outcome::Admitted);
    }
}

#[tokio::test(start_paused = true)]
async fn c03_no_handshake_is_cut_early_where_nobody_waits() {
    let door = Door::open_with(ClientAuth::Disabled);
    for version in VERSIONS {
        let acceptor = door.acceptor.clone().permits(2);
        let start = Instant::now();
        let mut first = Visitor::stalled(&acceptor, version).await;
        let mut second = Visitor::stalled(&acceptor, version).await;
        let gone = Visitor::stalled(&acceptor, version).await;
        sleep(SECOND).await;
        gone.server.abort();
        sleep(PATIENCE).await;
        assert!(first.waits().await && second.waits().await, "who waited is gone");

        let newcomer = Visitor::stalled(&acceptor, version).await;
        assert!(matches!(first.refused().await, Refused::Stalled));
        assert_in_time(start, PATIENCE + SECOND);
        newcomer.go_on().await.unwrap();
        assert!(second.waits().await, "one place for one who waits");
        sleep(DEADLINE - PATIENCE - 2 * SECOND).await;
        second.go_on().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn c03_as_many_give_way_as_wait_and_the_oldest_first() {
    let door = Door::open_with(ClientAuth::Disabled);
    for version in VERSIONS {
        let acceptor = door.acceptor.clone().permits(4);
        let start = Instant::now();
        let mut holders = Vec::new();
        for _ in 0..4 {
            holders.push(Visitor::stalled(&acceptor, version).await);
        }
        let mut waiting = Vec::new();
        for _ in 0..2 {
            waiting.push(Visitor::stalled(&acceptor, version).await);
        }
        sleep(PATIENCE).await;
        for waiting in waiting {
            waiting.go_on().await.unwrap();
        }
        assert_in_time(start, PATIENCE);
        for oldest in &mut holders[..2] {
            assert!(matches!(oldest.refused().await, Refused::Stalled));
        }
        for younger in &mut holders[2..] {
            assert!(younger.waits().await);
        }
        // All four permits are there still, and no more.
        let mut two = [
            Visitor::stalled(&acceptor.clone(), version).await,
            Visitor::stalled(&acceptor, version).await,
        ];
        for caller in &mut two {
            assert!(caller.heard_something().await);
        }
        for younger in &mut holders[2..] {
            assert!(matches!(younger.refused().await, Refused::HandshakeTimeout), "nobody waited");
        }
        assert_in_time(start, DEADLINE);
    }
}

#[tokio::test(start_paused = true)]
async fn c03_a_handshake_that_is_dropped_or_done_when_it_is_cut_gives_its_permit_back_once() {
    let door = Door::open_with(ClientAuth::Disabled);
    for version in VERSIONS {
        for done in [false, true] {
            let acceptor = door.acceptor.clone().permits(1).waiting(1);
            let (mut near, far) = tokio::io::duplex(64 * 1024);
            let mut peer = Peer::of(client(None, version));
            near.write_all(&peer.flight()).await.unwrap();
            // Nobody polls it but this test.
            let mut holder = Box::pin(acceptor.accept(far));
            assert!(once(&mut holder).await.is_none());
            sleep(PATIENCE).await;
            let mut waiting = Visitor::stalled(&acceptor, version).await;
            assert!(!waiting.heard_something().await, "its permit has not come back yet");
            let mut other = Visitor::stalled(&acceptor, version).await;
            assert!(matches!(other.refused().await, Refused::QueueFull));

            if done {
                peer.read_some(&mut near).await;
                near.write_all(&peer.flight()).await.unwrap();
                holder.await.unwrap();
            } else {
                drop(holder);
            }
            assert!(waiting.heard_something().await);
            let mut next = Visitor::stalled(&acceptor, version).await;
            assert!(!next.heard_something().await, "one permit it was, not two");
            waiting.go_on().await.unwrap();
            next.go_on().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c03_each_way_out_of_a_crowd_is_counted_once_and_said_at_debug() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Disabled);
        let acceptor = door.acceptor.clone().hellos(1).permits(1).waiting(1);
        let mut tally = Tally::of(&door);
        let log = Log::start();
        let mut oldest = Visitor::silent(&acceptor).await;
        let mut silent = Visitor::silent(&acceptor).await;
        assert!(matches!(oldest.refused().await, Refused::HelloCrowdedOut));
        tally.expect(Outcome::HelloCrowdedOut);
        assert!(matches!(silent.refused().await, Refused::HelloTimeout));
        tally.expect(Outcome::HelloTimeout);

        let mut holder = Visitor::stalled(&acceptor, version).await;
        let mut waiting = Visitor::stalled(&acceptor, version).await;
        let mut too_many = Visitor::stalled(&acceptor, version).await;
        assert!(matches!(too_many.refused().await, Refused::QueueFull));
        tally.expect(Outcome::QueueFull);
        assert!(matches!(holder.refused().await, Refused::Stalled));
        tally.expect(Outcome::Stalled);

        let drained = acceptor.drain(SECOND);
        let mut late = Visitor::silent(&acceptor).await;
        assert!(matches!(late.refused().await, Refused::Draining));
        tally.expect(Outcome::Draining);
        assert_eq!(drained.await.cut, 1);
        assert!(matches!(waiting.refused().await, Refused::DrainTimeout));
        tally.expect(Outcome::DrainTimeout);

        let refusals = log.so_far().into_iter().filter(|said| said.text.contains("=refused"));
        assert_eq!(refusals.count(), 6);
        for logged in log.so_far() {
            assert!(logged.level >= Level::DEBUG, "{logged:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c03_refused_clients_that_do_not_close_have_so_many_places_and_no_more() {
    const PLACES: usize = 4096;
    let door = Door::unconfigured(ClientAuth::Disabled, provider());
    let hello = record(22, 0x0301, &hello_by_hand(0x0303, None));
    let start = Instant::now();
    let linger = async || {
        let (mut near, far) = tokio::io::duplex(1024);
        near.write_all(&hello).await.unwrap();
        (knock(&door.acceptor, far), near)
    };
    let mut lingering = Vec::new();
    for _ in 0..PLACES {
        lingering.push(linger().await);
    }
    all_wait().await;
    assert!(!lingering[0].0.is_finished());
    lingering.push(linger().await);
    all_wait().await;
    assert!(lingering[0].0.is_finished() && !lingering[1].0.is_finished());
    // A client that is told nothing needs no place.
    let mut silent = Visitor::silent(&door.acceptor.clone().hello_deadline(Duration::ZERO)).await;
    assert!(matches!(silent.refused().await, Refused::HelloTimeout));
    assert!(!lingering[1].0.is_finished());
    for (refused, mut near) in lingering {
        let refused = refused.await.unwrap().unwrap_err();
        assert!(matches!(refused, Refused::UnrecognizedName(None)), "for its own reason");
        assert_eq!(near.read_u8().await.unwrap(), 21, "each was told");
    }
    assert_in_time(start, SECOND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c03_in_a_storm_no_permit_is_lost_and_none_is_made() {
    const EACH: usize = 100;
    let door = Door::open_with(ClientAuth::Disabled);
    let acceptor = door.acceptor.clone().permits(2).waiting(8).patience(Duration::ZERO);
    let mut storm = JoinSet::new();
    for at in 0..4 * EACH {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let mut peer = Peer::of(client(None, VERSIONS[at % 2]));
        near.write_all(&peer.flight()).await.unwrap();
        let server = knock(&acceptor, far);
        storm.spawn(async move {
            // A part is gone before it was asked for anything, the rest once it was answered or cut.
            if at % 4 > 1 {
                let _cut = near.read_u8().await;
            }
            if at % 2 == 0 {
                drop(near);
            } else {
                server.abort();
            }
            let _aborted = server.await;
        });
    }
    while storm.join_next().await.is_some() {}
    let entered = async |version| {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        near.write_all(&Peer::of(client(None, version)).flight()).await.unwrap();
        // What tokio lets a task do at a time is not to end in the middle of a step.
        tokio::task::yield_now().await;
        (near, Box::pin(acceptor.accept(far)))
    };
    for version in VERSIONS {
        // Only this test polls these: whoever is cut keeps its permit until then.
        let mut holders = Vec::new();
        for _ in 0..2 {
            let (mut near, mut holder) = entered(version).await;
            let mut byte = [0];
            let mut answered = pin!(near.read(&mut byte));
            while once(&mut answered).await.is_none() {
                assert!(once(&mut holder).await.is_none(), "it has a permit");
            }
            holders.push((near, holder));
        }
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let (near, mut next) = entered(version).await;
            assert!(once(&mut next).await.is_none());
            waiting.push((near, next));
        }
        let (_near, one_more) = entered(version).await;
        assert!(matches!(one_more.await, Err(Refused::QueueFull)));
    }
}

#[tokio::test(start_paused = true)]
async fn c03_a_real_client_gets_through_thousands_that_hang_about() {
    const EACH: usize = 2000;
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, CaStatus::Active).unwrap();
        let device = ca.device("device-1");
        let mut established = Established::between(&door, client(Some(&device), version)).await;
        let hello = Peer::of(client(None, version)).flight();

        let start = Instant::now();
        let mut crowd = Vec::new();
        for _ in 0..EACH {
            crowd.push(Hanging::saying(&door.acceptor, &[], &[]));
        }
        for _ in 0..EACH {
            crowd.push(Hanging::saying(&door.acceptor, &hello[..hello.len() / 2], &[]));
        }
        for _ in 0..EACH {
            crowd.push(Hanging::saying(&door.acceptor, &[], &hello));
        }
        all_wait().await;
        door.knock(Some(&device), version).await.admitted().await;
        assert_in_time(start, Duration::ZERO);

        for _ in 0..EACH {
            crowd.push(Hanging::saying(&door.acceptor, &hello, &[]));
        }
        all_wait().await;
        established.exchange().await;
        assert_in_time(start, Duration::ZERO);
        door.knock(Some(&device), version).await.admitted().await;
        assert_in_time(start, PATIENCE);
        established.exchange().await;
        assert_in_time(start, PATIENCE);

        for hanging in crowd {
            hanging.server.await.unwrap().unwrap_err();
        }
        assert_in_time(start, DEADLINE);
        established.exchange().await;
        let stats = door.instances.stats();
        let crowded_out = stats.of(Outcome::HelloCrowdedOut);
        assert_eq!(stats.of(Outcome::HelloTimeout) + crowded_out, 3 * EACH as u64);
        assert_eq!(crowded_out, 3 * EACH as u64 + 1 - 4096, "the real client took a place, too");
        // Of those who hold a permit as many went as waited: the rest of the crowd and the client.
        assert_eq!(stats.of(Outcome::Stalled), EACH as u64 - 1024 + 1);
        assert_eq!(stats.of(Outcome::HandshakeTimeout), 1024 - 1);
        assert_eq!(stats.of(Outcome::Admitted), 3);
    }
}

/// A client whose steps the test takes, and the server's side of it.
pub(crate) struct Visitor {
    pub(crate) near: DuplexStream,
    pub(crate) server: JoinHandle<Result<Connection<DuplexStream>, Refused>>,
    peer: Option<Peer>,
}

impl Visitor {
    /// Connects and says nothing.
    pub(crate) async fn silent(acceptor: &Acceptor) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = knock(acceptor, far);
        all_wait().await;
        Self { near, server, peer: None }
    }

    /// Connects, sends its ClientHello and leaves it at that.
    pub(crate) async fn stalled(
        acceptor: &Acceptor,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let mut caller = Self::silent(acceptor).await;
        caller.say_hello(version).await;
        all_wait().await;
        caller
    }

    pub(crate) async fn say_hello(&mut self, version: &'static SupportedProtocolVersion) {
        let peer = self.peer.insert(Peer::of(client(None, version)));
        self.near.write_all(&peer.flight()).await.unwrap();
    }

    /// Whether the server goes on with it.
    pub(crate) async fn waits(&mut self) -> bool {
        all_wait().await;
        !self.server.is_finished()
    }

    /// Whether the server has answered yet.
    pub(crate) async fn heard_something(&mut self) -> bool {
        all_wait().await;
        let mut reading = pin!(self.peer.as_mut().unwrap().read_some(&mut self.near));
        once(&mut reading).await.is_some()
    }

    /// Why the server would not have it, once it has closed without a word.
    pub(crate) async fn refused(&mut self) -> Refused {
        let refused = (&mut self.server).await.unwrap().unwrap_err();
        let mut heard = Vec::new();
        self.near.read_to_end(&mut heard).await.unwrap();
        if matches!(refused, Refused::QueueFull | Refused::HelloCrowdedOut | Refused::Draining) {
            assert!(heard.is_empty(), "not one byte was said to it");
        }
        refused
    }

    /// Takes the other steps of the handshake.
    pub(crate) async fn go_on(mut self) -> Result<Connection<DuplexStream>, Refused> {
        self.peer.as_mut().unwrap().go_on(&mut self.near).await;
        self.server.await.unwrap()
    }
}

/// One of a crowd.
struct Hanging {
    server: JoinHandle<Result<Connection<DuplexStream>, Refused>>,
}

impl Hanging {
    /// Sends some bytes at once, others a byte a second, and stays.
    fn saying(acceptor: &Acceptor, at_once: &[u8], dripping: &[u8]) -> Self {
        let (mut near, far) = tokio::io::duplex(4096);
        let (at_once, dripping) = (at_once.to_vec(), dripping.to_vec());
        tokio::spawn(async move {
            near.write_all(&at_once).await.unwrap();
            for byte in dripping {
                if near.write_all(&[byte]).await.is_err() {
                    return;
                }
                sleep(SECOND).await;
            }
            // Until the server closes.
            let mut heard = Vec::new();
            near.read_to_end(&mut heard).await.unwrap();
        });
        Self { server: knock(acceptor, far) }
    }
}

/// A connection that is up.
pub(crate) struct Established {
    server: Connection<DuplexStream>,
    client: TlsStream<DuplexStream>,
}

impl Established {
    pub(crate) async fn between(door: &Door, config: rustls::ClientConfig) -> Self {
        let visit = door.visit(config, "localhost").await;
        Self { server: visit.server.unwrap(), client: visit.client.unwrap() }
    }

    /// A byte each way.
    pub(crate) async fn exchange(&mut self) {
        let Self { server, client } = self;
        client.write_all(b"?").await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'?');
        server.write_all(b"!").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
    }
}

/// Until nobody has anything to do: under a paused clock, time passes only then.
pub(crate) async fn all_wait() {
    sleep(Duration::from_nanos(1)).await;
}

/// Polls once.
pub(crate) async fn once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
