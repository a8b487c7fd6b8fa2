//! `SetSniConfig` as an operation: all or nothing, every fault named, nothing secret said.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mqtls::control::{Cause, SetSniConfigResponse, Warning};
use mqtls::sni::SniTable;
use mqtls::{
    Caller, ClientAuth, Directory, InstanceSpec, Instances, OperationError, SetSniConfig, Sha256,
};
use rcgen::date_time_ymd;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::support::{
    Door, Identity, Log, NOW, Peer, TestCa, TestClock, VERSIONS, client, client_speaking, key, pem,
    provider, rsa_key,
};

#[test]
fn n08_one_name_twice_with_one_key_type_is_one_error_that_names_both_entries() {
    let cases = [
        (
            "A.com#E1;a.com.#E2",
            "entry 2: a.com stands in entry 1 already, with an ECDSA certificate too",
        ),
        (
            "a.com#E1;b.com#E1;a.com#E1",
            "entry 3: a.com stands in entry 1 already, with an ECDSA certificate too",
        ),
        (
            "*.A.com#R1;*.a.com#R2",
            "entry 2: *.a.com stands in entry 1 already, with an RSA certificate too",
        ),
        (
            "a.com#E1;a.com#R1;a.com#R2",
            "entry 3: a.com stands in entry 2 already, with an RSA certificate too",
        ),
        (
            "a.com#R1;a.com#E1;a.com#R2",
            "entry 3: a.com stands in entry 1 already, with an RSA certificate too",
        ),
    ];
    let door = door_with(&["E1", "E2", "R1", "R2"]);
    for (config, fault) in cases {
        let before = table(&door);
        assert_eq!(faults(door.set_sni("default", config)), [fault], "{config}");
        assert!(Arc::ptr_eq(&table(&door), &before), "{config}");
    }
}

#[test]
fn n08_an_rsa_and_an_ecdsa_certificate_for_one_name_are_both_kept() {
    let door = door_with(&["E1", "R1"]);
    for config in ["A.com#R1;a.com.#E1", "a.com#E1;a.com#R1"] {
        door.set_sni("default", config).unwrap();
        let table = table(&door);
        let set = table.map().get(&"a.com".parse().unwrap()).unwrap();
        let ids: Vec<_> = set.certificates().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["E1", "R1"]);
        assert_eq!(table.map().len(), 1);
    }
}

#[test]
fn n09_a_password_for_a_plain_key_is_refused_and_an_empty_third_field_is_none() {
    let door = door_with(&["E1"]);
    let before = table(&door);
    assert_eq!(
        faults(door.set_sni("default", "a.com#E1#hunter2")),
        ["entry 1: certificate E1 is not a chain with its private key: a password was given, but \
          the private key is not encrypted: leave the password out"]
    );
    assert!(Arc::ptr_eq(&table(&door), &before));
    door.set_sni("default", "a.com#E1#").unwrap();
    assert_eq!(table(&door).map().len(), 1);
}

#[test]
fn n10_each_unusable_certificate_is_refused_and_the_old_map_stays() {
    let folder = Folder::new();
    folder.put_unusable();
    folder.set_sni("good", "a.com#good").unwrap();
    let before = folder.table();

    let cases = [
        ("nowhere", "there is no certificate nowhere for this instance"),
        ("expired", "certificate expired has expired"),
        (
            "mismatch",
            "certificate mismatch cannot be shown: the private key does not belong to the chain's \
             first certificate",
        ),
        (
            "unreadable",
            "certificate unreadable cannot be shown: certificate 1 of the chain is malformed",
        ),
        (
            "unusable",
            "certificate unusable cannot be shown: the private key is malformed or of a kind that \
             the crypto provider cannot use",
        ),
        (
            "encrypted",
            "certificate encrypted is not a chain with its private key: the private key is \
             encrypted: give its password",
        ),
        (
            "encrypted#hunter3",
            "certificate encrypted is not a chain with its private key: the password does not \
             open the private key",
        ),
        (
            "legacy",
            "certificate legacy is not a chain with its private key: the private key is encrypted \
             in an old way: convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem -out \
             new.pem`",
        ),
        ("good#hunter2", "certificate good is named with another password, or without one, before"),
    ];
    for (id, fault) in cases {
        let config = format!("b.com#good;a.com#{id}");
        assert_eq!(faults(folder.set_sni("good", &config)), [format!("entry 2: {fault}")]);
        assert!(Arc::ptr_eq(&folder.table(), &before), "{id}");
        if !id.contains('#') {
            let as_default = faults(folder.set_sni(id, "a.com#good"));
            assert_eq!(as_default, [format!("default certificate: {fault}")]);
            assert!(Arc::ptr_eq(&folder.table(), &before), "{id}");
        }
    }
}

