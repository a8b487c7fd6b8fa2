//! What clients are shown, or told, for whose name there is nothing that fits.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use mqtls::certificate::KeyType;
use mqtls::instance::{Outcome, ServedCertificate, SniStats};

use mqtls::sni::OnExpiry::{self, Serve};
use mqtls::sni::OnMiss::{self, Refuse, ServeDefault};
use mqtls::sni::{
    Answer, CertificateSet, NotShown, Offer, Rule, SniMap, SniPolicy, SniPublisher, Suites, Verdict,
};
use mqtls::{
    Acceptor, CertificateId, ClientAuth, Event, HostName, InstanceSpec, NamePattern, Refused,
    ServerCertificate, Sha256,
};
use proptest::prelude::*;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CipherSuite, Error, PeerIncompatible, SignatureScheme, SupportedCipherSuite,
};
use rustls_pki_types::UnixTime;

use crate::shared::sharing;
use crate::support::{
    Dice, Door, Identity, NOW, TestCa, VERSIONS, client, client_speaking, date, hello_by_hand, key,
    provider, record, rsa_key, with_schemes,
};

const P256: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const P384: SignatureScheme = SignatureScheme::ECDSA_NISTP384_SHA384;
const PSS: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;
const UNRECOGNIZED: AlertDescription = AlertDescription::UnrecognisedName;
const FAILURE: AlertDescription = AlertDescription::HandshakeFailure;

/// The last second of the certificates that expire in a test.
const LAST: u64 = NOW + 100;

/// A door that needs no devices, and certificates with an id for the test to read.
struct House {
    door: Door,
    identities: Vec<(String, Identity)>,
}

impl House {
    fn with(policy: SniPolicy) -> Self {
        Self::of(|spec| spec.sni_policy(policy))
    }

    /// `A` to `D` last; `old`, `old-rsa` and `old-p384` expire after a while.
    fn of(change: impl FnOnce(InstanceSpec) -> InstanceSpec) -> Self {
        let spec = |spec: InstanceSpec| change(spec.client_auth(ClientAuth::Disabled));
        let door = Door::unconfigured_as(spec, provider());
        let ids = ["A", "B", "W", "D", "rsa", "p384", "old", "old-rsa", "old-p384"];
        let identities = ids.map(|id| {
            let key = match id {
                "rsa" | "old-rsa" => rsa_key(),
                "p384" | "old-p384" => key(&rcgen::PKCS_ECDSA_P384_SHA384),
                _ => key(&rcgen::PKCS_ECDSA_P256_SHA256),
            };
            let names = ["*.a.com", "a.com", "b.com", "one.test"];
            let identity = door.server_ca.server_over(key, &names, |params| {
                if id.starts_with("old") {
                    params.not_after = date(LAST);
                }
            });
            door.put(id, &identity);
            (id.to_owned(), identity)
        });
        Self { door, identities: identities.into() }
    }

    /// What a client that signs so is shown on either version of TLS, or the alert that it reads,
    /// and the reason behind it.
    async fn shown(
        &self,
        name: &str,
        schemes: &[SignatureScheme],
    ) -> Result<&str, (AlertDescription, Outcome)> {
        let mut answers = vec![];
        for version in VERSIONS {
            let config = client_speaking(&[version], with_schemes(provider(), schemes), None);
            // A test that asks often has a large stack otherwise.
            let visit = Box::pin(self.door.visit(config, name)).await;
            answers.push(match &visit.client {
                Ok(_) => Ok(self.id_of(visit.shown().as_ref())),
                Err(alert) => Err((alert.unwrap(), visit.server.unwrap_err().outcome())),
            });
        }
        assert_eq!(answers[0], answers[1], "{name}: the same on both versions");
        answers[0]
    }

    fn id_of(&self, shown: &[u8]) -> &str {
        let its_own = |(_, known): &&(String, Identity)| known.end_entity().as_ref() == shown;
        &self.identities.iter().find(its_own).unwrap().0
    }

    /// The answer to a ClientHello without a name, by the bytes on the wire.
    async fn nameless(&self) -> Result<&str, u8> {
        let hello = record(22, 0x0301, &hello_by_hand(0x0303, None));
        let (_, answer) = self.door.answer_to(&hello).await;
        if let [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, alert] = answer[..] {
            return Err(alert);
        }
        let holds = |der: &[u8]| answer.windows(der.len()).any(|window| window == der);
        Ok(&self.identities.iter().find(|(_, known)| holds(known.end_entity())).unwrap().0)
    }

    fn generation(&self) -> u64 {
        self.door.instance.sni().table().unwrap().generation()
    }

    /// As the acceptor does each second.
    fn at(&self, now: u64) {
        self.door.clock.set(now);
        self.door.instance.sweep().unwrap();
    }
}

fn refused(
    alert: AlertDescription,
    outcome: Outcome,
) -> Result<&'static str, (AlertDescription, Outcome)> {
    Err((alert, outcome))
}

