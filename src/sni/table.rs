//! The table that a listener serves.

use std::fmt;
use std::sync::Arc;

use foldhash::HashMap;

use super::certificate_set::{CertificateSet, Configured};
use super::map::SniMap;
use crate::certificate::ServerCertificate;
use crate::id::CertificateId;

/// One published table: never changed, replaced as a whole.
pub struct SniTable {
    /// Whose it is: each resolver has a number of its own.
    resolver: u64,
    map: SniMap<CertificateSet>,
    generation: u64,
    by_id: HashMap<CertificateId, Configured>,
}

impl SniTable {
    pub(crate) fn new(resolver: u64, map: SniMap<CertificateSet>, generation: u64) -> Self {
        let mut by_id = HashMap::default();
        for configured in map.values().flat_map(CertificateSet::all) {
            // Most names share theirs with others: an id is cloned once.
            if !by_id.contains_key(configured.id()) {
                by_id.insert(configured.id().clone(), configured.clone());
            }
        }
        Self { resolver, map, generation, by_id }
    }

    pub(super) fn is_of(&self, resolver: u64) -> bool {
        self.resolver == resolver
    }

    /// The names and their certificates.
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
        self.by_id.get(id).map(Configured::certificate)
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
