//! When which certificates in a folder are looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::renewal::{Failing, RenewalError, Which};
use crate::id::{CertificateId, InstanceId};

/// What is to be looked at in the folder of all instances, from what is told of changes in it. Keeps
/// no clock: whoever asks says what time it is.
///
/// A change is looked at once nothing has changed for a moment, and soon after the first of many.
/// What cannot be loaded then may be half written: it is looked at again for a while, before it counts
/// as failed.
///
/// | path | looked at |
/// |---|---|
/// | `<root>/<instance>/<id>.pem`, `<root>/<instance>/<id>`, and all in that | the certificate, where the instance serves it |
/// | any other in `<root>/<instance>` | all of the instance: a link may lead there |
/// | such a one that was made and is gone before a look | nothing: so files are replaced |
/// | any other | all instances |
pub(super) struct Looks {
    root: PathBuf,
    next_poll: Instant,
    everywhere: Option<Due>,
    folders: BTreeMap<InstanceId, Folder>,
}

/// What has become of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There was nothing, and now there is.
    Made,
    /// It is removed, or has another name.
    Gone,
    /// Anything else.
    Other,
}

/// What is to be looked at in the folder of an instance.
#[derive(Default)]
struct Folder {
    whole: Option<Due>,
    /// Files that were made under names of which nothing is known: for each there is a look at the
    /// whole folder, unless the file is gone before.
    strangers: BTreeMap<PathBuf, Due>,
    certificates: BTreeMap<CertificateId, Due>,
}

/// When to look.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    /// When the first change was told since the last look.
    told: Option<Instant>,
    /// Until when what is wrong may yet come right.
    patience: Instant,
}

impl Looks {
    pub(super) fn new(root: PathBuf, now: Instant) -> Self {
        Self { root, next_poll: now + POLL, everywhere: None, folders: BTreeMap::new() }
    }

    /// Takes in what has become of a path. `serves` tells whether an instance serves a certificate.
    pub(super) fn tell(
        &mut self,
        change: Change,
        path: &Path,
        now: Instant,
        serves: impl Fn(&InstanceId, &CertificateId) -> bool,
    ) {
        let below = path.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mut names = below.components().map(|name| name.as_os_str().to_str());
        let instance = names.next().flatten().and_then(|name| name.parse::<InstanceId>().ok());
        let Some(instance) = instance else { return self.tell_anything(now) };
        let (name, is_deeper) = (names.next(), names.next().is_some());
        let ids = name.flatten().map_or_else(Vec::new, |name| ids(name, is_deeper));
        let served: Vec<_> = ids.into_iter().filter(|id| serves(&instance, id)).collect();
        let folder = self.folders.entry(instance).or_default();
        match name {
            Some(_) if served.is_empty() => folder.tell_stranger(change, path, now),
            Some(_) => served.into_iter().for_each(|id| folder.tell_certificate(id, now)),
            None => folder.tell_whole(now),
        }
    }

    /// Takes in that anything may have changed.
    pub(super) fn tell_anything(&mut self, now: Instant) {
        self.everywhere.get_or_insert(Due::first(now)).tell_again(now);
    }

    /// How long nothing is to be looked at.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        let folders = self.folders.values().flat_map(Folder::dues);
        let next = folders.chain(&self.everywhere).map(|due| due.at).fold(self.next_poll, Ord::min);
        next.saturating_duration_since(now)
    }

    /// What is to be looked at now. `all` tells which instances there are.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        all: impl FnOnce() -> Vec<InstanceId>,
    ) -> Vec<Look> {
        if now >= self.next_poll {
            self.next_poll = now + POLL;
            self.tell_anything(now);
        }
        if let Some(due) = self.everywhere.take_if(|due| due.at <= now) {
            for instance in all() {
                self.folders.entry(instance).or_default().whole = Some(due);
            }
        }
        let looks = self.folders.iter_mut().map(|(id, folder)| folder.take_due(id, now));
        let looks = looks.filter(|look| !look.is_empty()).collect();
        self.folders.retain(|_, folder| folder.dues().next().is_some());
        looks
    }

    /// Takes in what a look came to: what could not be loaded and may yet come right is looked at
    /// again.
    pub(super) fn looked(&mut self, look: &Look, failed: &[RenewalError], now: Instant) {
        for RenewalError { id, .. } in failed {
            if let Some(patience) = look.patience(id) {
                let again = Due { at: now + AGAIN, told: None, patience };
                let folder = self.folders.entry(look.instance.clone()).or_default();
                folder.certificates.entry(id.clone()).or_insert(again);
            }
        }
    }
}