#[tokio::test]
async fn without_a_policy_every_client_is_shown_something() {
    let house = House::with(SniPolicy::default());
    house.door.set_sni("D", "a.com#A;x.a.com#p384;*.a.com#W;b.com#old").unwrap();
    house.at(LAST + 1);
    let cases =
        [("a.com", "A"), ("x.a.com", "W"), ("y.a.com", "W"), ("b.com", "old"), ("c.com", "D")];
    for (name, id) in cases {
        assert_eq!(house.shown(name, &[P256]).await, Ok(id), "{name}");
    }
    assert_eq!(house.nameless().await, Ok("D"));
    assert_eq!(house.generation(), 1, "time changes nothing where expired ones are served");
}

#[tokio::test]
async fn a_client_without_a_name_is_refused_where_it_must_have_one() {
    let house = House::with(SniPolicy::default().no_server_name(Refuse));
    house.door.set_sni("D", "a.com#A").unwrap();
    assert_eq!(house.nameless().await, Err(112), "unrecognized_name");
    assert_eq!(house.shown("a.com", &[P256]).await, Ok("A"));
    assert_eq!(house.shown("c.com", &[P256]).await, Ok("D"), "an unknown name is a name");
    // rustls sends none for an address.
    let answer = house.shown("127.0.0.1", &[P256]).await;
    assert_eq!(answer, refused(UNRECOGNIZED, Outcome::UnrecognizedName));
    let served = House::with(SniPolicy::default().no_server_name(ServeDefault));
    served.door.set_sni("D", "a.com#A").unwrap();
    assert_eq!(served.nameless().await, Ok("D"));
}

#[tokio::test]
async fn an_unknown_name_is_refused_where_it_must_be_known() {
    let house = House::with(SniPolicy::default().unknown_name(Refuse));
    house.door.set_sni("D", "a.com#A;*.a.com#W;x.a.com#p384").unwrap();
    for name in ["c.com", "x.y.a.com", "com"] {
        let answer = house.shown(name, &[P256]).await;
        assert_eq!(answer, refused(UNRECOGNIZED, Outcome::UnrecognizedName), "{name}");
    }
    let visit = house.door.visit(client(None, &TLS12), "c.com").await;
    match visit.server.unwrap_err() {
        Refused::UnrecognizedName(name) => assert_eq!(name, Some("c.com".parse().unwrap())),
        other => panic!("{other:?}"),
    }
    assert_eq!(house.shown("a.com", &[P256]).await, Ok("A"));
    assert_eq!(house.shown("y.a.com", &[P256]).await, Ok("W"));
    assert_eq!(house.nameless().await, Ok("D"), "no name is not an unknown one");
    // A known name whose certificates do not suit still leads to the default.
    house.door.set_sni("D", "x.a.com#p384").unwrap();
    assert_eq!(house.shown("x.a.com", &[P256]).await, Ok("D"));
}

#[tokio::test]
async fn a_name_without_a_usable_certificate_is_refused_where_nothing_stands_in_for_it() {
    let house = House::with(SniPolicy::default().no_usable_certificate(Refuse));
    house.door.set_sni("D", "x.a.com#p384;*.a.com#W;y.a.com#rsa;y.a.com#p384").unwrap();
    let no_certificate = refused(FAILURE, Outcome::NoUsableCertificate);
    for name in ["x.a.com", "y.a.com"] {
        assert_eq!(house.shown(name, &[P256]).await, no_certificate, "{name}");
        assert_eq!(house.shown(name, &[P384]).await, Ok("p384"), "{name}");
    }
    assert_eq!(house.shown("y.a.com", &[PSS]).await, Ok("rsa"));
    assert_eq!(house.shown("z.a.com", &[P256]).await, Ok("W"));
    assert_eq!(house.shown("c.com", &[P256]).await, Ok("D"), "an unknown name is another case");
    assert_eq!(house.shown("c.com", &[PSS]).await, no_certificate, "nor does the default suit");
}

#[tokio::test]
async fn an_expired_certificate_gives_way_when_its_time_is_over_and_not_before() {
    let default_for = |rest| SniPolicy::default().expired(rest);
    let expired = refused(FAILURE, Outcome::CertificateExpired);
    let cases = [
        (OnExpiry::ServeDefault, [("a.com", Ok("D")), ("x.a.com", Ok("W")), ("c.com", Ok("D"))]),
        (OnExpiry::Refuse, [("a.com", expired), ("x.a.com", expired), ("c.com", Ok("D"))]),
    ];
    for (policy, then) in cases {
        let house = House::with(default_for(policy).unknown_name(ServeDefault));
        house.door.set_sni("D", "a.com#old;x.a.com#old;*.a.com#W").unwrap();
        let mut events = house.door.instances.events();
        let now = [("a.com", Ok("old")), ("x.a.com", Ok("old")), ("c.com", Ok("D"))];
        let assert_shown = async |cases: [(&str, Result<&str, _>); 3]| {
            for (name, answer) in cases {
                assert_eq!(house.shown(name, &[P256]).await, answer, "{policy:?} {name}");
            }
        };
        house.at(LAST);
        assert_shown(now).await;
        assert_eq!(house.generation(), 1, "{policy:?}: its last second");
        house.at(LAST + 1);
        assert_shown(then).await;
        assert_eq!(house.generation(), 2, "{policy:?}");
        assert!(matches!(
            events.try_next(),
            Some(Event::CertificatesChanged { generation: 2, .. })
        ));
        house.at(LAST + 1000);
        assert_eq!(house.generation(), 2, "{policy:?}: once");
        // A clock that was set back.
        house.at(LAST);
        assert_shown(now).await;
        assert_eq!(house.generation(), 3, "{policy:?}");
    }
}

