//! A lookup allocates nothing, whatever rule answers.

use allocation_counter::measure;
use mqtls::ClientAuth;
use mqtls::sni::{Rule, SniMap};
use rustls::SupportedCipherSuite;

use crate::support::{Door, provider};

#[test]
fn choosing_a_certificate_allocates_nothing() {
    let door = Door::open_with(ClientAuth::Disabled);
    door.set_sni("default", "x.a.com#default;*.a.com#default").unwrap();
    let schemes = provider().signature_verification_algorithms.supported_schemes();
    let suites: Vec<_> = provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    let sni = door.instance.sni();
    // The first load of a cell makes this thread's own slots.
    let _first = sni.choose(None, &schemes, &suites);
    let names =
        [Some("x.a.com"), Some("x.a.com."), Some("y.a.com"), Some("b.org"), Some("a"), None];
    for name in names {
        let mut chosen = None;
        let allocated = measure(|| chosen = sni.choose(name, &schemes, &suites));
        assert!(chosen.is_some(), "{name:?}");
        assert_eq!(allocated.count_total, 0, "{name:?}");
    }
    let capitals = measure(|| drop(sni.choose(Some("X.a.com"), &schemes, &suites)));
    assert_eq!(capitals.count_total, 1, "a name that rustls would have lowered is copied");
}

#[test]
fn looking_a_name_up_allocates_nothing() {
    let exact = (0..1000).map(|at| (format!("host-{at}.a.com").parse().unwrap(), at));
    let wildcard = (0..1000).map(|at| (format!("*.zone-{at}.a.com").parse().unwrap(), at));
    let map = SniMap::new(-1, exact.chain(wildcard).collect());
    let cases = [
        (Some("host-7.a.com"), Rule::Exact, 7),
        (Some("x.zone-8.a.com"), Rule::Wildcard, 8),
        (Some("x.y.zone-8.a.com"), Rule::Default, -1),
        (None, Rule::Default, -1),
    ];
    for (name, rule, value) in cases {
        let mut answer = None;
        let allocated = measure(|| answer = Some(map.lookup(name)));
        let hit = answer.unwrap();
        assert_eq!((hit.rule, *hit.value), (rule, value), "{name:?}");
        assert_eq!(allocated.count_total, 0, "{name:?}");
    }
}