impl Folder {
    fn tell_whole(&mut self, now: Instant) {
        self.whole.get_or_insert(Due::first(now)).tell_again(now);
    }

    fn tell_certificate(&mut self, id: CertificateId, now: Instant) {
        self.certificates.entry(id).or_insert(Due::first(now)).tell_again(now);
    }

    fn tell_stranger(&mut self, change: Change, path: &Path, now: Instant) {
        match change {
            Change::Made if self.strangers.len() < MANY => {
                self.strangers.insert(path.to_owned(), Due::first(now));
            }
            Change::Gone if self.strangers.remove(path).is_some() => {}
            Change::Made | Change::Gone | Change::Other => match self.strangers.get_mut(path) {
                Some(due) => due.tell_again(now),
                None => self.tell_whole(now),
            },
        }
    }

    fn dues(&self) -> impl Iterator<Item = &Due> {
        self.whole.iter().chain(self.strangers.values()).chain(self.certificates.values())
    }

    fn take_due(&mut self, instance: &InstanceId, now: Instant) -> Look {
        let is_due = |due: &Due| due.at <= now;
        let mut whole = self.whole.take_if(|due| is_due(due)).map(|due| due.patience);
        self.strangers.retain(|_, due| {
            if is_due(due) {
                whole = whole.max(Some(due.patience));
            }
            !is_due(due)
        });
        let mut certificates = BTreeMap::new();
        self.certificates.retain(|id, due| {
            if is_due(due) {
                certificates.insert(id.clone(), due.patience);
            }
            !is_due(due)
        });
        Look { instance: instance.clone(), at: now, whole, certificates }
    }
}

impl Due {
    fn first(now: Instant) -> Self {
        Self { at: now + QUIET, told: Some(now), patience: now + PATIENCE }
    }

    fn tell_again(&mut self, now: Instant) {
        let first = *self.told.get_or_insert(now);
        self.at = (now + QUIET).min(first + LONGEST_WAIT);
    }
}

/// A look at certificates of one instance.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) instance: InstanceId,
    at: Instant,
    /// Until when what is wrong may yet come right, where all are looked at.
    whole: Option<Instant>,
    /// The same of one.
    certificates: BTreeMap<CertificateId, Instant>,
}

impl Look {
    /// What is looked at.
    pub(super) fn which(&self) -> Which {
        match self.whole {
            Some(_) => Which::All,
            None => Which::Only(self.certificates.keys().cloned().collect()),
        }
    }

    /// How a failure of this one counts.
    pub(super) fn failing(&self, id: &CertificateId) -> Failing {
        if self.patience(id).is_some() { Failing::ForNow } else { Failing::ForGood }
    }

    /// Until when it may yet come right, where that is not over.
    fn patience(&self, id: &CertificateId) -> Option<Instant> {
        // One that is looked at for a change of another one may be the same file.
        let of_others = || self.certificates.values().max().copied();
        let until = self.certificates.get(id).copied().or(self.whole).or_else(of_others);
        until.filter(|until| self.at < *until)
    }

    /// Makes one of two of the same instance that are not begun.
    pub(super) fn join(&mut self, later: Self) {
        self.at = later.at;
        self.whole = self.whole.max(later.whole);
        for (id, patience) in later.certificates {
            self.certificates.entry(id).or_insert(patience);
        }
    }

    fn is_empty(&self) -> bool {
        self.whole.is_none() && self.certificates.is_empty()
    }
}

/// The certificates that a name in an instance's folder may belong to: a file, a folder, or what is
/// in that.
fn ids(name: &str, is_deeper: bool) -> Vec<CertificateId> {
    let file = name.strip_suffix(".pem").filter(|_| !is_deeper);
    file.into_iter().chain([name]).filter_map(|id| id.parse().ok()).collect()
}

