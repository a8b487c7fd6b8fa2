//! The set of instances.

use std::fmt;
use std::sync::Arc;

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use rustls::crypto::CryptoProvider;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{CipherSuite, SignatureScheme};

use super::claims::Claims;
use super::events::{Announcer, Event, Events};
use super::route::{NoRoute, Route};
use super::shelf::Shelf;
use super::spec::InstanceSpec;
use super::stats::{Counters, Stats};
use super::tenant::Instance;
use crate::certificate::CertificateSource;
use crate::id::InstanceId;
use crate::name::HostName;
use crate::sni::{Offer, Suites};
use crate::trust::{Ended, LiveChange};

/// All MQTT instances of one broker, with the crypto provider and the certificate source that they
/// share. Cheap to clone; clones are the same set.
#[derive(Clone)]
pub struct Instances(Arc<Shared>);

struct Shared {
    by_id: DashMap<InstanceId, Arc<Instance>, RandomState>,
    claims: Arc<Claims>,
    provider: Arc<CryptoProvider>,
    /// The provider's.
    suites: Suites,
    source: Box<dyn CertificateSource>,
    shelf: Shelf,
    clock: Arc<dyn TimeProvider>,
    counters: Arc<Counters>,
    announcer: Arc<Announcer>,
}

impl Instances {
    /// An empty set. `provider` does all cryptography; there is no global one. `source` is asked
    /// for certificates when an operation names them, and to renew them.
    pub fn new(provider: Arc<CryptoProvider>, source: impl CertificateSource + 'static) -> Self {
        Self::with_clock(provider, source, Arc::new(DefaultTimeProvider))
    }

    /// An empty set that takes the dates for every check of validity from `clock`, the age of tickets
    /// and the ends of connections among them.
    pub fn with_clock(
        provider: Arc<CryptoProvider>,
        source: impl CertificateSource + 'static,
        clock: Arc<dyn TimeProvider>,
    ) -> Self {
        Self(Arc::new(Shared {
            by_id: DashMap::default(),
            claims: Arc::default(),
            suites: Suites::of(&provider),
            provider,
            source: Box::new(source),
            shelf: Shelf::default(),
            clock,
            counters: Arc::default(),
            announcer: Arc::default(),
        }))
    }

    /// Creates an instance. It has no certificates before its first
    /// [`SetSniConfig`](crate::SetSniConfig) and believes no device before its first
    /// [`RegisterCa`](crate::RegisterCa).
    ///
    /// # Errors
    ///
    /// When the id or an endpoint is taken, when the crypto provider has no usable cipher suites, and
    /// when there is no randomness for ticket keys.
    pub fn create(&self, spec: InstanceSpec) -> Result<Arc<Instance>, CreateError> {
        let shared = &self.0;
        let id = spec.id.clone();
        let random = shared.provider.secure_random;
        let sealing = spec.resumption.begin(random).map_err(CreateError::Tickets)?;
        let instance = Instance::new(
            spec,
            sealing,
            Arc::clone(&shared.provider),
            Arc::clone(&shared.clock),
            Arc::clone(&shared.counters),
            Arc::clone(&shared.announcer),
            Arc::downgrade(&shared.claims),
        );
        let instance = Arc::new(instance.map_err(CreateError::Provider)?);
        if shared.by_id.contains_key(&id) {
            return Err(CreateError::Exists(id));
        }
        if instance.is_shared() {
            shared.claims.join(&instance).map_err(CreateError::NameTaken)?;
        }
        let taken = match shared.by_id.entry(id) {
            Entry::Occupied(taken) => taken.key().clone(),
            Entry::Vacant(free) => {
                free.insert(Arc::clone(&instance));
                return Ok(instance);
            }
        };
        // Somebody else was faster.
        shared.claims.leave(&instance);
        Err(CreateError::Exists(taken))
    }

    /// The instance with this id.
    pub fn get(&self, id: &InstanceId) -> Option<Arc<Instance>> {
        self.0.by_id.get(id).map(|instance| Arc::clone(&instance))
    }

