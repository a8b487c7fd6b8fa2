//! A connection that has passed the gate.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::handle::{ConnectionHandle, FarewellTooLong};
use super::wire::Wire;
use crate::id::InstanceId;
use crate::name::HostName;
use crate::trust::{Admitted, Device, Ended, Known, Membership, RecordedDevice};

/// An admitted client's encrypted stream, and what is known about the client.
///
/// It ends by itself when a CA on the device's path is deactivated or deleted, when a certificate on
/// that path expires, when it has been up for as long as the instance lets one be, and when the
/// instance is removed. From then on every read and write fails with an error of the kind
/// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) that holds an [`Ended`], as
/// [`io::Error::downcast`] tells; nothing more is written, not even `close_notify`, but one
/// [`farewell`](Self::farewell). Whoever waits in a read or a write is woken.
///
/// It never gives its inner stream away: what a connection may still read and write is decided
/// here for as long as it lives.
pub struct Connection<IO> {
    wire: Wire<IO>,
    instance: InstanceId,
    server_name: Option<HostName>,
    device: Option<Known>,
    membership: Membership,
    /// Whether the end of the connection was noticed here, so that nothing is said any more.
    parted: bool,
}

impl<IO> Connection<IO> {
    pub(super) fn new(
        stream: TlsStream<IO>,
        instance: InstanceId,
        server_name: Option<HostName>,
        admitted: Admitted,
    ) -> Self {
        let Admitted { device, membership, .. } = admitted;
        let wire = Wire::new(stream);
        Self { wire, instance, server_name, device, membership, parted: false }
    }

    /// Waits until the connection is over and tells why. The future borrows nothing: await it beside
    /// your reads and writes, in this task or another one.
    pub fn revoked(&self) -> impl Future<Output = Ended> + Send + use<IO> {
        Arc::clone(self.membership.lifeline()).over()
    }

    /// Leaves one last packet, an MQTT 5 DISCONNECT say, in the place of one left before. See
    /// [`ConnectionHandle::farewell`].
    ///
    /// # Errors
    ///
    /// When it is over 16 KiB.
    pub fn farewell(&self, packet: &[u8]) -> Result<(), FarewellTooLong> {
        self.handle().farewell(packet)
    }

    /// Flushes behind each write from now on, in the same poll and without waiting: for sessions that
    /// never flush, as over TCP, which holds nothing back. A [`farewell`](Self::farewell) is said only
    /// behind what was flushed, and between a write and a flush of the session's own the connection
    /// may be cut.
    #[must_use]
    pub fn flush_each_write(mut self) -> Self {
        self.wire.flush_each_write = true;
        self
    }

    /// What watches the connection from afar, where the stream itself is given to somebody else.
    pub fn handle(&self) -> ConnectionHandle {
        ConnectionHandle(Arc::clone(self.membership.lifeline()))
    }

    /// The instance that it belongs to.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The server name that the client asked for, canonical; `None` where it asked for none.
    pub fn server_name(&self) -> Option<&HostName> {
        self.server_name.as_ref()
    }

    /// The application protocol that was agreed on: `mqtt`, `x-amzn-mqtt-ca`, or `None` where the
    /// client offered neither.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.wire.tls().alpn_protocol()
    }

    /// The TLS version that was agreed on.
    pub fn tls_version(&self) -> Option<ProtocolVersion> {
        self.wire.tls().protocol_version()
    }

    /// Whether the client came back with a ticket: then it has proven its identity in an earlier
    /// handshake, and everything about that still stands.
    pub fn is_resumed(&self) -> bool {
        self.wire.tls().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The device that has proven its identity; `None` where the client showed no certificate and
    /// need not.
    pub fn device(&self) -> Option<&Device> {
        self.device.as_ref().map(|known| &known.device)
    }

    /// The record on which the device came in; `None` where there is no [`device`](Self::device). By its
    /// serial numbers the device is switched off. The CA's is that of [`Device::ca_serial`], or of
    /// another CA under which the same certificate is on record, a renewed twin say.
    pub fn record(&self) -> Option<&Arc<RecordedDevice>> {
        self.device.as_ref().map(|known| &known.record)
    }
}

impl<IO> fmt::Debug for Connection<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("instance", &self.instance)
            .field("server_name", &self.server_name)
            .field("alpn", &self.alpn().map(<[u8]>::escape_ascii).map(|alpn| alpn.to_string()))
            .field("tls_version", &self.tls_version())
            .field("is_resumed", &self.is_resumed())
            .field("device", &self.device())
            .finish_non_exhaustive()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Polls the wire, where the connection is not over.
    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        poll: impl FnOnce(&mut Wire<IO>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = self.membership.lifeline().begin().and_then(|turn| {
            // Behind a poll that panicked nobody knows how much of a record is gone.
            let parted = std::mem::replace(&mut self.parted, true);
            let polled = poll(&mut self.wire, context);
            self.parted = parted;
            if polled.is_pending() {
                match side {
                    Side::Read => turn.waits_to_read(context.waker()),
                    Side::Write => turn.waits_to_write(context.waker()),
                }
            }
            turn.end().map(|()| polled)
        });
        polled.unwrap_or_else(|why| self.part(context, why))
    }

    /// What a poll of a connection that is over comes to. The first one that notices says farewell.
    fn part<T>(&mut self, context: &mut Context<'_>, why: Ended) -> Poll<io::Result<T>> {
        if !std::mem::replace(&mut self.parted, true) {
            self.wire.part(context, self.membership.lifeline().take_words());
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)))
    }
}

/// Who waits for a poll: a stream that was split is polled by two tasks.
#[derive(Clone, Copy, Debug)]
enum Side {
    Read,
    Write,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.get_mut().poll(cx, Side::Read, |wire, cx| wire.read(cx, buf));
        if matches!(polled, Poll::Ready(Err(_))) {
            buf.set_filled(before);
        }
        polled
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll(cx, Side::Write, |wire, cx| wire.write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll(cx, Side::Write, |wire, cx| wire.write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(cx, Side::Write, Wire::flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(cx, Side::Write, Wire::shutdown)
    }
}
