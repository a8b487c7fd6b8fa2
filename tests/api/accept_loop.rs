//! Asking a listener for the next connection, also when it fails.

use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::io::{self, ErrorKind};
use std::time::Duration;

use mqtls::ClientAuth;
use mqtls::instance::Outcome;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tracing::Level;

use crate::support::{Door, Log, VERSIONS, client};

const MILLISECOND: Duration = Duration::from_millis(1);
const EMFILE: i32 = 24;

#[tokio::test(start_paused = true)]
async fn c03_a_listener_that_fails_is_asked_again_after_a_pause_that_doubles() {
    let door = Door::open();
    let errors: [fn() -> io::Error; 6] = [
        || io::Error::from_raw_os_error(EMFILE),
        || ErrorKind::OutOfMemory.into(),
        || ErrorKind::PermissionDenied.into(),
        || ErrorKind::InvalidInput.into(),
        || ErrorKind::WouldBlock.into(),
        || io::Error::other("something else"),
    ];
    let mut failed = 0;
    for error in errors {
        let tries = RefCell::new(Vec::new());
        let failing = || {
            tries.borrow_mut().push(Instant::now());
            ready(Err::<(), _>(error()))
        };
        timeout(10 * Duration::from_secs(1), door.acceptor.next(failing)).await.unwrap_err();
        let tries = tries.into_inner();
        let pauses: Vec<u128> =
            tries.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert_eq!(pauses[..8], [5, 10, 20, 40, 80, 160, 320, 640]);
        assert_eq!(pauses[8..], [1000; 8], "and no longer than that");
        failed += tries.len() as u64;
        assert_eq!(door.instances.stats().of(Outcome::AcceptFailed), failed);
        assert_eq!(door.instances.stats().refused(), 0, "nobody was refused");

        assert_eq!(door.acceptor.next(|| ready(Ok(7))).await, Some(7));
    }
}

#[tokio::test(start_paused = true)]
async fn c03_after_a_success_the_pauses_begin_anew() {
    let door = Door::open();
    for _ in 0..3 {
        let start = Instant::now();
        let failures = Cell::new(3);
        let some_failures = || match failures.replace(failures.get() - 1) {
            0 => ready(Ok(start.elapsed().as_millis())),
            _ => ready(Err(io::Error::from_raw_os_error(EMFILE))),
        };
        assert_eq!(door.acceptor.next(some_failures).await, Some(5 + 10 + 20));
    }
}

#[tokio::test(start_paused = true)]
async fn c03_a_pause_is_kept_although_the_wait_is_dropped_and_begun_again() {
    let door = Door::open();
    let tries = Cell::new(0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let failing = || {
            tries.set(tries.get() + 1);
            ready(Err::<(), _>(io::Error::from_raw_os_error(EMFILE)))
        };
        // As a `select!` does whose other arms have much to do, on whichever clone.
        let clone = door.acceptor.clone();
        timeout(MILLISECOND, clone.next(failing)).await.unwrap_err();
    }
    assert_eq!(tries.get(), 12, "5 ms to 640 ms make eight pauses, then one a second");
}

