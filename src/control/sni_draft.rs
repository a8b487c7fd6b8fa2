//! From a `SniConfig` to the next certificate map, with everything that is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::sni_config::{SniConfig, SniEntry};
use super::sni_faults::{EntryError, EntryFault, EntryWarning, Place, SniConfigRefused, Warning};
use crate::certificate::{CertificateSource, KeyType, Password, ServerCertificate};
use crate::id::CertificateId;
use crate::instance::{Instance, Shelf};
use crate::name::NamePattern;
use crate::sni::{CertificateSet, Configured, SniMap, SniTable};

/// The next map of an instance, complete and checked, not yet published.
pub(super) struct SniDraft {
    pub(super) map: SniMap<CertificateSet>,
    pub(super) warnings: Vec<EntryWarning>,
}

impl SniDraft {
    /// Loads and checks everything. No fault hides another: all are collected.
    pub(super) fn make(
        default: &CertificateId,
        config: &SniConfig,
        from: Loading<'_>,
    ) -> Result<Self, SniConfigRefused> {
        let mut planning =
            Planning { from, loaded: BTreeMap::new(), errors: vec![], warnings: vec![] };
        let default_set = planning.default_set(default, config);
        let entries = planning.entries(config);
        let Planning { errors, warnings, .. } = planning;
        match default_set {
            Some(default) if errors.is_empty() => {
                Ok(Self { map: SniMap::new(default, entries), warnings })
            }
            _ => Err(SniConfigRefused { errors }),
        }
    }
}

/// Where certificates come from, and what is served now.
#[derive(Clone, Copy)]
pub(super) struct Loading<'a> {
    pub(super) source: &'a dyn CertificateSource,
    pub(super) shelf: &'a Shelf,
    pub(super) instance: &'a Instance,
    pub(super) now: UnixTime,
    pub(super) current: Option<&'a SniTable>,
}

struct Planning<'a> {
    from: Loading<'a>,
    /// Each id is loaded once, with the password that it is named with first.
    loaded: BTreeMap<CertificateId, Loaded>,
    errors: Vec<EntryError>,
    warnings: Vec<EntryWarning>,
}

/// What came of loading a certificate; nothing, where it failed.
struct Loaded {
    password: Option<Password>,
    configured: Option<Configured>,
}

impl Planning<'_> {
    /// The default has no place for a password: an entry that names the same certificate has.
    fn default_set(&mut self, id: &CertificateId, config: &SniConfig) -> Option<CertificateSet> {
        let served = self.from.current.map(|table| table.map().default_value());
        let same = config.entries().find(|(_, entry)| entry.id == *id);
        let password = same.and_then(|(_, entry)| entry.password.as_ref());
        let configured = self.load(Place::Default, id, password)?;
        self.check(Place::Default, id, configured.certificate(), served)
            .then(|| CertificateSet::of(configured))
    }

    fn entries(&mut self, config: &SniConfig) -> BTreeMap<NamePattern, CertificateSet> {
        let mut names: BTreeMap<NamePattern, CertificateSet> = BTreeMap::new();
        let mut firsts: BTreeMap<(NamePattern, KeyType), usize> = BTreeMap::new();
        for (index, entry) in config.entries() {
            let Some(configured) = self.checked_entry(index, entry) else {
                continue;
            };
            let pattern = entry.pattern.clone();
            let key_type = configured.certificate().key_type();
            let first = *firsts.entry((pattern.clone(), key_type)).or_insert(index);
            let set = match names.get(&pattern) {
                None => Ok(CertificateSet::of(configured)),
                Some(set) => set.with_configured(configured),
            };
            match set {
                Ok(set) => drop(names.insert(pattern, set)),
                Err(_) => self.errors.push(EntryError {
                    place: Place::Entry(index),
                    fault: EntryFault::Duplicate { first, pattern, key_type },
                }),
            }
        }
        names
    }

    fn checked_entry(&mut self, index: usize, entry: &SniEntry) -> Option<Configured> {
        let place = Place::Entry(index);
        let current = self.from.current.map(SniTable::map);
        let served = current.and_then(|map| map.get(&entry.pattern));
        let configured = self.load(place, &entry.id, entry.password.as_ref())?;
        let certificate = configured.certificate();
        if !certificate.is_for(&entry.pattern) {
            let warning = Warning::NotCovered(entry.pattern.clone());
            self.warnings.push(EntryWarning { place, warning });
        }
        self.check(place, &entry.id, certificate, served).then_some(configured)
    }

    fn load(
        &mut self,
        place: Place,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Option<Configured> {
        let fault = match self.loaded.get(id) {
            Some(loaded) if loaded.password.as_ref() != password => {
                EntryFault::OtherPassword(id.clone())
            }
            Some(Loaded { configured: Some(configured), .. }) => return Some(configured.clone()),
            Some(Loaded { configured: None, .. }) => EntryFault::Unusable(id.clone()),
            None => {
                let result = self
                    .from
                    .load(id, password)
                    .map(|certificate| Configured::new(id.clone(), certificate, password.cloned()));
                let configured = result.as_ref().ok().cloned();
                let password = password.cloned();
                self.loaded.insert(id.clone(), Loaded { password, configured });
                match result {
                    Ok(configured) => return Some(configured),
                    Err(fault) => fault,
                }
            }
        };
        self.errors.push(EntryError { place, fault });
        None
    }

    /// Refuses an expired certificate that is not served under the same name already: a map that
    /// has grown old can still be changed elsewhere.
    fn check(
        &mut self,
        place: Place,
        id: &CertificateId,
        certificate: &ServerCertificate,
        served: Option<&CertificateSet>,
    ) -> bool {
        let validity = certificate.validity();
        if validity.is_early(self.from.now) {
            let warning = Warning::NotYetValid(validity);
            self.warnings.push(EntryWarning { place, warning });
        }
        if !validity.is_expired(self.from.now) {
            return true;
        }
        let same = |(served_id, served): (&CertificateId, &Arc<ServerCertificate>)| {
            served_id == id && served.same_chain(certificate)
        };
        if served.is_some_and(|set| set.certificates().any(same)) {
            self.warnings.push(EntryWarning { place, warning: Warning::Expired(validity) });
            return true;
        }
        let fault = EntryFault::Expired { id: id.clone(), validity };
        self.errors.push(EntryError { place, fault });
        false
    }
}

impl Loading<'_> {
    /// The certificate behind an id; the very one that is served now, where it is the same.
    fn load(
        &self,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<Arc<ServerCertificate>, EntryFault> {
        let material = self.source.load(self.instance.id(), id, password)?;
        let loaded = self
            .shelf
            .take(&material, self.instance.provider())
            .map_err(|source| EntryFault::Certificate { id: id.clone(), source })?;
        let served = self.current.and_then(|table| table.certificate(id));
        Ok(match served {
            Some(served) if served.same_chain(&loaded) => Arc::clone(served),
            _ => loaded,
        })
    }
}
