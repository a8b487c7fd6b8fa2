//! What revocation lists say of a path, and what putting one in force does.

use std::sync::Arc;

use foldhash::HashSet;
use rustls_pki_types::UnixTime;
use webpki::EndEntityCert;

use super::authority::Authority;
use super::cut::LiveChange;
use super::refusal::Refusal;
use super::registry::CaRegistry;
use super::revocation_check::{Loading, check_list};
use super::revocation_error::RevocationError;
use super::verdict::PathCa;
use crate::certificate::{RevocationList, SerialNumber};

/// What it means where a revocation list does not answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RevocationPolicy {
    /// Whether one that should have been replaced by now still counts.
    pub(crate) accept_stale: bool,
    /// Whether each CA on a path must have one.
    pub(crate) required: bool,
}

/// What putting a list in force came to.
#[derive(Debug)]
pub(crate) struct Revocation {
    /// Whether another list, or none, was in force before.
    pub(crate) changed: bool,
    /// The registered CAs whose own certificates are on it.
    pub(crate) registered: Vec<SerialNumber>,
    pub(crate) live: LiveChange,
}

impl CaRegistry {
    /// Looks each certificate of a path up in the list of its issuer, the device's first.
    ///
    /// Costs a load where no list is in force. No word changes with a list, so this is asked wherever
    /// they are: by the path hook, of a ticket, and at the gate.
    pub(super) fn check_revocation(
        &self,
        leaf: &SerialNumber,
        path: &[PathCa],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let policy = self.revocation_policy();
        if !policy.required && !self.has_lists() {
            return Ok(());
        }
        let mut below = leaf;
        for ca in path {
            ca.with_revocations(|list| check(list, ca.serial(), below, now, policy))?;
            below = ca.serial();
        }
        Ok(())
    }

    /// Puts a list in force for a CA and its twins, and ends what came in with a certificate that is
    /// on it. `None` where no CA is registered under the serial number.
    pub(crate) fn load_revocations(
        &self,
        serial: &SerialNumber,
        list: &RevocationList,
        now: UnixTime,
    ) -> Option<Result<Revocation, RevocationError>> {
        // Of a list with a million entries, before anybody waits for it.
        let revoked = self.kept_alike(list);
        // Held to the end, as for a status.
        let writer = self.writer();
        let authority = self.get(serial)?;
        let loading = match self.check_loading(&authority, list, now) {
            Ok(loading) => loading,
            Err(error) => return Some(Err(error)),
        };
        let twins = self.index().twins(authority.certificate().identity());
        if loading == Loading::New {
            let in_force = Arc::new(list.clone().into_force());
            self.note_lists();
            twins.iter().for_each(|twin| twin.put_in_force(Some(Arc::clone(&in_force))));
        }
        // Also where it was in force: whoever comes second does not return before the first one.
        let cut = self.live().cut_below(&twins, &revoked, serial);
        drop(writer);
        let (changed, registered) = (loading == Loading::New, self.registered_on(list));
        Some(Ok(Revocation { changed, registered, live: LiveChange::of(cut) }))
    }

    /// What putting it in force would come to now.
    pub(crate) fn foresee_revocations(
        &self,
        serial: &SerialNumber,
        list: &RevocationList,
        now: UnixTime,
    ) -> Option<Result<Revocation, RevocationError>> {
        let revoked = self.kept_alike(list);
        let _writer = self.writer();
        let authority = self.get(serial)?;
        Some(self.check_loading(&authority, list, now).map(|loading| {
            let twins = self.index().twins(authority.certificate().identity());
            let cut = self.live().foresee_below(&twins, &revoked);
            let (changed, registered) = (loading == Loading::New, self.registered_on(list));
            Revocation { changed, registered, live: LiveChange::of(cut) }
        }))
    }

    fn check_loading(
        &self,
        authority: &Authority,
        list: &RevocationList,
        now: UnixTime,
    ) -> Result<Loading, RevocationError> {
        let accept_stale = self.revocation_policy().accept_stale;
        authority.with_revocations(|in_force| {
            let (ca, algorithms) = (authority.certificate(), self.algorithms());
            check_list(list, ca, in_force, algorithms, now, accept_stale)
        })
    }

    /// The registered CAs that are on a list. They stand on their own: what it says of them counts
    /// only where a path goes through them to the list's CA.
    fn registered_on(&self, list: &RevocationList) -> Vec<SerialNumber> {
        let is_on_it = |ca: &Arc<Authority>| {
            let certificate = EndEntityCert::try_from(ca.certificate().der());
            certificate.is_ok_and(|certificate| certificate.issuer() == list.issuer_der())
        };
        let known =
            list.serials().filter(|serial| self.get(serial).is_some_and(|ca| is_on_it(&ca)));
        known.collect()
    }

    /// The serial numbers on a list as live connections keep them.
    fn kept_alike(&self, list: &RevocationList) -> HashSet<u64> {
        list.serials().map(|serial| self.live().hash(list.issuer_der(), &serial)).collect()
    }
}

fn check(
    list: Option<&RevocationList>,
    ca_serial: &SerialNumber,
    below: &SerialNumber,
    now: UnixTime,
    policy: RevocationPolicy,
) -> Result<(), Refusal> {
    match list {
        // What it says stays true: revoked is revoked, also by a list that is stale.
        Some(list) if list.revokes(below) => {
            let (ca_serial, serial) = (ca_serial.clone(), below.clone());
            Err(Refusal::Revoked { ca_serial, serial })
        }
        Some(list) if !policy.accept_stale && now > list.next_update() => {
            Err(Refusal::StaleRevocationList(ca_serial.clone()))
        }
        None if policy.required => Err(Refusal::NoRevocationList(ca_serial.clone())),
        Some(_) | None => Ok(()),
    }
}
