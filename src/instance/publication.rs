//! Putting an instance's next certificate table in the place of the one in force.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::claims::ClaimError;
use super::events::Event;
use super::tenant::Instance;
use crate::sni::{CertificateSet, Next, Renewed, SniMap, SniPublisher, SniTable};

impl Instance {
    /// Publishes the next map, and with it the names that are the instance's own on the shared
    /// listener. All or nothing.
    pub(crate) fn publish(
        self: &Arc<Self>,
        publisher: &mut SniPublisher,
        map: SniMap<CertificateSet>,
    ) -> Result<Arc<SniTable>, ClaimError> {
        let next = publisher.next(map, self.now());
        self.replace_by(publisher, next)
    }

    /// The same of the current map with other certificates, which are served from then on. `None`
    /// where the instance has no map, or was removed.
    pub(super) fn publish_renewed(
        self: &Arc<Self>,
        publisher: &mut SniPublisher,
        renewed: Renewed,
    ) -> Option<Arc<SniTable>> {
        let next = publisher.next_renewed(renewed, self.now())?;
        // Its names are its own already, unless it was removed.
        self.replace_by(publisher, next).ok()
    }

    /// Publishes the next table where a certificate has expired that is not to be shown then, or, by a
    /// clock that was set back, has not.
    pub(super) fn withhold_expired(self: &Arc<Self>, publisher: &mut SniPublisher, now: UnixTime) {
        if self.sni().table().is_none_or(|table| table.stands_at(now)) {
            return;
        }
        let Some(table) = self.publish_renewed(publisher, Renewed::default()) else { return };
        let expired = table.configured().filter(|it| it.certificate().validity().is_expired(now));
        let mut expired: Vec<_> = expired.map(|configured| configured.id().as_str()).collect();
        expired.sort_unstable();
        let generation = table.generation();
        tracing::warn!(instance = %self.id(), ?expired, generation, "certificates withheld");
        self.announce(|instance| Event::CertificatesChanged { instance, generation });
    }

    fn replace_by(
        self: &Arc<Self>,
        publisher: &mut SniPublisher,
        next: Next,
    ) -> Result<Arc<SniTable>, ClaimError> {
        match self.claims().filter(|_| self.is_shared()) {
            Some(claims) => claims.publish(self, publisher, next),
            None => Ok(publisher.replace_by(next)),
        }
    }
}
