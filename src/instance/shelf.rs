//! The certificates that are served anywhere in a set of instances, each made once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use rustls::crypto::CryptoProvider;

use crate::certificate::{CertificateMaterial, ServerCertificate, ServerCertificateError, Sha256};

/// Makes a certificate of its material, or finds the one that was made of the same: reading a chain
/// and its key costs more than all else that a change does with it, and a thousand instances may
/// serve one.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// By what they were made of. Holds none of them: those that serve them do.
    by_content: DashMap<Sha256, Weak<ServerCertificate>, RandomState>,
    /// At how many entries those that are gone are looked for.
    full_at: AtomicUsize,
}

impl Shelf {
    /// The certificate with this chain and key.
    pub(crate) fn take(
        &self,
        material: &CertificateMaterial,
        provider: &CryptoProvider,
    ) -> Result<Arc<ServerCertificate>, ServerCertificateError> {
        let content = material.content();
        let known = self.by_content.get(&content).and_then(|known| known.upgrade());
        if let Some(known) = known {
            return Ok(known);
        }
        let made = Arc::new(ServerCertificate::new(material, provider)?);
        let taken = match self.by_content.entry(content) {
            Entry::Occupied(mut entry) => match entry.get().upgrade() {
                // Somebody else was faster.
                Some(known) => known,
                None => {
                    entry.insert(Arc::downgrade(&made));
                    made
                }
            },
            Entry::Vacant(entry) => {
                entry.insert(Arc::downgrade(&made));
                made
            }
        };
        self.tidy();
        Ok(taken)
    }

    /// Forgets those that are gone, each time that there may be as many of them as of the others.
    fn tidy(&self) {
        let len = self.by_content.len();
        if len > self.full_at.load(Ordering::Relaxed).max(FEW) {
            self.by_content.retain(|_, certificate| certificate.strong_count() > 0);
            self.full_at.store(2 * self.by_content.len(), Ordering::Relaxed);
        }
    }
}

/// So many entries are never looked through.
const FEW: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_forgotten_and_what_is_there_is_found() {
        let shelf = Shelf::default();
        let names: Vec<_> = (0..1000_u32).map(|at| Sha256::of(&at.to_be_bytes())).collect();
        for content in &names {
            shelf.by_content.insert(*content, Weak::new());
            shelf.tidy();
            assert!(shelf.by_content.len() <= FEW + 1);
        }
    }
}
