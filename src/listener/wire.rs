//! A connection's encrypted stream, and whether a last packet may follow what was said on it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// The stream, which only this file writes to.
pub(super) struct Wire<IO> {
    stream: TlsStream<IO>,
    /// Whether the last write took less than it was given, so that words in between would fall into
    /// the middle of a packet.
    cut_short: bool,
    /// Whether something was written and not flushed since, so that the inner stream may hold it
    /// back: a farewell behind it would send it on its way, and so would ending the stream.
    held_back: bool,
    /// Whether each write is flushed at once.
    pub(super) flush_each_write: bool,
    /// Whether `close_notify` or an alert may have been said, behind which nothing is.
    all_said: bool,
}

impl<IO> Wire<IO> {
    pub(super) fn new(stream: TlsStream<IO>) -> Self {
        let (cut_short, held_back, flush_each_write, all_said) = (false, false, false, false);
        Self { stream, cut_short, held_back, flush_each_write, all_said }
    }

    pub(super) fn tls(&self) -> &ServerConnection {
        self.stream.get_ref().1
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(super) fn read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.heard(polled)
    }

    pub(super) fn write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        let polled = self.took(polled, bytes.len());
        self.sent(context, polled)
    }

    pub(super) fn write_vectored(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().fold(0, |sum: usize, slice| sum.saturating_add(slice.len()));
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        let polled = self.took(polled, length);
        self.sent(context, polled)
    }

    pub(super) fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    pub(super) fn flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.held_back = false;
        }
        self.heard(polled)
    }

    pub(super) fn shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.all_said = true;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    /// Writes a last packet in one go, where the stream takes it and everything before it is flushed,
    /// and ends the stream. Waits for nothing.
    pub(super) fn part(&mut self, context: &mut Context<'_>, words: Option<Box<[u8]>>) {
        if self.held_back {
            return;
        }
        let in_the_middle = self.cut_short || self.tls().wants_write();
        let may_speak = !self.all_said && !in_the_middle;
        if let Some(words) = words.filter(|_| may_speak) {
            // However this ends: it was the last word.
            let _said = Pin::new(&mut self.stream).poll_write(context, &words);
            let _sent = Pin::new(&mut self.stream).poll_flush(context);
        }
        // The inner one: that of TLS would say `close_notify`.
        let _ended = Pin::new(self.stream.get_mut().0).poll_shutdown(context);
    }

    /// Notes what became of a write of so many bytes.
    fn took(&mut self, polled: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match &polled {
            // An empty one neither begins a packet nor ends one, and one that waits took nothing.
            Poll::Ready(Ok(_)) if length == 0 => {}
            Poll::Ready(Ok(taken)) => {
                self.cut_short = *taken != length;
                self.held_back = true;
            }
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        self.heard(polled)
    }

    /// Flushes behind a write that took something, where each is. One that waits has sent what it
    /// could.
    fn sent(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if !self.flush_each_write || !matches!(polled, Poll::Ready(Ok(_))) {
            return polled;
        }
        match self.flush(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => polled,
        }
    }

    /// Notes that a poll failed: rustls may have said an alert, and half a record may be gone.
    fn heard<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Err(_))) {
            self.all_said = true;
        }
        polled
    }
}
