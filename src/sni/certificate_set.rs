//! The certificates that answer for one name.

use std::fmt;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::UnixTime;

use super::offer::{Offer, SchemeSet, Suitability};
use super::policy::NotShown;
use super::renewed::Renewed;
use crate::certificate::{KeyType, Password, ServerCertificate};
use crate::id::CertificateId;

/// The certificates of one name: one of each key type, at least one.
#[derive(Clone, PartialEq)]
pub struct CertificateSet(Certificates);

#[derive(Clone, PartialEq)]
enum Certificates {
    One(Configured),
    /// The one first that is preferred where a client can use all.
    Several(Box<[Configured]>),
}

impl Certificates {
    fn map(&self, next: impl Fn(&Configured) -> Configured) -> Self {
        match self {
            Self::One(shown) => Self::One(next(shown)),
            Self::Several(all) => Self::Several(all.iter().map(next).collect()),
        }
    }
}

impl CertificateSet {
    /// A set of one.
    pub fn new(id: CertificateId, certificate: Arc<ServerCertificate>) -> Self {
        Self::of(Configured::new(id, certificate, None))
    }

    /// A set of one that was configured, perhaps for other names as well.
    pub(crate) fn of(configured: Configured) -> Self {
        Self(Certificates::One(configured))
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
    pub(crate) fn with_configured(&self, added: Configured) -> Result<Self, CertificateId> {
        let same_type = |shown: &&Configured| shown.key_type() == added.key_type();
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
    pub(super) fn renewed(&self, renewed: &Renewed) -> Option<Self> {
        self.all().iter().find_map(|shown| renewed.next(shown))?;
        let next = |shown: &Configured| renewed.next(shown).unwrap_or(shown).clone();
        Some(Self(self.0.map(next)))
    }

    /// Each certificate as it was configured, the preferred one first.
    pub(crate) fn all(&self) -> &[Configured] {
        match &self.0 {
            Certificates::One(shown) => std::slice::from_ref(shown),
            Certificates::Several(all) => all,
        }
    }

    /// The only certificate; `None` where there are several to choose from.
    pub(crate) fn only(&self) -> Option<Only> {
        match &self.0 {
            Certificates::One(Configured { schemes, certified_key, .. }) => {
                Some(Only { schemes: *schemes, certified_key: Arc::clone(certified_key) })
            }
            Certificates::Several(_) => None,
        }
    }

    /// The one that is shown to a client: none that is expired and must not be.
    #[inline]
    pub(super) fn best(&self, offer: &Offer<'_>) -> Option<&Configured> {
        match &self.0 {
            Certificates::One(shown) => offer.takes(shown.schemes).then_some(shown),
            Certificates::Several(all) => best_of(all.iter(), |shown| offer.suits(shown.schemes)),
        }
    }

    /// The one that would be shown to a client of those that have expired.
    pub(super) fn best_expired(&self, offer: &Offer<'_>) -> Option<&Configured> {
        let expired = self.all().iter().filter(|shown| shown.is_withheld());
        best_of(expired, |shown| offer.suits(shown.all_schemes()))
    }

    /// Why there is nothing for a client.
    pub(super) fn lack(&self, offer: &Offer<'_>) -> NotShown {
        match self.best_expired(offer) {
            Some(_) => NotShown::Expired,
            None => NotShown::NoUsableCertificate,
        }
    }

    /// The set as it answers at this time; `None` where it is that.
    pub(super) fn at(&self, now: UnixTime) -> Option<Self> {
        let expired = |shown: &Configured| shown.certificate().validity().is_expired(now);
        self.all().iter().find(|shown| expired(shown) != shown.is_withheld())?;
        let next = |shown: &Configured| {
            let schemes = if expired(shown) { SchemeSet::EMPTY } else { shown.all_schemes() };
            Configured { schemes, ..shown.clone() }
        };
        Some(Self(self.0.map(next)))
    }
}

/// The first of those that serve the client best.
fn best_of<'a>(
    all: impl Iterator<Item = &'a Configured>,
    suits: impl Fn(&Configured) -> Option<Suitability>,
) -> Option<&'a Configured> {
    let mut best: Option<(Suitability, &Configured)> = None;
    for shown in all {
        let Some(suitability) = suits(shown) else {
            continue;
        };
        if best.is_none_or(|(so_far, _)| suitability > so_far) {
            best = Some((suitability, shown));
        }
    }
    best.map(|(_, shown)| shown)
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

/// A certificate under its id, as it goes into the set of each name for which it is configured.
///
/// What a lookup reads of it is kept here: no pointer is followed before the answer is found. What a
/// lookup does not read is kept elsewhere: large tables are as fast as they are small.
#[derive(Clone)]
pub(crate) struct Configured {
    /// With which it may be shown: none, where it has expired and is not to be.
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

impl Configured {
    pub(crate) fn new(
        id: CertificateId,
        certificate: Arc<ServerCertificate>,
        password: Option<Password>,
    ) -> Self {
        Self {
            schemes: SchemeSet::of(certificate.schemes()),
            certified_key: Arc::clone(certificate.certified_key()),
            named: Arc::new(Named { id, certificate, password }),
        }
    }

    pub(crate) fn id(&self) -> &CertificateId {
        &self.named.id
    }

    pub(crate) fn certificate(&self) -> &Arc<ServerCertificate> {
        &self.named.certificate
    }

    pub(crate) fn password(&self) -> Option<&Password> {
        self.named.password.as_ref()
    }

    /// Whether it has expired and is not shown for that.
    pub(crate) fn is_withheld(&self) -> bool {
        self.schemes == SchemeSet::EMPTY
    }

    /// With which its key can sign, whether it is shown or not.
    pub(super) fn all_schemes(&self) -> SchemeSet {
        SchemeSet::of(self.certificate().schemes())
    }

    #[inline]
    pub(super) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified_key
    }

    /// Another certificate under the same id, with the same password.
    pub(super) fn with(&self, certificate: Arc<ServerCertificate>) -> Self {
        Self::new(self.id().clone(), certificate, self.password().cloned())
    }

    /// Where in memory all clones have what they share: theirs alone, for as long as one of them is
    /// there.
    pub(super) fn place(&self) -> usize {
        Arc::as_ptr(&self.named).addr()
    }

    /// Where in memory its chain and key lie: of two certificates in two places.
    pub(super) fn place_of_key(&self) -> usize {
        Arc::as_ptr(&self.certified_key).addr()
    }

    fn key_type(&self) -> KeyType {
        self.named.certificate.key_type()
    }
}

impl fmt::Debug for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.named.id, self.key_type())
    }
}

impl PartialEq for Configured {
    /// Equal where nobody could tell them apart, now or when they are loaded anew.
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.named, &other.named);
        ours.id == theirs.id
            && ours.password == theirs.password
            && (Arc::ptr_eq(&ours.certificate, &theirs.certificate)
                || ours.certificate.same_chain(&theirs.certificate))
    }
}
