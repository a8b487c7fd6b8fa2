//! What an instance serves, name by name.

use std::sync::Arc;

use super::failures::FailedRenewal;
use super::tenant::Instance;
use crate::certificate::{KeyType, Sha256, Validity};
use crate::id::CertificateId;
use crate::name::NamePattern;

/// A certificate under one of the names that it is configured for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServedCertificate {
    /// The name, or wildcard; `None` for the default.
    pub pattern: Option<NamePattern>,
    /// The id of the certificate.
    pub certificate_id: CertificateId,
    /// The kind of its key: a name may have one of each.
    pub key_type: KeyType,
    /// The SHA-256 of its end entity certificate.
    pub sha256: Sha256,
    /// From when until when that is valid.
    pub validity: Validity,
    /// Whether it has expired and, by the instance's [policy](crate::sni::SniPolicy::expired), is not
    /// shown for that.
    pub is_withheld: bool,
    /// Since when, and why, its source has nothing better, where it was asked and had not.
    pub failed_renewal: Option<FailedRenewal>,
}

impl ServedCertificate {
    /// Its place in a list.
    fn rank(&self) -> impl Ord {
        (self.validity.not_after.as_secs(), &self.pattern, self.key_type)
    }
}

impl Instance {
    /// What the table in force has for each name and for the default: those first that expire first,
    /// then in the order of their names, the default before them. A name with several certificates
    /// stands there once for each. Nothing before the first
    /// [`SetSniConfig`](crate::SetSniConfig).
    ///
    /// All of it is one table's, however many there are; sorting a hundred thousand takes a moment.
    pub fn certificates(&self) -> Vec<ServedCertificate> {
        let Some(table) = self.sni().table() else { return vec![] };
        let default = (None, table.map().default_value());
        let named = table.map().iter().map(|(pattern, set)| (Some(pattern), set));
        let mut all: Vec<_> = named
            .chain([default])
            .flat_map(|(pattern, set)| set.all().iter().map(move |it| (pattern.clone(), it)))
            .map(|(pattern, configured)| {
                let certificate = Arc::as_ref(configured.certificate());
                let shown_all_the_same = pattern.is_none() && table.shows_expired_default();
                ServedCertificate {
                    certificate_id: configured.id().clone(),
                    key_type: certificate.key_type(),
                    sha256: certificate.sha256(),
                    validity: certificate.validity(),
                    is_withheld: configured.is_withheld() && !shown_all_the_same,
                    failed_renewal: self.failed_renewal(configured.id()),
                    pattern,
                }
            })
            .collect();
        all.sort_by(|one, other| one.rank().cmp(&other.rank()));
        all
    }
}
