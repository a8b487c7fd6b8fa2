//! Whoever waits on a connection is told when it is over, and connections whose time is over end by
//! themselves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mqtls::CaStatus::Active;
use mqtls::trust::Refusal;
use mqtls::{ClientAuth, Connection, Ended};
use rcgen::CertificateParams;
use rustls::SupportedProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::line::{Line, Tap, assert_all_over, assert_all_up, ended, on_versions};
use crate::listener_load::all_wait;
use crate::live::count;
use crate::support::{
    Door, Examinations, HeldHandshake, Identity, NOW, TestCa, VERSIONS, client, date,
    in_small_records,
};

#[tokio::test]
async fn whoever_waits_in_a_read_or_a_write_is_woken_with_the_reason() {
    for version in VERSIONS {
        let (door, ca, device) = fleet();
        let why = Ended::CaInactive(ca.serial());
        let line = Line::up(&door, Some(&device), version).await;
        line.wire.let_through(0);
        let (mut reader, mut writer) = tokio::io::split(line.server);
        let reading = tokio::spawn(async move { reader.read_u8().await });
        let writing = tokio::spawn(async move { writer.write_all(&[0; 256 * 1024]).await });
        all_wait().await;
        let written = line.wire.written();
        assert!(!reading.is_finished() && !writing.is_finished());
        assert_eq!(count(door.deactivate(&ca).connections), (1, 0));
        assert_eq!(ended(reading.await.unwrap().unwrap_err()), why);
        assert_eq!(ended(writing.await.unwrap().unwrap_err()), why);
        line.wire.let_through(usize::MAX);
        assert_eq!(line.wire.written(), written);
        assert_eq!(door.instance.trust().connections(), 0);
    }
}

#[tokio::test]
async fn a_flush_and_a_shutdown_that_are_stuck_are_woken_too() {
    for (version, shuts_down) in on_versions([false, true]) {
        let (door, ca, device) = fleet();
        let mut line = Line::up(&door, Some(&device), version).await;
        line.wire.let_through(10);
        line.server.write_all(b"publish").await.unwrap();
        let mut server = line.server;
        let stuck = tokio::spawn(async move {
            if shuts_down { server.shutdown().await } else { server.flush().await }
        });
        all_wait().await;
        assert!(!stuck.is_finished());
        assert_eq!(count(door.delete(&ca).connections), (1, 0));
        let why = Ended::CaDeleted(ca.serial());
        assert_eq!(ended(stuck.await.unwrap().unwrap_err()), why);
    }
}

#[tokio::test]
async fn every_one_of_many_watchers_hears_the_reason_once_it_is_there_and_ever_after() {
    for version in VERSIONS {
        let (door, ca, device) = fleet();
        let line = Line::up(&door, Some(&device), version).await;
        let other = Line::up(&door, Some(&device), version).await;
        let handle = line.server.handle();
        let clone = handle.clone();
        let polled_later = handle.revoked();
        let mut watchers: Vec<JoinHandle<Ended>> =
            (0..3).map(|_| tokio::spawn(line.server.revoked())).collect();
        watchers.push(tokio::spawn(async move { clone.revoked().await }));
        all_wait().await;
        assert!(watchers.iter().all(|watcher| !watcher.is_finished()));
        assert_eq!(handle.ended(), None);

        drop(other);
        all_wait().await;
        assert!(watchers.iter().all(|watcher| !watcher.is_finished()), "another one went");
        door.deactivate(&ca);
        let why = Ended::CaInactive(ca.serial());
        for watcher in watchers {
            assert_eq!(watcher.await.unwrap(), why);
        }
        assert_eq!(polled_later.await, why);
        drop(line);
        assert_eq!((handle.ended(), handle.revoked().await), (Some(why.clone()), why));
    }
}

