//! Where a connection goes, and what it is answered from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureScheme};

use super::tenant::Instance;
use crate::sni::{Explanation, NotShown, Pinned, Rule, SniTable};

/// Where a client goes on a shared listener: an instance, and the one of its certificate tables that
/// says so. The handshake is answered from that table and from no other, whatever is published
/// meanwhile. Made by [`Instances::route`](super::Instances::route).
#[derive(Clone)]
pub struct Route {
    generation: Arc<Generation>,
    /// What the table has for the client, where it was asked already.
    chosen: Option<Chosen>,
}

/// What a table has for a client.
#[derive(Clone)]
pub(super) struct Chosen {
    /// Where it stands.
    pub(super) rule: Rule,
    /// Chain and key.
    pub(super) key: Arc<CertifiedKey>,
}

impl Route {
    /// To this instance, whatever name was asked for. `None` before its first certificate map.
    pub(crate) fn to(instance: &Arc<Instance>) -> Option<Self> {
        let generation = Generation::new(instance, instance.sni().table()?);
        Some(Self { generation: Arc::new(generation), chosen: None })
    }

    /// To this instance, if the name is its own at this moment.
    pub(super) fn by_name(instance: &Arc<Instance>, name: &str) -> Result<Self, NoRoute> {
        let is_endpoint = instance.endpoints().iter().any(|endpoint| endpoint.as_str() == name);
        match Self::to(instance) {
            Some(route) if is_endpoint || route.covers(name) => Ok(route),
            None if is_endpoint => Err(NoRoute::Unready),
            Some(_) | None => Err(NoRoute::Unknown),
        }
    }

    /// To a generation that has this for the client.
    pub(super) fn to_found(generation: &Arc<Generation>, chosen: Option<Chosen>) -> Self {
        Self { generation: Arc::clone(generation), chosen }
    }

    fn covers(&self, name: &str) -> bool {
        self.generation.table.map().lookup(Some(name)).rule != Rule::Default
    }

    /// The instance.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.generation.instance
    }

    /// The chain and key that the client is shown, where that is known without asking the table
    /// again: not for an endpoint that no entry covers, nor where several certificates stand under the
    /// name or none that suits the client, or while the names are being changed.
    pub fn chosen(&self) -> Option<&Arc<CertifiedKey>> {
        self.chosen.as_ref().map(|chosen| &chosen.key)
    }

    /// What a client is shown that asks for `server_name` with these signature schemes and cipher
    /// suites, of what else there was, and why. As
    /// [`SniResolver::explain`](crate::sni::SniResolver::explain), but from the table with which this
    /// route answers: take the name, schemes and suites that it was asked for with. Nothing is counted.
    pub fn explain(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
        suites: &[CipherSuite],
    ) -> Explanation {
        let Generation { instance, table, .. } = self.generation.as_ref();
        Explanation::of(table, server_name, &instance.sni().offer(schemes, suites))
    }

    /// Decides what the client is shown that has sent this, if that is not known yet, and counts it.
    ///
    /// # Errors
    ///
    /// Why it is shown nothing: rustls has `access_denied` for that, and no other alert.
    pub(crate) fn decide(mut self, hello: &ClientHello<'_>) -> Result<Self, NotShown> {
        let Generation { instance, table, .. } = self.generation.as_ref();
        if self.chosen.is_none() {
            let offer = instance.sni().offer(hello.signature_schemes(), hello.cipher_suites());
            let selected = table.select(hello.server_name(), &offer);
            if matches!(selected, Err(NotShown::NoUsableCertificate))
                && offer.is_hopeless()
                && let Some(key) = table.any_key().cloned()
            {
                // With any certificate rustls gets to what is wrong with the client, and no further.
                return Ok(Self { chosen: Some(Chosen { rule: Rule::Default, key }), ..self });
            }
            let selection = selected.inspect_err(|why| instance.shown().count(Err(*why)))?;
            let key = Arc::clone(selection.certified_key());
            self.chosen = Some(Chosen { rule: selection.rule(), key });
        }
        if let Some(chosen) = &self.chosen {
            self.generation.instance.shown().count(Ok(chosen.rule));
        }
        Ok(self)
    }

    pub(super) fn pin(self) -> Pinned {
        let chosen = self.chosen.map(|chosen| chosen.key);
        Pinned::to(Arc::clone(&self.generation.table), chosen)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("instance", self.instance().id())
            .field("generation", &self.generation.table.generation())
            .finish_non_exhaustive()
    }
}

/// One table of an instance, with whether it is the one in force.
pub(super) struct Generation {
    current: AtomicBool,
    instance: Arc<Instance>,
    table: Arc<SniTable>,
}

impl Generation {
    pub(super) fn new(instance: &Arc<Instance>, table: Arc<SniTable>) -> Self {
        Self { current: AtomicBool::new(true), instance: Arc::clone(instance), table }
    }

    pub(super) fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    pub(super) fn table(&self) -> &Arc<SniTable> {
        &self.table
    }

    /// Whether its table is in force, or is put in force next: who finds a name in it need not look
    /// elsewhere.
    pub(super) fn is_current(&self) -> bool {
        self.current.load(Ordering::SeqCst)
    }

    /// Says that it is in force no more. To be called before it is not.
    pub(super) fn retire(&self) {
        self.current.store(false, Ordering::SeqCst);
    }
}

/// Why a name leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// It is nobody's.
    Unknown,
    /// It is the endpoint of an instance that has no certificates yet.
    Unready,
}
