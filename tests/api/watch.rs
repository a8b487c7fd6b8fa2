//! What one tenant does in its folder, or suffers there, keeps no other's renewals back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use mqtls::certificate::{Password, SourceError};
use mqtls::{
    Caller, CertificateId, CertificateMaterial, CertificateSource, Directory, Event, Events,
    InstanceId, InstanceSpec, Instances, SetSniConfig, Sha256,
};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::support::{Identity, TestCa, provider};

/// A source that keeps a list of what it was asked for.
struct Asked {
    directory: Directory,
    /// As `<instance>/<id>`.
    paths: Mutex<BTreeSet<String>>,
    /// Whether to panic when it is asked for one of `evil`.
    panics: AtomicBool,
    panicked: Notify,
    /// Held while those of `slow` are not to be had.
    slow: Mutex<()>,
    begun: Notify,
}

impl CertificateSource for Asked {
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        self.paths.lock().unwrap().insert(format!("{instance}/{id}"));
        if instance.as_str() == "evil" && self.panics.swap(false, Ordering::SeqCst) {
            self.panicked.notify_one();
            panic!("injected");
        }
        if instance.as_str() == "slow" {
            self.begun.notify_one();
            drop(self.slow.lock().unwrap());
        }
        self.directory.load(instance, id, password)
    }

    fn folder(&self) -> Option<&Path> {
        self.directory.folder()
    }
}

/// Tenants whose certificates lie in one folder: each has `one` and `two`.
struct Street {
    _temporary: TempDir,
    root: PathBuf,
    asked: Arc<Asked>,
    instances: Instances,
    events: Events,
    ca: TestCa,
}

impl Street {
    fn of(tenants: &[&str]) -> Self {
        Self::behind("certificates", tenants)
    }

    /// Where the folder has another name, too.
    fn behind(open: &str, tenants: &[&str]) -> Self {
        let temporary = TempDir::new().unwrap();
        let root = temporary.path().join("certificates");
        fs::create_dir(&root).unwrap();
        let open = temporary.path().join(open);
        if open != root {
            symlink("certificates", &open).unwrap();
        }
        let directory = Directory::open(open).unwrap();
        let asked = Arc::new(Asked {
            directory,
            paths: Mutex::default(),
            panics: AtomicBool::new(false),
            panicked: Notify::new(),
            slow: Mutex::default(),
            begun: Notify::new(),
        });
        let instances = Instances::new(provider(), Arc::clone(&asked));
        let events = instances.events();
        let ca = TestCa::root("server CA");
        let street = Self { _temporary: temporary, root, asked, instances, events, ca };
        tenants.iter().for_each(|tenant| street.move_in(tenant));
        street
    }

    fn move_in(&self, tenant: &str) {
        fs::create_dir(self.folder(tenant)).unwrap();
        for id in ["one", "two"] {
            self.write(tenant, id);
        }
        let instance = InstanceSpec::new(tenant.parse().unwrap());
        self.instances.create(instance).unwrap();
        SetSniConfig {
            mqtt_instance_id: tenant.parse().unwrap(),
            default_certificate: "one".parse().unwrap(),
            sni_config: "two.test#two".parse().unwrap(),
        }
        .apply(&self.instances, &Caller::local())
        .unwrap();
    }

    fn folder(&self, tenant: &str) -> PathBuf {
        self.root.join(tenant)
    }

