//! What do many instances on one listener cost, beside one?
//!
//! **`route`** finds the instance for a server name and the certificate for the client
//! (`Instances::route`, which finds both), among 10,000 instances with 100 names each, 70 of them
//! exact and 30 wildcards. Each instance has one certificate for all its names. **The baseline** is
//! the lookup of a single instance (`SniResolver::choose`) with the same million names and the same
//! ten thousand certificates. Both are asked the same names in the same shuffled order, seven in ten
//! exact and three in ten covered by a wildcard.
//!
//! **`set-sni-config`** replaces the hundred names of one among 10,000 instances by another hundred,
//! and back; the baseline does so in a set of instances in which it is the only one.
//!
//! **`create-remove`** creates an instance with one endpoint and removes it; the baseline in an empty
//! set.
//!
//! **`noisy-neighbour`** is a full mutual TLS 1.3 handshake through `Acceptor::shared`, by the time in
//! which the server's future is polled. mqtls' handshakes are those while a second thread changes
//! another instance, which has 100,000 CAs and 1,000 names, without pause: a CA is deactivated and
//! activated, and the names are replaced. The baseline's are those while it sleeps.
//!
//! **`weight`** is the memory of an instance, without and with its hundred names.
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use allocation_counter::measure;
use fleet::passed_over;
use mqtls::sni::{SniMap, SniPublisher};
use mqtls::{
    Acceptor, CaStatus, Caller, ClientAuth, Instance, InstanceId, InstanceSpec, Instances, Memory,
    SetSniConfig,
};
use names::{Certificates, Client, schemes, shuffled, suites};
use rustls::ClientConfig;
use rustls::client::Resumption;
use side_by_side::{Bar, Contenders, SideBySide, Terms, each, whole};
use support::{Door, Identity, TestCa, client, provider};
use tokio::runtime::Builder;
use visit::knock;

mod fleet;
mod names;
mod side_by_side;
#[expect(clippy::panic, clippy::indexing_slicing, reason = "written for tests")]
#[path = "../tests/api/support.rs"]
mod support;
mod visit;

fn main() -> ExitCode {
    let mut benches = SideBySide::from_args("tenants");
    benches.compare("route", ROUTE, || route_beside_lookup(INSTANCES));
    benches.compare("set-sni-config", SET, || {
        let [many, alone] = [INSTANCES, 1].map(Street::of);
        Contenders { mqtls: whole(many.changes_names()), baseline: whole(alone.changes_names()) }
    });
    benches.compare("create-remove", CREATE, || {
        let [many, none] = [INSTANCES, 0].map(Street::of);
        Contenders { mqtls: whole(many.comes_and_goes()), baseline: whole(none.comes_and_goes()) }
    });
    benches.compare("noisy-neighbour", NOISE, beside_a_noisy_neighbour);
    benches.report("weight", weigh);
    benches.finish()
}

/// Instances that share a listener, each with a certificate for its hundred names.
struct Street {
    instances: Instances,
    source: Arc<Memory>,
    identity: Identity,
}

impl Street {
    fn of(count: usize) -> Self {
        let source = Arc::new(Memory::new());
        let instances = Instances::new(provider(), Arc::clone(&source));
        let identity = TestCa::root("server CA").server(&["*.mqtt.example.com"]);
        let street = Self { instances, source, identity };
        for number in 0..count {
            street.create(number);
            street.set(number, "mqtt");
        }
        street
    }

    fn create(&self, number: usize) -> Arc<Instance> {
        let id = id(number);
        self.source.insert(id.clone(), "own".parse().unwrap(), self.identity.material());
        let endpoint = format!("{id}.example.com").parse().unwrap();
        self.instances.create(InstanceSpec::new(id).shared([endpoint])).unwrap()
    }

    /// Serves the hundred names of a kind.
    fn set(&self, number: usize, kind: &str) {
        let entries = patterns(number, kind).map(|pattern| pattern + "#own;");
        let set = SetSniConfig {
            mqtt_instance_id: id(number),
            default_certificate: "own".parse().unwrap(),
            sni_config: entries.collect::<String>().parse().unwrap(),
        };
        set.apply(&self.instances, &Caller::local()).unwrap();
    }

    fn changes_names(self) -> impl FnMut() {
        let mut kinds = ["other", "mqtt"].into_iter().cycle();
        move || self.set(0, kinds.next().unwrap())
    }

    fn comes_and_goes(self) -> impl FnMut() {
        move || {
            let instance = self.create(INSTANCES);
            self.instances.remove(instance.id()).unwrap();
        }
    }
}

fn id(number: usize) -> InstanceId {
    format!("mqtt-{number:05}").parse().unwrap()
}

/// Seventy names and thirty wildcards.
fn patterns(instance: usize, kind: &str) -> impl Iterator<Item = String> {
    let base = format!("{kind}-{instance:05}.example.com");
    (0..NAMES).map(move |number| match number % 10 {
        0..7 => format!("n{number}.{base}"),
        _ => format!("*.w{number}.{base}"),
    })
}

