//! What do very many certificates cost to load at first, and one of them to renew?
//!
//! **`first-load`** is one `SetSniConfig`, from the text of its `SniConfig` until the map is in force,
//! for as many names as the size says, each with a certificate of its own in a `Directory`: a PEM file
//! with one ECDSA certificate and its key. **The baseline** reads the same files, decodes their PEM with
//! `rustls-pki-types`, has the provider load each key, makes a `CertifiedKey` of both and asks whether
//! they match: what no server can do without. Neither side's time holds freeing what it made. All
//! files are in the system's cache.
//!
//! **`renew-one`** is `Instances::reload_certificate` for one of them once its file has changed, until
//! the new certificate is in force and the old one freed. The file is written outside of the time,
//! with two certificates in turn, so that each is parsed anew. **The baseline** is reading and parsing
//! that one file, as above, and freeing what was made before. What is held to a bar is how much longer
//! a renewal takes. `policies` is the same where what has expired is withheld. `shared` is the same on an instance on the shared listener, whose names the set of
//! all instances knows, too.
//!
//! **`plan`** is `SetSniConfig::plan` of as many entries where that very map is in force, half of them with
//! the certificate of their neighbour: it reads every file and tells each difference. **The baseline**
//! reads the same files, and nothing else.
//!
//! **`weight`** is what one `SetSniConfig` of the first kind leaves allocated: by Rust's allocator, and,
//! with what the crypto provider keeps of keys, as the process grows.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use mqtls::{
    Caller, Directory, Instance, InstanceSpec, Instances, OnExpiry, SetSniConfig, SniPolicy,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use side_by_side::{Bar, Contenders, SideBySide, Terms, each, measures};
use support::{TestCa, provider};
use tempfile::TempDir;

mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;

fn main() -> ExitCode {
    let mut benches = SideBySide::from_args("renewal");
    let [many, most] = if measures() { [10_000, 100_000] } else { [100, 1_000] };
    benches.report(format!("weight-{many}"), || weigh(many));
    let blocks = Terms::blocks(many as u64, Bar::Ratio(1.5));
    benches.compare(format!("first-load-{many}"), blocks, || first_load(many));
    let plans = Terms::blocks(many as u64, Bar::None);
    benches.compare(format!("plan-{many}"), plans, || plan(many));
    let alone = |spec: InstanceSpec| spec;
    let shared = |spec: InstanceSpec| spec.shared(["endpoint".parse().unwrap()]);
    benches.compare(format!("renew-one-{many}"), RENEWAL, || renew_one(many, alone));
    benches.compare(format!("renew-one-{most}"), NO_BAR, || renew_one(most, alone));
    let withholding =
        |spec: InstanceSpec| spec.sni_policy(SniPolicy::default().expired(OnExpiry::Refuse));
    let id = format!("renew-one-{many}-policies");
    benches.compare(id, RENEWAL, || renew_one(many, withholding));
    benches.compare(format!("renew-one-{many}-shared"), NO_BAR, || renew_one(many, shared));
    benches.compare(format!("renew-one-{most}-shared"), NO_BAR, || renew_one(most, shared));
    benches.finish()
}

/// A folder of certificates for one instance, each for a name that is its id as well.
struct Folder {
    root: TempDir,
    names: Vec<String>,
}