/// How long nothing must have changed.
const QUIET: Duration = Duration::from_millis(200);
/// Since the first of many changes.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long what is wrong may yet come right.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon it is looked at again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often all is looked at, for file systems that do not tell.
const POLL: Duration = Duration::from_secs(60);
/// So many strange files in one folder are looked at whatever becomes of them.
const MANY: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::SourceError;

    /// Two instances that serve `one` and `two`, and a clock that stands still by itself.
    struct Street {
        looks: Looks,
        now: Instant,
    }

    impl Street {
        fn new() -> Self {
            let now = Instant::now();
            Self { looks: Looks::new("/root".into(), now), now }
        }

        fn tell(&mut self, change: Change, path: &str) {
            let serves = |instance: &InstanceId, id: &CertificateId| {
                ["a", "b"].contains(&instance.as_str()) && ["one", "two"].contains(&id.as_str())
            };
            self.looks.tell(change, Path::new(path), self.now, serves);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        fn due(&mut self) -> Vec<Look> {
            self.looks.take_due(self.now, || ["a", "b"].map(|id| id.parse().unwrap()).into())
        }

        /// What is looked at now: `a` for all of an instance, `a/one` for one.
        fn looked_at(&mut self) -> Vec<String> {
            let looks = self.due();
            let texts = looks.iter().flat_map(|look| match look.which() {
                Which::All => vec![look.instance.to_string()],
                Which::Only(ids) => {
                    ids.iter().map(|id| format!("{}/{id}", look.instance)).collect()
                }
            });
            texts.collect()
        }

        /// What is looked at a moment after the last change, and not before.
        fn then(&mut self) -> Vec<String> {
            self.pass(QUIET - TICK);
            assert_eq!(self.looked_at(), [""; 0]);
            self.pass(TICK);
            self.looked_at()
        }

        /// One look that finds these wrong, and how each counts.
        fn fail(&mut self, ids: &[&str]) -> Vec<Failing> {
            let looks = self.due();
            let [look] = &looks[..] else { panic!("{looks:?}") };
            let failed = ids.iter().map(|id| failed(id));
            let failed: Vec<_> = failed.collect();
            self.looks.looked(look, &failed, self.now);
            failed.iter().map(|failed| look.failing(&failed.id)).collect()
        }
    }

    fn failed(id: &str) -> RenewalError {
        let id: CertificateId = id.parse().unwrap();
        RenewalError { fault: SourceError::NotFound(id.clone()).into(), id }
    }

    const TICK: Duration = Duration::from_millis(1);

    #[test]
    fn a_path_says_what_is_looked_at() {
        let cases: &[(&str, &[&str])] = &[
            ("/root/a/one.pem", &["a/one"]),
            ("/root/a/one", &["a/one"]),
            ("/root/a/one/tls.key", &["a/one"]),
            ("/root/a/one/..data", &["a/one"]),
            ("/root/a/one/..2024/tls.crt", &["a/one"]),
            // Not served, a folder of that name, a link's target, a mount.
            ("/root/a/three.pem", &["a"]),
            ("/root/a/one.pem/tls.key", &["a"]),
            ("/root/a/one.pem.new", &["a"]),
            ("/root/a/one.key", &["a"]),
            ("/root/a/..data", &["a"]),
            ("/root/a/..2024/one.pem", &["a"]),
            ("/root/a", &["a"]),
            ("/root/c/one.pem", &["c"]),
            ("/root", &["a", "b"]),
            ("/root/a.b", &["a", "b"]),
            ("/elsewhere/a/one.pem", &["a", "b"]),
        ];
        for (path, expected) in cases {
            let mut street = Street::new();
            street.tell(Change::Other, path);
            assert_eq!(street.then(), *expected, "{path}");
            assert_eq!(street.then(), [""; 0], "{path}");
        }
        let mut street = Street::new();
        for (path, _) in cases {
            street.tell(Change::Other, path);
        }
        assert_eq!(street.then(), ["a", "b", "c"], "each once");
    }

    #[test]
    fn what_both_a_file_and_a_folder_may_belong_to_is_looked_at_for_both() {
        let ids = |name, is_deeper| {
            let ids = ids(name, is_deeper);
            ids.iter().map(CertificateId::to_string).collect::<Vec<_>>()
        };
        assert_eq!(ids("x.pem", false), ["x", "x.pem"]);
        assert_eq!(ids("x.pem", true), ["x.pem"]);
        assert_eq!(ids("x", false), ["x"]);
        assert_eq!(ids(".pem", false), [""; 0]);
        assert_eq!(ids("..data", false), [""; 0]);
    }

    #[test]
    fn several_changes_of_several_are_one_look_for_each_instance() {
        let mut street = Street::new();
        for path in ["/root/a/one.pem", "/root/b/two.pem", "/root/a/two/tls.key", "/root/a/one.pem"]
        {
            street.tell(Change::Other, path);
        }
        assert_eq!(street.then(), ["a/one", "a/two", "b/two"]);
    }

    #[test]
    fn what_goes_on_changing_is_looked_at_soon_after_its_first_change() {
        let mut street = Street::new();
        let step = QUIET / 2;
        let mut waited = Duration::ZERO;
        loop {
            street.tell(Change::Other, "/root/a/one.pem");
            if !street.looked_at().is_empty() {
                break;
            }
            street.pass(step);
            waited += step;
        }
        assert_eq!(waited, LONGEST_WAIT);
        // What changed with that look is looked at in its own time.
        street.tell(Change::Other, "/root/a/one.pem");
        assert_eq!(street.then(), ["a/one"]);
    }

    #[test]
    fn a_file_that_is_made_under_another_name_and_renamed_concerns_none_but_the_one_it_becomes() {
        let mut street = Street::new();
        for _ in 0..2 * MANY {
            street.tell(Change::Made, "/root/a/one.pem.new");
            street.tell(Change::Other, "/root/a/one.pem.new");
            street.tell(Change::Gone, "/root/a/one.pem.new");
            street.tell(Change::Other, "/root/a/one.pem");
        }
        assert_eq!(street.then(), ["a/one"]);
        // One that stays may be what a link leads to, and so may one that was there before.
        street.tell(Change::Made, "/root/a/target");
        assert_eq!(street.then(), ["a"]);
        street.tell(Change::Gone, "/root/a/target");
        assert_eq!(street.then(), ["a"]);
        street.tell(Change::Made, "/root/a/target");
        street.pass(QUIET / 2);
        street.tell(Change::Other, "/root/a/target");
        assert_eq!(street.then(), ["a"], "not before it is whole");
    }

    #[test]
    fn very_many_strange_files_are_one_reason_to_look() {
        let mut street = Street::new();
        for at in 0..2 * MANY {
            street.tell(Change::Made, &format!("/root/a/strange-{at}"));
        }
        assert_eq!(street.looks.folders.values().next().unwrap().strangers.len(), MANY);
        assert_eq!(street.then(), ["a"]);
        assert_eq!(street.then(), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_looked_at_again_until_patience_is_over_and_counts_once() {
        let mut street = Street::new();
        street.tell(Change::Other, "/root/a/one/tls.crt");
        street.pass(QUIET);
        let (mut times, mut waited) = (1, QUIET);
        while street.fail(&["one"]) == [Failing::ForNow] {
            street.pass(AGAIN - TICK);
            assert_eq!(street.looked_at(), [""; 0]);
            street.pass(TICK);
            waited += AGAIN;
            times += 1;
        }
        assert!((PATIENCE..PATIENCE + AGAIN).contains(&waited), "{waited:?}");
        assert_eq!(times, 11);
        street.pass(POLL - waited - TICK);
        assert_eq!(street.looked_at(), [""; 0]);
    }

    #[test]
    fn what_comes_right_is_not_looked_at_again() {
        let mut street = Street::new();
        street.tell(Change::Other, "/root/a/one/tls.crt");
        street.pass(QUIET);
        assert_eq!(street.fail(&["one"]), [Failing::ForNow]);
        street.tell(Change::Other, "/root/a/one/tls.key");
        assert_eq!(street.then(), ["a/one"]);
        street.pass(PATIENCE);
        assert_eq!(street.looked_at(), [""; 0]);
    }

    #[test]
    fn each_has_a_patience_of_its_own() {
        let mut street = Street::new();
        street.tell(Change::Other, "/root/a/one.pem");
        street.pass(QUIET);
        assert_eq!(street.fail(&["one"]), [Failing::ForNow]);
        street.pass(PATIENCE - QUIET - TICK);
        assert_eq!(street.fail(&["one"]), [Failing::ForNow]);
        street.tell(Change::Other, "/root/a");
        street.pass(AGAIN);
        assert_eq!(street.fail(&["one", "two"]), [Failing::ForGood, Failing::ForNow]);
        street.pass(AGAIN);
        assert_eq!(street.looked_at(), ["a/two"]);
    }

    #[test]
    fn a_look_at_all_in_between_gives_no_further_patience() {
        let mut street = Street::new();
        street.tell(Change::Other, "/root/a/one.pem");
        street.pass(QUIET);
        assert_eq!(street.fail(&["one"]), [Failing::ForNow]);
        street.tell(Change::Other, "/root/a");
        street.pass(QUIET);
        assert_eq!(street.fail(&["one"]), [Failing::ForNow]);
        street.pass(PATIENCE - 2 * QUIET);
        assert_eq!(street.fail(&["one"]), [Failing::ForGood]);
    }

    #[test]
    fn of_all_that_are_looked_at_those_that_fail_are_looked_at_again() {
        let mut street = Street::new();
        street.tell(Change::Other, "/root/a/target");
        street.pass(QUIET);
        assert_eq!(street.fail(&["one", "two"]), [Failing::ForNow; 2]);
        street.pass(AGAIN);
        assert_eq!(street.looked_at(), ["a/one", "a/two"]);
    }

    #[test]
    fn two_looks_that_wait_are_one_at_what_each_is_at_and_give_no_further_patience() {
        let mut street = Street::new();
        street.tell(Change::Other, "/root/a/one.pem");
        street.pass(QUIET);
        let mut look = street.due().remove(0);
        street.pass(PATIENCE);
        street.tell(Change::Other, "/root/a/one.pem");
        street.tell(Change::Other, "/root/a/two.pem");
        street.pass(QUIET);
        look.join(street.due().remove(0));
        let ids = ["one", "two"].map(|id| id.parse().unwrap());
        assert_eq!(look.which(), Which::Only(ids.clone().into()));
        assert_eq!(ids.map(|id| look.failing(&id)), [Failing::ForGood, Failing::ForNow]);
        street.tell(Change::Other, "/root/a");
        street.pass(QUIET);
        look.join(street.due().remove(0));
        assert_eq!(look.which(), Which::All);
    }

    #[test]
    fn all_is_looked_at_each_minute_and_when_the_system_has_lost_count() {
        let mut street = Street::new();
        for _ in 0..3 {
            assert_eq!(street.looks.rest(street.now), POLL);
            street.pass(POLL - TICK);
            assert_eq!(street.looked_at(), [""; 0]);
            street.pass(TICK);
            assert_eq!(street.looked_at(), [""; 0]);
            assert_eq!(street.looks.rest(street.now), QUIET);
            street.pass(QUIET);
            assert_eq!(street.looked_at(), ["a", "b"]);
            street.now -= QUIET;
        }
        street.looks.tell_anything(street.now);
        assert_eq!(street.then(), ["a", "b"]);
    }

    #[test]
    fn nothing_is_done_before_something_is_due() {
        let mut street = Street::new();
        let rest = |street: &Street| street.looks.rest(street.now);
        assert_eq!(rest(&street), POLL);
        street.tell(Change::Other, "/root/a/one.pem");
        assert_eq!(rest(&street), QUIET);
        street.pass(QUIET / 2);
        assert_eq!(rest(&street), QUIET / 2);
        street.tell(Change::Made, "/root/b/strange");
        assert_eq!(rest(&street), QUIET / 2);
        street.pass(QUIET);
        assert_eq!(rest(&street), Duration::ZERO, "it is late");
        assert_eq!(street.looked_at(), ["a/one", "b"]);
        assert_eq!(rest(&street), POLL - QUIET / 2 - QUIET);
        assert!(street.looks.folders.is_empty());
    }
}
