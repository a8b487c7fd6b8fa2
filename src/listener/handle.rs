//! What watches a connection whose stream is somebody else's.

use std::future::Future;
use std::sync::Arc;

use crate::trust::{Ended, Lifeline};

/// Watches a [`Connection`](super::Connection) from afar: brokers move the stream into a session
/// and still want to know when it is over, and to say farewell. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionHandle(pub(super) Arc<Lifeline>);

impl ConnectionHandle {
    /// Waits until the connection is over and tells why; [`Ended::Dropped`] where the broker dropped
    /// it. The future borrows nothing.
    pub fn revoked(&self) -> impl Future<Output = Ended> + Send + use<> {
        Arc::clone(&self.0).over()
    }

    /// Why the connection is over; `None` where it is not.
    pub fn ended(&self) -> Option<Ended> {
        self.0.ended()
    }

    /// Leaves one last packet, an MQTT 5 DISCONNECT say, in the place of one left before.
    ///
    /// When the connection is ended, in whatever way and for whatever reason, the next read, write,
    /// flush or shutdown of it writes this once, without waiting, before it fails; as much of it as
    /// the inner stream takes at once. Dropping a connection says nothing: a session that learns of
    /// the end by [`revoked`](Self::revoked) calls `shutdown().await` before it lets go.
    ///
    /// Only where everything that was written before was flushed: flush after each packet, or have
    /// [each write flushed](super::Connection::flush_each_write). Nothing is
    /// written where the last write took only a part of what it was given, behind the broker's own
    /// shutdown, and behind a read or write that failed. A packet that the broker writes in pieces
    /// should be one write: between two of them this would fall into its middle.
    ///
    /// MQTT allows a server no packet before CONNACK, and MQTT 3.1.1 has no such packet at all: leave
    /// it once CONNACK is written, to clients of MQTT 5. On a connection that is over already this
    /// does nothing.
    ///
    /// # Errors
    ///
    /// When it is over 16 KiB, which is what one TLS record holds.
    pub fn farewell(&self, packet: &[u8]) -> Result<(), FarewellTooLong> {
        if packet.len() > LONGEST {
            return Err(FarewellTooLong { length: packet.len() });
        }
        self.0.leave_words(packet);
        Ok(())
    }
}

/// A last packet that is too long to be sent in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the last packet has {length} bytes, at most {LONGEST} can be left")]
pub struct FarewellTooLong {
    /// Its length in bytes.
    pub length: usize,
}

const LONGEST: usize = 16 * 1024;