#[tokio::test]
async fn a_handshake_compares_no_dates_the_table_of_its_time_does() {
    let house = House::with(SniPolicy::default().expired(OnExpiry::Refuse));
    house.door.set_sni("D", "a.com#old").unwrap();
    house.door.clock.set(LAST + 1);
    assert_eq!(house.shown("a.com", &[P256]).await, Ok("old"), "nobody has swept yet");
    house.door.instance.sweep().unwrap();
    assert_eq!(house.shown("a.com", &[P256]).await, refused(FAILURE, Outcome::CertificateExpired));
    // A change at any time is right for that time.
    house.door.set_sni("D", "a.com#old;b.com#B").unwrap();
    assert_eq!(house.shown("a.com", &[P256]).await, refused(FAILURE, Outcome::CertificateExpired));
    let generation = house.generation();
    house.door.set_sni("D", "a.com#old;b.com#B").unwrap();
    assert_eq!(house.generation(), generation, "the same once more changes nothing");
}

#[tokio::test]
async fn of_two_key_types_the_one_that_has_not_expired_is_shown() {
    let both = [P256, PSS];
    let expired = refused(FAILURE, Outcome::CertificateExpired);
    let cases =
        [(OnExpiry::ServeDefault, Ok("D")), (OnExpiry::Refuse, expired), (Serve, Ok("old"))];
    for (policy, only_ecdsa) in cases {
        let house = House::with(SniPolicy::default().expired(policy));
        house.door.set_sni("D", "a.com#old;a.com#rsa;b.com#B;b.com#old-rsa").unwrap();
        assert_eq!(house.shown("a.com", &both).await, Ok("old"), "{policy:?}: preferred");
        house.at(LAST + 1);
        let shown = if policy == Serve { "old" } else { "rsa" };
        assert_eq!(house.shown("a.com", &both).await, Ok(shown), "{policy:?}");
        assert_eq!(house.shown("a.com", &[PSS]).await, Ok("rsa"), "{policy:?}");
        assert_eq!(house.shown("a.com", &[P256]).await, only_ecdsa, "{policy:?}");
        assert_eq!(house.shown("b.com", &both).await, Ok("B"), "{policy:?}");
        // What would not suit it anyway has not expired for it.
        let no_use = house.shown("b.com", &[P384]).await;
        assert_eq!(no_use, refused(FAILURE, Outcome::NoUsableCertificate), "{policy:?}");
    }
}

#[tokio::test]
async fn a_client_is_told_what_is_wrong_with_the_most_specific_rule() {
    let policy = SniPolicy::default().expired(OnExpiry::ServeDefault).no_usable_certificate(Refuse);
    let house = House::with(policy);
    house.door.set_sni("D", "x.a.com#old;*.a.com#p384").unwrap();
    house.at(LAST + 1);
    let expired = refused(FAILURE, Outcome::CertificateExpired);
    assert_eq!(house.shown("x.a.com", &[P256]).await, expired, "the wildcard's would not suit");
    assert_eq!(
        house.shown("x.a.com", &[P384]).await,
        refused(FAILURE, Outcome::NoUsableCertificate)
    );
    let no_certificate = refused(FAILURE, Outcome::NoUsableCertificate);
    assert_eq!(house.shown("y.a.com", &[P256]).await, no_certificate);
}

#[tokio::test(start_paused = true)]
async fn an_accept_loop_withholds_within_a_second_what_has_expired() {
    let house = House::with(SniPolicy::default().expired(OnExpiry::Refuse));
    house.door.set_sni("D", "a.com#old").unwrap();
    let acceptor = house.door.acceptor.clone();
    let accepting = tokio::spawn(async move {
        acceptor.next(std::future::pending::<std::io::Result<()>>).await;
    });
    let second = Duration::from_secs(1);
    tokio::time::sleep(3 * second).await;
    assert_eq!(house.generation(), 1);
    house.door.clock.set(LAST + 1);
    tokio::time::sleep(second + second / 2).await;
    assert_eq!(house.generation(), 2);
    let listed = house.door.instance.certificates();
    assert_eq!(listed.iter().filter(|it| it.is_withheld).count(), 1);
    accepting.abort();
}

#[tokio::test]
async fn of_two_that_expire_a_clock_that_is_set_back_brings_back_the_later_one() {
    let house = House::with(SniPolicy::default().expired(OnExpiry::Refuse));
    let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let later = house.door.server_ca.server_over(key, &["b.com"], |params| {
        params.not_after = date(LAST + 50);
    });
    house.door.put("B", &later);
    house.door.set_sni("D", "a.com#old;b.com#B").unwrap();
    let withheld = |at| {
        house.at(at);
        let listed = house.door.instance.certificates();
        let ids = listed.iter().filter(|it| it.is_withheld).map(|it| it.certificate_id.to_string());
        (ids.collect::<Vec<_>>().join(" "), house.generation())
    };
    assert_eq!(withheld(LAST + 51), ("old B".to_owned(), 2));
    assert_eq!(withheld(LAST + 50), ("old".to_owned(), 3));
    assert_eq!(withheld(LAST), (String::new(), 4));
}

