//! One last packet, once, and only where it can be understood.

use std::io::{ErrorKind, IoSlice};
use std::pin::pin;

use mqtls::CaStatus::Active;
use mqtls::listener::FarewellTooLong;
use mqtls::{Connection, Ended};
use rustls::SupportedProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream};
use tokio_rustls::client::TlsStream;

use crate::line::{Line, ended, on_versions};
use crate::listener_load::{all_wait, once};
use crate::support::{Door, TestCa, VERSIONS};

const BYE: &[u8] = b"\xe0\x02\x98\x00";

/// How a broker comes to notice that the connection is over.
#[derive(Clone, Copy, Debug)]
enum Poll {
    Read,
    Write,
    WriteVectored,
    Flush,
    Shutdown,
}

const POLLS: [Poll; 5] =
    [Poll::Read, Poll::Write, Poll::WriteVectored, Poll::Flush, Poll::Shutdown];

#[tokio::test]
async fn whatever_the_broker_tries_first_the_client_gets_the_last_packet_and_the_end() {
    for (version, poll) in on_versions(POLLS) {
        let (door, ca, mut line) = line(version).await;
        line.exchange().await;
        line.server.farewell(BYE).unwrap();
        let written = line.wire.written();
        door.deactivate(&ca);
        assert_eq!(line.wire.written(), written, "the call itself writes nothing");
        for _ in 0..2 {
            for poll in [poll].into_iter().chain(POLLS) {
                line.fails(poll, &Ended::CaInactive(ca.serial())).await;
            }
        }
        line.hears_last(BYE).await;
    }
}

#[tokio::test]
async fn whoever_waits_says_farewell_when_woken() {
    for version in VERSIONS {
        let (door, ca, line) = line(version).await;
        line.server.farewell(BYE).unwrap();
        let (mut reader, mut writer) = tokio::io::split(line.server);
        let reading = tokio::spawn(async move { reader.read_u8().await });
        all_wait().await;
        door.deactivate(&ca);
        assert_eq!(ended(reading.await.unwrap().unwrap_err()), Ended::CaInactive(ca.serial()));
        writer.write_all(b"late").await.unwrap_err();
        hears_last(line.client, BYE).await;
    }
}

#[tokio::test]
async fn every_end_but_a_drop_is_a_reason_for_it() {
    for version in VERSIONS {
        let door = Door::open_as(|spec| spec.max_lifetime(std::time::Duration::ZERO));
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let device = ca.device("device");
        let mut lines = Line::several(3, &door, &device, version).await;
        for line in &lines {
            line.server.farewell(BYE).unwrap();
        }
        let dropped = lines.pop().unwrap();
        drop(dropped.server);
        hears_last(dropped.client, b"").await;

        let mut aged = lines.pop().unwrap();
        door.instance.sweep().unwrap();
        aged.fails(Poll::Read, &Ended::LifetimeOver).await;
        aged.hears_last(BYE).await;

        let mut late = Line::up(&door, Some(&device), version).await;
        late.server.farewell(BYE).unwrap();
        door.instances.remove(door.instance.id()).unwrap();
        late.fails(Poll::Read, &Ended::InstanceRemoved).await;
        late.hears_last(BYE).await;
    }
}

#[tokio::test]
async fn the_last_one_left_counts_and_what_is_left_behind_the_end_is_not_said() {
    for version in VERSIONS {
        let (door, ca, mut line) = line(version).await;
        line.server.farewell(b"first").unwrap();
        line.server.handle().farewell(BYE).unwrap();
        door.deactivate(&ca);
        line.server.farewell(b"behind the end").unwrap();
        line.fails(Poll::Read, &Ended::CaInactive(ca.serial())).await;
        line.hears_last(BYE).await;

        let (door, ca, mut line) = self::line(version).await;
        let handle = line.server.handle();
        door.deactivate(&ca);
        handle.farewell(b"behind the end").unwrap();
        line.fails(Poll::Read, &Ended::CaInactive(ca.serial())).await;
        handle.farewell(b"behind the farewell").unwrap();
        line.fails(Poll::Write, &Ended::CaInactive(ca.serial())).await;
        line.hears_last(b"").await;
    }
}

#[tokio::test]
async fn it_holds_sixteen_kibibytes_and_not_one_byte_more() {
    const LONGEST: usize = 16 * 1024;
    for version in VERSIONS {
        let (door, ca, mut line) = line(version).await;
        let long = vec![7; LONGEST + 1];
        let too_long = Err(FarewellTooLong { length: LONGEST + 1 });
        line.server.farewell(&long[1..]).unwrap();
        assert_eq!(line.server.farewell(&long), too_long);
        assert_eq!(line.server.handle().farewell(&long), too_long);
        door.deactivate(&ca);
        line.fails(Poll::Flush, &Ended::CaInactive(ca.serial())).await;
        line.hears_last(&long[1..]).await;
    }
}

