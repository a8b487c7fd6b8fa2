//! Certificates that are renewed where they come from, without an operation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rustls_pki_types::UnixTime;

use super::events::Event;
use super::instances::Instances;
use super::tenant::Instance;
use crate::causes::with_causes;
use crate::certificate::{ServerCertificate, ServerCertificateError, SourceError, Validity};
use crate::id::{CertificateId, InstanceId};
use crate::sni::{Configured, Renewed, SniTable};

/// What loading an instance's certificates anew came to.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Renewal {
    /// The certificates that are served anew, in the order of their ids.
    pub renewed: Vec<CertificateId>,
    /// Those that could not be loaded, or should not be served: what was served still is.
    pub failed: Vec<RenewalError>,
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
    pub(super) fn renew(
        &self,
        instance: &Arc<Instance>,
        which: &Which,
        failing: impl Fn(&CertificateId) -> Failing,
    ) -> Renewal {
        let mut publisher = instance.sni_publisher();
        let Some(current) = instance.sni().table() else { return Renewal::default() };
        let (mut renewed, mut failed) = self.load_anew(instance, which.of(&current));
        for id in take_clashes(&current, &mut renewed) {
            failed.push(RenewalError { id, fault: RenewalFault::KeyTypeTaken });
        }
        // What is replaced is freed by whoever lets go of it last: that is the publisher.
        drop(current);
        let mut ids: Vec<_> = renewed.ids().cloned().collect();
        ids.sort_unstable();
        failed.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        if !renewed.is_empty() {
            let Some(table) = instance.publish_renewed(&mut publisher, renewed) else {
                return Renewal::default();
            };
            let generation = table.generation();
            tracing::info!(instance = %instance.id(), certificates = ?ids, generation, "renewed");
            instance.announce(|instance| Event::CertificatesChanged { instance, generation });
        }
        instance.renewals().settle(which, &failed);
        for failed in failed.iter().filter(|failed| failing(&failed.id) == Failing::ForGood) {
            instance.renewals().note(instance, failed);
        }
        Renewal { renewed: ids, failed }
    }

    /// What of this has changed at the source since it was loaded.
    fn load_anew<'a>(
        &self,
        instance: &Instance,
        served: impl Iterator<Item = &'a Configured>,
    ) -> (Renewed, Vec<RenewalError>) {
        let (mut renewed, mut failed) = (Renewed::default(), vec![]);
        let now = instance.now();
        for served in served {
            match self.load_certificate(instance, served).and_then(|it| check(it, served, now)) {
                Ok(Some(certificate)) => renewed.put(served, certificate),
                Ok(None) => {}
                Err(fault) => failed.push(RenewalError { id: served.id().clone(), fault }),
            }
        }
        (renewed, failed)
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

    fn has(&self, id: &CertificateId) -> bool {
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

/// Takes those out that would stand beside another one of the same key type, and gives their ids.
fn take_clashes(current: &SniTable, renewed: &mut Renewed) -> BTreeSet<CertificateId> {
    let key_type = |configured: &Configured| configured.certificate().key_type();
    let changed = renewed.each().filter(|(served, next)| key_type(served) != key_type(next));
    let mut clashes: BTreeSet<_> = changed.map(|(served, _)| served.id().clone()).collect();
    if !clashes.is_empty() {
        let several = current.map().values().filter(|set| set.certificates().count() > 1);
        let beside_others: BTreeSet<_> =
            several.flat_map(|set| set.certificates().map(|(id, _)| id)).collect();
        clashes.retain(|id| beside_others.contains(id));
        renewed.retain(|served| !clashes.contains(served.id()));
    }
    clashes
}

/// What could not be renewed, by its id, and how often that happened.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Mutex<Failures>);

#[derive(Debug, Default)]
struct Failures {
    standing: BTreeMap<CertificateId, FailedRenewal>,
    count: u64,
}

/// A certificate that could not be renewed when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedRenewal {
    /// Since when, by the instance's clock; `None` where the clock failed.
    pub since: Option<UnixTime>,
    /// Why.
    pub reason: String,
}

impl Renewals {
    /// Forgets of what failed before, of those that were looked at, all but what failed again: in the
    /// order of the ids.
    fn settle(&self, which: &Which, failed: &[RenewalError]) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_failed =
            |id: &CertificateId| failed.binary_search_by(|failed| failed.id.cmp(id)).is_ok();
        failures.standing.retain(|id, _| !which.has(id) || has_failed(id));
    }

    /// Counts a failure, and tells of it where it was not known.
    fn note(&self, instance: &Instance, RenewalError { id, fault }: &RenewalError) {
        let reason = with_causes(fault);
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.count += 1;
        if failures.standing.get(id).is_some_and(|known| known.reason == reason) {
            return;
        }
        tracing::warn!(instance = %instance.id(), certificate = %id, %reason, "not renewed");
        instance.announce(|instance| Event::CertificateNotRenewed {
            instance,
            certificate_id: id.clone(),
            reason: reason.clone(),
        });
        failures.standing.insert(id.clone(), FailedRenewal { since: instance.now(), reason });
    }

    /// Why this certificate could not be renewed when it was last looked at.
    pub(crate) fn failure(&self, id: &CertificateId) -> Option<FailedRenewal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).standing.get(id).cloned()
    }

    /// How many attempts failed.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}
