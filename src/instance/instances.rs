//! The set of instances.

use std::fmt;
use std::sync::Arc;

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use rustls::crypto::CryptoProvider;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use super::spec::InstanceSpec;
use super::stats::{Counters, Stats};
use super::tenant::Instance;
use crate::certificate::CertificateSource;
use crate::id::InstanceId;
use crate::trust::LiveChange;

/// All MQTT instances of one broker, with the crypto provider and the certificate source that they
/// share. Cheap to clone; clones are the same set.
#[derive(Clone)]
pub struct Instances(Arc<Shared>);

struct Shared {
    by_id: DashMap<InstanceId, Arc<Instance>, RandomState>,
    provider: Arc<CryptoProvider>,
    source: Box<dyn CertificateSource>,
    clock: Arc<dyn TimeProvider>,
    counters: Arc<Counters>,
}

impl Instances {
    /// An empty set. `provider` does all cryptography; there is no global one. `source` is asked
    /// for certificates when an operation names them.
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
            provider,
            source: Box::new(source),
            clock,
            counters: Arc::default(),
        }))
    }

    /// Creates an instance. It has no certificates before its first
    /// [`SetSniConfig`](crate::SetSniConfig) and believes no device before its first
    /// [`RegisterCa`](crate::RegisterCa).
    ///
    /// # Errors
    ///
    /// When the id is taken, when the crypto provider has no usable cipher suites, and when there is
    /// no randomness for ticket keys.
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
        );
        let instance = Arc::new(instance.map_err(CreateError::Provider)?);
        match shared.by_id.entry(id) {
            Entry::Occupied(taken) => Err(CreateError::Exists(taken.key().clone())),
            Entry::Vacant(free) => {
                free.insert(Arc::clone(&instance));
                Ok(instance)
            }
        }
    }

    /// The instance with this id.
    pub fn get(&self, id: &InstanceId) -> Option<Arc<Instance>> {
        self.0.by_id.get(id).map(|instance| Arc::clone(&instance))
    }

    /// Removes an instance. When this has returned its connections are over, none of its tickets
    /// resumes anything, also not with another instance of the same id, and no handshake is admitted
    /// to it. Whoever still holds it holds an instance that refuses everybody: an
    /// [`Acceptor`](crate::Acceptor) that is bound to it, say. `None` where there is none, or where
    /// another call has removed it meanwhile.
    ///
    /// Takes time in proportion to its connections, and waits for reads and writes that are under
    /// way; an async caller wraps it in `spawn_blocking`.
    pub fn remove(&self, id: &InstanceId) -> Option<LiveChange> {
        let instance = self.get(id)?;
        // Its id is taken until it is over, and who removes it, too, waits for that.
        let live = instance.trust().close();
        let removed = |_: &_, known: &Arc<Instance>| Arc::ptr_eq(known, &instance);
        self.0.by_id.remove_if(id, removed)?;
        tracing::info!(instance = %id, connections_ended = live.ended, "instance removed");
        Some(live)
    }

    /// How the connections of all instances ended up so far.
    pub fn stats(&self) -> Stats {
        self.0.counters.snapshot()
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
    /// rustls can make no configuration with the crypto provider.
    #[error("the crypto provider cannot serve TLS")]
    Provider(#[source] rustls::Error),
    /// What seals tickets cannot be made, for want of randomness.
    #[error("no tickets can be issued")]
    Tickets(#[source] rustls::Error),
}
