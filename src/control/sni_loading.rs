//! How certificates come into a draft.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::sni_faults::EntryFault;
use crate::certificate::{CertificateSource, Password, ServerCertificate};
use crate::id::CertificateId;
use crate::instance::{Instance, Shelf};
use crate::name::NamePattern;
use crate::sni::{Configured, Rule, SniMap, SniTable};

/// Where certificates come from, and what is served now.
#[derive(Clone, Copy)]
pub(super) struct Loading<'a> {
    pub(super) source: &'a dyn CertificateSource,
    pub(super) shelf: &'a Shelf,
    pub(super) instance: &'a Instance,
    pub(super) now: UnixTime,
    pub(super) current: Option<&'a SniTable>,
}

impl Loading<'_> {
    /// The certificate behind an id; the very one that is served now, where it is the same.
    pub(super) fn load(
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

/// What came of loading a certificate; nothing, where it failed.
pub(super) struct Loaded {
    pub(super) password: Option<Password>,
    pub(super) configured: Option<Configured>,
    /// Whether it was told that it has expired.
    pub(super) told_expired: bool,
    /// The names of one that has many: of a thousand it is asked a thousand times.
    names: Option<SniMap<()>>,
}

impl Loaded {
    pub(super) fn new(password: Option<Password>, configured: Option<Configured>) -> Self {
        let names = configured.as_ref().and_then(many_names);
        Self { password, configured, told_expired: false, names }
    }

    /// Whether the certificate is for this name.
    pub(super) fn is_for(&self, pattern: &NamePattern) -> bool {
        match (&self.names, pattern) {
            (None, _) => {
                let configured = self.configured.as_ref();
                configured.is_some_and(|configured| configured.certificate().is_for(pattern))
            }
            (Some(names), NamePattern::Exact(name)) => {
                names.lookup(Some(name.as_str())).rule != Rule::Default
            }
            (Some(names), NamePattern::Wildcard(_)) => names.get(pattern).is_some(),
        }
    }
}

fn many_names(configured: &Configured) -> Option<SniMap<()>> {
    let names = configured.certificate().names();
    let named = || names.iter().map(|name| (name.clone(), ()));
    (names.len() > FEW).then(|| SniMap::new((), named().collect()))
}

/// So many names are looked through one by one.
const FEW: usize = 16;