#[test]
fn n10_every_fault_is_reported_with_its_subject_the_default_first() {
    let door = door_with(&["E1"]);
    let before = table(&door);
    let config = "a.com#gone;b.com#E1;b.com#E1;c.com#gone;d.com#E1#hunter2;e.com#E1#hunter2";
    assert_eq!(
        faults(door.set_sni("nowhere", config)),
        [
            "default certificate: there is no certificate nowhere for this instance",
            "entry 1: there is no certificate gone for this instance",
            "entry 3: b.com stands in entry 2 already, with an ECDSA certificate too",
            "entry 4: certificate gone cannot be shown, as an earlier entry says",
            "entry 5: certificate E1 is named with another password, or without one, before",
            "entry 6: certificate E1 is named with another password, or without one, before",
        ]
    );
    assert!(Arc::ptr_eq(&table(&door), &before));
}

#[test]
fn n10_an_expired_certificate_is_refused_where_it_is_new_and_warned_of_where_it_is_served() {
    const ONE_DAY: u64 = 24 * 60 * 60;
    let door = door_with(&["E1", "short", "other"]);
    let tomorrow = |id: &str| {
        let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
        let identity = door.server_ca.server_over(key, &["a.com"], |params| {
            params.not_after = date_time_ymd(2026, 1, 2);
        });
        door.put(id, &identity);
    };
    tomorrow("short");
    tomorrow("other");
    let in_force = "a.com#short;c.com#E1";
    assert_eq!(
        warnings(door.set_sni("short", in_force)),
        [
            "default certificate: the certificate has 1 whole days left",
            "entry 2: the certificate is not for c.com",
        ]
    );

    door.clock.set(NOW + ONE_DAY);
    assert_eq!(
        warnings(door.set_sni("short", in_force)),
        [
            "default certificate: the certificate has 0 whole days left",
            "entry 2: the certificate is not for c.com",
        ],
        "its last second"
    );
    door.clock.set(NOW + ONE_DAY + 1);
    let before = table(&door);
    let refused = [
        ("short", "a.com#short;b.com#short", "entry 2: certificate short has expired"),
        ("short", "a.com#other", "entry 1: certificate other has expired"),
        ("short", "*.a.com#short", "entry 1: certificate short has expired"),
        ("other", "a.com#short", "default certificate: certificate other has expired"),
    ];
    for (default, config, fault) in refused {
        assert_eq!(faults(door.set_sni(default, config)), [fault], "{config}");
        assert!(Arc::ptr_eq(&table(&door), &before));
    }

    assert_eq!(
        warnings(door.set_sni("short", "a.com#short;d.com#default")),
        [
            "default certificate: the certificate has expired",
            "entry 2: the certificate is not for d.com",
        ]
    );
    assert!(table(&door).map().get(&"d.com".parse().unwrap()).is_some());

    tomorrow("short");
    assert_eq!(
        faults(door.set_sni("short", "a.com#short")),
        [
            "default certificate: certificate short has expired",
            "entry 1: certificate short has expired",
        ],
        "another certificate under the same id is a change"
    );
}

#[test]
fn a_certificate_of_tomorrow_is_served_with_a_warning() {
    let door = door_with(&[]);
    let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let identity = door.server_ca.server_over(key, &["a.com"], |params| {
        params.not_before = date_time_ymd(2026, 1, 2);
    });
    door.put("early", &identity);
    let warned = warnings(door.set_sni("early", "a.com#early"));
    assert_eq!(warned, ["default certificate: the certificate is not valid yet"]);
    door.clock.set(NOW + 24 * 60 * 60);
    assert!(warnings(door.set_sni("early", "a.com#early")).is_empty());
}

