//! What can be wrong with a `SniConfig` that is well formed.

use super::sni_config::list;
use crate::causes::with_causes;
use crate::certificate::{ChainFinding, KeyType, ServerCertificateError, SourceError, Validity};
use crate::id::CertificateId;
use crate::name::NamePattern;

/// Why a `SniConfig` is not served: everything that is wrong with it. What was served before still
/// is.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.errors))]
pub struct SniConfigRefused {
    /// Every fault, the default certificate's first, then in the order of the entries. Names that are
    /// taken are told only where nothing else is wrong.
    pub errors: Vec<EntryError>,
}

/// What an error or a warning is about. The default certificate comes first in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The default certificate.
    Default,
    /// An entry, counted from 1.
    Entry(usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default certificate"),
            Self::Entry(index) => write!(f, "entry {index}"),
        }
    }
}

/// A fault of one entry or of the default certificate.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {}", with_causes(.fault))]
pub struct EntryError {
    /// Whose fault it is.
    pub place: Place,
    /// What is wrong.
    pub fault: EntryFault,
}

/// Why an entry cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// The certificate is not to be had from its source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is there, and cannot be shown.
    #[error("certificate {id} cannot be shown")]
    Certificate {
        /// Which certificate.
        id: CertificateId,
        /// Why not.
        source: ServerCertificateError,
    },
    /// Another entry names it with another password, or with none.
    #[error("certificate {0} is named with another password, or without one, before")]
    OtherPassword(CertificateId),
    /// It failed at an earlier entry already, which says why.
    #[error("certificate {0} cannot be shown, as an earlier entry says")]
    Unusable(CertificateId),
    /// It has expired, and is not served under this name already.
    #[error("certificate {id} has expired")]
    Expired {
        /// Which certificate.
        id: CertificateId,
        /// From when until when it was valid.
        validity: Validity,
    },
    /// On the shared listener the name is covered by what another instance has claimed, or covers it.
    #[error("{0} belongs to another instance on the shared listener")]
    NameTaken(NamePattern),
    /// The name stands twice with certificates of the same key type.
    #[error("{pattern} stands in entry {first} already, with an {key_type} certificate too")]
    Duplicate {
        /// The entry in which the name stands first.
        first: usize,
        /// The name.
        pattern: NamePattern,
        /// The key type of both.
        key_type: KeyType,
    },
}

/// Something to look at that keeps nothing from being served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {warning}")]
pub struct EntryWarning {
    /// What it is about.
    pub place: Place,
    /// What to look at.
    pub warning: Warning,
}

/// What to look at in a configuration that is served.
///
/// What is true of a certificate whatever it is for is told once for each id, at the first place that
/// names it: its dates, its chain, and that it stands under two ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The certificate's names do not cover the configured one: most clients will refuse it.
    #[error("the certificate is not for {0}")]
    NotCovered(NamePattern),
    /// The certificate has expired; it was served under this name before.
    #[error("the certificate has expired")]
    Expired(Validity),
    /// The certificate is not valid yet.
    #[error("the certificate is not valid yet")]
    NotYetValid(Validity),
    /// The certificate expires in less than 30 days, and in less than a third of the time for which it
    /// was issued: short-lived ones are renewed late.
    #[error("the certificate has {days} whole days left")]
    ExpiresSoon {
        /// In how many whole days.
        days: u64,
        /// From when until when it is valid.
        validity: Validity,
    },
    /// Clients may refuse the certificate for its chain.
    #[error(transparent)]
    Chain(#[from] ChainFinding),
    /// The same end entity certificate stands under another id, which is named before this one.
    #[error("the same certificate stands under the id {0}, too")]
    SameCertificate(CertificateId),
    /// Names below this wildcard have entries of their own with other certificates, which answer for
    /// them instead.
    #[error("entries with other certificates answer for {names} of its names, entry {first} first")]
    Shadowed {
        /// How many names.
        names: usize,
        /// The first such entry, counted from 1.
        first: usize,
    },
}
