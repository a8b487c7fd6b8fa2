//! Certificates that take the place of others under their ids.

use std::sync::Arc;

use foldhash::HashMap;

use super::certificate_set::Configured;
use crate::certificate::ServerCertificate;
use crate::id::CertificateId;

/// What is renewed of a table.
///
/// Found by the place in memory that all names of an id share, and not by the id: to hash as many ids
/// as there are names would be most of renewing one of them. Whoever plans a map keeps that so, by
/// loading each id once, and a renewal by putting one thing in the place of one.
#[derive(Default)]
pub(crate) struct Renewed(HashMap<usize, Replacement>);

/// Holds what is replaced, so that its place is nobody else's meanwhile.
struct Replacement {
    served: Configured,
    next: Configured,
}

impl Renewed {
    /// Puts a certificate in the place of what is served, to be loaded with the same password.
    pub(crate) fn put(&mut self, served: &Configured, certificate: Arc<ServerCertificate>) {
        let next = served.with(certificate);
        self.0.insert(served.place(), Replacement { served: served.clone(), next });
    }

    /// Leaves those as they are served of which `keep` says no.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Configured) -> bool) {
        self.0.retain(|_, it| keep(&it.served));
    }

    /// The ids, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &CertificateId> {
        self.0.values().map(|it| it.next.id())
    }

    /// What takes the place of what is served; `None` where that stays.
    pub(crate) fn next(&self, served: &Configured) -> Option<&Configured> {
        self.0.get(&served.place()).map(|it| &it.next)
    }

    /// Each that is replaced, with what takes its place.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Configured, &Configured)> {
        self.0.values().map(|it| (&it.served, &it.next))
    }
}