#[test]
fn n11_a_certificate_that_is_not_for_the_name_is_served_with_a_warning() {
    let door = door_with(&[]);
    door.put("E", &door.server_ca.server(&["a.com", "*.b.com"]));
    let cases = [
        ("a.com#E", None),
        ("A.com.#E", None),
        ("x.b.com#E", None),
        ("*.b.com#E", None),
        ("b.com#E", Some("b.com")),
        ("*.a.com#E", Some("*.a.com")),
        ("x.a.com#E", Some("x.a.com")),
        ("x.y.b.com#E", Some("x.y.b.com")),
    ];
    for (config, not_covered) in cases {
        let response = door.set_sni("default", config).unwrap();
        let expected = not_covered.map(|name| Warning::NotCovered(name.parse().unwrap()));
        let warnings: Vec<_> = response.warnings.into_iter().map(|entry| entry.warning).collect();
        assert_eq!(warnings, Vec::from_iter(expected), "{config}");
        assert_eq!(table(&door).map().len(), 1, "{config}");
    }
}

#[test]
fn n10_an_id_is_loaded_once_however_many_passwords_it_is_named_with() {
    let door = door_with(&["E1"]);
    let refused = door.set_sni("default", "a.com#E1;b.com#E1#one;c.com#E1#two;d.com#E1");
    let other = "certificate E1 is named with another password, or without one, before";
    assert_eq!(faults(refused), [format!("entry 2: {other}"), format!("entry 3: {other}")]);
}

#[test]
fn n10_an_encrypted_default_is_opened_with_the_password_of_an_entry_that_names_it() {
    let folder = Folder::new();
    folder.put("locked", include_str!("../../testdata/pair_encrypted_pbkdf2.pem"));
    folder.set_sni("locked", "a.com#locked#hunter2").unwrap();
    let before = folder.table();
    let unopened = "certificate locked is not a chain with its private key";
    for (config, why) in [
        ("", "the private key is encrypted: give its password"),
        ("a.com#locked", "the private key is encrypted: give its password"),
        ("a.com#locked#hunter3", "the password does not open the private key"),
    ] {
        let refused = faults(folder.set_sni("locked", config));
        assert_eq!(refused[0], format!("default certificate: {unopened}: {why}"));
        assert!(Arc::ptr_eq(&folder.table(), &before), "{config}");
    }
}

