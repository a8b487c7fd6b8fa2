//! What tables that were replaced leave behind, until nobody uses it.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use foldhash::HashMap;

use super::certificate_set::Configured;
use super::renewed::Renewed;
use super::table::SniTable;
use crate::certificate::ServerCertificate;

/// Replaced tables, and the certificates that the current table no longer serves.
///
/// A replaced table may share parts with the current one, and others that are here: what is freed with
/// it is what no other one has. Whoever drops the last reference frees what is behind it: a hundred thousand names, private
/// keys. That must be no handshake, which loads a table without counting itself in and holds the
/// chosen key to its end. So each stays here, and with it one reference, until there is no other;
/// a handshake only ever counts down. What is here can get no new user, since nothing leads to it
/// from the current table.
#[derive(Default)]
pub(super) struct Retired {
    tables: Vec<Arc<SniTable>>,
    /// By address: each once, under however many ids and in however many tables it was served.
    certificates: HashMap<usize, Grave>,
}

impl Retired {
    /// Takes over what `current` replaced. Costs in proportion to the certificates of both.
    pub(super) fn take_over(&mut self, replaced: Arc<SniTable>, current: &SniTable) {
        replaced.certificates().for_each(|certificate| self.bury(certificate));
        // Also those that come back from an earlier table: what is served is not retired.
        for certificate in current.certificates() {
            self.certificates.remove(&address(certificate));
        }
        self.tables.push(replaced);
    }

    /// The same where `renewed` is all in which the two differ. Costs in proportion to that, and one
    /// look at where each key of the current table lies.
    pub(super) fn take_over_renewed(
        &mut self,
        replaced: Arc<SniTable>,
        current: &SniTable,
        renewed: &Renewed,
    ) {
        let mut gone: HashMap<usize, &Configured> =
            renewed.each().map(|(served, _)| (served.place_of_key(), served)).collect();
        // One file under two names, of which one still stands for it.
        for configured in current.configured() {
            gone.remove(&configured.place_of_key());
        }
        gone.into_values().for_each(|served| self.bury(served.certificate()));
        for (_, next) in renewed.each() {
            self.certificates.remove(&address(next.certificate()));
        }
        self.tables.push(replaced);
    }

    fn bury(&mut self, certificate: &Arc<ServerCertificate>) {
        self.certificates.entry(address(certificate)).or_insert_with(|| Grave::of(certificate));
    }

    /// Frees what nobody else holds, and tells what is left. Costs nothing where nothing is here.
    pub(super) fn sweep(&mut self) -> StillHeld {
        if !self.tables.is_empty() {
            self.tables.retain(|table| Arc::strong_count(table) > 1);
            self.tables.shrink_to_fit();
        }
        if !self.certificates.is_empty() {
            self.certificates.retain(|_, grave| is_held(&grave.0));
            self.certificates.shrink_to_fit();
        }
        StillHeld { tables: self.tables.len(), certificates: self.certificates.len() }
    }
}

/// What was replaced and could not be freed yet, since handshakes under way, or holders of a table
/// or certificate outside, still use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StillHeld {
    /// How many replaced tables.
    pub tables: usize,
    /// How many certificates that are no longer served.
    pub certificates: usize,
}

impl StillHeld {
    /// Whether everything that was replaced is freed. There is nothing to sweep until the next
    /// change, then.
    pub fn is_empty(&self) -> bool {
        self.tables == 0 && self.certificates == 0
    }
}

/// A reference that is there to be the last one.
struct Grave(Arc<ServerCertificate>);

impl Grave {
    fn of(certificate: &Arc<ServerCertificate>) -> Self {
        certificate.retire();
        Self(Arc::clone(certificate))
    }
}

impl Drop for Grave {
    fn drop(&mut self) {
        self.0.unretire();
    }
}

/// Whether anyone holds a certificate but those who wait to let go of it, or the part of it that
/// rustls holds in a handshake. Several instances may have served one and wait for each other.
fn is_held(certificate: &Arc<ServerCertificate>) -> bool {
    if Arc::strong_count(certificate) > certificate.retirements() {
        return true;
    }
    // Who took the key out of a certificate and then let go of that must be seen to hold the key.
    fence(Ordering::Acquire);
    Arc::strong_count(certificate.certified_key()) > 1
}

fn address(certificate: &Arc<ServerCertificate>) -> usize {
    Arc::as_ptr(certificate).addr()
}
