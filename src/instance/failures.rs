//! Certificates that could not be renewed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rustls_pki_types::UnixTime;

use super::events::Event;
use super::renewal::{RenewalError, Which};
use super::tenant::Instance;
use crate::causes::with_causes;
use crate::id::CertificateId;

/// What could not be renewed, by its id, and how often that happened.
#[derive(Debug, Default)]
pub(crate) struct Renewals(Mutex<Failures>);

#[derive(Debug, Default)]
struct Failures {
    standing: BTreeMap<CertificateId, FailedRenewal>,
    count: u64,
}

/// A certificate that could not be renewed when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedRenewal {
    /// Since when, by the instance's clock; `None` where the clock failed.
    pub since: Option<UnixTime>,
    /// Why.
    pub reason: String,
}

impl Renewals {
    /// Forgets of what failed before, of those that were looked at, all but what failed again: in the
    /// order of the ids.
    pub(super) fn settle(&self, which: &Which, failed: &[RenewalError]) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_failed =
            |id: &CertificateId| failed.binary_search_by(|failed| failed.id.cmp(id)).is_ok();
        failures.standing.retain(|id, _| !which.has(id) || has_failed(id));
    }

    /// Counts a failure, and tells of it where it was not known: once nothing is locked, since it is
    /// told to others' code.
    pub(super) fn note(
        &self,
        instance: &Instance,
        RenewalError { id, fault }: &RenewalError,
        now: Option<UnixTime>,
    ) {
        let reason = with_causes(fault);
        {
            let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            failures.count += 1;
            if failures.standing.get(id).is_some_and(|known| known.reason == reason) {
                return;
            }
            let failure = FailedRenewal { since: now, reason: reason.clone() };
            failures.standing.insert(id.clone(), failure);
        }
        tracing::warn!(instance = %instance.id(), certificate = %id, %reason, "not renewed");
        instance.announce(|instance| Event::CertificateNotRenewed {
            instance,
            certificate_id: id.clone(),
            reason,
        });
    }

    /// Forgets what failed: everything that is served now was loaded anew.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).standing.clear();
    }

    /// Why this certificate could not be renewed when it was last looked at.
    pub(crate) fn failure(&self, id: &CertificateId) -> Option<FailedRenewal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).standing.get(id).cloned()
    }

    /// How many attempts failed.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}
