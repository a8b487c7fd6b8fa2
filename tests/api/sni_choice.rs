//! Which certificate a handshake serves: by the name that is asked for, then by what the client
//! can use.

use std::collections::BTreeMap;
use std::sync::Arc;

use mqtls::certificate::SourceError;
use mqtls::control::{Cause, EntryFault, Place};
use mqtls::sni::{CertificateSet, NotShown, Offer, Rule, SniMap, SniPublisher, Suites};
use mqtls::{CertificateId, ClientAuth, Refused, ServerCertificate, Sha256};
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CipherSuite, ClientConfig, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};

use crate::support::{
    Dice, Door, Identity, VERSIONS, client, client_speaking, hello_by_hand, host_names, key,
    provider, record, rsa_key, with_schemes,
};

#[tokio::test]
async fn n01_exact_name_wins_over_wildcard_in_every_order() {
    let street = Street::new(&["W", "X", "D"]);
    for config in ["*.a.com#W;x.a.com#X", "x.a.com#X;*.a.com#W", "*.a.com#W", "x.a.com#X;*.a.com#W"]
    {
        street.door.set_sni("D", config).unwrap();
        let exact = if config.contains('X') { "X" } else { "W" };
        let cases = [
            ("x.a.com", exact),
            ("y.a.com", "W"),
            ("a.com", "D"),
            ("p.q.a.com", "D"),
            ("xa.com", "D"),
        ];
        street.assert_shown(&cases).await;
    }
}

#[tokio::test]
async fn n02_only_the_wildcard_one_label_above_covers_a_name() {
    let street = Street::new(&["W", "V", "Z", "D"]);
    street.door.set_sni("D", "*.a.com#W;b.c.a.com#Z").unwrap();
    street.assert_shown(&[("c.a.com", "W"), ("d.c.a.com", "D"), ("b.c.a.com", "Z")]).await;
    street.door.set_sni("D", "*.a.com#W;*.b.a.com#V").unwrap();
    street.assert_shown(&[("x.b.a.com", "V"), ("b.a.com", "W")]).await;
}

#[tokio::test]
async fn n03_a_name_and_the_wildcard_below_it_do_not_stand_for_each_other() {
    let street = Street::new(&["A", "W", "D"]);
    street.door.set_sni("D", "a.com#A").unwrap();
    street.assert_shown(&[("a.com", "A"), ("foo.a.com", "D")]).await;
    street.door.set_sni("D", "*.a.com#W").unwrap();
    street.assert_shown(&[("a.com", "D"), ("foo.a.com", "W")]).await;
    street.door.set_sni("D", "a.com#A;*.a.com#W").unwrap();
    street.assert_shown(&[("a.com", "A"), ("foo.a.com", "W")]).await;
}

#[tokio::test]
async fn n04_case_and_a_trailing_dot_do_not_matter() {
    let street = Street::new(&["A", "D"]);
    street.door.set_sni("D", "API.Example.COM#A").unwrap();
    street.assert_shown(&[("api.example.com", "A"), ("API.EXAMPLE.com", "A")]).await;
    let cases = [("api.example.com.", "A"), ("API.example.com.", "A"), ("api.example.co.", "D")];
    for (asked, id) in cases {
        assert_eq!(street.shown_to_hello(&[asked.as_bytes()]).await, Ok(id), "{asked}");
    }
}

#[tokio::test]
async fn n05_underscores_and_a_labels_are_names() {
    let street = Street::new(&["W", "D"]);
    street.door.set_sni("D", "*.a.com#W").unwrap();
    street.assert_shown(&[("_mqtt.a.com", "W"), ("xn--bcher-kva.a.com", "W")]).await;
    street.assert_shown(&[("_mqtt.b.a.com", "D"), ("xn--bcher-kva.b.com", "D")]).await;
}