fn route_beside_lookup(
    count: usize,
) -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration> {
    let street = Street::of(count);
    let all: Vec<String> = (0..count).flat_map(|number| patterns(number, "mqtt")).collect();
    let sets = Certificates::new().sets(count);
    let each_its_own = all
        .iter()
        .enumerate()
        .map(|(at, pattern)| (pattern.parse().unwrap(), sets.get(at / NAMES).unwrap().clone()));
    let map = SniMap::new(sets.first().unwrap().clone(), each_its_own.collect());
    let mut publisher = SniPublisher::new(&provider());
    let table = publisher.publish(map);
    assert_eq!(table.map().len(), count * NAMES);
    let asked: Vec<String> = all.iter().map(|pattern| pattern.replace('*', "eu")).collect();
    let asked = shuffled(asked.iter().map(String::as_str));
    let mut names = asked.iter().cycle();
    let (schemes, suites) = (schemes(), suites());
    let mut single = Client::new(publisher.resolver(), asked);
    Contenders {
        mqtls: whole(move || {
            let name = names.next().unwrap();
            let route = street.instances.route(name, &schemes, &suites).unwrap();
            assert!(route.chosen().is_some());
            route
        }),
        baseline: whole(move || single.ask().unwrap()),
    }
}

/// The handshakes of one instance while another is changed, and while it is not.
fn beside_a_noisy_neighbour() -> Contenders<impl FnMut(u64) -> Duration, impl FnMut(u64) -> Duration>
{
    let share = |spec: InstanceSpec, name: &str| {
        spec.client_auth(ClientAuth::Required).shared([name.parse().unwrap()])
    };
    let quiet = Door::open_as(|spec| share(spec, "quiet.example.com"));
    let noisy = quiet.beside_as("noisy", |spec| share(spec, "noisy.example.com"));
    let ca = TestCa::root("fleet");
    quiet.register(&ca, CaStatus::Active).unwrap();
    let neighbours = TestCa::root("neighbours");
    noisy.register(&neighbours, CaStatus::Active).unwrap();
    for number in 1..NEIGHBOURS {
        let other = passed_over(&format!("neighbour {number}"));
        noisy.register_certificate(other, CaStatus::Active).unwrap();
    }
    let mut device = client(Some(&ca.device("device")), &rustls::version::TLS13);
    device.resumption = Resumption::disabled();
    let device: Arc<ClientConfig> = Arc::new(device);
    let acceptor = Acceptor::shared(&quiet.instances);
    let runtime = Arc::new(Builder::new_current_thread().enable_time().build().unwrap());
    quiet.set_sni("default", "localhost#default").unwrap();
    let handshake = move || {
        knock(&runtime, &device, async |io| {
            let connection = acceptor.accept(io).await.unwrap();
            assert_eq!(connection.instance(), quiet.instance.id());
            connection
        })
    };
    let names: Vec<String> = ["a", "b"]
        .map(|kind| (0..1_000).map(|n| format!("{kind}{n}.noisy.test#default;")).collect())
        .into();
    let mut configs = names.into_iter().cycle();
    let noise = Noise::of(move || {
        noisy.deactivate(&neighbours);
        noisy.activate(&neighbours);
        noisy.set_sni("default", &configs.next().unwrap()).unwrap();
    });
    let handshake = Rc::new(handshake);
    let undisturbed = Rc::clone(&handshake);
    Contenders {
        mqtls: each(move || noise.during(|| (0..BLOCK).map(|_| handshake()).sum())),
        baseline: each(move || (0..BLOCK).map(|_| undisturbed()).sum()),
    }
}

/// A second thread that does one thing over and over, and only while it is let.
struct Noise(SyncSender<()>);

impl Noise {
    fn of(make: impl FnMut() + Send + 'static) -> Self {
        // Without a buffer: what is sent has been taken.
        let (signals, taken) = sync_channel(0);
        std::thread::spawn(move || run(&taken, make));
        Self(signals)
    }

    fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        self.0.send(()).unwrap();
        let result = work();
        self.0.send(()).unwrap();
        result
    }
}

fn run(signals: &Receiver<()>, mut make: impl FnMut()) {
    while signals.recv().is_ok() {
        while signals.try_recv() == Err(TryRecvError::Empty) {
            make();
        }
    }
}

fn weigh() -> String {
    const COUNT: usize = 1_000;
    let street = Street::of(0);
    let each = |bytes: i64| bytes / i64::try_from(COUNT).unwrap();
    let bare = measure(|| (0..COUNT).for_each(|number| drop(street.create(number))));
    let named = measure(|| (0..COUNT).for_each(|number| street.set(number, "mqtt")));
    format!(
        "{} bytes an instance with one endpoint, {} more with its certificate and {NAMES} names",
        each(bare.bytes_current),
        each(named.bytes_current),
    )
}

const INSTANCES: usize = 10_000;
const NAMES: usize = 100;
const NEIGHBOURS: usize = 100_000;
/// How many handshakes are timed in one go.
const BLOCK: u64 = 500;

const ROUTE: Terms = Terms::new(1_000, Bar::Ratio(1.5));
const SET: Terms = Terms::new(1, Bar::Ratio(2.0));
const CREATE: Terms = Terms::new(1, Bar::None);
const NOISE: Terms = Terms::blocks(BLOCK, Bar::Ratio(1.05));
