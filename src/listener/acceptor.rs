//! From an accepted stream to a connection that has passed the gate.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::Instrument;

use super::backoff::Backoff;
use super::connection::Connection;
use super::entrance::{Drained, Entrance};
use super::handshake::TurnedAway;
use super::hosts::Hosts;
use super::panics;
use super::passage::Passage;
use super::permits::{Limits, Permits};
use super::refused::Refused;
use super::room::Room;
use super::sweeper::Sweeper;
use crate::instance::{Event, Instance, Instances, Outcome};

/// Takes streams through the TLS handshake of one instance, or of the one that each asks for. Cheap
/// to clone; clones share the permits, the queue before them and every other limit, and one
/// [`drain`](Self::drain) is for all of them. A setter that changes a limit begins a count of its own: set limits before cloning.
///
/// Defaults: 10 seconds for the whole handshake, 5 of them for the ClientHello; 4096 connections
/// whose ClientHello is awaited; 1024 handshakes at a time, 2048 that wait for their turn, and 3
/// seconds that each has when others wait. At most 4096 refused clients are left time to read their
/// alert, a second each.
#[derive(Clone)]
#[must_use]
pub struct Acceptor {
    hosts: Hosts,
    passage: Passage,
    entrance: Arc<Entrance>,
    backoff: Arc<Backoff>,
    sweeper: Arc<Sweeper>,
}

impl Acceptor {
    /// An acceptor whose every connection belongs to `instance`, whatever server name it asks for.
    pub fn new(instance: &Arc<Instance>) -> Self {
        Self::of(Hosts::One(Arc::clone(instance)))
    }

    /// An acceptor for all instances that share a listener ([`InstanceSpec::shared`]), those that are
    /// created later among them. The server name that a client asks for finds the instance; then
    /// everything is that instance's own: certificates, CAs, whether a certificate is asked for,
    /// tickets, limits.
    ///
    /// A client that names none of theirs, or nothing, or an IP address, is told
    /// `unrecognized_name`, unless there is a [`fallback`](Self::fallback).
    ///
    /// [`InstanceSpec::shared`]: crate::InstanceSpec::shared
    pub fn shared(instances: &Instances) -> Self {
        Self::of(Hosts::Shared(instances.clone(), None))
    }

    /// The instance of clients that ask for no name that leads to one, on a [`shared`](Self::shared)
    /// acceptor; on any other every name leads to one, and this does nothing. It need not share the
    /// listener itself. An endpoint of an instance without certificates does not lead here.
    pub fn fallback(mut self, instance: &Arc<Instance>) -> Self {
        if let Hosts::Shared(_, fallback) = &mut self.hosts {
            *fallback = Some(Arc::clone(instance));
        }
        self
    }

    fn of(hosts: Hosts) -> Self {
        Self {
            hosts,
            passage: Passage::default(),
            entrance: Arc::default(),
            backoff: Arc::default(),
            sweeper: Arc::default(),
        }
    }