#[tokio::test]
async fn it_is_not_said_behind_records_that_are_stuck() {
    for version in VERSIONS {
        for room in [0, 10] {
            let (door, ca, mut line) = line(version).await;
            line.server.farewell(BYE).unwrap();
            line.wire.let_through(room);
            line.server.write_all(b"publish").await.unwrap();
            let written = line.wire.written();
            line.wire.let_through(usize::MAX);
            door.deactivate(&ca);
            line.fails(Poll::Read, &Ended::CaInactive(ca.serial())).await;
            assert_eq!(line.wire.written(), written, "nor are they");
        }
        // Where they went on meanwhile, it is.
        let (door, ca, mut line) = line(version).await;
        line.server.farewell(BYE).unwrap();
        line.wire.let_through(10);
        line.server.write_all(b"publish").await.unwrap();
        line.wire.let_through(usize::MAX);
        line.server.flush().await.unwrap();
        door.deactivate(&ca);
        line.fails(Poll::Read, &Ended::CaInactive(ca.serial())).await;
        line.hears_last(&[b"publish", BYE].concat()).await;
    }
}

#[tokio::test]
async fn it_is_not_said_in_the_middle_of_a_packet() {
    const PACKET: &[u8] = &[1; 256 * 1024];
    for (version, (goes_on, empty)) in on_versions([(false, false), (false, true), (true, false)]) {
        let (door, ca, mut line) = line(version).await;
        line.server.farewell(BYE).unwrap();
        line.wire.let_through(0);
        let taken = line.server.write(PACKET).await.unwrap();
        assert!(0 < taken && taken < PACKET.len());
        line.wire.let_through(usize::MAX);
        let mut heard = vec![0; taken];
        tokio::try_join!(line.server.flush(), line.client.read_exact(&mut heard)).unwrap();
        if empty {
            assert_eq!(line.server.write(b"").await.unwrap(), 0);
        }
        let mut last = vec![];
        if goes_on {
            line.server.write_all(b"the rest").await.unwrap();
            line.server.flush().await.unwrap();
            last = [b"the rest", BYE].concat();
        }
        door.deactivate(&ca);
        let written = line.wire.written();
        line.fails(Poll::Write, &Ended::CaInactive(ca.serial())).await;
        assert_eq!(line.wire.written() == written, !goes_on);
        line.hears_last(&last).await;
    }
}

#[tokio::test]
async fn a_write_of_slices_that_took_a_part_is_the_middle_of_a_packet_too() {
    for version in VERSIONS {
        let (door, ca, mut line) = line(version).await;
        line.server.farewell(BYE).unwrap();
        line.wire.let_through(0);
        let half = vec![1; 128 * 1024];
        let slices = [IoSlice::new(&half), IoSlice::new(&half)];
        let taken = line.server.write_vectored(&slices).await.unwrap();
        assert!(0 < taken && taken < 2 * half.len());
        line.wire.let_through(usize::MAX);
        let mut heard = vec![0; taken];
        tokio::try_join!(line.server.flush(), line.client.read_exact(&mut heard)).unwrap();
        door.deactivate(&ca);
        line.fails(Poll::Read, &Ended::CaInactive(ca.serial())).await;
        line.hears_last(&[]).await;
    }
}

/// What was written and not flushed may still lie in a buffer of the inner stream. It stays there.
#[tokio::test]
async fn it_is_not_said_behind_what_was_not_flushed_and_that_stays_where_it_is() {
    for version in VERSIONS {
        let (door, ca, mut server, mut client) = buffered_line(version).await;
        server.write_all(b"!").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
        server.farewell(BYE).unwrap();
        server.write_all(b"publish").await.unwrap();
        door.deactivate(&ca);
        assert_eq!(ended(server.read_u8().await.unwrap_err()), Ended::CaInactive(ca.serial()));
        assert_eq!(ended(server.shutdown().await.unwrap_err()), Ended::CaInactive(ca.serial()));
        drop(server);
        hears_last(client, &[]).await;
    }
}

#[tokio::test]
async fn it_is_said_behind_a_write_that_is_flushed_at_once() {
    for version in VERSIONS {
        let (door, ca, server, mut client) = buffered_line(version).await;
        let mut server = server.flush_each_write();
        server.farewell(BYE).unwrap();
        server.write_all(b"one").await.unwrap();
        let mut heard = [0; 3];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, *b"one");
        let written = server.write_vectored(&[IoSlice::new(b"two")]).await.unwrap();
        assert_eq!(written, 3);
        door.deactivate(&ca);
        assert_eq!(ended(server.read_u8().await.unwrap_err()), Ended::CaInactive(ca.serial()));
        drop(server);
        hears_last(client, &[b"two", BYE].concat()).await;
    }
}