    /// A place beside the folder of certificates, from which something can be moved into it.
    fn outside(&self, name: &str) -> PathBuf {
        let folder = self.root.with_file_name(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn write(&self, tenant: &str, id: &str) -> Identity {
        let next = self.ca.server(&["localhost"]);
        fs::write(self.folder(tenant).join(format!("{id}.pem")), next.pem()).unwrap();
        next
    }

    /// Points the link behind which all is to a copy, and gives what it led to.
    fn exchange(&mut self) -> PathBuf {
        let next = copy(self, "exchanged", "good");
        let [link, current] = ["new", "current"].map(|name| self.root.with_file_name(name));
        symlink("exchanged", &link).unwrap();
        fs::rename(link, current).unwrap();
        std::mem::replace(&mut self.root, next)
    }

    /// Whether a tenant serves this under the id `one`.
    fn is_served(&self, tenant: &str, expected: &Identity) -> bool {
        let instance = self.instances.get(&tenant.parse().unwrap()).unwrap();
        let table = instance.sni().table().unwrap();
        let served = table.certificate(&"one".parse().unwrap()).unwrap();
        served.sha256() == Sha256::of(expected.end_entity())
    }

    /// Waits until it does.
    async fn serves(&mut self, tenant: &str, expected: &Identity) {
        while !self.is_served(tenant, expected) {
            self.told().await;
        }
    }

    async fn told(&mut self) -> Event {
        let told = tokio::time::timeout(Duration::from_secs(100), self.events.next());
        told.await.expect("an event").unwrap()
    }

    /// Renews a tenant's certificate, and tells which of the tenant's the source is asked for until it
    /// is served: that one alone where the system tells of the file, and all where the look of each
    /// minute finds it.
    async fn renew(&mut self, tenant: &str) -> Vec<String> {
        self.asked.paths.lock().unwrap().clear();
        let next = self.write(tenant, "one");
        self.serves(tenant, &next).await;
        let asked = std::mem::take(&mut *self.asked.paths.lock().unwrap());
        asked.into_iter().filter(|path| path.starts_with(&format!("{tenant}/"))).collect()
    }

    /// Has a tenant's renewals told until there is nothing to tell of from before.
    async fn settle(&mut self, tenant: &str) {
        self.settle_beside(tenant, || {}).await;
    }

    /// The same where something is done before each renewal that is not to be told of.
    async fn settle_beside(&mut self, tenant: &str, unheard: impl Fn()) {
        let alone = [format!("{tenant}/one")];
        for _ in 0..20 {
            unheard();
            if self.renew(tenant).await == alone {
                return;
            }
        }
        panic!("the system tells nothing of {tenant}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_neighbours_link_to_a_folder_neither_takes_what_is_told_of_it_nor_ends_it() {
    let mut street = Street::of(&["evil", "good"]);
    let _watch = street.instances.watch().unwrap();
    // Moved in as a whole, as such a folder is looked through.
    let prepared = street.outside("prepared");
    symlink(street.folder("good"), prepared.join("link")).unwrap();
    fs::rename(&prepared, street.folder("evil").join("moved")).unwrap();
    street.settle("evil").await;
    assert_eq!(street.renew("good").await, ["good/one"]);
    fs::remove_dir_all(street.folder("evil").join("moved")).unwrap();
    street.settle("evil").await;
    assert_eq!(street.renew("good").await, ["good/one"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_lies_behind_a_link_is_not_watched() {
    let mut street = Street::of(&["evil"]);
    let outside = street.outside("outside");
    fs::create_dir(outside.join("deeper")).unwrap();
    symlink(&outside, street.folder("evil").join("link")).unwrap();
    let _watch = street.instances.watch().unwrap();
    street.settle("evil").await;
    for folder in [&outside, &outside.join("deeper")] {
        fs::write(folder.join("stranger"), "").unwrap();
    }
    assert_eq!(street.renew("evil").await, ["evil/one"]);
    // What lies there itself is a reason to look at all of it.
    fs::write(street.folder("evil").join("stranger"), "").unwrap();
    assert_eq!(street.renew("evil").await, ["evil/one", "evil/two"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_that_cannot_be_watched_keeps_no_other_from_being_watched() {
    let mut street = Street::of(&["evil", "good"]);
    // Deeper than a path may be long, so that the system refuses it to everybody.
    let mut folder = Dir::open_ambient_dir(street.folder("evil"), ambient_authority()).unwrap();
    let name = "d".repeat(250);
    for _ in 0..18 {
        folder.create_dir(&name).unwrap();
        folder = folder.open_dir(&name).unwrap();
    }
    fs::write(street.root.join("stranger"), "").unwrap();
    symlink(street.folder("good"), street.root.join("link")).unwrap();
    let _watch = street.instances.watch().unwrap();
    assert_eq!(street.renew("good").await, ["good/one"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn folders_are_watched_that_come_later_or_take_anothers_place() {
    let mut street = Street::of(&["first"]);
    let _watch = street.instances.watch().unwrap();
    street.move_in("late");
    street.settle("late").await;
    // Gone, and back again as another one.
    let prepared = street.outside("prepared");
    for round in 0..3 {
        for id in ["one.pem", "two.pem"] {
            fs::copy(street.folder("late").join(id), prepared.join(id)).unwrap();
        }
        let old = street.root.with_file_name(format!("old-{round}"));
        fs::rename(street.folder("late"), &old).unwrap();
        fs::rename(&prepared, street.folder("late")).unwrap();
        // The old one is not watched any more: what changes there is no reason to look at all.
        street.settle_beside("late", || fs::write(old.join("stranger"), "").unwrap()).await;
        fs::rename(&old, &prepared).unwrap();
    }
    assert_eq!(street.renew("first").await, ["first/one"]);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_watched_for() {
    let street = Street::of(&["first"]);
    fs::remove_dir_all(&street.root).unwrap();
    assert!(street.instances.watch().is_ok());
}

#[tokio::test]
async fn a_panic_of_the_source_ends_one_look_and_nothing_else() {
    let mut street = Street::of(&["evil", "good"]);
    let _watch = street.instances.watch().unwrap();
    street.asked.panics.store(true, Ordering::SeqCst);
    street.write("evil", "one");
    street.asked.panicked.notified().await;
    for tenant in ["good", "evil"] {
        let next = street.write(tenant, "one");
        street.serves(tenant, &next).await;
    }
}

/// Puts a copy of the folder of certificates beside it, and gives where.
fn copy(street: &Street, name: &str, tenant: &str) -> PathBuf {
    let folder = street.outside(name);
    fs::create_dir(folder.join(tenant)).unwrap();
    for id in ["one.pem", "two.pem"] {
        fs::copy(street.folder(tenant).join(id), folder.join(tenant).join(id)).unwrap();
    }
    folder
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_that_takes_the_place_of_all_is_watched() {
    let mut street = Street::of(&["good"]);
    let _watch = street.instances.watch().unwrap();
    for round in 0..2 {
        let next = copy(&street, &format!("next-{round}"), "good");
        let renewed = street.ca.server(&["localhost"]);
        fs::write(next.join("good/one.pem"), renewed.pem()).unwrap();
        let old = street.root.with_file_name(format!("old-{round}"));
        fs::rename(&street.root, &old).unwrap();
        fs::rename(&next, &street.root).unwrap();
        street.serves("good", &renewed).await;
        street.settle("good").await;
        fs::write(old.join("good/stranger"), "").unwrap();
        assert_eq!(street.renew("good").await, ["good/one"]);
    }
}

#[test]
fn a_link_to_all_is_followed_anew_at_each_load() {
    let mut street = Street::behind("current", &["good"]);
    street.exchange();
    let renewed = street.write("good", "one");
    let told = street.instances.reload();
    let [(_, renewal)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(renewal.renewed, ["one".parse().unwrap()]);
    assert!(street.is_served("good", &renewed));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn where_a_link_to_all_leads_elsewhere_that_is_watched_from_the_next_look_at_all() {
    let mut street = Street::behind("current", &["good"]);
    let _watch = street.instances.watch().unwrap();
    street.settle("good").await;
    let old = street.exchange();
    let renewed = street.write("good", "one");
    // A reason to look at all, as there is one each minute.
    fs::write(old.join("a.stranger"), "").unwrap();
    street.serves("good", &renewed).await;
    street.settle("good").await;
    fs::write(old.join("good/stranger"), "").unwrap();
    assert_eq!(street.renew("good").await, ["good/one"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "it is what the source waits for on its own thread")]
async fn a_tenant_that_is_slow_holds_up_nobody_but_itself() {
    let mut street = Street::of(&["slow", "a", "z"]);
    let _watch = street.instances.watch().unwrap();
    let asked = Arc::clone(&street.asked);
    // What was begun while it moved in is over.
    asked.begun.notify_one();
    asked.begun.notified().await;
    let held = asked.slow.lock().unwrap();
    street.write("slow", "one");
    asked.begun.notified().await;
    let mut last = None;
    for tenant in ["a", "z", "a", "z", "a", "z"] {
        // It waits for the look that is under way, and takes no further thread.
        last = Some(street.write("slow", "one"));
        assert_eq!(street.renew(tenant).await, [format!("{tenant}/one")]);
    }
    drop(held);
    street.serves("slow", &last.unwrap()).await;
}