#[tokio::test]
async fn an_expired_default_is_shown_unless_all_expired_ones_are_refused() {
    let expired = refused(FAILURE, Outcome::CertificateExpired);
    let cases =
        [(Serve, Ok("old")), (OnExpiry::ServeDefault, Ok("old")), (OnExpiry::Refuse, expired)];
    for (policy, answer) in cases {
        let house = House::with(SniPolicy::default().expired(policy));
        house.door.set_sni("old", "a.com#old;b.com#B").unwrap();
        house.at(LAST + 1);
        assert_eq!(house.shown("a.com", &[P256]).await, answer, "{policy:?}");
        assert_eq!(house.shown("c.com", &[P256]).await, answer, "{policy:?}");
        assert_eq!(house.shown("b.com", &[P256]).await, Ok("B"), "{policy:?}");
        let listed = house.door.instance.certificates();
        let withheld = listed.iter().filter(|it| it.is_withheld).map(|it| &it.pattern);
        let named = Some("a.com".parse().unwrap());
        let expected: &[Option<NamePattern>] = match policy {
            Serve => &[],
            OnExpiry::ServeDefault => &[named],
            OnExpiry::Refuse => &[None, named],
        };
        assert!(withheld.eq(expected), "{policy:?}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_takes_the_place_of_one_that_was_withheld() {
    let house = House::with(SniPolicy::default().expired(OnExpiry::Refuse));
    house.door.set_sni("D", "a.com#old").unwrap();
    house.at(LAST + 1);
    assert_eq!(house.shown("a.com", &[P256]).await, refused(FAILURE, Outcome::CertificateExpired));
    house.door.put("old", &house.identities[0].1);
    assert_eq!(house.door.instances.reload().len(), 1);
    assert_eq!(house.shown("a.com", &[P256]).await, Ok("A"));
    house.at(LAST + 1000);
    assert_eq!(house.generation(), 3);
    // One of those that are shown is renewed, and expires in its time.
    house.door.put("D", &house.identities[6].1);
    house.at(NOW);
    house.door.set_sni("D", "a.com#A").unwrap();
    house.door.put("A", &house.identities[6].1);
    assert_eq!(house.door.instances.reload().len(), 1);
    assert_eq!(house.shown("a.com", &[P256]).await, Ok("old"));
    house.at(LAST + 1);
    assert_eq!(house.shown("a.com", &[P256]).await, refused(FAILURE, Outcome::CertificateExpired));
}

#[tokio::test]
async fn what_was_shown_and_why_not_is_counted_once_for_each_handshake() {
    let policy = SniPolicy::default()
        .no_server_name(Refuse)
        .unknown_name(Refuse)
        .no_usable_certificate(Refuse)
        .expired(OnExpiry::Refuse);
    let house = House::with(policy);
    house.door.set_sni("D", "a.com#A;*.a.com#W;b.com#old").unwrap();
    house.at(LAST + 1);
    let before = house.door.instances.stats();
    let times = |times: u64| 2 * times;
    for _ in 0..3 {
        house.shown("a.com", &[P256]).await.unwrap();
    }
    house.shown("x.a.com", &[P256]).await.unwrap();
    for _ in 0..2 {
        house.shown("c.com", &[P256]).await.unwrap_err();
    }
    for _ in 0..4 {
        house.shown("a.com", &[PSS]).await.unwrap_err();
    }
    house.shown("b.com", &[P256]).await.unwrap_err();
    house.nameless().await.unwrap_err();
    let mut expected = SniStats::default();
    expected.exact = times(3);
    expected.wildcard = times(1);
    expected.unknown_name = times(2);
    expected.no_usable_certificate = times(4);
    expected.expired = times(1);
    expected.no_server_name = 1;
    assert_eq!(house.door.instance.sni_stats(), expected);
    let after = house.door.instances.stats();
    let more = |outcome| after.of(outcome) - before.of(outcome);
    assert_eq!(more(Outcome::UnrecognizedName), times(2) + 1);
    assert_eq!(more(Outcome::NoUsableCertificate), times(4));
    assert_eq!(more(Outcome::CertificateExpired), times(1));
    assert_eq!(more(Outcome::Admitted), times(4));

    house.door.source.insert(
        house.door.instance.id().clone(),
        "A".parse().unwrap(),
        house.identities[6].1.material(),
    );
    house.door.instances.reload();
    assert_eq!(house.door.instance.sni_stats().failed_renewals, 1, "it has expired");
    let served = House::with(SniPolicy::default());
    served.door.set_sni("D", "").unwrap();
    served.nameless().await.unwrap();
    assert_eq!(served.door.instance.sni_stats().default, 1);
}

#[tokio::test]
async fn a_client_without_a_common_suite_gets_the_answer_of_tls() {
    let house = House::with(SniPolicy::default().no_usable_certificate(Refuse));
    house.door.set_sni("D", "").unwrap();
    // Those of TLS 1.0 instead.
    let mut hello = hello_by_hand(0x0303, None);
    for (suite, old) in [([0xc0, 0x2b], [0xc0, 0x09]), ([0xc0, 0x2f], [0xc0, 0x13])] {
        let at = hello.windows(2).position(|pair| pair == suite).unwrap();
        hello[at..at + 2].copy_from_slice(&old);
    }
    let (refused, answer) = house.door.answer_to(&record(22, 0x0301, &hello)).await;
    let Refused::Tls(Error::PeerIncompatible(why)) = refused else { panic!("{refused:?}") };
    assert_eq!(why, PeerIncompatible::NoCipherSuitesInCommon);
    assert_eq!(answer, [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 40], "handshake_failure");
    assert_eq!(house.door.instance.sni_stats(), SniStats::default());
}

#[tokio::test]
async fn on_a_shared_listener_endpoints_are_known_and_names_keep_to_their_instance() {
    let policy = SniPolicy::default().unknown_name(Refuse).expired(OnExpiry::ServeDefault);
    let mut house = House::of(|spec| sharing(spec.sni_policy(policy), &["one.test"]));
    house.door.acceptor = Acceptor::shared(&house.door.instances).fallback(&house.door.instance);
    house.door.set_sni("D", "a.com#old;*.a.com#W").unwrap();
    assert_eq!(house.shown("one.test", &[P256]).await, Ok("D"));
    assert_eq!(house.shown("ONE.test", &[P256]).await, Ok("D"));
    let suites: Vec<_> = provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    let explain = |name| house.door.instance.sni().explain(Some(name), &[P256], &suites).unwrap();
    assert!(explain("ONE.test.").answer.is_ok());
    assert_eq!(explain("two.test").answer.unwrap_err(), NotShown::UnknownName);
    assert_eq!(house.shown("a.com", &[P256]).await, Ok("old"));
    // As a fallback it is asked for names that it does not know.
    let answer = house.shown("c.com", &[P256]).await;
    assert_eq!(answer, refused(UNRECOGNIZED, Outcome::UnrecognizedName));
    house.at(LAST + 1);
    assert_eq!(house.shown("a.com", &[P256]).await, Ok("D"), "still its own name");
    assert_eq!(house.shown("x.a.com", &[P256]).await, Ok("W"));
    let mut expected = SniStats::default();
    (expected.exact, expected.wildcard, expected.default) = (2, 2, 6);
    expected.unknown_name = 2;
    assert_eq!(house.door.instance.sni_stats(), expected);
    let other = house.door.beside_as("mqtt-two", |spec| sharing(spec, &[]));
    other.put("own", &house.identities[0].1);
    assert!(other.set_sni("default", "a.com#own").is_err(), "the name is still claimed");
}

#[test]
fn the_list_has_every_name_and_the_soonest_to_expire_first() {
    let house = House::with(SniPolicy::default());
    assert_eq!(house.door.instance.certificates(), []);
    house.door.set_sni("D", "b.com#B;*.a.com#old;a.com#old;a.com#rsa").unwrap();
    let listed = house.door.instance.certificates();
    let seen: Vec<_> = listed
        .iter()
        .map(|it| {
            (it.pattern.as_ref().map(ToString::to_string), it.certificate_id.as_str(), it.key_type)
        })
        .collect();
    let name = |name: &str| Some(name.to_owned());
    let expected = [
        (name("a.com"), "old", KeyType::Ecdsa),
        (name("*.a.com"), "old", KeyType::Ecdsa),
        (None, "D", KeyType::Ecdsa),
        (name("a.com"), "rsa", KeyType::Rsa),
        (name("b.com"), "B", KeyType::Ecdsa),
    ];
    assert_eq!(seen, expected);
    let first = &listed[0];
    assert_eq!(first.validity.not_after.as_secs(), LAST);
    assert_eq!(first.sha256, Sha256::of(house.identities[6].1.end_entity()));
    assert!(listed.iter().all(|it| it.failed_renewal.is_none() && !it.is_withheld));

    // Of one name those of one time stand in the order of their key types.
    house.door.set_sni("D", "a.com#old;a.com#old-rsa").unwrap();
    let types: Vec<_> = house.door.instance.certificates().iter().map(|it| it.key_type).collect();
    assert_eq!(types, [KeyType::Rsa, KeyType::Ecdsa, KeyType::Ecdsa]);
    house.door.set_sni("D", "b.com#B;*.a.com#old;a.com#old;a.com#rsa").unwrap();

    let instance = house.door.instance.id().clone();
    assert!(house.door.source.remove(&instance, &"old".parse().unwrap()));
    house.door.instances.reload();
    for listed in house.door.instance.certificates() {
        let is_old = listed.certificate_id.as_str() == "old";
        assert_eq!(listed.failed_renewal.is_some(), is_old, "{listed:?}");
    }
}

#[tokio::test]
async fn h05_listing_and_explain_say_what_a_thousand_real_handshakes_are_shown_or_told() {
    let policies = [
        SniPolicy::default().expired(OnExpiry::ServeDefault),
        SniPolicy::default()
            .unknown_name(Refuse)
            .no_usable_certificate(Refuse)
            .expired(OnExpiry::Refuse),
    ];
    let mut answers = BTreeMap::new();
    for policy in policies {
        let house = House::with(policy);
        let config = "a.com#old;a.com#rsa;x.a.com#p384;*.a.com#W;*.x.a.com#old;b.com#old;*.b.com#B";
        house.door.set_sni("D", config).unwrap();
        house.at(LAST + 1);
        let instance = &house.door.instance;
        let listed = instance.certificates();
        let mut dice = Dice::seeded(7);
        for _ in 0..500 {
            let labels = ["", "x.", "X.", "y.", "z.x."];
            let name = format!("{}{}", dice.pick(&labels), dice.pick(&["a.com", "B.com", "c.com"]));
            let (version, schemes) = *dice.pick(&[
                (&TLS12, &[P256][..]),
                (&TLS13, &[P256]),
                (&TLS12, &[P384, PSS]),
                (&TLS13, &[PSS]),
            ]);
            let provider = with_schemes(provider(), schemes);
            let of_version = provider.cipher_suites.iter().filter(|it| it.version() == version);
            let suites: Vec<_> = of_version.map(SupportedCipherSuite::suite).collect();
            let explained = instance.sni().explain(Some(&name), schemes, &suites).unwrap();
            let config = client_speaking(&[version], provider, None);
            let visit = Box::pin(house.door.visit(config, &name)).await;
            let told = match explained.answer {
                Ok(answer) => {
                    let host: HostName = name.parse().unwrap();
                    let sha256 = Sha256::of(&visit.shown());
                    assert_eq!(sha256, answer.certificate.sha256(), "{name}");
                    let listed = listed.iter().find(|it| stands_for(it, &answer, &host)).unwrap();
                    assert_eq!((listed.sha256, listed.is_withheld), (sha256, false), "{name}");
                    format!("{:?}", answer.rule)
                }
                Err(why) => {
                    assert_eq!(visit.client.unwrap_err(), Some(why.alert()), "{name}");
                    format!("{why:?}")
                }
            };
            *answers.entry(told).or_insert(0) += 1;
        }
    }
    let expected =
        ["Default", "Exact", "Expired", "NoUsableCertificate", "UnknownName", "Wildcard"];
    assert!(answers.keys().eq(&expected), "{answers:?}");
    assert!(answers.values().all(|times| *times > 20), "each is met: {answers:?}");
}

/// Whether an entry of the list is the one behind an answer.
fn stands_for(listed: &ServedCertificate, answer: &Answer, asked: &HostName) -> bool {
    listed.certificate_id == answer.certificate_id
        && listed.pattern.as_ref().is_none_or(|pattern| pattern.covers(asked))
        && listed.pattern.is_none() == (answer.rule == Rule::Default)
}

/// One certificate of those that the property below draws from.
#[derive(Debug)]
struct Piece {
    id: &'static str,
    scheme: SignatureScheme,
    expired: bool,
}

const PIECES: [Piece; 6] = [
    Piece { id: "p256", scheme: P256, expired: false },
    Piece { id: "p384", scheme: P384, expired: false },
    Piece { id: "rsa", scheme: PSS, expired: false },
    Piece { id: "old-p256", scheme: P256, expired: true },
    Piece { id: "old-p384", scheme: P384, expired: true },
    Piece { id: "old-rsa", scheme: PSS, expired: true },
];

/// The certificates of a name: one, or an ECDSA one beside an RSA one.
type Pieces = Vec<&'static Piece>;

fn pieces() -> impl Strategy<Value = Pieces> {
    let one = |of: &'static [usize]| prop::sample::select(of).prop_map(|at| &PIECES[at]);
    let (ecdsa, rsa) = (one(&[0, 1, 3, 4]), one(&[2, 5]));
    prop_oneof![
        ecdsa.clone().prop_map(|it| vec![it]),
        rsa.clone().prop_map(|it| vec![it]),
        (ecdsa, rsa).prop_map(|(ecdsa, rsa)| vec![ecdsa, rsa]),
    ]
}

/// What an operator may say.
#[derive(Clone, Copy, Debug)]
struct Said {
    no_server_name: OnMiss,
    unknown_name: OnMiss,
    no_usable_certificate: OnMiss,
    expired: OnExpiry,
}

impl Said {
    fn policy(self) -> SniPolicy {
        SniPolicy::default()
            .no_server_name(self.no_server_name)
            .unknown_name(self.unknown_name)
            .no_usable_certificate(self.no_usable_certificate)
            .expired(self.expired)
    }
}

fn said() -> impl Strategy<Value = Said> {
    let on_miss = || prop::sample::select(&[ServeDefault, Refuse][..]);
    let expired = prop::sample::select(&[Serve, OnExpiry::ServeDefault, OnExpiry::Refuse][..]);
    (on_miss(), on_miss(), on_miss(), expired).prop_map(
        |(no_server_name, unknown_name, no_usable_certificate, expired)| Said {
            no_server_name,
            unknown_name,
            no_usable_certificate,
            expired,
        },
    )
}

/// The rules for a name in their order, by looking at every pattern.
fn rules<'a>(
    names: &'a BTreeMap<NamePattern, Pieces>,
    default: &'a Pieces,
    asked: Option<&HostName>,
) -> Vec<(Rule, &'a Pieces)> {
    let covering = |exact: bool| {
        let asked = asked?;
        let kind = |it: &NamePattern| matches!(it, NamePattern::Exact(_)) == exact;
        names.iter().find(|(pattern, _)| kind(pattern) && pattern.covers(asked))
    };
    let exact = covering(true).map(|(_, pieces)| (Rule::Exact, pieces));
    let wildcard = covering(false).map(|(_, pieces)| (Rule::Wildcard, pieces));
    exact.into_iter().chain(wildcard).chain([(Rule::Default, default)]).collect()
}

/// The documentation of `SniPolicy`, read naively.
fn expected(
    rules: &[(Rule, &Pieces)],
    said: Said,
    has_name: bool,
    schemes: &[SignatureScheme],
) -> Result<(Rule, &'static str), NotShown> {
    if rules.len() == 1 && !has_name && said.no_server_name == Refuse {
        return Err(NotShown::NoServerName);
    }
    if rules.len() == 1 && has_name && said.unknown_name == Refuse {
        return Err(NotShown::UnknownName);
    }
    let mut most_specific = None;
    for (rule, pieces) in rules {
        let usable: Vec<_> = pieces.iter().filter(|it| schemes.contains(&it.scheme)).collect();
        let mut good = usable.iter().filter(|it| !it.expired || said.expired == Serve);
        // ECDSA comes first.
        if let Some(shown) = good.next() {
            return Ok((*rule, shown.id));
        }
        let last_resort = *rule == Rule::Default && said.expired == OnExpiry::ServeDefault;
        if let (Some(shown), true) = (usable.first(), last_resort) {
            return Ok((*rule, shown.id));
        }
        let (why, ends) = match usable.is_empty() {
            true => (NotShown::NoUsableCertificate, said.no_usable_certificate == Refuse),
            false => (NotShown::Expired, said.expired == OnExpiry::Refuse),
        };
        let first = *most_specific.get_or_insert(why);
        if ends {
            return Err(first);
        }
    }
    Err(most_specific.unwrap())
}

/// What the explanation must say of each certificate, given the answer.
fn expected_verdicts(
    rules: &[(Rule, &Pieces)],
    answer: Result<(Rule, &str), NotShown>,
    said: Said,
    schemes: &[SignatureScheme],
) -> Vec<(Rule, &'static str, Verdict)> {
    let mut over = matches!(answer, Err(NotShown::NoServerName | NotShown::UnknownName));
    let mut verdicts = vec![];
    for (rule, pieces) in rules {
        let mut end = false;
        for it in *pieces {
            let usable = schemes.contains(&it.scheme);
            let verdict = if over {
                Verdict::NotAsked
            } else if answer == Ok((*rule, it.id)) {
                end = true;
                Verdict::Shown
            } else if !usable {
                Verdict::Unsuitable
            } else if it.expired && said.expired != Serve {
                Verdict::Expired
            } else {
                Verdict::LessPreferred
            };
            verdicts.push((*rule, it.id, verdict));
        }
        let usable = pieces.iter().any(|it| schemes.contains(&it.scheme));
        end |= match usable {
            false => said.no_usable_certificate == Refuse,
            true => {
                said.expired == OnExpiry::Refuse
                    && !pieces.iter().any(|it| !it.expired && schemes.contains(&it.scheme))
            }
        };
        over |= end;
    }
    verdicts
}

/// Made once: a key costs more than all else here.
static CERTIFICATES: LazyLock<BTreeMap<&str, Arc<ServerCertificate>>> = LazyLock::new(|| {
    let ca = TestCa::root("server CA");
    let made = PIECES.iter().map(|piece| {
        let key = match piece.scheme {
            P256 => key(&rcgen::PKCS_ECDSA_P256_SHA256),
            P384 => key(&rcgen::PKCS_ECDSA_P384_SHA384),
            _ => rsa_key(),
        };
        let identity = ca.server_over(key, &["a.com"], |params| {
            if piece.expired {
                params.not_after = date(LAST);
            }
        });
        let certificate = ServerCertificate::new(&identity.material(), &provider());
        (piece.id, Arc::new(certificate.unwrap()))
    });
    made.collect()
});

fn set(pieces: &Pieces) -> CertificateSet {
    let id = |piece: &Piece| -> CertificateId { piece.id.parse().unwrap() };
    let certificate = |piece: &Piece| Arc::clone(&CERTIFICATES[piece.id]);
    let first = CertificateSet::new(id(pieces[0]), certificate(pieces[0]));
    pieces[1..].iter().fold(first, |set, it| set.with(id(it), certificate(it)).unwrap())
}

proptest! {
    #[test]
    fn h05_each_answer_and_its_explanation_are_those_of_a_naive_reading_under_every_policy(
        names in prop::collection::btree_map(r"(\*\.)?[ab](\.[ab]){1,2}", pieces(), 0..8),
        default in pieces(),
        said in said(),
        asked in prop::option::weighted(0.9, r"[abAB](\.[ab]){1,3}\.?"),
        schemes in prop::sample::subsequence(vec![P256, P384, PSS], 1..=3),
    ) {
        let names: BTreeMap<NamePattern, Pieces> = names
            .into_iter()
            .filter_map(|(pattern, pieces)| Some((pattern.parse().ok()?, pieces)))
            .collect();
        let map = names.iter().map(|(pattern, pieces)| (pattern.clone(), set(pieces))).collect();
        let mut publisher = SniPublisher::with_policy(&provider(), said.policy());
        let now = UnixTime::since_unix_epoch(Duration::from_secs(LAST + 1));
        let table = publisher.publish_at(SniMap::new(set(&default), map), now);

        let name: Option<HostName> = asked.as_ref().map(|asked| asked.parse().unwrap());
        let rules = rules(&names, &default, name.as_ref());
        let answer = expected(&rules, said, name.is_some(), &schemes);
        let suites: Vec<CipherSuite> =
            provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
        let of_provider = Suites::of(&provider());
        let selected = table.select(asked.as_deref(), &Offer::new(&of_provider, &schemes, &suites));
        prop_assert_eq!(selected.map(|it| (it.rule(), it.id().as_str())), answer);

        let explained =
            publisher.resolver().explain(asked.as_deref(), &schemes, &suites).unwrap();
        let told = explained.answer.as_ref().map(|it| (it.rule, it.certificate_id.as_str()));
        prop_assert_eq!(told.map_err(|why| *why), answer);
        let verdicts: Vec<_> = explained
            .candidates
            .iter()
            .map(|it| (it.rule, it.certificate_id.as_str(), it.verdict))
            .collect();
        prop_assert_eq!(verdicts, expected_verdicts(&rules, answer, said, &schemes));
    }
}

/// A name at random of so many labels, so short that some of a thousand are met by each rule.
fn random_host(dice: &mut Dice) -> String {
    let labels = 2 + dice.roll(3);
    let label = |dice: &mut Dice| (*dice.pick(&["a", "b", "c", "d", "e", "f"])).to_owned();
    (0..labels).map(|_| label(dice)).collect::<Vec<_>>().join(".")
}

#[tokio::test]
async fn h05_on_the_shared_listener_a_thousand_random_names_are_answered_as_it_is_told() {
    let mut house = House::of(|spec| sharing(spec, &["one.test"]));
    house.door.acceptor = Acceptor::shared(&house.door.instances);
    let mut dice = Dice::seeded(11);
    let mut entries = BTreeMap::new();
    while entries.len() < 60 {
        let wildcard = if dice.roll(3) == 0 { "*." } else { "" };
        let name = format!("{wildcard}{}", random_host(&mut dice));
        entries.insert(name.parse::<NamePattern>().unwrap(), *dice.pick(&["A", "B", "W", "rsa"]));
    }
    let config: Vec<_> = entries.iter().map(|(name, id)| format!("{name}#{id}")).collect();
    house.door.set_sni("D", &config.join(";")).unwrap();
    let instance = &house.door.instance;
    let listed: BTreeMap<_, _> = instance
        .certificates()
        .into_iter()
        .map(|it| (it.pattern, it.certificate_id.to_string()))
        .collect();
    let expected = entries.iter().map(|(name, id)| (Some(name.clone()), (*id).to_owned()));
    assert_eq!(listed, expected.chain([(None, "D".to_owned())]).collect(), "all, and no more");

    let schemes = [P256, PSS];
    let suites: Vec<_> = provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    let mut met = [0; 3];
    for _ in 0..1000 {
        let name = random_host(&mut dice);
        let config = client_speaking(&[&TLS13], with_schemes(provider(), &schemes), None);
        let visit = Box::pin(house.door.visit(config, &name)).await;
        let route = house.door.instances.route(&name, &schemes, &suites);
        let explained = instance.sni().explain(Some(&name), &schemes, &suites).unwrap();
        let answer = explained.answer.unwrap();
        met[answer.rule as usize] += 1;
        if answer.rule == Rule::Default {
            // As if it had been led here; nobody leads it here.
            assert!(route.is_none(), "{name}");
            assert_eq!(visit.client.unwrap_err(), Some(UNRECOGNIZED), "{name}");
            continue;
        }
        assert!(Arc::ptr_eq(route.unwrap().instance(), instance), "{name}");
        let shown = house.id_of(visit.shown().as_ref());
        assert_eq!(shown, answer.certificate_id.as_str(), "{name}");
        let host: HostName = name.parse().unwrap();
        let exact = NamePattern::Exact(host.clone());
        let covering = |it: &&NamePattern| **it != exact && it.covers(&host);
        let pattern = Some(&exact).filter(|it| entries.contains_key(it));
        let pattern = pattern.or_else(|| entries.keys().find(covering)).unwrap();
        assert_eq!(listed[&Some(pattern.clone())], shown, "{name}");
    }
    assert!(met.iter().all(|times| *times > 50), "each rule is met: {met:?}");
}
