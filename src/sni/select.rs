//! The choice of a certificate from the table.

use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::certificate_set::{CertificateSet, Configured};
use super::map::{Rule, SniMap};
use super::offer::Offer;
use crate::certificate::ServerCertificate;
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
    shown: &'a Configured,
}

impl<'a> Selection<'a> {
    /// Which rule answered.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The id under which the certificate was configured.
    pub fn id(&self) -> &'a CertificateId {
        self.shown.id()
    }

    /// The certificate.
    pub fn certificate(&self) -> &'a Arc<ServerCertificate> {
        self.shown.certificate()
    }

    /// Chain and key, in the form that rustls takes.
    pub fn certified_key(&self) -> &'a Arc<CertifiedKey> {
        self.shown.certified_key()
    }
}
