//! From a `SniConfig` to the next certificate map, with everything that is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sni_config::{SniConfig, SniEntry};
use super::sni_faults::{EntryError, EntryFault, EntryWarning, Place, SniConfigRefused, Warning};
use super::sni_loading::{Loaded, Loading};
use super::sni_warnings::{of_certificate, of_shadowed};
use crate::certificate::{KeyType, Password, ServerCertificate, Sha256};
use crate::id::CertificateId;
use crate::name::NamePattern;
use crate::sni::{CertificateSet, Configured, SniMap, SniTable};

/// The next map of an instance, checked but not published, and what is to look at.
pub(super) struct SniDraft {
    /// The map in full, or all that is wrong.
    pub(super) map: Result<SniMap<CertificateSet>, SniConfigRefused>,
    /// In the order of their places, also of the good entries where others are bad.
    pub(super) warnings: Vec<EntryWarning>,
}

impl SniDraft {
    /// Loads and checks everything. No fault hides another: all are collected.
    pub(super) fn make(default: &CertificateId, config: &SniConfig, from: Loading<'_>) -> Self {
        let mut drafting = Drafting {
            from,
            loaded: BTreeMap::new(),
            ids: BTreeMap::new(),
            errors: vec![],
            warnings: vec![],
        };
        let default_set = drafting.default_set(default, config);
        let names = drafting.names(config);
        let Drafting { errors, mut warnings, .. } = drafting;
        warnings.extend(of_shadowed(&names));
        warnings.sort_by_key(|warning| warning.place);
        let map = match default_set {
            Some(default) if errors.is_empty() => {
                let sets = names.into_iter();
                let sets = sets.filter_map(|(pattern, named)| Some((pattern, named.set?)));
                Ok(SniMap::new(default, sets.collect()))
            }
            _ => Err(SniConfigRefused { errors }),
        };
        Self { map, warnings }
    }
}

/// What the entries for one name come to.
pub(super) struct Named {
    /// The first of them.
    pub(super) first: usize,
    /// The certificates of those that can be served.
    pub(super) set: Option<CertificateSet>,
    /// Whether all can.
    pub(super) complete: bool,
    /// Which one was the first with each key type.
    key_types: Vec<(KeyType, usize)>,
}

struct Drafting<'a> {
    from: Loading<'a>,
    /// Each id is loaded once, with the password that it is named with first.
    loaded: BTreeMap<CertificateId, Loaded>,
    /// Under which id each end entity certificate was named first.
    ids: BTreeMap<Sha256, CertificateId>,
    errors: Vec<EntryError>,
    warnings: Vec<EntryWarning>,
}

impl Drafting<'_> {
    /// The default has no place for a password: an entry that names the same certificate has.
    fn default_set(&mut self, id: &CertificateId, config: &SniConfig) -> Option<CertificateSet> {
        let served = self.from.current.map(|table| table.map().default_value());
        let same = config.entries().find(|(_, entry)| entry.id == *id);
        let password = same.and_then(|(_, entry)| entry.password.as_ref());
        let configured = self.load(Place::Default, id, password)?;
        self.check(Place::Default, &configured, served).then(|| CertificateSet::of(configured))
    }

    fn names(&mut self, config: &SniConfig) -> BTreeMap<NamePattern, Named> {
        let mut names: BTreeMap<NamePattern, Named> = BTreeMap::new();
        for (index, entry) in config.entries() {
            let configured = self.checked_entry(index, entry);
            let named = names.entry(entry.pattern.clone()).or_insert_with(|| Named {
                first: index,
                set: None,
                complete: true,
                key_types: vec![],
            });
            let fault = configured.map(|configured| named.add(index, configured));
            named.complete &= matches!(fault, Some(Ok(())));
            if let Some(Err((first, key_type))) = fault {
                let pattern = entry.pattern.clone();
                let fault = EntryFault::Duplicate { first, pattern, key_type };
                self.errors.push(EntryError { place: Place::Entry(index), fault });
            }
        }
        names
    }

    fn checked_entry(&mut self, index: usize, entry: &SniEntry) -> Option<Configured> {
        let place = Place::Entry(index);
        let current = self.from.current.map(SniTable::map);
        let served = current.and_then(|map| map.get(&entry.pattern));
        let configured = self.load(place, &entry.id, entry.password.as_ref())?;
        if self.loaded.get(&entry.id).is_some_and(|loaded| !loaded.is_for(&entry.pattern)) {
            self.warn(place, Warning::NotCovered(entry.pattern.clone()));
        }
        self.check(place, &configured, served).then_some(configured)
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
                let loaded = Loaded::new(password.cloned(), result.as_ref().ok().cloned());
                self.loaded.insert(id.clone(), loaded);
                match result {
                    Ok(configured) => {
                        self.look_over(place, &configured);
                        return Some(configured);
                    }
                    Err(fault) => fault,
                }
            }
        };
        self.errors.push(EntryError { place, fault });
        None
    }

    /// What is to look at in a certificate, whatever it is for, at the first place that names it.
    fn look_over(&mut self, place: Place, configured: &Configured) {
        let (id, certificate) = (configured.id(), configured.certificate());
        for warning in of_certificate(certificate, self.from.now) {
            self.warn(place, warning);
        }
        let known = self.ids.entry(certificate.sha256()).or_insert_with(|| id.clone());
        if known != id {
            let known = known.clone();
            self.warn(place, Warning::SameCertificate(known));
        }
    }

    /// Refuses an expired certificate that is not served under the same name already: a map that
    /// has grown old can still be changed elsewhere.
    fn check(
        &mut self,
        place: Place,
        configured: &Configured,
        served: Option<&CertificateSet>,
    ) -> bool {
        let (id, certificate) = (configured.id(), configured.certificate());
        let validity = certificate.validity();
        if !validity.is_expired(self.from.now) {
            return true;
        }
        let same = |(served_id, served): (&CertificateId, &Arc<ServerCertificate>)| {
            served_id == id && served.same_chain(certificate)
        };
        if served.is_some_and(|set| set.certificates().any(same)) {
            if let Some(loaded) = self.loaded.get_mut(id).filter(|loaded| !loaded.told_expired) {
                loaded.told_expired = true;
                self.warn(place, Warning::Expired(validity));
            }
            return true;
        }
        let fault = EntryFault::Expired { id: id.clone(), validity };
        self.errors.push(EntryError { place, fault });
        false
    }

    fn warn(&mut self, place: Place, warning: Warning) {
        self.warnings.push(EntryWarning { place, warning });
    }
}

impl Named {
    /// Adds the certificate of one more entry. The error is the entry that has one of the same key
    /// type, and the key type.
    fn add(&mut self, index: usize, configured: Configured) -> Result<(), (usize, KeyType)> {
        let key_type = configured.certificate().key_type();
        if let Some((_, first)) = self.key_types.iter().find(|(known, _)| *known == key_type) {
            return Err((*first, key_type));
        }
        let set = match &self.set {
            None => CertificateSet::of(configured),
            Some(set) => set.with_configured(configured).map_err(|_| (self.first, key_type))?,
        };
        self.key_types.push((key_type, index));
        self.set = Some(set);
        Ok(())
    }
}