#[tokio::test]
async fn n06_any_text_as_a_name_is_served_or_refused_by_its_own_alert() {
    const ILLEGAL_PARAMETER: u8 = 47;
    const DECODE_ERROR: u8 = 50;
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    let too_long = format!("{longest}a");
    let long_label = format!("{label}a.com");
    let street = Street::new(&["L", "N", "D"]);
    street.door.set_sni("D", &format!("localhost#L;{longest}#N")).unwrap();
    street.assert_shown(&[("localhost", "L"), (&longest, "N"), (&longest[2..], "D")]).await;

    let cases: [(&[u8], Result<&str, u8>); 17] = [
        (b"localhost", Ok("L")),
        (b"localhost.", Ok("L")),
        (longest.as_bytes(), Ok("N")),
        (b"1.2.3.4", Ok("D")),
        (b"::1", Ok("D")),
        (too_long.as_bytes(), Err(ILLEGAL_PARAMETER)),
        (long_label.as_bytes(), Err(ILLEGAL_PARAMETER)),
        (b"1.2.3.4.", Err(ILLEGAL_PARAMETER)),
        (b"[::1]", Err(ILLEGAL_PARAMETER)),
        (b"host.123", Err(ILLEGAL_PARAMETER)),
        (b"*.a.com", Err(ILLEGAL_PARAMETER)),
        (b"a\0.com", Err(ILLEGAL_PARAMETER)),
        (b"a..com", Err(ILLEGAL_PARAMETER)),
        (b".a.com", Err(ILLEGAL_PARAMETER)),
        ("b\u{fc}cher.a.com".as_bytes(), Err(ILLEGAL_PARAMETER)),
        (b"\xff", Err(ILLEGAL_PARAMETER)),
        (b"", Err(DECODE_ERROR)),
    ];
    for (asked, answer) in cases {
        assert_eq!(street.shown_to_hello(&[asked]).await, answer, "{}", asked.escape_ascii());
    }
    assert_eq!(street.shown_to_hello(&[b"localhost", b"a.com"]).await, Err(DECODE_ERROR));
}

#[tokio::test]
async fn n12_the_default_answers_where_nothing_else_does_and_entries_never_change_it() {
    let street = Street::new(&["D", "E", "W"]);
    let unknown: CertificateId = "nowhere".parse().unwrap();
    for config in ["", "a.com#E"] {
        let error = street.door.set_sni("nowhere", config).unwrap_err();
        match error.cause() {
            Cause::Sni(refused) => match refused.errors.as_slice() {
                [only] => {
                    assert_eq!(only.place, Place::Default);
                    let EntryFault::Source(SourceError::NotFound(id)) = &only.fault else {
                        panic!("{only}");
                    };
                    assert_eq!(*id, unknown);
                }
                more => panic!("{more:?}"),
            },
            other => panic!("{other}"),
        }
        assert!(street.door.instance.sni().table().is_none(), "{config:?}");
    }

    for config in ["", "a.com#E", "*.a.com#W;a.com#E", "b.com#W", ""] {
        street.door.set_sni("D", config).unwrap();
        street.assert_shown(&[("elsewhere.org", "D"), ("x.y.a.com", "D")]).await;
        assert_eq!(street.shown_to_hello(&[]).await, Ok("D"), "{config:?}");
    }
    street.door.set_sni("E", "a.com#W").unwrap();
    street.assert_shown(&[("elsewhere.org", "E"), ("a.com", "W")]).await;
}

#[tokio::test]
async fn n13_before_the_first_configuration_the_name_is_not_recognized_and_then_it_is_served() {
    const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];
    for version in VERSIONS {
        let street = Street::new(&["D"]);
        let visit = street.door.visit(client(None, version), "a.com").await;
        assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::UnrecognisedName));
        match visit.server.unwrap_err() {
            Refused::UnrecognizedName(name) => assert_eq!(name, Some("a.com".parse().unwrap())),
            other => panic!("{other:?}"),
        }
        let hello = record(22, 0x0301, &hello_by_hand(0x0303, None));
        let (refused, answer) = street.door.answer_to(&hello).await;
        assert!(matches!(refused, Refused::UnrecognizedName(None)), "{refused:?}");
        assert_eq!(answer, UNRECOGNIZED_NAME);

        street.door.set_sni("D", "").unwrap();
        assert_eq!(street.shown_to(client(None, version), "a.com").await, Ok("D"));
    }
}

const PKCS1: SignatureScheme = SignatureScheme::RSA_PKCS1_SHA256;
const PSS: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;
const P256: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const P384: SignatureScheme = SignatureScheme::ECDSA_NISTP384_SHA384;

