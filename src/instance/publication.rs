//! Putting an instance's next certificate table in the place of the one in force.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::claims::ClaimError;
use super::events::Event;
use super::tenant::Instance;
use crate::sni::{CertificateSet, Configured, Next, Renewed, SniMap, SniPublisher, SniTable};

impl Instance {
    /// Publishes the next map, for this time, and with it the names that are the instance's own on the
    /// shared listener. All or nothing.
    pub(crate) fn publish(
        self: &Arc<Self>,
        publisher: &mut SniPublisher,
        map: SniMap<CertificateSet>,
        now: Option<UnixTime>,
    ) -> Result<Arc<SniTable>, ClaimError> {
        let next = publisher.next(map, now);
        self.replace_by(publisher, next)
    }

    /// Whether [`publish`](Self::publish) would find the names of this map free, at this moment.
    pub(crate) fn foresee_publish(
        self: &Arc<Self>,
        map: &SniMap<CertificateSet>,
    ) -> Result<(), ClaimError> {
        let claims = self.claims().filter(|_| self.is_shared());
        claims.map_or(Ok(()), |claims| claims.foresee(self, map))
    }

    /// The same of the current map with other certificates, which are served from then on. `None`
    /// where the instance has no map, or was removed.
    pub(super) fn publish_renewed(
        self: &Arc<Self>,
        publisher: &mut SniPublisher,
        renewed: Renewed,
        now: Option<UnixTime>,
    ) -> Option<Arc<SniTable>> {
        // While the publisher is held it is not removed.
        self.trust().check_open().ok()?;
        let next = publisher.next_renewed(renewed, now)?;
        // Its names are its own already, unless it was removed.
        self.replace_by(publisher, next).ok()
    }

    /// Publishes the next table where a certificate has expired that is not to be shown then, or, by a
    /// clock that was set back, has not.
    pub(super) fn withhold_expired(self: &Arc<Self>, publisher: &mut SniPublisher, now: UnixTime) {
        let Some(before) = self.sni().table().filter(|table| !table.stands_at(now)) else { return };
        let validity = |it: &Configured| it.certificate().validity();
        let expired = before.configured().filter(|it| before.newly_expired(validity(it), now));
        let mut expired: Vec<_> = expired.map(|it| it.id().clone()).collect();
        // What is replaced is freed by whoever lets go of it last: that is the publisher.
        drop(before);
        let next = self.publish_renewed(publisher, Renewed::default(), Some(now));
        let Some(generation) = next.map(|table| table.generation()) else { return };
        let count = expired.len();
        expired.sort_unstable();
        expired.truncate(MAX_LOGGED);
        tracing::warn!(instance = %self.id(), count, ?expired, generation, "certificates expired");
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

/// So many ids stand in one line of the log.
const MAX_LOGGED: usize = 20;
