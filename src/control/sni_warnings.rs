//! What is to look at in a configuration, found before it is served.

use std::collections::BTreeMap;

use foldhash::HashMap;
use rustls_pki_types::UnixTime;

use super::sni_difference::same_certificates;
use super::sni_draft::Named;
use super::sni_faults::{EntryWarning, Place, Warning};
use crate::certificate::{ServerCertificate, Validity};
use crate::name::{NamePattern, parent_of};
use crate::sni::CertificateSet;

/// What is to look at in a certificate whatever it is for. That it has expired is not among it: where
/// that is no error depends on what is served.
pub(super) fn of_certificate(
    certificate: &ServerCertificate,
    now: UnixTime,
) -> impl Iterator<Item = Warning> {
    let validity = certificate.validity();
    let early = validity.is_early(now).then_some(Warning::NotYetValid(validity));
    let soon = days_where_few(validity, now).map(|days| Warning::ExpiresSoon { days, validity });
    let chain = certificate.chain_findings().iter().copied().map(Warning::Chain);
    early.into_iter().chain(soon).chain(chain)
}

/// How many whole days are left of a validity, where they are few.
fn days_where_few(validity: Validity, now: UnixTime) -> Option<u64> {
    let (first, last) = (validity.not_before.as_secs(), validity.not_after.as_secs());
    let (left, lifetime) = (last.checked_sub(now.as_secs())?, last.saturating_sub(first));
    (left < SOON && left < lifetime.div_ceil(LATE_PART)).then_some(left / DAY)
}

/// The wildcards whose names have entries of their own with other certificates: each told once,
/// however many names these are. Names with an entry that cannot be served are left out: what they
/// will show is not known.
pub(super) fn of_shadowed(names: &BTreeMap<NamePattern, Named>) -> Vec<EntryWarning> {
    let complete = || {
        let complete = names.iter().filter(|(_, named)| named.complete);
        complete.filter_map(|(pattern, named)| Some((pattern, named.first, named.set.as_ref()?)))
    };
    let mut wildcards: HashMap<&str, Shadow<'_>> = HashMap::default();
    for (pattern, place, set) in complete() {
        if let NamePattern::Wildcard(parent) = pattern {
            wildcards.insert(parent.as_str(), Shadow { place, set, names: 0, first: usize::MAX });
        }
    }
    for (pattern, place, set) in complete() {
        let NamePattern::Exact(name) = pattern else { continue };
        let parent = parent_of(name.as_str());
        if let Some(shadow) = parent.and_then(|parent| wildcards.get_mut(parent))
            && !same_certificates(set, shadow.set)
        {
            shadow.names += 1;
            shadow.first = shadow.first.min(place);
        }
    }
    let told = wildcards.into_values().filter(|shadow| shadow.names > 0);
    let warning = |shadow: Shadow<'_>| EntryWarning {
        place: Place::Entry(shadow.place),
        warning: Warning::Shadowed { names: shadow.names, first: shadow.first },
    };
    told.map(warning).collect()
}

/// A wildcard, and the names below it that other certificates are shown for.
struct Shadow<'a> {
    place: usize,
    set: &'a CertificateSet,
    names: usize,
    first: usize,
}

const DAY: u64 = 24 * 60 * 60;
/// A certificate is to be renewed by then.
const SOON: u64 = 30 * DAY;
/// The last third of a validity: short-lived certificates are renewed as late as that.
const LATE_PART: u64 = 3;