#[tokio::test]
async fn k01_of_two_key_types_the_client_gets_the_one_that_it_can_use() {
    let street = Street::new(&["ecdsa", "rsa", "D"]);
    let cases: [(&[SignatureScheme], &[&'static SupportedProtocolVersion], &str); 12] = [
        (&[P256, PSS, PKCS1], &[&TLS12], "ecdsa"),
        (&[P256, PSS, PKCS1], &[&TLS13], "ecdsa"),
        (&[PSS, P256], &VERSIONS, "ecdsa"),
        (&[P256], &[&TLS12], "ecdsa"),
        (&[P256], &[&TLS13], "ecdsa"),
        (&[PKCS1, P256], &[&TLS12], "ecdsa"),
        (&[PKCS1, P256], &[&TLS13], "ecdsa"),
        (&[PKCS1, P256], &VERSIONS, "ecdsa"),
        (&[PKCS1], &[&TLS12], "rsa"),
        (&[PSS], &[&TLS12], "rsa"),
        (&[PSS], &[&TLS13], "rsa"),
        (&[PSS, PKCS1], &VERSIONS, "rsa"),
    ];
    for config in ["a.com#rsa;a.com#ecdsa", "a.com#ecdsa;a.com#rsa"] {
        street.door.set_sni("D", config).unwrap();
        for (schemes, versions, id) in cases {
            let provider = with_schemes(provider(), schemes);
            let config = client_speaking(versions, provider, None);
            assert_eq!(street.shown_to(config, "a.com").await, Ok(id), "{schemes:?} {versions:?}");
        }
    }
}

#[tokio::test]
async fn k01_rsa_without_pss_is_no_answer_on_tls13() {
    let street = Street::new(&["rsa", "D"]);
    let only_tls13 = with_suites(provider(), |suite| suite.tls13().is_some());
    let denied = Err(AlertDescription::HandshakeFailure);
    let cases = [
        ("D", &[PKCS1, P256][..], Ok("D")),
        ("D", &[PKCS1, PSS, P256], Ok("rsa")),
        ("rsa", &[PKCS1, P256], denied),
        ("rsa", &[PKCS1], denied),
        ("rsa", &[PKCS1, PSS], Ok("rsa")),
    ];
    for (default, schemes, id) in cases {
        street.door.set_sni(default, "a.com#rsa").unwrap();
        let provider = with_schemes(Arc::clone(&only_tls13), schemes);
        let config = client_speaking(&[&TLS13], provider, None);
        assert_eq!(street.shown_to(config, "a.com").await, id, "{schemes:?}");
    }
}

#[tokio::test]
async fn k02_suites_that_cannot_sign_with_ecdsa_get_rsa() {
    let ecdhe_rsa = |suite: &SupportedCipherSuite| format!("{suite:?}").contains("ECDHE_RSA");
    let tls13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let only_rsa = with_suites(provider(), ecdhe_rsa);
    let only_tls13 = with_suites(provider(), tls13);
    let only_rsa_and_tls13 = with_suites(provider(), |suite| ecdhe_rsa(suite) || tls13(suite));
    let tls12_server = with_suites(provider(), |suite| !tls13(suite));
    let cases: [(_, _, &[&'static SupportedProtocolVersion], _); 7] = [
        (provider(), &only_rsa, &[&TLS12], "rsa"),
        // A ClientHello does not say which version comes out: RSA serves on both.
        (provider(), &only_rsa_and_tls13, &VERSIONS, "rsa"),
        (provider(), &only_tls13, &[&TLS13], "ecdsa"),
        (Arc::clone(&tls12_server), &only_rsa, &[&TLS12], "rsa"),
        (Arc::clone(&tls12_server), &only_rsa_and_tls13, &VERSIONS, "rsa"),
        (Arc::clone(&tls12_server), &provider(), &VERSIONS, "ecdsa"),
        (tls12_server, &provider(), &[&TLS12], "ecdsa"),
    ];
    for (server, offered, versions, id) in cases {
        let street = Street::of(server, &["ecdsa", "rsa", "D"]);
        street.door.set_sni("D", "a.com#ecdsa;a.com#rsa").unwrap();
        let config = client_speaking(versions, Arc::clone(offered), None);
        assert_eq!(street.shown_to(config, "a.com").await, Ok(id), "{versions:?}");
    }
}

#[tokio::test]
async fn k03_a_key_that_the_client_cannot_use_gives_way_to_the_next_rule_or_an_alert() {
    let street = Street::new(&["p384", "W", "D"]);
    let cases = [
        ("D", "x.a.com#p384;*.a.com#W", &[P256][..], Ok("W")),
        ("D", "x.a.com#p384;*.a.com#W", &[P384], Ok("p384")),
        ("D", "x.a.com#p384;*.b.com#W", &[P256], Ok("D")),
        ("D", "x.a.com#p384;*.a.com#p384", &[P256], Ok("D")),
        ("p384", "x.a.com#p384;*.a.com#p384", &[P256], Err(AlertDescription::HandshakeFailure)),
        ("p384", "", &[P256], Err(AlertDescription::HandshakeFailure)),
        ("D", "", &[PSS], Err(AlertDescription::HandshakeFailure)),
        ("p384", "", &[P256, P384], Ok("p384")),
    ];
    for (default, config, schemes, id) in cases {
        street.door.set_sni(default, config).unwrap();
        for version in VERSIONS {
            let client = client_speaking(&[version], with_schemes(provider(), schemes), None);
            assert_eq!(street.shown_to(client, "x.a.com").await, id, "{default} {config}");
        }
    }
}

#[tokio::test]
async fn no_certificate_that_a_client_can_use_is_told_and_named() {
    let street = Street::new(&["D"]);
    street.door.set_sni("D", "").unwrap();
    for version in VERSIONS {
        let config = client_speaking(&[version], with_schemes(provider(), &[PSS]), None);
        let visit = street.door.visit(config, "a.com").await;
        assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::HandshakeFailure));
        match visit.server.unwrap_err() {
            Refused::NoUsableCertificate(name) => assert_eq!(name, Some("a.com".parse().unwrap())),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn k04_the_default_may_be_a_pair_too() {
    let ca = crate::support::TestCa::root("server CA");
    let certificate = |identity: Identity| {
        let certificate = ServerCertificate::new(&identity.material(), &provider());
        Arc::new(certificate.unwrap())
    };
    let rsa = certificate(ca.server_over(rsa_key(), &["a.com"], |_| {}));
    let ecdsa = certificate(ca.server(&["a.com"]));
    let pair = CertificateSet::new("rsa".parse().unwrap(), rsa);
    let pair = pair.with("ecdsa".parse().unwrap(), ecdsa).unwrap();
    let table = SniPublisher::new(&provider()).publish(SniMap::new(pair, BTreeMap::new()));
    let (server, suites) = (Suites::of(&provider()), suites_of(&provider()));
    for (schemes, id) in [(&[PSS][..], "rsa"), (&[PSS, P256], "ecdsa"), (&[P256], "ecdsa")] {
        let offer = Offer::new(&server, schemes, &suites);
        let selection = table.select(None, &offer).unwrap();
        assert_eq!((selection.rule(), selection.id().as_str()), (Rule::Default, id));
    }
    let offer = Offer::new(&server, &[P384], &suites);
    assert_eq!(table.select(None, &offer).unwrap_err(), NotShown::NoUsableCertificate);
}

#[tokio::test]
async fn h05_explain_says_what_a_handshake_serves_for_a_thousand_names_at_random() {
    const SEED: u64 = 5;
    let street = Street::new(&["ecdsa", "rsa", "p384", "W", "D"]);
    street
        .door
        .set_sni("D", "a.com#rsa;a.com#ecdsa;x.a.com#p384;*.a.com#W;b.com#rsa;*.x.b.com#p384")
        .unwrap();
    let schemes: [&[SignatureScheme]; 4] = [&[P256], &[P384], &[PSS], &[P256, PSS, PKCS1]];
    let clients: Vec<_> = schemes
        .into_iter()
        .flat_map(|schemes| VERSIONS.map(|version| Asker::new(schemes, version)))
        .collect();
    let mut dice = Dice::seeded(SEED);
    let mut rules = [0; 4];
    for _ in 0..1000 {
        let name = random_name(&mut dice);
        let asker = dice.pick(&clients);
        let explained =
            street.door.instance.sni().explain(Some(&name), asker.schemes, &asker.suites).unwrap();
        let visit = street.door.visit(asker.config.clone(), &name).await;
        assert_eq!(explained.generation, 1);
        let answer = match explained.answer {
            Ok(answer) => answer,
            Err(why) => {
                assert_eq!(why, NotShown::NoUsableCertificate, "{name}");
                rules[3] += 1;
                let error = visit.server.unwrap_err();
                assert!(matches!(error, Refused::NoUsableCertificate(_)), "{name}: {error:?}");
                continue;
            }
        };
        rules[answer.rule as usize] += 1;
        let shown = visit.shown();
        assert_eq!(Sha256::of(&shown), answer.certificate.sha256(), "{name}");
        assert_eq!(street.id_of(&shown), answer.certificate_id.as_str(), "{name}");
    }
    assert!(rules.iter().all(|times| *times > 50), "each way to answer is met: {rules:?}");
    assert!(Street::new(&[]).door.instance.sni().explain(None, &[P256], &[]).is_none());
}

/// A client as it is, and as `explain` is told of it.
struct Asker {
    schemes: &'static [SignatureScheme],
    suites: Vec<CipherSuite>,
    config: ClientConfig,
}

impl Asker {
    fn new(
        schemes: &'static [SignatureScheme],
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let provider = with_schemes(provider(), schemes);
        let of_version = with_suites(Arc::clone(&provider), |suite| suite.version() == version);
        let config = client_speaking(&[version], provider, None);
        Self { schemes, suites: suites_of(&of_version), config }
    }
}

/// A name of few labels, so that each rule is met, in mixed case.
fn random_name(dice: &mut Dice) -> String {
    let labels = ["", "", "x.", "X.", "y.", "x.y.", "q-1."];
    let parents = ["a.com", "a.com", "A.com", "b.COM", "x.b.com", "c.org"];
    format!("{}{}", dice.pick(&labels), dice.pick(&parents))
}

/// A door that needs no devices, and certificates with names for the test to read.
struct Street {
    door: Door,
    certificates: Vec<(String, Identity)>,
}

impl Street {
    fn new(ids: &[&str]) -> Self {
        Self::of(provider(), ids)
    }

    /// Certificates under these ids, with a P-256 key unless the id says another kind.
    fn of(provider: Arc<CryptoProvider>, ids: &[&str]) -> Self {
        let door = Door::unconfigured(ClientAuth::Disabled, provider);
        let certificate = |id: &&str| {
            let key = match *id {
                "rsa" => rsa_key(),
                "p384" => key(&rcgen::PKCS_ECDSA_P384_SHA384),
                _ => key(&rcgen::PKCS_ECDSA_P256_SHA256),
            };
            let identity = door.server_ca.server_over(key, &[*id], |_| {});
            door.put(id, &identity);
            ((*id).to_owned(), identity)
        };
        Self { certificates: ids.iter().map(certificate).collect(), door }
    }

    fn id_of(&self, shown: &[u8]) -> &str {
        let found =
            self.certificates.iter().find(|(_, known)| known.end_entity().as_ref() == shown);
        &found.unwrap().0
    }

    /// Which certificate a client is shown, or the alert that it reads.
    async fn shown_to(&self, config: ClientConfig, name: &str) -> Result<&str, AlertDescription> {
        let visit = self.door.visit(config, name).await;
        match &visit.client {
            Ok(_) => Ok(self.id_of(&visit.shown())),
            Err(alert) => Err(alert.unwrap()),
        }
    }

    async fn assert_shown(&self, cases: &[(&str, &str)]) {
        for version in VERSIONS {
            for (name, id) in cases {
                let shown = self.shown_to(client(None, version), name).await;
                assert_eq!(shown, Ok(*id), "{name} on {version:?}");
            }
        }
    }

    /// The same for a ClientHello by hand, of TLS 1.2: there the certificate travels in clear.
    async fn shown_to_hello(&self, names: &[&[u8]]) -> Result<&str, u8> {
        let extension = (!names.is_empty()).then(|| host_names(names));
        let hello = hello_by_hand(0x0303, extension.as_deref());
        let (_, answer) = self.door.answer_to(&record(22, 0x0301, &hello)).await;
        if let [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, alert] = answer[..] {
            return Err(alert);
        }
        let holds = |der: &[u8]| answer.windows(der.len()).any(|window| window == der);
        let shown = self.certificates.iter().find(|(_, known)| holds(known.end_entity()));
        Ok(&shown.unwrap().0)
    }
}

fn with_suites(
    provider: Arc<CryptoProvider>,
    keep: impl Fn(&SupportedCipherSuite) -> bool,
) -> Arc<CryptoProvider> {
    let mut trimmed = CryptoProvider::clone(&provider);
    trimmed.cipher_suites.retain(keep);
    Arc::new(trimmed)
}

fn suites_of(provider: &CryptoProvider) -> Vec<CipherSuite> {
    provider.cipher_suites.iter().map(SupportedCipherSuite::suite).collect()
}
