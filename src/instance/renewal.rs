//! Certificates that are renewed where they come from, without an operation.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::events::Event;
use super::instances::Instances;
use super::tenant::Instance;
use crate::certificate::{ServerCertificate, ServerCertificateError, SourceError, Validity};
use crate::id::{CertificateId, InstanceId};
use crate::name::NamePattern;
use crate::sni::{CertificateSet, Configured, Renewed, SniPublisher, SniTable};

/// What loading an instance's certificates anew came to.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Renewal {
    /// The certificates that are served anew, in the order of their ids.
    pub renewed: Vec<CertificateId>,
    /// Those that could not be loaded, or should not be served: what was served still is.
    pub failed: Vec<RenewalError>,
    /// The names for which a certificate is served that was for them before and, as it is now, is not:
    /// most clients will refuse it. The default's are not among them.
    pub uncovered: Vec<(CertificateId, NamePattern)>,
}

impl Renewal {
    /// Whether nothing has changed, and nothing has failed.
    pub fn is_empty(&self) -> bool {
        self.renewed.is_empty() && self.failed.is_empty()
    }
}

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
#[error("certificate {id} is not renewed")]
pub struct RenewalError {
    /// Which certificate.
    pub id: CertificateId,
    /// What is wrong.
    #[source]
    pub fault: RenewalFault,
}

/// What keeps a certificate from taking its predecessor's place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewalFault {
    /// It is not to be had from its source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is there, and cannot be shown.
    #[error(transparent)]
    Certificate(#[from] ServerCertificateError),
    /// It has expired.
    #[error("it has expired")]
    Expired(Validity),
    /// It is not valid yet: it is taken once it is.
    #[error("it is not valid yet")]
    NotYetValid(Validity),
    /// A name for which it is configured has another certificate with a key of the same type.
    #[error("its key is of the type of another certificate beside it")]
    KeyTypeTaken,
}

impl Instances {
    /// Asks the source for every certificate that any instance serves, and has each instance serve
    /// what has changed, in one step of its own and without an operation. What cannot be loaded, or
    /// should not be shown, leaves in force what is served. Tells of the instances of which there is
    /// something to tell.
    ///
    /// For when certificates were renewed behind their ids; [`watch`](Self::watch) calls it by itself.
    /// Tickets stay good. Blocks while it reads: in async code wrap it in `spawn_blocking`.
    pub fn reload(&self) -> Vec<(InstanceId, Renewal)> {
        let told = self.all().into_iter().map(|instance| {
            let renewal = self.renew(&instance, &Which::All, |_| Failing::ForGood);
            (instance.id().clone(), renewal)
        });
        told.filter(|(_, renewal)| !renewal.is_empty()).collect()
    }

    /// The same for one instance. `None` where there is none with this id.
    pub fn reload_instance(&self, id: &InstanceId) -> Option<Renewal> {
        let instance = self.get(id)?;
        Some(self.renew(&instance, &Which::All, |_| Failing::ForGood))
    }

    /// The same for one certificate of one instance: the source is asked for no other. Costs little
    /// more than reading it does, among however many. `None` where there is no such instance, or it
    /// serves nothing under this id.
    pub fn reload_certificate(&self, instance: &InstanceId, id: &CertificateId) -> Option<Renewal> {
        let instance = self.get(instance)?;
        instance.sni().table()?.certificate(id)?;
        let which = Which::Only([id.clone()].into());
        Some(self.renew(&instance, &which, |_| Failing::ForGood))
    }

    /// Whether an instance serves something under this id.
    pub(super) fn serve(&self, instance: &InstanceId, id: &CertificateId) -> bool {
        let table = self.get(instance).and_then(|instance| instance.sni().table());
        table.is_some_and(|table| table.certificate(id).is_some())
    }

    /// Loads certificates of an instance anew. `failing` tells how the failure of one counts.
    ///
    /// Nobody waits while they are loaded, which may take its time: where the table is another one
    /// behind that, they are loaded once more, and at last while it cannot change.
    pub(super) fn renew(
        &self,
        instance: &Arc<Instance>,
        which: &Which,
        failing: impl Fn(&CertificateId) -> Failing,
    ) -> Renewal {
        for tries_left in (0..TRIES).rev() {
            let now = instance.now();
            let held = (tries_left == 0).then(|| instance.sni_publisher());
            let Some(current) = instance.sni().table() else { break };
            let loaded = self.load_anew(instance, which.of(&current), now);
            let mut publisher = held.unwrap_or_else(|| instance.sni_publisher());
            if instance.sni().table().is_some_and(|table| Arc::ptr_eq(&table, &current)) {
                let renewal = put_in_force(instance, &mut publisher, current, loaded, now);
                drop(publisher);
                instance.renewals().settle(which, &renewal.failed);
                let failed = renewal.failed.iter();
                failed
                    .filter(|failed| failing(&failed.id) == Failing::ForGood)
                    .for_each(|failed| instance.renewals().note(instance, failed, now));
                return renewal;
            }
        }
        Renewal::default()
    }

    /// What of this has changed at the source since it was loaded.
    fn load_anew<'a>(
        &self,
        instance: &Instance,
        served: impl Iterator<Item = &'a Configured>,
        now: Option<UnixTime>,
    ) -> Loaded {
        let mut loaded = Loaded::default();
        for served in served {
            match self.load_certificate(instance, served).and_then(|it| check(it, served, now)) {
                Ok(Some(certificate)) => loaded.renewed.put(served, certificate),
                Ok(None) => {}
                Err(fault) => loaded.failed.push(RenewalError { id: served.id().clone(), fault }),
            }
        }
        loaded
    }

    fn load_certificate(
        &self,
        instance: &Instance,
        served: &Configured,
    ) -> Result<Arc<ServerCertificate>, RenewalFault> {
        let material = self.source().load(instance.id(), served.id(), served.password())?;
        Ok(self.shelf().take(&material, instance.provider())?)
    }
}

