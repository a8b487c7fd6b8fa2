//! Why a client is shown what it is shown.

use std::fmt;
use std::sync::Arc;

use super::certificate_set::Configured;
use super::map::Rule;
use super::offer::Offer;
use super::policy::NotShown;
use super::table::SniTable;
use crate::certificate::ServerCertificate;
use crate::id::CertificateId;

/// What a client is shown, and why. Made by [`SniResolver::explain`](super::SniResolver::explain) and
/// [`Route::explain`](crate::instance::Route::explain).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// What it is shown, or why it is refused.
    pub answer: Result<Answer, NotShown>,
    /// Every certificate that stands under a rule for the name, in the order in which the rules are
    /// asked, and what became of it.
    pub candidates: Vec<Candidate>,
    /// The generation of the table that answers.
    pub generation: u64,
}

/// What a client is shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// Which rule answers.
    pub rule: Rule,
    /// The id of the certificate.
    pub certificate_id: CertificateId,
    /// The certificate.
    pub certificate: Arc<ServerCertificate>,
}

/// A certificate that stands under a rule for the name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Candidate {
    /// Which rule.
    pub rule: Rule,
    /// Its id.
    pub certificate_id: CertificateId,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It is shown.
    Shown,
    /// It suits neither the client's signature schemes nor its cipher suites, or only one of both.
    Unsuitable,
    /// It would suit, has expired, and is not shown for that.
    Expired,
    /// It would do, and another one under the same rule is preferred.
    LessPreferred,
    /// A more specific rule has answered, or the client was refused before this one was asked.
    NotAsked,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shown => "shown",
            Self::Unsuitable => "does not suit the client",
            Self::Expired => "has expired",
            Self::LessPreferred => "another one is preferred",
            Self::NotAsked => "not asked",
        })
    }
}

impl Explanation {
    pub(crate) fn of(table: &SniTable, server_name: Option<&str>, offer: &Offer<'_>) -> Self {
        let selected = table.select(server_name, offer);
        let shown = selected.ok().map(|selection| (selection.rule(), selection.id()));
        let mut candidates = vec![];
        let mut over = matches!(selected, Err(NotShown::NoServerName | NotShown::UnknownName));
        let _all = table.map().find_map(server_name, |rule, set| {
            for configured in set.all() {
                let verdict = match shown {
                    _ if over => Verdict::NotAsked,
                    Some((at, id)) if at == rule && id == configured.id() => Verdict::Shown,
                    _ => verdict(configured, offer),
                };
                let certificate_id = configured.id().clone();
                candidates.push(Candidate { rule, certificate_id, verdict });
            }
            let lacking = set.best(offer).is_none().then(|| set.lack(offer));
            over |= shown.is_some_and(|(at, _)| at == rule)
                || lacking.is_some_and(|why| table.terms().ends_with(why));
            None::<()>
        });
        let answer = selected.map(|selection| Answer {
            rule: selection.rule(),
            certificate_id: selection.id().clone(),
            certificate: Arc::clone(selection.certificate()),
        });
        Self { answer, candidates, generation: table.generation() }
    }
}

/// Why one that is not shown is not.
fn verdict(configured: &Configured, offer: &Offer<'_>) -> Verdict {
    if !offer.takes(configured.all_schemes()) {
        Verdict::Unsuitable
    } else if configured.is_withheld() {
        Verdict::Expired
    } else {
        Verdict::LessPreferred
    }
}
