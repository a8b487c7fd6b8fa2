//! What do live connections cost, and how long does it take to end them?
//!
//! **Timed** is the server's part alone, by the time in which its futures are polled, over in-memory
//! streams, on an instance on which 1,000,000 connections are live that came in through the same CA.
//! **The baseline** is the same on an instance with none.
//!
//! `connect-close` is `Acceptor::accept` for a device on TLS 1.3, from its ClientHello to the gate,
//! and dropping the connection. `read-write` is reading a message of 64 bytes and writing one back.
//! The million came by way of `Instance::admit`, which enters them as `Acceptor` does and has no
//! streams to keep.
//!
//! Behind these: deactivating a CA with 100,000 live connections that each have a stream and a task
//! that waits to read, on a runtime with two threads. How long until the call returns, from when on
//! none of them reads or writes; how long until every task has seen the error and dropped its
//! connection. And what one connection takes in the index.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::cell::LazyCell;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use mqtls::{Acceptor, Admission, CaStatus, ClientAuth, Connection};
use rustls::ClientConfig;
use rustls::client::Resumption;
use side_by_side::{Bar, Contenders, SideBySide, Terms, each, measures};
use support::{Door, PlainHandshake, TestCa, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use visit::{knock, polled, server_name};

mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;
mod visit;

fn main() -> ExitCode {
    let mut benches = SideBySide::from_args("live");
    let (live, streams) = if measures() { (1_000_000, 100_000) } else { (1_000, 100) };
    let full = LazyCell::new(|| House::with(live));
    let empty = LazyCell::new(|| House::with(0));
    benches.compare(format!("connect-close-{live}"), TERMS, || Contenders {
        mqtls: full.comes_and_goes(),
        baseline: empty.comes_and_goes(),
    });
    benches.compare(format!("read-write-{live}"), MESSAGES, || Contenders {
        mqtls: full.echoes(),
        baseline: empty.echoes(),
    });
    benches.report(format!("deactivate-{streams}"), || deactivate(streams));
    benches.report("weight", || weigh(streams));
    benches.finish()
}

/// An instance with so many live connections, all through one CA, and a device that comes.
struct House {
    door: Door,
    device: Arc<ClientConfig>,
    _live: Vec<Admission>,
}

impl House {
    fn with(live: usize) -> Self {
        let (door, ca) = (Door::open(), TestCa::root("fleet"));
        door.register(&ca, CaStatus::Active).unwrap();
        let device = device(&ca);
        let _live = admitted(&door, &device, live);
        assert_eq!(door.instance.trust().connections(), live);
        Self { door, device, _live }
    }

    fn comes_and_goes(&self) -> impl FnMut(u64) -> Duration + use<> {
        let (acceptor, device) = (self.door.acceptor.clone(), Arc::clone(&self.device));
        let runtime = runtime();
        each(move || {
            knock(&runtime, &device, async |io| {
                let connection = acceptor.accept(io).await.unwrap();
                assert!(connection.device().is_some());
            })
        })
    }

    fn echoes(&self) -> impl FnMut(u64) -> Duration + use<> {
        let runtime = runtime();
        let (mut server, mut client) =
            runtime.block_on(connect(&self.door.acceptor, Arc::clone(&self.device)));
        each(move || {
            runtime.block_on(async {
                client.write_all(&MESSAGE).await.unwrap();
                client.flush().await.unwrap();
                let ((), spent) = polled(echo(&mut server)).await;
                client.read_exact(&mut [0; MESSAGE.len()]).await.unwrap();
                spent
            })
        })
    }
}

async fn echo(connection: &mut Connection<DuplexStream>) {
    let mut message = [0; MESSAGE.len()];
    connection.read_exact(&mut message).await.unwrap();
    connection.write_all(&message).await.unwrap();
    connection.flush().await.unwrap();
}

/// So many live connections, for which one handshake stands.
fn admitted(door: &Door, device: &Arc<ClientConfig>, number: usize) -> Vec<Admission> {
    let config = door.instance.server_config();
    let mut handshake = PlainHandshake::between(config, Arc::clone(device));
    handshake.finish().unwrap();
    (0..number).map(|_| door.instance.admit(&handshake.server).unwrap()).collect()
}

/// Deactivates a CA with so many live connections, and says how long what took.
fn deactivate(number: usize) -> String {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, CaStatus::Active).unwrap();
    let (device, ended) = (device(&ca), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = runtime.block_on(async {
        // Clients that are only there for their streams to be open: their TLS is not needed.
        let under_way = Arc::new(Semaphore::new(64));
        let mut coming = Vec::with_capacity(number);
        for _ in 0..number {
            let permit = Arc::clone(&under_way).acquire_owned().await.unwrap();
            let (acceptor, device, ended) =
                (door.acceptor.clone(), Arc::clone(&device), Arc::clone(&ended));
            coming.push(tokio::spawn(async move {
                let (server, client) = connect(&acceptor, device).await;
                tokio::spawn(wait_for_the_end(server, ended));
                drop(permit);
                client.into_inner().0
            }));
        }
        let mut clients = Vec::with_capacity(number);
        for client in coming {
            clients.push(client.await.unwrap());
        }
        clients
    });
    let start = Instant::now();
    let report = door.deactivate(&ca).connections;
    let returned = start.elapsed();
    while ended.load(Ordering::Acquire) < number {
        std::thread::yield_now();
    }
    let over = start.elapsed();
    assert_eq!((report.ended, door.instance.trust().connections()), (number, 0));
    drop(clients);
    format!("returned after {returned:.1?}, all {number} had ended after {over:.1?}")
}

async fn wait_for_the_end(mut connection: Connection<DuplexStream>, ended: Arc<AtomicUsize>) {
    let read = connection.read_u8().await;
    assert!(read.is_err());
    drop(connection);
    ended.fetch_add(1, Ordering::Release);
}

/// What a connection takes in the index, the facts about its device included.
fn weigh(number: usize) -> String {
    let (door, ca) = (Door::open_with(ClientAuth::Optional), TestCa::root("fleet"));
    door.register(&ca, CaStatus::Active).unwrap();
    let nobody = Arc::new(client(None, &rustls::version::TLS13));
    let [device, nobody] = [device(&ca), nobody].map(|client| {
        let mut live = vec![];
        let weight = measure(|| live = admitted(&door, &client, number));
        drop(live);
        weight.bytes_current / i64::try_from(number).unwrap()
    });
    format!(
        "{device} bytes a live connection with what is known of its device, {nobody} without a \
         device; its stream not included"
    )
}

async fn connect(
    acceptor: &Acceptor,
    device: Arc<ClientConfig>,
) -> (Connection<DuplexStream>, TlsStream<DuplexStream>) {
    let (near, far) = tokio::io::duplex(4 * 1024);
    let connector = TlsConnector::from(device);
    let (client, server) =
        tokio::join!(connector.connect(server_name(), near), acceptor.accept(far));
    (server.unwrap(), client.unwrap())
}

fn device(ca: &TestCa) -> Arc<ClientConfig> {
    let mut config = client(Some(&ca.device("device")), &rustls::version::TLS13);
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

const MESSAGE: [u8; 64] = [b'm'; 64];
const TERMS: Terms = Terms::new(1, Bar::Ratio(1.05));
const MESSAGES: Terms = Terms::new(20, Bar::Ratio(1.05));