/// Which certificates of an instance are looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Only(BTreeSet<CertificateId>),
}

impl Which {
    /// With those that are the same certificate now: a link may lead from one's file to another's.
    pub(super) fn with_twins(self, instance: &Instance) -> Self {
        match (self, instance.sni().table()) {
            (Self::Only(ids), Some(table)) => Self::Only(table.twins_of(ids)),
            (which, _) => which,
        }
    }

    fn of<'a>(&'a self, table: &'a SniTable) -> Box<dyn Iterator<Item = &'a Configured> + 'a> {
        match self {
            Self::All => Box::new(table.configured()),
            Self::Only(ids) => Box::new(ids.iter().filter_map(|id| table.get(id))),
        }
    }

    pub(super) fn has(&self, id: &CertificateId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(id),
        }
    }
}

/// How a failure to renew counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// Not at all: it may come right by itself.
    ForNow,
    /// It is counted and told.
    ForGood,
}

/// What is to take the place of what is served: `None` where it is that.
fn check(
    loaded: Arc<ServerCertificate>,
    served: &Configured,
    now: Option<UnixTime>,
) -> Result<Option<Arc<ServerCertificate>>, RenewalFault> {
    let validity = loaded.validity();
    if loaded.same_chain(served.certificate()) {
        Ok(None)
    } else if now.is_some_and(|now| validity.is_expired(now)) {
        Err(RenewalFault::Expired(validity))
    } else if now.is_some_and(|now| validity.is_early(now)) {
        Err(RenewalFault::NotYetValid(validity))
    } else {
        Ok(Some(loaded))
    }
}

/// Serves what was loaded from a table that is still in force.
fn put_in_force(
    instance: &Arc<Instance>,
    publisher: &mut SniPublisher,
    current: Arc<SniTable>,
    Loaded { mut renewed, mut failed }: Loaded,
    now: Option<UnixTime>,
) -> Renewal {
    for id in take_clashes(&current, &mut renewed) {
        failed.push(RenewalError { id, fault: RenewalFault::KeyTypeTaken });
    }
    failed.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let uncovered = uncovered(&current, &renewed);
    // What is replaced is freed by whoever lets go of it last: that is the publisher.
    drop(current);
    let mut ids: Vec<_> = renewed.ids().cloned().collect();
    ids.sort_unstable();
    if !ids.is_empty() {
        let Some(table) = instance.publish_renewed(publisher, renewed, now) else {
            return Renewal::default();
        };
        let (generation, count) = (table.generation(), ids.len());
        let first = ids.get(..ids.len().min(MAX_LOGGED));
        tracing::info!(instance = %instance.id(), count, certificates = ?first, generation, "renewed");
        if let Some((id, name)) = uncovered.first() {
            let count = uncovered.len();
            tracing::warn!(instance = %instance.id(), certificate = %id, %name, count, "not for its names");
        }
        instance.announce(|instance| Event::CertificatesChanged { instance, generation });
    }
    Renewal { renewed: ids, failed, uncovered }
}

/// Takes those out that would stand beside another one of the same key type, and gives their ids.
fn take_clashes(current: &SniTable, renewed: &mut Renewed) -> BTreeSet<CertificateId> {
    let key_type = |configured: &Configured| configured.certificate().key_type();
    let mut clashes = BTreeSet::new();
    // Without one that is taken out, another one may stand beside what it was to replace.
    loop {
        let changed = renewed.each().filter(|(served, next)| key_type(served) != key_type(next));
        let changed: BTreeSet<_> = changed.map(|(served, _)| served.id().clone()).collect();
        if changed.is_empty() {
            return clashes;
        }
        let clash = |set: &CertificateSet| {
            let next = |served| key_type(renewed.next(served).unwrap_or(served));
            let types: BTreeSet<_> = set.all().iter().map(next).collect();
            types.len() < set.all().len()
        };
        let sets = current.map().values().filter(|set| set.all().len() > 1 && clash(set));
        let found: BTreeSet<_> = sets
            .flat_map(CertificateSet::all)
            .map(Configured::id)
            .filter(|id| changed.contains(id))
            .cloned()
            .collect();
        if found.is_empty() {
            return clashes;
        }
        renewed.retain(|served| !found.contains(served.id()));
        clashes.extend(found);
    }
}

/// The names for which a certificate is no more that was for them before, in their order.
fn uncovered(current: &SniTable, renewed: &Renewed) -> Vec<(CertificateId, NamePattern)> {
    let same_names = |(served, next): (&Configured, &Configured)| {
        served.certificate().names() == next.certificate().names()
    };
    if renewed.each().all(same_names) {
        return vec![];
    }
    let entries = current.map().iter();
    let entries =
        entries.flat_map(|(name, set)| set.all().iter().map(move |it| (name.clone(), it)));
    let mut uncovered: Vec<_> = entries
        .filter_map(|(name, served)| Some((renewed.next(served)?, served, name)))
        .filter(|(next, served, name)| {
            served.certificate().is_for(name) && !next.certificate().is_for(name)
        })
        .map(|(next, _, name)| (next.id().clone(), name))
        .collect();
    uncovered.sort_unstable();
    uncovered
}

/// What was loaded.
#[derive(Default)]
struct Loaded {
    renewed: Renewed,
    failed: Vec<RenewalError>,
}

/// How often certificates are loaded, the last time while nobody else changes the table.
const TRIES: usize = 3;
/// So many ids stand in one line of the log.
const MAX_LOGGED: usize = 20;