#[test]
fn n10_no_password_and_no_key_is_ever_shown() {
    let log = Log::start();
    let folder = Folder::new();
    let ca = TestCa::root("server CA");
    let good = ca.server(&["a.com"]);
    let rsa = ca.server_over(rsa_key(), &["a.com"], |_| {});
    let certificate = pem("CERTIFICATE", good.end_entity());
    let unusable = certificate.clone() + &pem("PRIVATE KEY", b"hunter2 is no key");
    folder.put("good", &good.pem());
    folder.put("rsa", &rsa.pem());
    folder.put("unusable", &unusable);
    folder.put("encrypted", &(certificate + ENCRYPTED_PKCS8));
    folder.put("locked", include_str!("../../testdata/pair_encrypted_pbkdf2.pem"));

    let mut said = Vec::new();
    let operation = folder.operation("good", "a.com#good;a.com#rsa;c.com#locked#hunter2");
    let response = operation.apply(&folder.instances, &Caller::local()).unwrap();
    said.push(format!("{operation:?} {response:?}"));
    let c_com = "c.com".parse().unwrap();
    assert!(folder.table().map().get(&c_com).is_some(), "the password opens the key");
    let configs = ["good", "unusable", "encrypted", "nowhere"];
    for config in configs.map(|id| format!("b.com#good;a.com#{id}#hunter2")) {
        let operation = folder.operation("good", &config);
        let error = operation.apply(&folder.instances, &Caller::local()).unwrap_err();
        said.push(format!("{operation:?} {error:?} {error} {}", error.cause()));
    }
    for config in ["a..com#x#hunter2", "a.com#/#hunter2", "a.com#x#hunter2;", ";#hunter2"] {
        let pairs =
            [("MqttInstanceId", "mqtt-test"), ("DefaultCertificate", "."), ("SniConfig", config)];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let parameters: mqtls::control::Parameters = pairs.into_iter().collect();
        said.push(format!("{parameters:?}"));
        let error = SetSniConfig::from_parameters(&parameters).unwrap_err();
        said.push(format!("{error:?} {error} {}", error.cause()));
    }
    let instance = folder.instances.get(&"mqtt-test".parse().unwrap()).unwrap();
    let table = folder.table();
    let sets: Vec<_> = table.map().values().collect();
    said.push(format!("{:?} {instance:?} {table:?} {sets:?}", folder.instances));
    said.push(format!(
        "{:?} {:?}",
        good.material(),
        mqtls::certificate::Password::from("hunter2".to_owned())
    ));
    let logged = log.so_far();
    assert!(logged.len() > configs.len(), "{logged:?}");
    said.extend(logged.into_iter().map(|logged| logged.text));

    let mut secrets = vec!["hunter2".to_owned()];
    for (identity, private, line) in
        [(&good, 40, 2), (&rsa, rsa.key.serialized_der().len() - 40, 26)]
    {
        let base64 = identity.key.serialize_pem().lines().nth(line).unwrap().to_owned();
        let private = &identity.key.serialized_der()[private..][..12];
        let listed = format!("{private:?}");
        let hex = private.iter().map(|octet| format!("{octet:02x}")).collect();
        secrets.extend([base64, listed.trim_matches(['[', ']']).to_owned(), hex]);
    }
    for text in said {
        let shown = secrets.iter().find(|secret| text.contains(*secret));
        assert_eq!(shown, None, "{text}");
    }
}

#[test]
fn h04_the_same_configuration_again_changes_nothing_to_the_pointer() {
    let door = door_with(&["E1", "R1"]);
    let config = "a.com#E1;*.b.com#E1;a.com#R1";
    let first = door.set_sni("default", config).unwrap();
    let before = table(&door);
    for same in [config, "a.com#R1; *.B.com.#E1 ;A.com#E1;"] {
        let again = door.set_sni("default", same).unwrap();
        assert_eq!(again.generation, first.generation);
        assert!(Arc::ptr_eq(&table(&door), &before), "{same}");
        assert_ne!(again.request_id, first.request_id);
    }
    for other in ["a.com#E1;*.b.com#E1", "a.com#E1;*.b.com#E1;a.com#R1;c.com#E1", config] {
        let generation = table(&door).generation();
        assert_eq!(door.set_sni("default", other).unwrap().generation, generation + 1, "{other}");
    }
    let generation = table(&door).generation();
    assert_eq!(door.set_sni("E1", config).unwrap().generation, generation + 1, "another default");
}

#[test]
fn h04_what_a_change_leaves_alone_keeps_its_pointer() {
    let door = door_with(&["E1", "E2"]);
    door.set_sni("default", "a.com#E1;b.com#E2").unwrap();
    let before = table(&door);
    let certificate =
        |table: &SniTable, id: &str| Arc::clone(table.certificate(&id.parse().unwrap()).unwrap());
    door.put("E2", &door.server_ca.server(&["b.com"]));
    door.set_sni("default", "c.com#E1;b.com#E2").unwrap();
    let after = table(&door);
    assert!(!Arc::ptr_eq(&before, &after));
    for id in ["default", "E1"] {
        let (old, new) = (certificate(&before, id), certificate(&after, id));
        assert!(Arc::ptr_eq(&old, &new), "{id}");
        assert!(Arc::ptr_eq(old.certified_key(), new.certified_key()), "{id}");
    }
    assert!(!Arc::ptr_eq(&certificate(&before, "E2"), &certificate(&after, "E2")));
    assert!(after.certificate(&"E9".parse().unwrap()).is_none());

    door.set_sni("default", "b.com#E2").unwrap();
    assert!(table(&door).certificate(&"E1".parse().unwrap()).is_none(), "no longer named");
}