#[tokio::test]
async fn whoever_watches_from_afar_hears_that_the_broker_let_go() {
    for version in VERSIONS {
        let (door, ca, device) = fleet();
        let line = Line::up(&door, Some(&device), version).await;
        let (handle, revoked) = (line.server.handle(), line.server.revoked());
        let watcher = tokio::spawn(revoked);
        all_wait().await;
        drop(line.server);
        assert_eq!(watcher.await.unwrap(), Ended::Dropped);
        assert_eq!(
            (handle.ended(), handle.revoked().await),
            (Some(Ended::Dropped), Ended::Dropped)
        );
        assert_eq!(count(door.deactivate(&ca).connections), (0, 0));
        assert_eq!(handle.ended(), Some(Ended::Dropped));
    }
}

/// Not by a clock: the write that is under way ends only once the call has been seen to wait.
#[test]
fn l01_the_call_waits_for_a_write_that_is_under_way() {
    for version in VERSIONS {
        let (door, ca, device) = fleet();
        let (door, ca) = (Arc::new(door), Arc::new(ca));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut line = runtime.block_on(Line::up(&door, Some(&device), version));
        let handle = line.server.handle();
        let wire = Arc::clone(&line.wire);
        let (operator, returned_at) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        line.wire.on_write({
            let (operator, returned_at) = (Arc::clone(&operator), Arc::clone(&returned_at));
            move || {
                let told = Arc::clone(&returned_at);
                *std::sync::Mutex::lock(&operator).unwrap() = Some(std::thread::spawn(move || {
                    let change = door.deactivate(&ca).connections;
                    told.store(wire.written(), Ordering::SeqCst);
                    count(change)
                }));
                while handle.ended().is_none() {
                    std::thread::yield_now();
                }
                for _ in 0..10_000 {
                    std::thread::yield_now();
                    assert_eq!(returned_at.load(Ordering::SeqCst), 0, "it did not wait");
                }
            }
        });
        let error = runtime.block_on(line.server.write(b"under way")).unwrap_err();
        assert!(matches!(ended(error), Ended::CaInactive(_)));
        let operator: Option<std::thread::JoinHandle<_>> = operator.lock().unwrap().take();
        assert_eq!(operator.unwrap().join().unwrap(), (1, 0));
        assert_eq!(returned_at.load(Ordering::SeqCst), line.wire.written());
    }
}

#[tokio::test]
async fn a_poll_that_panics_does_not_keep_a_deactivation_waiting() {
    for version in VERSIONS {
        let (door, ca, device) = fleet();
        let line = Line::up(&door, Some(&device), version).await;
        line.server.farewell(b"good-bye").unwrap();
        line.wire.on_write(|| panic!("injected"));
        let written = line.wire.written();
        let mut server = line.server;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let panicked = tokio::spawn(async move {
            let back = GivesBack(Some(server.handle()), Some(sender));
            let _keep = &back;
            server.write_all(b"publish").await
        });
        assert!(panicked.await.unwrap_err().is_panic());
        assert_eq!(receiver.await.unwrap().ended(), Some(Ended::Dropped));
        assert_eq!(count(door.deactivate(&ca).connections), (0, 0));
        assert_eq!(line.wire.written(), written);
    }
}

/// Sends a handle once it is dropped, also in a panic.
struct GivesBack(
    Option<mqtls::ConnectionHandle>,
    Option<tokio::sync::oneshot::Sender<mqtls::ConnectionHandle>>,
);

impl Drop for GivesBack {
    fn drop(&mut self) {
        let (handle, sender) = (self.0.take().unwrap(), self.1.take().unwrap());
        let _nobody_waits = sender.send(handle);
    }
}

