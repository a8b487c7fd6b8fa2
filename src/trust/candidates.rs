//! Which of the CAs that bear an issuer's name are tried for a certificate, and in which order.

use std::cmp::Reverse;
use std::sync::Arc;

use super::authority::Authority;
use super::records::Records;
use super::state::CaStatus;
use crate::certificate::SerialNumber;

/// The records to try for one issuer name, at most [`MAX_CANDIDATES`]: first those that the key id
/// points at, then those without a key id, then the others in the order of last success.
///
/// Most devices name their issuer's key, so what comes after the first is looked for only once it
/// is asked for: among 5,000 CAs of one name that takes as long as a signature check.
#[derive(Debug)]
pub(super) struct Candidates {
    bearers: Records<Authority>,
    /// Whether all certificates whose issuer is looked for name its key.
    all_named: bool,
    /// Lists that are still to be tried, the next one last.
    hinted: Vec<Records<Authority>>,
    /// What is next, the very next last.
    next: Vec<Arc<Authority>>,
    tried: Vec<Arc<Authority>>,
    inactive: Option<SerialNumber>,
    looked_at_all: bool,
    incomplete: bool,
}

impl Candidates {
    /// Those among `bearers`, the ones in `hinted` first, list by list.
    pub(super) fn of(
        bearers: Records<Authority>,
        all_named: bool,
        mut hinted: Vec<Records<Authority>>,
    ) -> Self {
        hinted.reverse();
        Self {
            bearers,
            all_named,
            hinted,
            next: vec![],
            tried: vec![],
            inactive: None,
            looked_at_all: false,
            incomplete: false,
        }
    }

    /// The next one that is active.
    pub(super) fn next(&mut self) -> Option<Arc<Authority>> {
        if let [only] = &*self.bearers {
            return if self.looked_at_all { None } else { self.only(&Arc::clone(only)) };
        }
        while self.next.is_empty() {
            if let Some(hinted) = self.hinted.pop() {
                self.queue(&hinted);
            } else if self.looked_at_all {
                return None;
            } else {
                self.looked_at_all = true;
                let bearers = self.bearers.clone();
                self.queue(&bearers);
            }
        }
        let next = self.next.pop()?;
        self.tried.push(Arc::clone(&next));
        Some(next)
    }

    /// The one that bears its name alone, as nearly all do: nothing is to be put in order.
    fn only(&mut self, only: &Arc<Authority>) -> Option<Arc<Authority>> {
        self.looked_at_all = true;
        if only.status() == CaStatus::Active {
            return Some(Arc::clone(only));
        }
        self.inactive = Some(only.certificate().serial().clone());
        None
    }

    /// An inactive one that bears the name, once all have been tried.
    pub(super) fn inactive(&self) -> Option<&SerialNumber> {
        self.inactive.as_ref()
    }

    /// Whether some were left out although a certificate has no key id that tells them apart.
    pub(super) fn left_some_out(&self) -> bool {
        self.incomplete && !self.all_named
    }

    /// Queues those of `records` that are active and have not been tried, as many as may be.
    fn queue(&mut self, records: &[Arc<Authority>]) {
        let mut active: Vec<&Arc<Authority>> = vec![];
        for authority in records.iter().take(MAX_LOOKED_AT) {
            if authority.status() == CaStatus::Inactive {
                let serial = || authority.certificate().serial().clone();
                self.inactive.get_or_insert_with(serial);
            } else if !self.tried.iter().any(|tried| Arc::ptr_eq(tried, authority)) {
                active.push(authority);
            }
        }
        let room = MAX_CANDIDATES - self.tried.len();
        self.incomplete |= active.len() > room || records.len() > MAX_LOOKED_AT;
        let by_success = |authority: &&Arc<Authority>| Reverse(authority.last_success());
        if active.len() > room {
            active.select_nth_unstable_by_key(room, by_success);
            active.truncate(room);
        }
        active.sort_by_key(by_success);
        self.next = active.into_iter().rev().cloned().collect();
    }
}

/// How many CAs of one name are tried for one certificate.
const MAX_CANDIDATES: usize = 8;
/// Among how many of one name they are looked for: it costs about a signature check.
const MAX_LOOKED_AT: usize = 8192;
