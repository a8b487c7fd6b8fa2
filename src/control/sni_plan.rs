//! What applying a `SetSniConfig` would come to.

use super::request_id::RequestId;
use super::sni_difference::SniDifference;
use super::sni_faults::{EntryError, EntryWarning, SniConfigRefused};
use crate::instance::Instance;
use crate::name::NamePattern;
use crate::sni::{CertificateSet, SniMap, SniTable};

/// What [`SetSniConfig::plan`](super::SetSniConfig::plan) foresees.
#[derive(Debug)]
#[non_exhaustive]
pub struct SniConfigPlan {
    /// The id under which it was asked for.
    pub request_id: RequestId,
    /// The generation of the map in force with which the configuration was compared; 0 where there was
    /// none yet. What [`SetSniConfig::apply_if`](super::SetSniConfig::apply_if) is told.
    pub generation: u64,
    /// Everything for which it would be refused: what
    /// [`SetSniConfig::apply`](super::SetSniConfig::apply) would list.
    pub errors: Vec<EntryError>,
    /// What to look at, also in the good entries where others are bad: the default certificate's
    /// first, then in the order of the entries. Where nothing is wrong, what applying it would answer.
    pub warnings: Vec<EntryWarning>,
    /// Whether another map would come into force. So it does, too, where a password is another one and
    /// the certificates are the same.
    pub changes: bool,
    /// What clients would be shown otherwise than now; nothing where it would be refused.
    pub difference: Option<SniDifference>,
}

impl SniConfigPlan {
    pub(super) fn new(
        request_id: RequestId,
        current: Option<&SniTable>,
        map: Result<SniMap<CertificateSet>, SniConfigRefused>,
        warnings: Vec<EntryWarning>,
        instance: &Instance,
    ) -> Self {
        let generation = generation(current);
        let (errors, changes, difference) = match map {
            Ok(map) => {
                let default_answers = |name: &NamePattern| instance.default_answers(name);
                let before = current.map(SniTable::map);
                let difference = SniDifference::between(before, &map, default_answers);
                (vec![], !is_in_force(&map, current), Some(difference))
            }
            Err(refused) => (refused.errors, false, None),
        };
        Self { request_id, generation, errors, warnings, changes, difference }
    }
}

/// Which map is in force; 0 where there is none.
pub(super) fn generation(current: Option<&SniTable>) -> u64 {
    current.map_or(0, SniTable::generation)
}

/// Whether publishing this map would change nothing.
pub(super) fn is_in_force(map: &SniMap<CertificateSet>, current: Option<&SniTable>) -> bool {
    current.is_some_and(|table| table.map() == map)
}
