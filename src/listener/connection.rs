//! A connection that has passed the gate.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::id::InstanceId;
use crate::name::HostName;
use crate::trust::Device;

/// An admitted client's encrypted stream, and what is known about the client.
///
/// It never gives its inner stream away: what a connection may still read and write is decided
/// here for as long as it lives.
pub struct Connection<IO> {
    stream: TlsStream<IO>,
    instance: InstanceId,
    server_name: Option<HostName>,
    device: Option<Device>,
}

impl<IO> Connection<IO> {
    pub(super) fn new(
        stream: TlsStream<IO>,
        instance: InstanceId,
        server_name: Option<HostName>,
        device: Option<Device>,
    ) -> Self {
        Self { stream, instance, server_name, device }
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

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
