//! A connection that has passed the gate.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::handle::{ConnectionHandle, FarewellTooLong};
use crate::id::InstanceId;
use crate::name::HostName;
use crate::trust::{Admitted, Device, Ended, Membership};

/// An admitted client's encrypted stream, and what is known about the client.
///
/// It ends by itself when a CA on the device's path is deactivated or deleted, when a certificate on
/// that path expires, when it has been up for as long as the instance lets one be, and when the
/// instance is removed. From then on every read and write fails, with [`Ended`] as the error's
/// source; nothing more is written, not even `close_notify`, but one [`farewell`](Self::farewell).
/// Whoever waits in a read or a write is woken.
///
/// It never gives its inner stream away: what a connection may still read and write is decided
/// here for as long as it lives.
pub struct Connection<IO> {
    stream: TlsStream<IO>,
    instance: InstanceId,
    server_name: Option<HostName>,
    device: Option<Device>,
    membership: Membership,
    /// Whether the last write took less than it was given, so that words in between would fall into
    /// the middle of a packet.
    cut_short: bool,
    /// Whether the end of the connection was noticed here.
    parted: bool,
}

impl<IO> Connection<IO> {
    pub(super) fn new(
        stream: TlsStream<IO>,
        instance: InstanceId,
        server_name: Option<HostName>,
        admitted: Admitted,
    ) -> Self {
        let Admitted { device, membership } = admitted;
        let (cut_short, parted) = (false, false);
        Self { stream, instance, server_name, device, membership, cut_short, parted }
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
        self.stream.get_ref().1.alpn_protocol()
    }

    /// The TLS version that was agreed on.
    pub fn tls_version(&self) -> Option<ProtocolVersion> {
        self.stream.get_ref().1.protocol_version()
    }

    /// The device that has proven its identity; `None` where the client showed no certificate and
    /// need not.
    pub fn device(&self) -> Option<&Device> {
        self.device.as_ref()
    }
}

impl<IO> fmt::Debug for Connection<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("instance", &self.instance)
            .field("server_name", &self.server_name)
            .field("alpn", &self.alpn().map(<[u8]>::escape_ascii).map(|alpn| alpn.to_string()))
            .field("tls_version", &self.tls_version())
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// What a poll of a connection that is over comes to. The first one that notices says farewell.
    fn part<T>(&mut self, context: &mut Context<'_>, why: Ended) -> Poll<io::Result<T>> {
        if !std::mem::replace(&mut self.parted, true) {
            self.say_farewell(context);
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)))
    }

    /// Writes the last packet in one go, where the stream takes it and everything before it is
    /// written, and ends the stream. Waits for nothing.
    fn say_farewell(&mut self, context: &mut Context<'_>) {
        let words = self.membership.lifeline().take_words();
        let all_written = !self.cut_short && !self.stream.get_ref().1.wants_write();
        if let Some(words) = words.filter(|_| all_written) {
            // However this ends: it was the last word.
            let _said = Pin::new(&mut self.stream).poll_write(context, &words);
            let _sent = Pin::new(&mut self.stream).poll_flush(context);
        }
        let _ended = Pin::new(self.stream.get_mut().0).poll_shutdown(context);
    }

    fn write_with(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
        write: impl FnOnce(Pin<&mut TlsStream<IO>>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.cut_short = true;
        let polled = self.on_the_write_side(context, write);
        self.cut_short = !matches!(polled, Poll::Ready(Ok(written)) if written == length);
        polled
    }

    fn on_the_write_side<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut TlsStream<IO>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = self.membership.lifeline().begin().and_then(|turn| {
            let polled = poll(Pin::new(&mut self.stream), context);
            if polled.is_pending() {
                turn.waits_to_write(context.waker());
            }
            turn.end().map(|()| polled)
        });
        polled.unwrap_or_else(|why| self.part(context, why))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = this.membership.lifeline().begin().and_then(|turn| {
            let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
            if polled.is_pending() {
                turn.waits_to_read(cx.waker());
            }
            turn.end().map(|()| polled)
        });
        polled.unwrap_or_else(|why| {
            buf.set_filled(before);
            this.part(cx, why)
        })
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write_with(cx, buf.len(), |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        self.get_mut().write_with(cx, length, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().on_the_write_side(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().on_the_write_side(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
