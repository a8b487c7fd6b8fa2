//! A connection that is up, with both of its ends and the wire between them in the test's hands.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use mqtls::{Connection, Ended, Refused};
use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Door, Identity, VERSIONS, client};

/// Both ends of a connection.
pub(crate) struct Line {
    pub(crate) server: Connection<Tap>,
    pub(crate) client: TlsStream<DuplexStream>,
    pub(crate) wire: Arc<Wire>,
}

impl Line {
    /// Takes a device through the door; a byte has gone each way.
    pub(crate) async fn up(
        door: &Door,
        device: Option<&Identity>,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let mut line = Self::tried(door, client(device, version)).await.unwrap();
        // So that the client has read its tickets, and hears now what comes later.
        line.exchange().await;
        line
    }

    /// Takes a client through the door, if it is let in.
    pub(crate) async fn tried(door: &Door, config: ClientConfig) -> Result<Self, Refused> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let wire = Arc::new(Wire::default());
        let tap = Tap { inner: far, wire: Arc::clone(&wire) };
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").unwrap();
        let (server, client) =
            tokio::join!(door.acceptor.accept(tap), connector.connect(name, near));
        Ok(Self { server: server?, client: client.unwrap(), wire })
    }

    /// Several of one device.
    pub(crate) async fn several(
        many: usize,
        door: &Door,
        device: &Identity,
        version: &'static SupportedProtocolVersion,
    ) -> Vec<Self> {
        let mut lines = vec![];
        for _ in 0..many {
            lines.push(Self::up(door, Some(device), version).await);
        }
        lines
    }

    /// A byte each way.
    pub(crate) async fn exchange(&mut self) {
        self.client.write_all(b"?").await.unwrap();
        self.client.flush().await.unwrap();
        assert_eq!(self.server.read_u8().await.unwrap(), b'?');
        self.server.write_all(b"!").await.unwrap();
        self.server.flush().await.unwrap();
        assert_eq!(self.client.read_u8().await.unwrap(), b'!');
    }

    /// Asserts that nothing that a broker could try works, that not one byte leaves, and that the
    /// client hears nothing but the end of the stream.
    pub(crate) async fn assert_over(mut self, why: &Ended) {
        let written = self.wire.written();
        // What the client says is not read either.
        let _broken_pipe = self.client.write_all(b"?").await;
        let _broken_pipe = self.client.flush().await;
        let mut byte = [0];
        let server = &mut self.server;
        for _ in 0..2 {
            assert_eq!(ended(server.read(&mut byte).await.unwrap_err()), *why);
            assert_eq!(ended(server.write(b"!").await.unwrap_err()), *why);
            let slices = [io::IoSlice::new(b"!"), io::IoSlice::new(b"!")];
            assert_eq!(ended(server.write_vectored(&slices).await.unwrap_err()), *why);
            assert_eq!(ended(server.flush().await.unwrap_err()), *why);
            assert_eq!(ended(server.shutdown().await.unwrap_err()), *why);
        }
        assert_eq!(byte, [0]);
        assert_eq!(server.revoked().await, *why);
        let handle = server.handle();
        let (mut raw, _tls) = self.client.into_inner();
        drop(self.server);
        assert_eq!((handle.ended(), handle.revoked().await), (Some(why.clone()), why.clone()));
        assert_eq!(self.wire.written(), written, "not even close_notify is written");
        let mut heard = vec![];
        raw.read_to_end(&mut heard).await.unwrap();
        assert!(heard.is_empty(), "the client hears nothing more");
    }
}

/// Each case on each TLS version.
pub(crate) fn on_versions<T>(
    cases: impl IntoIterator<Item = T> + Clone,
) -> impl Iterator<Item = (&'static SupportedProtocolVersion, T)> {
    VERSIONS
        .into_iter()
        .flat_map(move |version| cases.clone().into_iter().map(move |case| (version, case)))
}

/// Asserts that all are over and why.
pub(crate) async fn assert_all_over(lines: Vec<Line>, why: &Ended) {
    for line in lines {
        line.assert_over(why).await;
    }
}

/// Asserts that all are up.
pub(crate) async fn assert_all_up(lines: &mut [Line]) {
    for line in lines {
        assert_eq!(line.server.handle().ended(), None);
        line.exchange().await;
    }
}

/// The reason in an error of a read or a write.
pub(crate) fn ended(error: io::Error) -> Ended {
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    error.downcast().unwrap()
}

/// The server's end of a wire.
pub(crate) struct Tap {
    inner: DuplexStream,
    wire: Arc<Wire>,
}

/// What goes over a wire from the server, and how much may.
pub(crate) struct Wire {
    written: AtomicUsize,
    room: AtomicUsize,
    shut_down: AtomicBool,
    on_write: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            written: AtomicUsize::new(0),
            room: AtomicUsize::new(usize::MAX),
            shut_down: AtomicBool::new(false),
            on_write: Mutex::default(),
        }
    }
}

impl Wire {
    /// How many bytes were written to it.
    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::SeqCst)
    }

    /// Lets no more than so many bytes through from now on. Nobody is woken.
    pub(crate) fn let_through(&self, bytes: usize) {
        self.room.store(bytes, Ordering::SeqCst);
    }

    /// Does this in the middle of the next write.
    pub(crate) fn on_write(&self, act: impl FnOnce() + Send + 'static) {
        *self.on_write.lock().unwrap() = Some(Box::new(act));
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let act = self.wire.on_write.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        let room = self.wire.room.load(Ordering::SeqCst).min(buf.len());
        if room == 0 && !buf.is_empty() {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, &buf[..room]);
        if let Poll::Ready(taken) = &polled {
            // What is written behind the end counts too, whatever becomes of it.
            let written = *taken.as_ref().unwrap_or(&room);
            self.wire.written.fetch_add(written, Ordering::SeqCst);
            if self.wire.room.load(Ordering::SeqCst) != usize::MAX {
                self.wire.room.fetch_sub(written, Ordering::SeqCst);
            }
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.shut_down.store(true, Ordering::SeqCst);
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