    /// Removes an instance. When this has returned its connections are over, none of its tickets
    /// resumes anything, also not with another instance of the same id, and no handshake is admitted
    /// to it; its names are free. Whoever still holds it holds an instance that refuses everybody: an
    /// [`Acceptor`](crate::Acceptor) that is bound to it, say. `None` where there is none, or where
    /// another call has removed it meanwhile.
    ///
    /// Takes time in proportion to its connections and names, and waits for reads and writes that are
    /// under way, and for a [`SetSniConfig`](crate::SetSniConfig) that is; an async caller wraps it in `spawn_blocking`.
    pub fn remove(&self, id: &InstanceId) -> Option<LiveChange> {
        let instance = self.get(id)?;
        // Its id is taken until it is over, and who removes it, too, waits for that.
        let live = instance.trust().close();
        {
            // No change of its map is under way, and none that comes later claims anything.
            let _publisher = instance.sni_publisher();
            self.0.claims.leave(&instance);
        }
        let removed = |_: &_, known: &Arc<Instance>| Arc::ptr_eq(known, &instance);
        self.0.by_id.remove_if(id, removed)?;
        tracing::info!(instance = %id, connections_ended = live.ended, "instance removed");
        instance.announce_ended(Ended::InstanceRemoved, live);
        instance.announce(|instance| Event::InstanceRemoved { instance });
        Some(live)
    }

    /// How the connections of all instances ended up so far.
    pub fn stats(&self) -> Stats {
        self.0.counters.snapshot()
    }

    /// What happens in all instances from now on. Each call begins a reader of its own, and a reader
    /// that is slow misses some rather than holding anybody up.
    ///
    /// Told are devices that were recorded, connections that an [`Acceptor`](crate::Acceptor) refused,
    /// changes of CAs, devices, revocation lists and certificates, connections that were ended, and
    /// instances that were removed. Embedders with an accept loop of their own are not told of those
    /// whom they refused themselves.
    ///
    /// The first call takes the memory for what is kept, for as long as the set is there.
    pub fn events(&self) -> Events {
        self.0.announcer.events()
    }

    /// Where a client goes on the shared listener that asks for this name, in whatever case, with
    /// these signature schemes and cipher suites: for accept loops of the embedder's own. `None` where
    /// no instance answers for the name, or one that has no certificates yet. Nothing is counted, and
    /// there is no fallback and no limit of handshakes: those are
    /// [`Acceptor::shared`](crate::Acceptor::shared)'s.
    pub fn route(
        &self,
        server_name: &str,
        schemes: &[SignatureScheme],
        suites: &[CipherSuite],
    ) -> Option<Route> {
        self.find(server_name, schemes, suites).ok()
    }

    pub(crate) fn find(
        &self,
        server_name: &str,
        schemes: &[SignatureScheme],
        suites: &[CipherSuite],
    ) -> Result<Route, NoRoute> {
        let Shared { claims, suites: ours, .. } = self.0.as_ref();
        claims.route(server_name, &Offer::new(ours, schemes, suites))
    }

    /// Does what is due in every instance, as [`Instance::sweep`] does in one: for accept loops of the
    /// embedder's own.
    pub fn sweep(&self) {
        // Not while the set is looked at: a sweep may take a while.
        for instance in self.all() {
            instance.sweep();
        }
    }

    pub(crate) fn announcer(&self) -> &Announcer {
        &self.0.announcer
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// All instances at this moment.
    pub(super) fn all(&self) -> Vec<Arc<Instance>> {
        self.0.by_id.iter().map(|instance| Arc::clone(&instance)).collect()
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    pub(crate) fn source(&self) -> &dyn CertificateSource {
        self.0.source.as_ref()
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instances").field("instances", &self.0.by_id.len()).finish_non_exhaustive()
    }
}

/// Why an instance was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is one with this id.
    #[error("there already is an instance {0}")]
    Exists(InstanceId),
    /// Another instance on the shared listener has claimed an endpoint, or a wildcard that covers it.
    #[error("{0} belongs to another instance on the shared listener")]
    NameTaken(HostName),
    /// rustls can make no configuration with the crypto provider.
    #[error("the crypto provider cannot serve TLS")]
    Provider(#[source] rustls::Error),
    /// What seals tickets cannot be made, for want of randomness.
    #[error("no tickets can be issued")]
    Tickets(#[source] rustls::Error),
}