#[test]
fn h01_a_snapshot_never_shows_two_configurations_mixed() {
    const READERS: usize = 2;
    const ROUNDS: usize = 1_000_000 / READERS;
    const SWAPS: usize = 100;
    let door = door_with(&["A1", "B1", "A2", "B2"]);
    let configs = ["a.com#A1;b.com#B1", "a.com#A2;b.com#B2"];
    door.set_sni("default", configs[0]).unwrap();
    let swaps = AtomicUsize::new(0);
    let reading = AtomicUsize::new(READERS);
    let mixed = AtomicBool::new(false);
    let read = || {
        let mut rounds = 0;
        while rounds < ROUNDS || swaps.load(Ordering::Relaxed) < SWAPS {
            let table = table(&door);
            let number = |name| {
                let set = table.map().lookup(Some(name)).value;
                set.certificates().next().unwrap().0.as_str().as_bytes()[1]
            };
            mixed.fetch_or(number("a.com") != number("b.com"), Ordering::Relaxed);
            rounds += 1;
        }
        reading.fetch_sub(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        (0..READERS).for_each(|_| drop(scope.spawn(read)));
        while reading.load(Ordering::Relaxed) > 0 {
            let next = swaps.fetch_add(1, Ordering::Relaxed) + 1;
            door.set_sni("default", configs[next % 2]).unwrap();
        }
    });
    assert!(!mixed.into_inner());
    let generation = u64::try_from(swaps.into_inner()).unwrap() + 2;
    assert_eq!(table(&door).generation(), generation, "each swap was one");
}

#[tokio::test]
async fn h02_a_handshake_under_way_finishes_with_the_map_that_it_began_with() {
    for version in VERSIONS {
        let door = door_with(&["E1", "E2"]);
        let config = client(None, version);
        assert_eq!(swap_after_the_first_answer(&door, config).await, "E1", "{version:?}");
    }
}

#[tokio::test]
async fn h03_a_second_hello_after_a_retry_is_answered_from_the_first_ones_map() {
    let only = |groups: &[usize]| {
        let mut provider = CryptoProvider::clone(&provider());
        let known = rustls::crypto::aws_lc_rs::kx_group::SECP256R1;
        let other = rustls::crypto::aws_lc_rs::kx_group::X25519;
        provider.kx_groups = groups.iter().map(|at| [known, other][*at]).collect();
        Arc::new(provider)
    };
    let door =
        with_certificates(Door::unconfigured(ClientAuth::Disabled, only(&[0])), &["E1", "E2"]);
    let config = client_speaking(&[&rustls::version::TLS13], only(&[1, 0]), None);
    assert_eq!(swap_after_the_first_answer(&door, config).await, "E1");
    let stats = door.instances.stats();
    assert_eq!(stats.iter().map(|(_, count)| count).sum::<u64>(), 1, "{stats:?}");
}

/// Configures `localhost#E1`, and `localhost#E2` when the server has said its first words to a
/// client; tells what the client is shown in the end.
async fn swap_after_the_first_answer(door: &Door, config: ClientConfig) -> &'static str {
    door.set_sni("default", "localhost#E1").unwrap();
    let first = table(door);
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = door.acceptor.clone();
    let server = tokio::spawn(async move { acceptor.accept(far).await });
    let mut client = Peer::of(config);
    near.write_all(&client.flight()).await.unwrap();
    client.read_some(&mut near).await;
    door.set_sni("default", "localhost#E2").unwrap();
    client.go_on(&mut near).await;
    server.await.unwrap().unwrap();
    let shown = Sha256::of(&client.0.peer_certificates().unwrap()[0]);
    let second = table(door);
    let is = |table: &SniTable, id: &str| {
        table.certificate(&id.parse().unwrap()).is_some_and(|known| known.sha256() == shown)
    };
    assert!(first.generation() < second.generation());
    match (is(&first, "E1"), is(&second, "E2")) {
        (true, false) => "E1",
        (false, true) => "E2",
        neither => panic!("{neither:?}"),
    }
}

fn door_with(ids: &[&str]) -> Door {
    with_certificates(Door::unconfigured(ClientAuth::Disabled, provider()), ids)
}