#[tokio::test(start_paused = true)]
async fn c03_an_error_about_one_connection_is_no_reason_to_wait() {
    let door = Door::open();
    let kinds = [
        ErrorKind::ConnectionAborted,
        ErrorKind::ConnectionReset,
        ErrorKind::ConnectionRefused,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkDown,
        ErrorKind::NetworkUnreachable,
        ErrorKind::TimedOut,
        ErrorKind::Interrupted,
    ];
    let log = Log::start();
    for kind in kinds {
        let start = Instant::now();
        let failures = Cell::new(100);
        let some_failures = || match failures.replace(failures.get() - 1) {
            0 => ready(Ok(())),
            _ => ready(Err(kind.into())),
        };
        door.acceptor.next(some_failures).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO, "{kind}");
    }
    let stats = door.instances.stats();
    assert_eq!(stats.of(Outcome::ClientGone), 100 * kinds.len() as u64);
    assert_eq!(stats.of(Outcome::AcceptFailed), 0);
    for logged in log.so_far() {
        assert!(logged.level >= Level::DEBUG, "{logged:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn c03_errors_about_single_connections_without_end_do_not_spin() {
    let door = Door::open();
    let tries = Cell::new(0);
    let failing = || {
        tries.set(tries.get() + 1);
        ready(Err::<(), _>(ErrorKind::ConnectionAborted.into()))
    };
    timeout(100 * MILLISECOND, door.acceptor.next(failing)).await.unwrap_err();
    assert!((100 * 50..100 * 200).contains(&tries.get()), "{} tries", tries.get());
}

#[tokio::test(start_paused = true)]
async fn c03_a_failing_listener_is_somebodys_business_once_in_a_minute() {
    let door = Door::open();
    let log = Log::start();
    let levels = || {
        let failures = log.so_far().into_iter().filter(|logged| logged.text.contains("accepting"));
        failures.map(|logged| logged.level).collect::<Vec<_>>()
    };
    let failing = || ready(Err::<(), _>(io::Error::from_raw_os_error(EMFILE)));
    timeout(20 * MILLISECOND, door.acceptor.next(failing)).await.unwrap_err();
    assert_eq!(levels(), [Level::WARN, Level::DEBUG, Level::DEBUG]);
    for _ in 0..100 {
        door.acceptor.next(|| ready(Ok(()))).await.unwrap();
        timeout(MILLISECOND, door.acceptor.next(failing)).await.unwrap_err();
    }
    let later = levels();
    assert_eq!(later.len(), 103);
    assert!(later[1..].iter().all(|level| *level == Level::DEBUG), "whatever comes in between");

    sleep(Duration::from_secs(60)).await;
    timeout(MILLISECOND, door.acceptor.next(failing)).await.unwrap_err();
    assert_eq!(levels().last(), Some(&Level::WARN));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_accepted_any_more_once_a_drain_has_begun() {
    let door = Door::open();
    let waiting = tokio::spawn({
        let acceptor = door.acceptor.clone();
        async move { acceptor.next(pending::<io::Result<()>>).await }
    });
    let backing_off = tokio::spawn({
        let acceptor = door.acceptor.clone();
        async move { acceptor.next(|| ready(Err::<(), _>(ErrorKind::OutOfMemory.into()))).await }
    });
    sleep(Duration::from_secs(2)).await;
    assert!(!waiting.is_finished() && !backing_off.is_finished());
    let start = Instant::now();
    drop(door.acceptor.drain(Duration::from_secs(5)));
    assert_eq!(waiting.await.unwrap(), None);
    assert_eq!(backing_off.await.unwrap(), None);
    assert_eq!(start.elapsed(), Duration::ZERO);

    let asked = Cell::new(false);
    let accept = || {
        asked.set(true);
        ready(Ok(()))
    };
    assert_eq!(door.acceptor.clone().next(accept).await, None);
    assert!(!asked.get());
}

#[tokio::test]
async fn a_listener_is_served_until_the_drain() {
    let door = Door::open_with(ClientAuth::Disabled);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = door.acceptor.clone();
    let served = tokio::spawn(async move {
        let mut served = 0;
        while let Some((tcp, peer)) = acceptor.next(|| listener.accept()).await {
            assert!(peer.ip().is_loopback());
            acceptor.accept(tcp).await.unwrap();
            served += 1;
        }
        served
    });
    for version in VERSIONS {
        let near = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(std::sync::Arc::new(client(None, version)));
        connector.connect("localhost".try_into().unwrap(), near).await.unwrap();
    }
    while door.instances.stats().of(Outcome::Admitted) < 2 {
        tokio::task::yield_now().await;
    }
    let drained = door.acceptor.drain(Duration::from_secs(5)).await;
    assert_eq!((drained.finished, drained.cut), (0, 0));
    assert_eq!(served.await.unwrap(), 2);
    TcpStream::connect(address).await.unwrap_err();
}