#[tokio::test]
async fn l03_a_connection_ends_the_second_after_the_first_certificate_on_its_path_does() {
    let soon = |params: &mut CertificateParams| params.not_after = date(NOW + 3600);
    let later = |params: &mut CertificateParams| params.not_after = date(NOW + 7200);
    for (version, earliest) in on_versions(0..3) {
        let change = |at: usize| if at == earliest { soon } else { later };
        let root = TestCa::root_with("root", change(0));
        let sub = root.child_with("sub", change(1));
        let device = sub.device_with("device", change(2)).with_chain(&[&sub]);
        let lasting = TestCa::root("lasting");
        for registered in [&root, &sub] {
            let door = Door::open();
            door.register(registered, Active).unwrap();
            door.register(&lasting, Active).unwrap();
            let mut lines = Line::several(3, &door, &device, version).await;
            let mut others = Line::several(2, &door, &lasting.device("device"), version).await;
            // A root above a registered CA is on no path.
            let end = match (earliest, registered.serial() == sub.serial()) {
                (0, true) => 7200,
                _ => 3600,
            };
            for second in [1, 1800, end - 1, end] {
                door.clock.set(NOW + second);
                door.instance.sweep().unwrap();
                assert_all_up(&mut lines).await;
            }
            door.clock.set(NOW + end + 1);
            door.instance.sweep().unwrap();
            assert_all_over(lines, &Ended::Expired).await;
            assert_all_up(&mut others).await;
            assert_eq!(count(door.deactivate(registered).connections), (0, 0));
        }
    }
}

#[tokio::test]
async fn l03_a_certificate_that_expires_during_the_handshake_does_not_pass_the_gate() {
    for version in VERSIONS {
        for (late, admitted) in [(0, true), (1, false)] {
            let door = Door::open();
            let ca = TestCa::root("fleet");
            door.register(&ca, Active).unwrap();
            let device = ca.device_with("device", |params| params.not_after = date(NOW + 60));
            let examinations = Examinations::watch();
            let config = in_small_records(client(Some(&device), version));
            let (mut held, mut records) = HeldHandshake::up_to_the_certificate(&door, config).await;
            let last = records.pop_back();
            held.pass(records).await;
            examinations.next().await;
            door.clock.set(NOW + 60 + late);
            held.pass(last).await;
            let visit = held.release().await;
            if admitted {
                visit.admitted().await;
            } else {
                let refusal = visit.turned_away_at_the_gate();
                assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn l03_an_accept_loop_ends_what_has_expired_each_second() {
    const MILLISECOND: Duration = Duration::from_millis(1);
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let device = ca.device_with("device", |params| params.not_after = date(NOW + 60));
        let line = Line::up(&door, Some(&device), version).await;
        let acceptor = door.acceptor.clone();
        let accepting = tokio::spawn(async move {
            let never = async || std::future::pending::<std::io::Result<()>>().await;
            while acceptor.next(never).await.is_some() {}
        });
        let watcher = tokio::spawn(line.server.revoked());
        door.clock.set(NOW + 60);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!watcher.is_finished());
        door.clock.set(NOW + 61);
        let second = Duration::from_secs(1) + MILLISECOND;
        assert_eq!(tokio::time::timeout(second, watcher).await.unwrap().unwrap(), Ended::Expired);
        line.assert_over(&Ended::Expired).await;
        accepting.abort();
    }
}

#[tokio::test]
async fn l03_slow_readers_and_stuck_writers_end_with_their_certificate() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let device = ca.device_with("device", |params| params.not_after = date(NOW + 60));
        // The client reads nothing: what fills up is the wire itself.
        let line = Line::up(&door, Some(&device), version).await;
        let stuck = writes_for_ever(line.server);
        all_wait().await;
        assert!(!stuck.is_finished());
        let written = line.wire.written();
        door.clock.set(NOW + 61);
        door.instance.sweep().unwrap();
        assert_eq!(stuck.await.unwrap(), Ended::Expired);
        assert_eq!(line.wire.written(), written);
    }
}

fn writes_for_ever(mut server: Connection<Tap>) -> JoinHandle<Ended> {
    tokio::spawn(async move {
        loop {
            if let Err(error) = server.write_all(&[0; 1000]).await {
                return ended(error);
            }
        }
    })
}