impl Folder {
    fn of(size: usize) -> Self {
        let folder = Self { root: TempDir::new().unwrap(), names: (0..size).map(name).collect() };
        fs::create_dir(folder.path()).unwrap();
        let (ca, key) = (TestCa::root("server CA"), Arc::new(KeyPair::generate().unwrap()));
        for name in &folder.names {
            fs::write(folder.file(name), pem(&ca, &key, name)).unwrap();
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.root.path().join(INSTANCE)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.pem"))
    }

    fn instances(&self) -> Instances {
        Instances::new(provider(), Directory::open(self.root.path()).unwrap())
    }

    /// Serves all of them.
    fn set(&self, instances: &Instances, config: &str) {
        self.operation(config).apply(instances, &Caller::local()).unwrap();
    }

    fn operation(&self, config: &str) -> SetSniConfig {
        SetSniConfig {
            mqtt_instance_id: INSTANCE.parse().unwrap(),
            default_certificate: self.names.first().unwrap().parse().unwrap(),
            sni_config: config.parse().unwrap(),
        }
    }

    fn config(&self) -> String {
        self.names.iter().map(|name| format!("{name}#{name};")).collect()
    }
}

/// Four characters, the first a letter: a hundred thousand entries are as long as an `SniConfig` may
/// be.
fn name(number: usize) -> String {
    let digit = |value: usize| char::from_digit(u32::try_from(value).unwrap(), 36).unwrap();
    let last = [1296, 36, 1].map(|power| digit(number / power % 36));
    [digit(16 + number / 46_656)].into_iter().chain(last).collect()
}

fn pem(ca: &TestCa, key: &Arc<KeyPair>, name: &str) -> String {
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    ca.issue(&params, Arc::clone(key)).pem()
}

/// What no server can do without.
fn parse(file: &Path) -> CertifiedKey {
    let text = fs::read(file).unwrap();
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(&text).unwrap();
    let certified =
        CertifiedKey::new(chain, provider().key_provider.load_private_key(key).unwrap());
    certified.keys_match().unwrap();
    certified
}

fn first_load(size: usize) -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration> {
    let folder = Arc::new(Folder::of(size));
    let config = folder.config();
    let files: Vec<PathBuf> = folder.names.iter().map(|name| folder.file(name)).collect();
    let ours = Arc::clone(&folder);
    Contenders {
        mqtls: each(move || {
            let instances = ours.instances();
            instances.create(InstanceSpec::new(INSTANCE.parse().unwrap())).unwrap();
            let start = Instant::now();
            ours.set(&instances, &config);
            start.elapsed()
        }),
        baseline: each(move || {
            assert!(folder.path().exists());
            let start = Instant::now();
            let all: Vec<_> = files.iter().map(|file| Arc::new(parse(file))).collect();
            let time = start.elapsed();
            assert_eq!(all.len(), size);
            time
        }),
    }
}

fn plan(size: usize) -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration> {
    let folder = Folder::of(size);
    let instances = folder.instances();
    instances.create(InstanceSpec::new(INSTANCE.parse().unwrap())).unwrap();
    folder.set(&instances, &folder.config());
    let exchanged = folder.names.iter().enumerate().map(|(at, name)| {
        let id = if at < size / 2 { folder.names.get(at ^ 1).unwrap() } else { name };
        format!("{name}#{id};")
    });
    let planned = folder.operation(&exchanged.collect::<String>());
    let files: Vec<PathBuf> = folder.names.iter().map(|name| folder.file(name)).collect();
    Contenders {
        mqtls: each(move || {
            let start = Instant::now();
            let plan = planned.plan(&instances, &Caller::local()).unwrap();
            let time = start.elapsed();
            assert_eq!(plan.difference.unwrap().names.len(), size / 2);
            time
        }),
        baseline: each(move || {
            assert!(folder.path().exists());
            let start = Instant::now();
            let all: usize = files.iter().map(|file| fs::read(file).unwrap().len()).sum();
            let time = start.elapsed();
            assert!(all > 0);
            time
        }),
    }
}

/// A file with two certificates in turn.
struct Renewed {
    file: PathBuf,
    texts: [String; 2],
}

impl Renewed {
    fn write_next(&mut self) {
        self.texts.rotate_left(1);
        fs::write(&self.file, self.texts.first().unwrap()).unwrap();
    }
}

fn renew_one(
    size: usize,
    change: impl Fn(InstanceSpec) -> InstanceSpec,
) -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration> {
    let folder = Folder::of(size);
    let instances = folder.instances();
    let spec = change(InstanceSpec::new(INSTANCE.parse().unwrap()));
    let instance: Arc<Instance> = instances.create(spec).unwrap();
    folder.set(&instances, &folder.config());
    let (ca, key) = (TestCa::root("server CA"), Arc::new(KeyPair::generate().unwrap()));
    let name = folder.names.get(size / 2).unwrap().clone();
    let texts = [(); 2].map(|()| pem(&ca, &key, &name));
    let mut renewed = Renewed { file: folder.file(&name), texts: texts.clone() };
    let mut alike = Renewed { file: folder.root.path().join("alike.pem"), texts };
    let mut last = None;
    let id = name.parse().unwrap();
    Contenders {
        mqtls: each(move || {
            assert!(folder.path().exists());
            renewed.write_next();
            let start = Instant::now();
            let renewal = instances.reload_certificate(instance.id(), &id).unwrap();
            let time = start.elapsed();
            assert_eq!(renewal.renewed.len(), 1);
            time
        }),
        baseline: each(move || {
            alike.write_next();
            let start = Instant::now();
            drop(last.replace(parse(&alike.file)));
            start.elapsed()
        }),
    }
}

fn weigh(size: usize) -> String {
    let folder = Folder::of(size);
    let (instances, config) = (folder.instances(), folder.config());
    instances.create(InstanceSpec::new(INSTANCE.parse().unwrap())).unwrap();
    let (before, mut time) = (resident(), Duration::ZERO);
    let weight = measure(|| {
        let start = Instant::now();
        folder.set(&instances, &config);
        time = start.elapsed();
    });
    let each = |bytes: i64| bytes / i64::try_from(size).unwrap();
    let grown = resident() - before;
    format!(
        "{} bytes a certificate and name, {} at the most meanwhile; {} of the process, which grows \
         by {:.1} MB to {:.1} MB; loaded in {time:.2?}",
        each(weight.bytes_current),
        each(i64::try_from(weight.bytes_max).unwrap()),
        each(grown),
        grown as f64 / 1e6,
        resident() as f64 / 1e6,
    )
}

/// How much memory the process has, in bytes; 0 where the system does not tell as Linux does.
fn resident() -> i64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<i64>().ok());
    pages.unwrap_or_default() * 4096
}

const INSTANCE: &str = "mqtt-test";
const RENEWAL: Terms = Terms::new(1, Bar::More(Duration::from_millis(1)));
const NO_BAR: Terms = Terms::new(1, Bar::None);
