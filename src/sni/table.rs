//! The table that a listener serves, and the choice of a certificate from it.

use std::fmt;
use std::sync::Arc;

use foldhash::HashMap;
use rustls::sign::CertifiedKey;

use super::map::{Rule, SniMap};
use super::offer::{Offer, SchemeSet, Suitability};
use crate::certificate::{KeyType, ServerCertificate};
use crate::id::CertificateId;

/// Chooses the certificate for a client: by the name first (exact, wildcard, default), then among
/// a name's certificates by what the client's signature schemes and cipher suites can use.
///
/// This one function answers handshakes, `explain`, benches and tests. Of two certificates that
/// both can be used, the one that serves on more protocol versions is taken, and then the one that
/// is not RSA, whose signatures cost the server twenty times as much. Where a client can use none
/// of a name's certificates, the next less specific rule is asked; `None` where even the default
/// has none.
pub fn select<'a>(
    map: &'a SniMap<CertificateSet>,
    server_name: Option<&str>,
    offer: &Offer,
) -> Option<Selection<'a>> {
    let (rule, shown) = map.find_map(server_name, |set| set.best(offer))?;
    Some(Selection { rule, shown })
}

/// A certificate that [`select`] chose, and why.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    rule: Rule,
    shown: &'a Shown,
}

impl<'a> Selection<'a> {
    /// Which rule answered.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The id under which the certificate was configured.
    pub fn id(&self) -> &'a CertificateId {
        &self.shown.id
    }

    /// The certificate.
    pub fn certificate(&self) -> &'a Arc<ServerCertificate> {
        &self.shown.certificate
    }

    /// Chain and key, in the form that rustls takes.
    pub fn certified_key(&self) -> &'a Arc<CertifiedKey> {
        &self.shown.certified_key
    }
}

/// The certificates of one name: one of each key type, at least one.
#[derive(Clone, PartialEq)]
pub struct CertificateSet {
    /// The one that is preferred where a client can use all.
    preferred: Shown,
    others: Box<[Shown]>,
}

impl CertificateSet {
    /// A set of one.
    pub fn new(id: CertificateId, certificate: Arc<ServerCertificate>) -> Self {
        Self { preferred: Shown::new(id, certificate), others: Box::default() }
    }

    /// The set with one more certificate.
    ///
    /// # Errors
    ///
    /// The id of the certificate whose key type is the same.
    pub fn with(
        &self,
        id: CertificateId,
        certificate: Arc<ServerCertificate>,
    ) -> Result<Self, CertificateId> {
        let added = Shown::new(id, certificate);
        let same_type = |shown: &&Shown| shown.key_type() == added.key_type();
        if let Some(other) = self.iter().find(same_type) {
            return Err(other.id.clone());
        }
        let mut all: Vec<Shown> = self.iter().cloned().collect();
        all.push(added);
        all.sort_by_key(|shown| shown.key_type() == KeyType::Rsa);
        let mut all = all.into_iter();
        let preferred = all.next().unwrap_or_else(|| self.preferred.clone());
        Ok(Self { preferred, others: all.collect() })
    }

    /// Each certificate with its id, the preferred one first.
    pub fn certificates(&self) -> impl Iterator<Item = (&CertificateId, &Arc<ServerCertificate>)> {
        self.iter().map(|shown| (&shown.id, &shown.certificate))
    }

    fn iter(&self) -> impl Iterator<Item = &Shown> {
        std::iter::once(&self.preferred).chain(&self.others)
    }

    fn best(&self, offer: &Offer) -> Option<&Shown> {
        let mut best: Option<(Suitability, &Shown)> = None;
        for shown in self.iter() {
            let Some(suitability) = offer.suits(shown.schemes) else {
                continue;
            };
            if best.is_none_or(|(so_far, _)| suitability > so_far) {
                best = Some((suitability, shown));
            }
        }
        best.map(|(_, shown)| shown)
    }
}

impl fmt::Debug for CertificateSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One certificate, with what a lookup reads of it kept beside it: no pointer is followed before
/// the answer is found.
#[derive(Clone)]
struct Shown {
    schemes: SchemeSet,
    certified_key: Arc<CertifiedKey>,
    certificate: Arc<ServerCertificate>,
    id: CertificateId,
}

impl Shown {
    fn new(id: CertificateId, certificate: Arc<ServerCertificate>) -> Self {
        Self {
            schemes: SchemeSet::of(certificate.schemes()),
            certified_key: Arc::clone(certificate.certified_key()),
            certificate,
            id,
        }
    }

    fn key_type(&self) -> KeyType {
        self.certificate.key_type()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.key_type())
    }
}

impl PartialEq for Shown {
    /// Equal where nobody outside could tell them apart.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && (Arc::ptr_eq(&self.certificate, &other.certificate)
                || self.certificate.same_chain(&other.certificate))
    }
}

/// One published table: never changed, replaced as a whole.
pub struct SniTable {
    map: SniMap<CertificateSet>,
    generation: u64,
    by_id: HashMap<CertificateId, Arc<ServerCertificate>>,
}

impl SniTable {
    pub(crate) fn new(map: SniMap<CertificateSet>, generation: u64) -> Self {
        let certificates = map.values().flat_map(CertificateSet::certificates);
        let by_id = certificates.map(|(id, shown)| (id.clone(), Arc::clone(shown))).collect();
        Self { map, generation, by_id }
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
        self.by_id.get(id)
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