#[tokio::test]
async fn l03_a_lifetime_is_over_within_its_last_tenth_and_not_for_all_at_once() {
    const LIFETIME: u64 = 1000;
    for version in VERSIONS {
        let (door, mut lines) = lines_for(LIFETIME, 40, NOW + 7200, version).await;
        for second in [1, 500, LIFETIME * 9 / 10 - 1] {
            door.clock.set(NOW + second);
            door.instance.sweep().unwrap();
            assert_all_up(&mut lines).await;
        }
        let mut ends = BTreeSet::new();
        for second in LIFETIME * 9 / 10..=LIFETIME {
            door.clock.set(NOW + second);
            door.instance.sweep().unwrap();
            let (over, up): (Vec<_>, Vec<_>) =
                lines.into_iter().partition(|line| line.server.handle().ended().is_some());
            if !over.is_empty() {
                ends.insert(second);
            }
            assert_all_over(over, &Ended::LifetimeOver).await;
            lines = up;
        }
        assert!(lines.is_empty(), "none is up for longer");
        assert!(ends.len() > 10, "{ends:?}");
        assert_eq!(door.instance.trust().connections(), 0);
    }
}

#[tokio::test]
async fn what_is_over_and_not_dropped_yet_is_nothing_to_end() {
    for version in VERSIONS {
        let (door, ca, device) = fleet();
        let lines = Line::several(3, &door, &device, version).await;
        assert_eq!(count(door.foresee(&ca)), (3, 0));
        door.clock.set(5_000_000_000_000);
        door.instance.sweep();
        assert_eq!(count(door.foresee(&ca)), (0, 0));
        assert_eq!(door.instance.connections(), 3);
        assert_eq!(count(door.deactivate(&ca).connections), (0, 0));
        assert_all_over(lines, &Ended::Expired).await;
        assert_eq!(door.instance.connections(), 0);
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_has_nothing_that_expires() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Optional);
        let mut line = Line::up(&door, None, version).await;
        door.clock.set(5_000_000_000_000);
        door.instance.sweep();
        line.exchange().await;
    }
}

#[tokio::test]
async fn l03_of_expiry_and_lifetime_the_earlier_counts() {
    for version in VERSIONS {
        for (not_after, last, why) in
            [(NOW + 500, 500, Ended::Expired), (NOW + 1001, 1000, Ended::LifetimeOver)]
        {
            let (door, mut lines) = lines_for(1000, 2, not_after, version).await;
            door.clock.set(NOW + last.min(899));
            door.instance.sweep().unwrap();
            assert_all_up(&mut lines).await;
            let over = if why == Ended::Expired { last + 1 } else { last };
            door.clock.set(NOW + over);
            door.instance.sweep().unwrap();
            assert_all_over(lines, &why).await;
        }
    }
}

#[tokio::test]
async fn a_lifetime_of_nothing_and_one_without_end_are_what_they_say() {
    for version in VERSIONS {
        let (door, lines) = lines_for(0, 2, NOW + 7200, version).await;
        door.instance.sweep().unwrap();
        assert_all_over(lines, &Ended::LifetimeOver).await;
        let (door, mut lines) = lines_for(u64::MAX, 2, NOW + 7200, version).await;
        door.clock.set(NOW + 7200);
        door.instance.sweep().unwrap();
        assert_all_up(&mut lines).await;
    }
}

/// Connections that came now, on an instance that gives each so many seconds.
async fn lines_for(
    lifetime: u64,
    many: usize,
    not_after: u64,
    version: &'static SupportedProtocolVersion,
) -> (Door, Vec<Line>) {
    let door = Door::open_as(|spec| spec.max_lifetime(Duration::from_secs(lifetime)));
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let device = ca.device_with("device", |params| params.not_after = date(not_after));
    let lines = Line::several(many, &door, &device, version).await;
    (door, lines)
}

/// A door, a CA that it knows, and a device of it.
fn fleet() -> (Door, TestCa, Identity) {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let device = ca.device("device");
    (door, ca, device)
}