/// A write that waits has taken nothing, so that nothing of its packet has begun.
#[tokio::test]
async fn it_is_said_where_a_write_waited_and_was_given_up() {
    for version in VERSIONS {
        let (door, ca, mut line) = line(version).await;
        line.server.farewell(BYE).unwrap();
        line.wire.let_through(0);
        let mut taken = 0;
        while let Some(written) = once(&mut pin!(line.server.write(b"1"))).await {
            taken += written.unwrap();
        }
        line.wire.let_through(usize::MAX);
        let mut heard = vec![0; taken];
        tokio::try_join!(line.server.flush(), line.client.read_exact(&mut heard)).unwrap();
        door.deactivate(&ca);
        line.fails(Poll::Read, &Ended::CaInactive(ca.serial())).await;
        line.hears_last(BYE).await;
    }
}

#[tokio::test]
async fn it_is_said_in_part_where_the_stream_takes_a_part() {
    for version in VERSIONS {
        for room in [0, 10] {
            let (door, ca, mut line) = line(version).await;
            line.server.farewell(BYE).unwrap();
            let written = line.wire.written();
            line.wire.let_through(room);
            door.deactivate(&ca);
            for _ in 0..3 {
                line.fails(Poll::Flush, &Ended::CaInactive(ca.serial())).await;
                line.wire.let_through(usize::MAX);
            }
            assert_eq!(line.wire.written(), written + room, "it waits for nothing");
            assert!(line.wire.is_shut_down());
        }
    }
}

#[tokio::test]
async fn it_is_not_said_behind_the_brokers_own_end() {
    for version in VERSIONS {
        let (door, ca, mut line) = line(version).await;
        line.server.farewell(BYE).unwrap();
        line.server.shutdown().await.unwrap();
        let written = line.wire.written();
        door.deactivate(&ca);
        line.fails(Poll::Read, &Ended::CaInactive(ca.serial())).await;
        assert_eq!(line.wire.written(), written);
        // `close_notify` was said before.
        assert_eq!(line.client.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn it_is_not_said_behind_an_alert() {
    for version in VERSIONS {
        let (door, ca, mut line) = line(version).await;
        line.server.farewell(BYE).unwrap();
        let (raw, _tls) = line.client.get_mut();
        let before = line.wire.written();
        raw.write_all(&[23, 3, 3, 0, 32]).await.unwrap();
        raw.write_all(&[0; 32]).await.unwrap();
        let error = line.server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let written = line.wire.written();
        assert!(written > before, "the alert");
        door.deactivate(&ca);
        line.fails(Poll::Read, &Ended::CaInactive(ca.serial())).await;
        assert_eq!(line.wire.written(), written);
    }
}

impl Line {
    async fn fails(&mut self, poll: Poll, why: &Ended) {
        let server = &mut self.server;
        let error = match poll {
            Poll::Read => server.read_u8().await.unwrap_err(),
            Poll::Write => server.write(b"late").await.unwrap_err(),
            Poll::WriteVectored => {
                server.write_vectored(&[IoSlice::new(b"late")]).await.unwrap_err()
            }
            Poll::Flush => server.flush().await.unwrap_err(),
            Poll::Shutdown => server.shutdown().await.unwrap_err(),
        };
        assert_eq!(ended(error), *why, "{poll:?}");
    }

    /// Asserts what the client hears, up to the end of the stream.
    async fn hears_last(self, words: &[u8]) {
        assert!(self.wire.is_shut_down());
        hears_last(self.client, words).await;
        drop(self.server);
    }
}

async fn hears_last(mut client: TlsStream<DuplexStream>, words: &[u8]) {
    let mut heard = vec![];
    let error = client.read_to_end(&mut heard).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "no close_notify");
    assert_eq!(heard, words);
}

/// A line whose server side holds back what is not flushed.
async fn buffered_line(
    version: &'static SupportedProtocolVersion,
) -> (Door, TestCa, Connection<BufStream<DuplexStream>>, TlsStream<DuplexStream>) {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, Active).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let config = crate::support::client(Some(&ca.device("device")), version);
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let (server, client) =
        tokio::join!(door.acceptor.accept(BufStream::new(far)), connector.connect(name, near));
    (door, ca, server.unwrap(), client.unwrap())
}

async fn line(version: &'static SupportedProtocolVersion) -> (Door, TestCa, Line) {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, Active).unwrap();
    let line = Line::up(&door, Some(&ca.device("device")), version).await;
    (door, ca, line)
}
