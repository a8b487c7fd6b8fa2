//! The table that a listener serves.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use rustls::sign::CertifiedKey;
use rustls_pki_types::UnixTime;

use super::certificate_set::{CertificateSet, Configured};
use super::map::SniMap;
use super::parts::Parts;
use super::policy::{Standing, Terms};
use super::renewed::Renewed;
use crate::certificate::{ServerCertificate, Validity};
use crate::id::CertificateId;

/// One published table: never changed, replaced as a whole.
pub struct SniTable {
    /// Whose it is: each resolver has a number of its own.
    resolver: u64,
    map: SniMap<CertificateSet>,
    generation: u64,
    /// Whether one of them is withheld is the map's to say.
    by_id: Parts<CertificateId, Configured>,
    terms: Arc<Terms>,
    /// Whether they may keep the default from somebody: beside the map, where a lookup reads it.
    terms_bar_default: bool,
    standing: Standing,
}

impl SniTable {
    /// The table that answers from this map at this time.
    pub(super) fn new(
        resolver: u64,
        map: SniMap<CertificateSet>,
        generation: u64,
        terms: &Arc<Terms>,
        now: Option<UnixTime>,
    ) -> Self {
        let (map, standing) = terms.at(map, now);
        let mut by_id = HashMap::default();
        for configured in map.values().flat_map(CertificateSet::all) {
            // Most names share theirs with others: each is cloned once.
            by_id.entry(configured.id()).or_insert(configured);
        }
        let cloned =
            |(id, configured): (&CertificateId, &Configured)| (id.clone(), configured.clone());
        let by_id = Parts::new(by_id.into_iter().map(cloned).collect());
        let terms_bar_default = terms.bar_default();
        let terms = Arc::clone(terms);
        Self { resolver, map, generation, by_id, terms, terms_bar_default, standing }
    }

    /// The next table, with other certificates for the same names. What holds nothing of them is in
    /// both.
    pub(super) fn renewed(&self, renewed: &Renewed, now: Option<UnixTime>) -> Self {
        let map = self.map.replace_values(|set| set.renewed(renewed));
        let (map, standing) = match self.terms.still_stands(self.standing, renewed, now) {
            Some(standing) => (map, standing),
            None => self.terms.at(map, now),
        };
        Self {
            resolver: self.resolver,
            map,
            generation: self.generation + 1,
            by_id: self.by_id.replace_values(|configured| renewed.next(configured).cloned()),
            terms: Arc::clone(&self.terms),
            terms_bar_default: self.terms_bar_default,
            standing,
        }
    }

    pub(super) fn is_of(&self, resolver: u64) -> bool {
        self.resolver == resolver
    }

    /// A key that it has, whoever may be shown it.
    pub(crate) fn any_key(&self) -> Option<&Arc<CertifiedKey>> {
        self.map.default_value().all().first().map(Configured::certified_key)
    }

    #[inline]
    pub(super) fn terms_bar_default(&self) -> bool {
        self.terms_bar_default
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether the default is shown also when it has expired and others would not be.
    pub(crate) fn shows_expired_default(&self) -> bool {
        self.terms.default_outlives_itself()
    }

    /// Whether a certificate has expired at this time that had not when the table was made.
    pub(crate) fn newly_expired(&self, validity: Validity, now: UnixTime) -> bool {
        self.standing.newly_expired(validity, now)
    }

    /// Whether it answers as it should at this time: another one has to take its place where a
    /// certificate has expired that is not to be shown then.
    pub(crate) fn stands_at(&self, now: UnixTime) -> bool {
        self.standing.includes(now)
    }

    /// The names and their certificates.
    #[inline]
    pub fn map(&self) -> &SniMap<CertificateSet> {
        &self.map
    }

    /// Counts the tables of one instance, from 1. A [`SetSniConfig`](crate::SetSniConfig) that
    /// changes nothing keeps it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The certificate that is served under this id, for whatever name.
    pub fn certificate(&self, id: &CertificateId) -> Option<&Arc<ServerCertificate>> {
        self.get(id).map(Configured::certificate)
    }

    /// What is served under this id.
    pub(crate) fn get(&self, id: &CertificateId) -> Option<&Configured> {
        self.by_id.get(id)
    }

    /// These ids, and all others under which one of their certificates is served. Looks at where the
    /// key of each lies.
    pub(crate) fn twins_of(&self, ids: BTreeSet<CertificateId>) -> BTreeSet<CertificateId> {
        let keys = ids.iter().filter_map(|id| self.get(id)).map(Configured::place_of_key);
        let keys: HashSet<_> = keys.collect();
        let twins = self.configured().filter(|other| keys.contains(&other.place_of_key()));
        twins.map(Configured::id).cloned().chain(ids).collect()
    }

    /// Every certificate, once for each id under which it is served.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &Arc<ServerCertificate>> {
        self.by_id.values().map(Configured::certificate)
    }

    /// Every certificate, once for each id, in no order.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &Configured> {
        self.by_id.values()
    }
}

impl fmt::Debug for SniTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SniTable")
            .field("generation", &self.generation)
            .field("names", &self.map.len())
            .finish_non_exhaustive()
    }
}

/// A table that is to take the place of the current one.
pub(crate) struct Next {
    pub(super) table: Arc<SniTable>,
    /// What alone is other in it, where it was made of the current one.
    pub(super) renewed: Option<Renewed>,
}

impl Next {
    pub(crate) fn table(&self) -> &Arc<SniTable> {
        &self.table
    }

    /// Whether its names are those of the current one.
    pub(crate) fn has_the_same_names(&self) -> bool {
        self.renewed.is_some()
    }
}
