//! The table that a listener serves, and the choice of a certificate from it.

use std::fmt;
use std::sync::Arc;

use foldhash::HashMap;
use rustls::sign::CertifiedKey;

use super::map::{Rule, SniMap};
use super::offer::{Offer, SchemeSet, Suitability};
use crate::certificate::{KeyType, Password, ServerCertificate};
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
    offer: &Offer<'_>,
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
        &self.shown.named.id
    }

    /// The certificate.
    pub fn certificate(&self) -> &'a Arc<ServerCertificate> {
        &self.shown.named.certificate
    }

    /// Chain and key, in the form that rustls takes.
    pub fn certified_key(&self) -> &'a Arc<CertifiedKey> {
        &self.shown.certified_key
    }
}

/// The certificates of one name: one of each key type, at least one.
#[derive(Clone, PartialEq)]
pub struct CertificateSet(Certificates);

#[derive(Clone, PartialEq)]
enum Certificates {
    One(Shown),
    /// The one first that is preferred where a client can use all.
    Several(Box<[Shown]>),
}

impl CertificateSet {
    /// A set of one.
    pub fn new(id: CertificateId, certificate: Arc<ServerCertificate>) -> Self {
        Self::of(Configured::new(id, certificate, None))
    }

    /// A set of one that was configured, perhaps for other names as well.
    pub(crate) fn of(configured: Configured) -> Self {
        Self(Certificates::One(configured.0))
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
        self.with_configured(Configured::new(id, certificate, None))
    }

    /// The same with one that was configured.
    pub(crate) fn with_configured(
        &self,
        Configured(added): Configured,
    ) -> Result<Self, CertificateId> {
        let same_type = |shown: &&Shown| shown.key_type() == added.key_type();
        if let Some(other) = self.all().iter().find(same_type) {
            return Err(other.named.id.clone());
        }
        let mut all = self.all().to_vec();
        all.push(added);
        all.sort_by_key(|shown| shown.key_type() == KeyType::Rsa);
        Ok(Self(Certificates::Several(all.into())))
    }

    /// Each certificate with its id, the preferred one first.
    pub fn certificates(&self) -> impl Iterator<Item = (&CertificateId, &Arc<ServerCertificate>)> {
        self.all().iter().map(|shown| (&shown.named.id, &shown.named.certificate))
    }

    /// The set with other certificates under the same ids; `None` where none of its own has another.
    pub(crate) fn renewed(&self, renewed: &HashMap<CertificateId, Configured>) -> Option<Self> {
        let mut all = self.all().to_vec();
        let mut changed = false;
        for shown in &mut all {
            if let Some(Configured(next)) = renewed.get(&shown.named.id) {
                *shown = next.clone();
                changed = true;
            }
        }
        let several = |all: Vec<Shown>| Certificates::Several(all.into());
        changed.then(|| match <[Shown; 1]>::try_from(all) {
            Ok([only]) => Self(Certificates::One(only)),
            Err(all) => Self(several(all)),
        })
    }

    fn all(&self) -> &[Shown] {
        match &self.0 {
            Certificates::One(shown) => std::slice::from_ref(shown),
            Certificates::Several(all) => all,
        }
    }

    /// The only certificate; `None` where there are several to choose from.
    pub(crate) fn only(&self) -> Option<Only> {
        match &self.0 {
            Certificates::One(Shown { schemes, certified_key, .. }) => {
                Some(Only { schemes: *schemes, certified_key: Arc::clone(certified_key) })
            }
            Certificates::Several(_) => None,
        }
    }

    fn best(&self, offer: &Offer<'_>) -> Option<&Shown> {
        let all = match &self.0 {
            Certificates::One(shown) => return offer.takes(shown.schemes).then_some(shown),
            Certificates::Several(all) => all,
        };
        let mut best: Option<(Suitability, &Shown)> = None;
        for shown in all {
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

/// The only certificate of a name, reduced to what a lookup reads.
pub(crate) struct Only {
    schemes: SchemeSet,
    certified_key: Arc<CertifiedKey>,
}

impl Only {
    /// Its chain and key, where the client can use it.
    pub(crate) fn choose(&self, offer: &Offer<'_>) -> Option<Arc<CertifiedKey>> {
        offer.takes(self.schemes).then(|| Arc::clone(&self.certified_key))
    }
}

impl fmt::Debug for CertificateSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

/// One certificate, with what a lookup reads of it kept beside it: no pointer is followed before
/// the answer is found. What a lookup does not read is kept elsewhere: large tables are as fast as
/// they are small.
#[derive(Clone)]
struct Shown {
    schemes: SchemeSet,
    certified_key: Arc<CertifiedKey>,
    named: Arc<Named>,
}

struct Named {
    id: CertificateId,
    certificate: Arc<ServerCertificate>,
    /// What opens its key, for when it is loaded anew.
    password: Option<Password>,
}

/// A certificate under its id, as it goes into the set of each name for which it is configured.
#[derive(Clone)]
pub(crate) struct Configured(Shown);

impl Configured {
    pub(crate) fn new(
        id: CertificateId,
        certificate: Arc<ServerCertificate>,
        password: Option<Password>,
    ) -> Self {
        Self(Shown {
            schemes: SchemeSet::of(certificate.schemes()),
            certified_key: Arc::clone(certificate.certified_key()),
            named: Arc::new(Named { id, certificate, password }),
        })
    }

    pub(crate) fn id(&self) -> &CertificateId {
        &self.0.named.id
    }

    pub(crate) fn certificate(&self) -> &Arc<ServerCertificate> {
        &self.0.named.certificate
    }

    pub(crate) fn password(&self) -> Option<&Password> {
        self.0.named.password.as_ref()
    }
}

impl Shown {
    fn key_type(&self) -> KeyType {
        self.named.certificate.key_type()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.named.id, self.key_type())
    }
}

impl PartialEq for Shown {
    /// Equal where nobody could tell them apart, now or when they are loaded anew.
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.named, &other.named);
        ours.id == theirs.id
            && ours.password == theirs.password
            && (Arc::ptr_eq(&ours.certificate, &theirs.certificate)
                || ours.certificate.same_chain(&theirs.certificate))
    }
}

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
        for shown in map.values().flat_map(CertificateSet::all) {
            // Most names share theirs with others: an id is cloned once.
            if !by_id.contains_key(&shown.named.id) {
                by_id.insert(shown.named.id.clone(), Configured(shown.clone()));
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
