//! The way from a stream to the gate: what waits where, how many at a time, and for how long.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::StartHandshake;

use super::connection::Connection;
use super::handshake::{self, Rest, TurnedAway};
use super::hosts::Hosts;
use super::permits::{Limits, Permits};
use super::refused::Refused;
use super::room::Room;
use crate::instance::Instance;
use crate::name::HostName;
use crate::trust::Refusal;

/// The places through which every connection passes. Clones share them.
#[derive(Clone)]
pub(super) struct Passage {
    pub(super) deadline: Duration,
    pub(super) hello_deadline: Duration,
    pub(super) hellos: Arc<Room>,
    pub(super) permits: Arc<Permits>,
    lingering: Arc<Room>,
}

impl Passage {
    /// Takes a client from its stream through the gate.
    pub(super) async fn pass<IO>(
        &self,
        hosts: &Hosts,
        io: IO,
        reached: &OnceLock<Arc<Instance>>,
    ) -> Result<Connection<IO>, TurnedAway<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Instant::now() + self.deadline;
        let start = self.read_hello(deadline, io).await?;
        let server_name = start.client_hello().server_name().and_then(|name| name.parse().ok());
        tracing::Span::current().record("server_name", server_name.as_ref().map(HostName::as_str));
        let answered = timeout_at(deadline, self.answer(hosts, start, server_name, reached)).await;
        answered.unwrap_or_else(|_elapsed| Err(Refused::HandshakeTimeout.into()))
    }

    async fn read_hello<IO>(
        &self,
        deadline: Instant,
        io: IO,
    ) -> Result<StartHandshake<IO>, TurnedAway<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = deadline.min(Instant::now() + self.hello_deadline);
        let place = self.hellos.enter();
        tokio::select! {
            // A ClientHello that has come counts, also where its place has just been taken.
            biased;
            read = timeout_at(deadline, handshake::read_hello(io)) => {
                read.unwrap_or_else(|_elapsed| Err(Refused::HelloTimeout.into()))
            }
            () = place.crowded_out() => Err(Refused::HelloCrowdedOut.into()),
        }
    }

    /// Waits for a permit and holds it until the gate has answered.
    async fn answer<IO>(
        &self,
        hosts: &Hosts,
        start: StartHandshake<IO>,
        server_name: Option<HostName>,
        reached: &OnceLock<Arc<Instance>>,
    ) -> Result<Connection<IO>, TurnedAway<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // Nobody waits in vain, nor takes a place from those who do not.
        let route = hosts.route(&start.client_hello(), server_name.as_ref());
        let Some(asked) = route.map(|route| Arc::clone(route.instance())) else {
            return Err(handshake::nobody_answers(start, server_name));
        };
        let _once = reached.set(Arc::clone(&asked));
        check_limits(&asked)?;
        let permit = self.permits.ask().ok_or(Refused::QueueFull)?;
        permit.granted().await;
        // Anew: it has waited, and what has changed meanwhile counts.
        let Some(route) = hosts.route(&start.client_hello(), server_name.as_ref()) else {
            return Err(handshake::nobody_answers(start, server_name));
        };
        if !Arc::ptr_eq(route.instance(), &asked) {
            check_limits(route.instance())?;
        }
        let instance = route.instance().id().clone();
        tracing::Span::current().record("instance", instance.as_str());
        let (stream, admitted) = tokio::select! {
            biased;
            shaken = handshake::shake_hands(route, start, server_name.clone()) => shaken?,
            () = permit.taken_away() => return Err(Refused::Stalled.into()),
        };
        Ok(Connection::new(stream, instance, server_name, admitted))
    }

    /// Closes a refused client's stream so that it gets to read its alert.
    pub(super) async fn linger<IO: AsyncRead + AsyncWrite + Unpin>(&self, rest: Rest<IO>) {
        if matches!(rest, Rest::Closed) {
            return;
        }
        let place = self.lingering.enter();
        tokio::select! {
            biased;
            () = rest.done() => {}
            () = place.crowded_out() => {}
        }
    }
}

/// Whether the instance takes one more handshake, by its own limits.
fn check_limits(instance: &Instance) -> Result<(), Refused> {
    if instance.trust().is_full() {
        return Err(Refused::Device(Refusal::TooManyConnections));
    }
    if instance.takes_handshake() { Ok(()) } else { Err(Refused::TooManyHandshakes) }
}

impl Default for Passage {
    fn default() -> Self {
        Self {
            deadline: DEADLINE,
            hello_deadline: HELLO_DEADLINE,
            hellos: Arc::new(Room::new(HELLOS)),
            permits: Arc::new(Permits::new(LIMITS)),
            lingering: Arc::new(Room::new(LINGERING)),
        }
    }
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passage")
            .field("deadline", &self.deadline)
            .field("hello_deadline", &self.hello_deadline)
            .field("hellos", &self.hellos.limit())
            .field("limits", &self.permits.limits())
            .finish_non_exhaustive()
    }
}

const DEADLINE: Duration = Duration::from_secs(10);
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
const HELLOS: usize = 4096;
const LINGERING: usize = 4096;
/// Where all stall, the last in the queue has its permit after three times the patience: within the
/// deadline.
const LIMITS: Limits = Limits { permits: 1024, waiting: 2048, patience: Duration::from_secs(3) };
