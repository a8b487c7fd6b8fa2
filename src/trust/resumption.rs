//! Whether and how an instance's sessions are resumed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::Error;
use rustls::crypto::SecureRandom;
use rustls::server::ProducesTickets;

use super::binding::Incarnation;

/// Whether an instance's clients may resume their sessions.
#[derive(Clone, Debug)]
pub enum Resumption {
    /// Every handshake is a full one.
    Off,
    /// Clients get tickets, with which they come back for a fraction of a full handshake's price
    /// while everything that let them in still stands.
    On(Tickets),
}

impl Default for Resumption {
    fn default() -> Self {
        Self::On(Tickets::default())
    }
}

impl Resumption {
    /// What a new instance resumes with. `None` where it does not.
    pub(crate) fn begin(&self, random: &dyn SecureRandom) -> Result<Option<Sealing>, Error> {
        let tickets = match self {
            Self::Off => return Ok(None),
            Self::On(tickets) => tickets,
        };
        let inner = match &tickets.inner {
            Some(given) => Some(Arc::clone(given)),
            None => of_the_feature()?,
        };
        let Some(inner) = inner.filter(|inner| inner.enabled()) else {
            return Ok(None);
        };
        let mut incarnation = [0; 8];
        random.fill(&mut incarnation)?;
        Ok(Some(Sealing {
            inner,
            incarnation: Incarnation(incarnation),
            lineage: tickets.lineage,
            per_handshake: tickets.per_handshake,
            largest: tickets.largest,
        }))
    }
}

/// How tickets are made, and for how long they are good.
///
/// A ticket is good only for the instance that issued it, under the same server name, and while
/// every CA on the device's path and the device's record are in the state in which they were seen; else
/// it is declined and the handshake is a full one. The server keeps nothing for a ticket but that
/// record, from which it takes the device's certificate.
#[derive(Clone)]
#[must_use]
pub struct Tickets {
    inner: Option<Arc<dyn ProducesTickets>>,
    lineage: Duration,
    per_handshake: usize,
    largest: usize,
}

impl Tickets {
    /// The most tickets that [`per_handshake`](Self::per_handshake) takes.
    pub const MAX_PER_HANDSHAKE: usize = 4;

    /// The largest ticket that [`largest`](Self::largest) takes, in bytes: more than the longest
    /// chain that is looked at needs, and less than the longest message that clients read.
    pub const MAX_LARGEST: usize = 48 * 1024;

    /// Tickets under the keys of the crypto module that a feature names, `aws-lc-rs` before `ring`:
    /// new ones for each instance, drawn when it is created and rotated every six hours. With
    /// neither feature nothing is resumed, unless [`sealed_by`](Self::sealed_by) names something.
    pub fn new() -> Self {
        Self { inner: None, lineage: LINEAGE, per_handshake: PER_HANDSHAKE, largest: LARGEST }
    }

    /// Seals tickets with `inner`: for another crypto module, or for keys from elsewhere.
    ///
    /// It must authenticate what it seals, and open it for at least half of the
    /// [`lifetime`](ProducesTickets::lifetime) that it announces, so that no client of TLS 1.2
    /// [keeps](Self::lineage) a ticket for too long. Several instances may share one: a ticket is of use to
    /// the instance that issued it only, and to none that was created again under its id. One that
    /// is not [`enabled`](ProducesTickets::enabled) when the instance is created is the same as
    /// [`Resumption::Off`].
    pub fn sealed_by(self, inner: Arc<dyn ProducesTickets>) -> Self {
        Self { inner: Some(inner), ..self }
    }

    /// For how long after its last full handshake a client may resume, however often it does; 24
    /// hours unless said otherwise. Whole seconds count. A single ticket is good for as long as what
    /// seals it keeps its keys, if that is shorter: 6 to 12 hours with the keys of the crypto module.
    ///
    /// No resumed handshake asks the device to prove that it still holds its key: this is for how long
    /// it need not. On TLS 1.3 each brings a new ticket. On TLS 1.2 a client keeps its ticket until an
    /// eighth of its announced lifetime is over, with the keys of the crypto module one and a half hours;
    /// only then does a resumed handshake renew it
    /// ([RFC 5077](https://www.rfc-editor.org/rfc/rfc5077) section 3.3). Within the next four and a half
    /// hours a client is sure to be resumed.
    pub fn lineage(self, lineage: Duration) -> Self {
        Self { lineage, ..self }
    }

    /// How many tickets a TLS 1.3 client gets in each handshake, at most
    /// [`MAX_PER_HANDSHAKE`](Self::MAX_PER_HANDSHAKE); 1 unless said otherwise. With 0 it gets none.
    /// A client may ask for fewer ([RFC 9149](https://www.rfc-editor.org/rfc/rfc9149)). On TLS 1.2
    /// it is always one, and none where the client keeps the one with which it came.
    ///
    /// Each costs the handshake an encryption and a message.
    ///
    /// rustls gives each ticket a nonce of 32 bytes. A wolfSSL that was built without
    /// `--enable-ticket-nonce-malloc` has room for 8, and ends the connection when a ticket comes: a
    /// fleet of such devices needs 0, or TLS 1.2.
    pub fn per_handshake(self, count: usize) -> Self {
        Self { per_handshake: count.min(Self::MAX_PER_HANDSHAKE), ..self }
    }

    /// How many bytes a ticket may have, at most [`MAX_LARGEST`](Self::MAX_LARGEST); 4096 unless said
    /// otherwise. A client whose ticket would have more gets none. It holds the CA certificates that
    /// the client has sent, and small devices choke on what is large.
    pub fn largest(self, bytes: usize) -> Self {
        Self { largest: bytes.min(Self::MAX_LARGEST), ..self }
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tickets {
    /// Without what seals them: that may show keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("lineage", &self.lineage)
            .field("per_handshake", &self.per_handshake)
            .field("largest", &self.largest)
            .finish_non_exhaustive()
    }
}

/// What one instance seals its tickets with.
pub(crate) struct Sealing {
    pub(super) inner: Arc<dyn ProducesTickets>,
    pub(super) incarnation: Incarnation,
    pub(crate) lineage: Duration,
    pub(super) largest: usize,
    pub(crate) per_handshake: usize,
}

#[cfg(feature = "aws-lc-rs")]
fn of_the_feature() -> Result<Option<Arc<dyn ProducesTickets>>, Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new().map(Some)
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn of_the_feature() -> Result<Option<Arc<dyn ProducesTickets>>, Error> {
    rustls::crypto::ring::Ticketer::new().map(Some)
}

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
fn of_the_feature() -> Result<Option<Arc<dyn ProducesTickets>>, Error> {
    Ok(None)
}

const LINEAGE: Duration = Duration::from_secs(24 * 60 * 60);
/// A client needs one to come back, and gets the next one then.
const PER_HANDSHAKE: usize = 1;
const LARGEST: usize = 4096;
