//! The records of a registry by what stands in certificates: subject, key identifier, key.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use rustls_pki_types::UnixTime;

use super::authority::{Authority, SeenRecord};
use super::candidates::Candidates;
use super::lapses::Lapses;
use super::records::Records;
use super::state::Word;
use crate::certificate::{CaCertificate, CaIdentity, SerialNumber};
use crate::primitives::DashMap;

/// Finds the records that a path may lead to or through. Changed under the registry's writer, read
/// without waiting for it.
pub(super) struct CaIndex {
    by_subject: Index<Box<[u8]>>,
    by_key_id: Index<KeyHint>,
    by_public_key: Index<Box<[u8]>>,
    lapses: Lapses,
}

impl CaIndex {
    /// An empty one, that remembers for so long which keys were inactive.
    pub(super) fn new(memory: Duration) -> Self {
        Self {
            by_subject: Index::default(),
            by_key_id: Index::default(),
            by_public_key: Index::default(),
            lapses: Lapses::new(memory),
        }
    }

    /// Notes that a record is inactive now, in whatever way it became so. To be called behind that,
    /// and before anything can make its key good again.
    pub(super) fn note_lapse(&self, authority: &Authority, now: Option<UnixTime>) {
        self.lapses.note(authority.certificate().identity().key(), authority.word(), now);
    }

    /// Adds a record. Before all three are changed a handshake may meet one of them: whatever it finds,
    /// the gate asks again.
    pub(super) fn insert(&self, authority: &Arc<Authority>) {
        let identity = authority.certificate().identity();
        add(&self.by_public_key, identity.key().into(), authority);
        add(&self.by_key_id, KeyHint::of(authority.certificate()), authority);
        add(&self.by_subject, identity.subject().into(), authority);
    }

    /// Takes a record out.
    pub(super) fn remove(&self, authority: &Arc<Authority>) {
        let identity = authority.certificate().identity();
        take_out(&self.by_subject, &identity.subject().into(), authority);
        take_out(&self.by_key_id, &KeyHint::of(authority.certificate()), authority);
        take_out(&self.by_public_key, &identity.key().into(), authority);
    }

    /// The records that might have issued one of the certificates whose issuer is `subject`. Their
    /// `key_ids` are asked for only where several bear the name.
    pub(super) fn candidates(
        &self,
        subject: &[u8],
        key_ids: impl FnOnce() -> Vec<Option<Box<[u8]>>>,
    ) -> Candidates {
        let bearers = records(&self.by_subject, subject);
        let key_ids = if bearers.len() > 1 { key_ids() } else { vec![] };
        let all_named = !key_ids.is_empty() && key_ids.iter().all(Option::is_some);
        let hinted = |key_id| {
            let hint = KeyHint { subject: subject.into(), key_id };
            records(&self.by_key_id, &hint)
        };
        let mut hints: Vec<_> = key_ids.into_iter().flatten().map(Some).map(hinted).collect();
        if !hints.is_empty() {
            // A CA without a key id may be the issuer whatever the certificates say.
            hints.push(hinted(None));
        }
        Candidates::of(bearers, all_named, hints)
    }

    /// What is registered about a CA that stands on a path, by its subject and key.
    pub(super) fn standing(&self, identity: &CaIdentity) -> Standing {
        let mut inactive = None;
        for authority in records(&self.by_public_key, identity.key()).iter() {
            let word = authority.word();
            if !word.is_active() {
                inactive = Some(authority.certificate().serial().clone());
            } else if authority.certificate().identity() == identity {
                return Standing::Active(SeenRecord { authority: Arc::clone(authority), word });
            }
        }
        // "Whatever subject it bears": an inactive CA's key is refused under any name but that of
        // an active record.
        inactive.map_or_else(
            || Standing::Unregistered { lapsed: self.lapses.of(identity.key()) },
            Standing::Inactive,
        )
    }

    /// The first records that share something with a CA.
    pub(super) fn kin(&self, identity: &CaIdentity) -> Kin {
        let of_key = records(&self.by_public_key, identity.key());
        let of_subject = records(&self.by_subject, identity.subject());
        let first = |records: &[Arc<Authority>], related: fn(&CaIdentity, &CaIdentity) -> bool| {
            let found = records.iter().find(|ca| related(ca.certificate().identity(), identity));
            found.map(|ca| ca.certificate().serial().clone())
        };
        Kin {
            twin: first(&of_key, |one, other| one == other),
            same_key: first(&of_key, |one, other| one.subject() != other.subject()),
            same_subject: first(&of_subject, |one, other| one.key() != other.key()),
        }
    }

    /// The records with this subject and key, in the order of their registration.
    pub(super) fn twins(&self, identity: &CaIdentity) -> Vec<Arc<Authority>> {
        let of_key = records(&self.by_public_key, identity.key());
        of_key.iter().filter(|ca| ca.certificate().identity() == identity).cloned().collect()
    }
}

/// The records that share something with a CA, by serial number.
pub(super) struct Kin {
    pub(super) twin: Option<SerialNumber>,
    pub(super) same_key: Option<SerialNumber>,
    pub(super) same_subject: Option<SerialNumber>,
}

/// What is registered about a CA on a path.
#[derive(Debug)]
pub(super) enum Standing {
    /// Nothing, and its key is nobody's who is inactive. The word that was drawn when it last was.
    Unregistered { lapsed: Option<Word> },
    /// An active record has the same subject and key.
    Active(SeenRecord),
    /// Its key is that of an inactive record.
    Inactive(SerialNumber),
}

/// A subject with one key identifier, or with none. Both can be forged in what a client sends: a
/// hint.
#[derive(PartialEq, Eq, Hash)]
struct KeyHint {
    subject: Box<[u8]>,
    key_id: Option<Box<[u8]>>,
}

impl KeyHint {
    fn of(certificate: &CaCertificate) -> Self {
        Self {
            subject: certificate.identity().subject().into(),
            key_id: certificate.key_id().map(Into::into),
        }
    }
}

type Index<K> = Table<K, Records<Authority>>;

fn records<K, Q>(index: &Index<K>, key: &Q) -> Records<Authority>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    index.get(key).map(|records| Records::clone(&records)).unwrap_or_default()
}

fn add<K: Eq + Hash>(index: &Index<K>, key: K, authority: &Arc<Authority>) {
    index.entry(key).or_default().value_mut().add(authority);
}

fn take_out<K: Eq + Hash>(index: &Index<K>, key: &K, authority: &Arc<Authority>) {
    if let Some(mut records) = index.get_mut(key) {
        records.take_out(authority);
    }
    index.remove_if(key, |_, records| records.is_empty());
}

type Table<K, V> = DashMap<K, V, RandomState>;