/// Keeps and serves `default`, and keeps a certificate under each id: with an RSA key where the
/// id starts with an R.
fn with_certificates(door: Door, ids: &[&str]) -> Door {
    for id in ["default"].iter().chain(ids) {
        let key = if id.starts_with('R') { rsa_key() } else { key(&rcgen::PKCS_ECDSA_P256_SHA256) };
        door.put(id, &door.server_ca.server_over(key, &["a.com", "*.a.com", "b.com"], |_| {}));
    }
    door.set_sni("default", "").unwrap();
    door
}

fn table(door: &Door) -> Arc<SniTable> {
    door.instance.sni().table().unwrap()
}

/// What is wrong, entry by entry, after asserting that it is answered as a bad parameter.
fn faults(outcome: Result<SetSniConfigResponse, OperationError>) -> Vec<String> {
    let error = outcome.unwrap_err();
    assert_eq!(error.code().to_string(), "ParameterFieldCheckFailed");
    assert_eq!(
        error.message(),
        "Failed to validate the parameters. The parameters may be missing or invalid."
    );
    match error.cause() {
        Cause::Sni(refused) => refused.errors.iter().map(ToString::to_string).collect(),
        other => panic!("{other}"),
    }
}

fn warnings(outcome: Result<SetSniConfigResponse, OperationError>) -> Vec<String> {
    outcome.unwrap().warnings.iter().map(ToString::to_string).collect()
}

/// An instance whose certificates are PEM files.
struct Folder {
    root: TempDir,
    instances: Instances,
}

impl Folder {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("mqtt-test")).unwrap();
        let source = Directory::open(root.path()).unwrap();
        let instances = Instances::with_clock(provider(), source, TestClock::at(NOW));
        instances.create(InstanceSpec::new("mqtt-test".parse().unwrap())).unwrap();
        Self { root, instances }
    }

    fn put(&self, id: &str, text: &str) {
        fs::write(self.root.path().join(format!("mqtt-test/{id}.pem")), text).unwrap();
    }

    /// Keeps a good certificate and, each under an id that tells why, some that cannot be served.
    fn put_unusable(&self) {
        let ca = TestCa::root("server CA");
        let good = ca.server(&["a.com"]);
        let old = ca.server_over(key(&rcgen::PKCS_ECDSA_P256_SHA256), &["a.com"], |params| {
            params.not_after = date_time_ymd(2025, 12, 31);
        });
        let other_key = Identity { key: ca.server(&["a.com"]).key, ..good.clone() };
        let certificate = pem("CERTIFICATE", good.end_entity());
        let unreadable = pem("CERTIFICATE", b"no certificate") + &good.key.serialize_pem();
        let unusable = certificate.clone() + &pem("PRIVATE KEY", b"no key");
        let encrypted = certificate.clone() + ENCRYPTED_PKCS8;
        let legacy = certificate + LEGACY_ENCRYPTED;
        let texts = [
            ("good", good.pem()),
            ("expired", old.pem()),
            ("mismatch", other_key.pem()),
            ("unreadable", unreadable),
            ("unusable", unusable),
            ("encrypted", encrypted),
            ("legacy", legacy),
        ];
        texts.iter().for_each(|(id, text)| self.put(id, text));
    }

    fn operation(&self, default: &str, config: &str) -> SetSniConfig {
        SetSniConfig {
            mqtt_instance_id: "mqtt-test".parse().unwrap(),
            default_certificate: default.parse().unwrap(),
            sni_config: config.parse().unwrap(),
        }
    }

    fn set_sni(&self, default: &str, config: &str) -> Result<SetSniConfigResponse, OperationError> {
        self.operation(default, config).apply(&self.instances, &Caller::local())
    }

    fn table(&self) -> Arc<SniTable> {
        let instance = self.instances.get(&"mqtt-test".parse().unwrap()).unwrap();
        instance.sni().table().unwrap()
    }
}

const ENCRYPTED_PKCS8: &str = include_str!("../../testdata/key_encrypted_pkcs8.pem");
const LEGACY_ENCRYPTED: &str = include_str!("../../testdata/key_encrypted_legacy.pem");