    /// How long a handshake may take from the accepted stream to the gate, waiting for a permit
    /// included; at most an hour. A client that is not done by then is cut.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.passage.deadline = deadline.min(LONGEST);
        self
    }

    /// How long a client may take to send a whole ClientHello; the deadline, where that is sooner.
    pub fn hello_deadline(mut self, hello_deadline: Duration) -> Self {
        self.passage.hello_deadline = hello_deadline.min(LONGEST);
        self
    }

    /// How many connections may be waited for to send a whole ClientHello; at least one. One more
    /// comes in all the same, and the one that was waited for longest is cut
    /// ([`Refused::HelloCrowdedOut`]): a real client's ClientHello is there within a round trip.
    /// Each may hold up to 64 KiB, which is how much of a ClientHello rustls reads.
    pub fn hellos(mut self, hellos: usize) -> Self {
        self.passage.hellos = Arc::new(Room::new(hellos));
        self
    }

    /// How many handshakes may be computed at a time; at least one. A permit is taken once the
    /// whole ClientHello is there, so that silent clients hold none.
    pub fn permits(self, permits: usize) -> Self {
        self.limits(|limits| limits.permits = permits.max(1))
    }

    /// How many clients may wait for a permit, which they get in the order of their ClientHellos.
    /// One more is refused at once ([`Refused::QueueFull`]). Where everyone ahead stalls, a client
    /// waits `patience` for each `permits` of them: more than twice as many as there are permits
    /// would outwait the deadline by default. With zero nobody waits, so that nobody
    /// is ever [`Stalled`](Refused::Stalled) either.
    pub fn waiting(self, waiting: usize) -> Self {
        self.limits(|limits| limits.waiting = waiting)
    }

    /// For how long a handshake that was begun is left its permit when others wait for one. Then it
    /// is cut ([`Refused::Stalled`]), whoever has held one longest first, and no more of them than
    /// wait. Where nobody waits only the deadline counts. Real clients need a few round trips and
    /// their own signature: with zero each would lose its permit to the next one at once.
    pub fn patience(self, patience: Duration) -> Self {
        self.limits(|limits| limits.patience = patience.min(LONGEST))
    }

    fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = self.passage.permits.limits();
        change(&mut limits);
        self.passage.permits = Arc::new(Permits::new(limits));
        self
    }

    /// Takes a stream through the handshake to the gate.
    ///
    /// An accept loop that does not ask [`next`](Self::next) calls [`Instance::sweep`] itself each
    /// second, or [`Instances::sweep`] on a shared listener: without that no connection ends when its
    /// certificates expire. A task of its own for each stream is up to the caller. Dropping the future
    /// closes the stream; such a connection is in no counter, and every place that it took is free
    /// again.
    ///
    /// # Errors
    ///
    /// When the client is refused, goes away or is too slow; then it has been told what it is to
    /// be told, and the stream is closed. The reason is logged at `debug` and counted in
    /// [`Instances::stats`](crate::Instances::stats). A panic in the handshake is an error too
    /// ([`Refused::Panicked`]), and ends nothing but this connection.
    ///
    /// A tokio runtime without a time driver makes every handshake panic, which the panic hook tells:
    /// build it with `enable_time` or `enable_all`.
    pub async fn accept<IO>(&self, io: IO) -> Result<Connection<IO>, Refused>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let span = tracing::debug_span!(
            "connection",
            instance = tracing::field::Empty,
            server_name = tracing::field::Empty,
        );
        let reached = OnceLock::new();
        let let_in = pin!(self.let_in(io, &reached));
        let caught = panics::caught(let_in).instrument(span.clone()).await;
        let result = caught.unwrap_or(Err(Refused::Panicked));
        let outcome = result.as_ref().err().map_or(Outcome::Admitted, Refused::outcome);
        self.hosts.counters().count(outcome);
        if let Err(refused) = &result {
            let instance = self.hosts.only().or_else(|| reached.get());
            self.hosts.announcer().tell_refusal(|| Event::Refused {
                instance: instance.map(|instance| instance.id().clone()),
                outcome,
                refusal: refused.refusal().cloned(),
            });
        }
        // Also a panic is no more than `debug`: who has found what causes it could fill the log. The
        // panic hook and the counter have told of it.
        span.in_scope(|| match &result {
            Ok(connection) => tracing::debug!(?connection, "admitted"),
            Err(refused) => tracing::debug!(?refused, ?outcome, "refused"),
        });
        result
    }

    /// Accepts the next connection, by way of a closure that asks the listener for one:
    /// `acceptor.next(|| listener.accept())`. `None` once a [`drain`](Self::drain) has begun, also
    /// where that is while it waits.
    ///
    /// A failing listener is asked again and again. Where the error is about one connection, which
    /// was lost before it was accepted ([`Outcome::ClientGone`]), that is at once. Any other most
    /// likely says that file descriptors or memory have run out ([`Outcome::AcceptFailed`]): then it
    /// waits first, 5 milliseconds, doubled with each failure in a row up to a second, and logs the
    /// error, at `warn` once in a minute and at `debug` otherwise.
    ///
    /// Each second that it is awaited, and between connections, the connections whose time is over
    /// are ended, and certificates that were replaced are freed, in each of its instances
    /// ([`Instance::sweep`]).
    ///
    /// `None` comes when a drain begins, not when it has ended: `drain` once more and await that
    /// before you let go of what still runs.
    ///
    /// Dropping the future loses no connection if dropping that of `accept` does not; those of
    /// tokio's listeners do not. How long to wait is remembered.
    ///
    /// # Panics
    ///
    /// When the tokio runtime has no time driver.
    pub async fn next<T, F>(&self, accept: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        let count = |outcome| self.hosts.counters().count(outcome);
        tokio::select! {
            biased;
            () = self.entrance.closed() => None,
            never = self.sweeper.run(&self.hosts) => match never {},
            accepted = self.backoff.accepted(accept, count) => Some(accepted),
        }
    }

    /// Lets no connection in any more, on this acceptor and all its clones, and gives the handshakes
    /// that are under way so much time to end (at most an hour).
    ///
    /// It begins when it is called, not when the future is awaited: from then on
    /// [`next`](Self::next) returns `None` and [`accept`](Self::accept) refuses with
    /// [`Refused::Draining`]. There is no way back. Handshakes that are under way go on as usual,
    /// whether they wait for their ClientHello, for a permit or for the client. The future is ready
    /// once none is left, or at the deadline; then those that are left are cut
    /// ([`Refused::DrainTimeout`]), and none of them is admitted any more. Connections that the
    /// broker has got are the broker's, and end with what let them in as ever; only [`next`] sweeps
    /// no more: as long as some are up, call [`Instance::sweep`] each second, or none ends when its
    /// certificates expire. A refused client that still reads its alert is not waited
    /// for.
    ///
    /// Dropping the future leaves the entrance closed; then the handshakes' own deadlines count. Any
    /// number of drains may go on at a time, each with a report of its own, and the earliest
    /// deadline counts.
    ///
    /// # Panics
    ///
    /// Where it is awaited, when the tokio runtime has no time driver.
    ///
    /// [`next`]: Self::next
    pub fn drain(&self, deadline: Duration) -> impl Future<Output = Drained> + use<> {
        let deadline = Instant::now() + deadline.min(LONGEST);
        let entrance = Arc::clone(&self.entrance);
        let begun = entrance.close();
        async move { entrance.drain(begun, deadline).await }
    }

    /// Notes the instance that the client comes to.
    async fn let_in<IO>(
        &self,
        io: IO,
        reached: &OnceLock<Arc<Instance>>,
    ) -> Result<Connection<IO>, Refused>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut guest = self.entrance.enter().ok_or(Refused::Draining)?;
        let passed = tokio::select! {
            biased;
            () = guest.shown_out() => Err(Refused::DrainTimeout.into()),
            passed = self.passage.pass(&self.hosts, io, reached) => passed,
        };
        let in_time = guest.leave();
        match passed {
            Ok(connection) if in_time => Ok(connection),
            Ok(_connection) => Err(Refused::DrainTimeout),
            Err(TurnedAway(refused, rest)) => {
                // The permit is free again: lingering costs no place but its own.
                self.passage.linger(rest).await;
                Err(refused)
            }
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("hosts", &self.hosts)
            .field("passage", &self.passage)
            .finish_non_exhaustive()
    }
}

const LONGEST: Duration = Duration::from_secs(3600);
