//! Accepting connections.
//!
//! An [`Acceptor`] takes a stream through the whole handshake, under one deadline, to a
//! [`Connection`] that has passed the gate. The only layer that is async.
//!
//! On its way a connection is in one place at a time, each of which has a limit: it waits for its
//! ClientHello, then for a permit, then it holds the permit; a refused one lingers until it has
//! read its alert. Whoever waits longest has the first claim on a permit; whoever keeps others
//! waiting longest is the first to go.

mod acceptor;
mod backoff;
mod connection;
mod entrance;
mod handle;
mod handshake;
mod hosts;
mod lingering;
mod panics;
mod passage;
mod permits;
mod refused;
mod room;
mod sweeper;
mod wire;

pub use acceptor::Acceptor;
pub use connection::Connection;
pub use entrance::Drained;
pub use handle::{ConnectionHandle, FarewellTooLong};
pub use refused::Refused;
