//! Names in great number: what clients ask for leaves nothing behind, and what an operator
//! configures is kept once.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use allocation_counter::measure;
use mqtls::sni::CertificateSet;
use mqtls::{ClientAuth, Outcome};
use rustls::SupportedCipherSuite;
use tracing::Level;

use crate::support::{Door, Log, VERSIONS, client, provider};

#[test]
fn h06_a_million_unknown_names_leave_nothing_in_memory() {
    let door = Door::open_with(ClientAuth::Disabled);
    door.set_sni("default", "x.a.com#default;*.b.com#default").unwrap();
    let schemes = provider().signature_verification_algorithms.supported_schemes();
    let suites: Vec<_> = provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    let sni = door.instance.sni();
    let default = sni.choose(None, &schemes, &suites).unwrap();
    let mut name = String::with_capacity(64);
    let allocated = measure(|| {
        for at in 0..1_000_000 {
            name.clear();
            write!(name, "n{at}.a.com").unwrap();
            let chosen = sni.choose(Some(&name), &schemes, &suites);
            assert!(Arc::ptr_eq(&chosen.unwrap(), &default));
        }
    });
    assert_eq!(allocated.count_total, 0);
}

#[tokio::test]
async fn h06_unknown_names_are_counted_like_any_and_flood_neither_memory_nor_log() {
    const WARM_UP: usize = 50;
    const NAMES: usize = 1000;
    let door = Door::open_with(ClientAuth::Disabled);
    let config = client(None, VERSIONS[1]);
    let knock = async |at: usize| {
        let visit = door.visit(config.clone(), &format!("n{at}.a.com")).await;
        assert!(visit.server.is_ok());
    };
    for at in 0..WARM_UP {
        knock(at).await;
    }
    let log = Log::start();
    for at in WARM_UP..WARM_UP + NAMES {
        knock(at).await;
    }
    let logged = log.so_far();
    let loud: Vec<_> = logged.iter().filter(|line| line.level < Level::DEBUG).collect();
    assert!(loud.is_empty(), "{loud:?}");
    let stats = door.instances.stats();
    assert_eq!(stats.of(Outcome::Admitted), u64::try_from(WARM_UP + NAMES).unwrap());
    assert_eq!(stats.refused(), 0);
    assert!(door.instance.sweep().unwrap().is_empty());
}

#[test]
fn h06_a_hundred_thousand_names_on_ten_certificates_are_ten_keys() {
    const NAMES: usize = 100_000;
    let door = Door::unconfigured(ClientAuth::Disabled, provider());
    (0..10).for_each(|id| door.put(&id.to_string(), &door.server_ca.server(&["a.com"])));
    // The text may take 1 MiB: about ten bytes for each entry.
    let config: Vec<String> = (0..NAMES).map(|at| format!("n{at:x}#{}", at % 10)).collect();
    door.set_sni("0", &config.join(";")).unwrap();
    let table = door.instance.sni().table().unwrap();
    assert_eq!(table.map().len(), NAMES);
    let sets = table.map().values().flat_map(CertificateSet::certificates);
    let keys: HashSet<_> = sets.map(|(_, known)| Arc::as_ptr(known.certified_key())).collect();
    assert_eq!(keys.len(), 10);
}
