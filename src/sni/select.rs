//! The choice of a certificate from the table.

use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::certificate_set::Configured;
use super::map::{Hit, Rule};
use super::offer::Offer;
use super::policy::NotShown;
use super::table::SniTable;
use crate::certificate::ServerCertificate;
use crate::id::CertificateId;

impl SniTable {
    /// Chooses the certificate for a client: by the name first (exact, wildcard, default), then among
    /// a name's certificates by what the client's signature schemes and cipher suites can use.
    ///
    /// This one function answers handshakes, `explain`, benches and tests. Of two certificates that
    /// both can be used, the one that serves on more protocol versions is taken, and then the one that
    /// is not RSA, whose signatures cost the server twenty times as much. Where a name has none that
    /// the client can use, or it has expired, the next less specific rule is asked, unless the
    /// [policy](super::SniPolicy) is to refuse. No date is looked at: when a certificate expires that
    /// is to be shown no more, another table takes this one's place.
    ///
    /// # Errors
    ///
    /// Why the client is refused. Where more than one rule has nothing for it, what is wrong with the
    /// most specific one.
    #[inline]
    pub fn select(
        &self,
        server_name: Option<&str>,
        offer: &Offer<'_>,
    ) -> Result<Selection<'_>, NotShown> {
        let Hit { rule, value } = self.map().lookup(server_name);
        if rule == Rule::Default && self.terms_bar_default() {
            self.terms().check_default(server_name)?;
        }
        match value.best(offer) {
            Some(shown) => Ok(Selection { rule, shown }),
            None => self.select_further(server_name, offer),
        }
    }

    /// The whole way, for a client that the most specific rule has nothing for. Kept from the usual
    /// one, which is short.
    #[cold]
    fn select_further(
        &self,
        server_name: Option<&str>,
        offer: &Offer<'_>,
    ) -> Result<Selection<'_>, NotShown> {
        let terms = self.terms();
        let mut lacking = None;
        let answer = self.map().find_map(server_name, |rule, set| {
            if let Some(shown) = set.best(offer) {
                return Some(Ok(Selection { rule, shown }));
            }
            let why = set.lack(offer);
            if rule == Rule::Default && terms.default_outlives_itself() {
                let expired = set.best_expired(offer);
                return expired.map(|shown| Ok(Selection { rule, shown }));
            }
            let first = *lacking.get_or_insert(why);
            terms.ends_with(why).then_some(Err(first))
        });
        answer.unwrap_or_else(|| Err(lacking.unwrap_or(NotShown::NoUsableCertificate)))
    }
}

/// A certificate that [`SniTable::select`] chose, and why.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    rule: Rule,
    shown: &'a Configured,
}

impl<'a> Selection<'a> {
    /// Which rule answered.
    #[inline]
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
    #[inline]
    pub fn certified_key(&self) -> &'a Arc<CertifiedKey> {
        self.shown.certified_key()
    }
}
