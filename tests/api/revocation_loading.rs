//! What keeps a revocation list from being put in force, and what is in force then.

use std::sync::Arc;
use std::time::Duration;

use mqtls::CaStatus::{Active, Inactive};
use mqtls::certificate::ListNumber;
use mqtls::control::{Cause, LoadRevocationListResponse};
use mqtls::trust::RevocationError as Error;
use mqtls::{Caller, LoadRevocationList, OperationError, RevocationList, SerialNumber};
use rcgen::{CertificateRevocationListParams, KeyPair, KeyUsagePurpose};
use rustls_pki_types::UnixTime;

use crate::list_draft::{ListDraft, entry, extension, number, sequence, time, tlv};
use crate::live::count;
use crate::support::{Door, Log, NOW, TestCa, date, key, rsa_key};

const WEEK: u64 = 7 * 24 * 60 * 60;

type Response = LoadRevocationListResponse;

impl Door {
    /// Puts a list of the CA in force that was made now for a week.
    pub(crate) fn revoke(&self, ca: &TestCa, number: u64, revoked: &[SerialNumber]) -> Response {
        self.load(ca, &ca.list(number, revoked, |_| {})).unwrap()
    }

    /// Loads a list for a CA that is registered, and asserts that the dry run said the same before and
    /// changed nothing, and that nothing else than an accepted list takes the place of the one in force.
    pub(crate) fn load(&self, ca: &TestCa, der: &[u8]) -> Result<Response, Error> {
        let before = self.in_force(ca);
        let connections = self.instance.connections();
        let foreseen = self.foresee_load(ca, der).map_err(revocation_error);
        assert_eq!(pointer(self.in_force(ca)), pointer(before.clone()));
        assert_eq!(self.instance.connections(), connections);
        let applied = self.try_load(ca, der).map_err(revocation_error);
        let told = |answer: &Response| (answer.changed, count(answer.connections));
        assert_eq!(foreseen.as_ref().map(told), applied.as_ref().map(told));
        let after = self.in_force(ca);
        match &applied {
            Ok(answer) => {
                assert_eq!(answer.sn, ca.serial());
                assert_eq!(answer.changed, pointer(after.clone()) != pointer(before));
                let loaded = RevocationList::from_der(der).unwrap().sha256();
                assert_eq!(after.unwrap().sha256(), loaded);
            }
            Err(_) => assert_eq!(pointer(after), pointer(before)),
        }
        applied
    }

    /// What the operation itself answers.
    pub(crate) fn try_load(&self, ca: &TestCa, der: &[u8]) -> Result<Response, OperationError> {
        self.operation(ca, der).apply(&self.instances, &Caller::local())
    }

    fn foresee_load(&self, ca: &TestCa, der: &[u8]) -> Result<Response, OperationError> {
        self.operation(ca, der).dry_run(&self.instances, &Caller::local())
    }

    fn operation(&self, ca: &TestCa, der: &[u8]) -> LoadRevocationList {
        LoadRevocationList {
            mqtt_instance_id: self.instance.id().clone(),
            sn: ca.serial(),
            revocation_list: RevocationList::from_der(der).unwrap(),
        }
    }

    /// The list that is in force for a CA.
    pub(crate) fn in_force(&self, ca: &TestCa) -> Option<Arc<RevocationList>> {
        self.instance.trust().get(&ca.serial()).unwrap().revocation_list()
    }
}

fn pointer(list: Option<Arc<RevocationList>>) -> Option<*const RevocationList> {
    list.as_ref().map(Arc::as_ptr)
}

/// The reason in the answer to a list that is not taken.
fn revocation_error(error: OperationError) -> Error {
    let answer = (error.action(), error.http_status(), error.code().to_string());
    let expected = ("LoadRevocationList", 400, "ParameterFieldCheckFailed".to_owned());
    assert_eq!(answer, expected);
    match error.cause() {
        Cause::Revocation(error) => error.clone(),
        other => panic!("{other}"),
    }
}

/// Any serial number, by its hexadecimal digits.
pub(crate) fn serial(text: &str) -> SerialNumber {
    text.parse().unwrap()
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn number_of(number: u8) -> Option<ListNumber> {
    Some(ListNumber::from_der_content(&[0, number]).unwrap())
}

/// A door and a CA that it knows, with list number 5 in force for it.
fn with_list_5() -> (Door, TestCa) {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, Active).unwrap();
    assert!(door.revoke(&ca, 5, &[serial("05")]).changed);
    (door, ca)
}

#[test]
fn a_list_that_the_ca_did_not_make_is_refused_and_the_one_in_force_stays() {
    let (door, ca) = with_list_5();
    let namesake = TestCa::root("fleet");
    let renamed = TestCa::self_signed(Arc::clone(&ca.key), "renamed", |_| {});
    let revoked = serial("0123456789abcdef");
    let good = ca.list(6, std::slice::from_ref(&revoked), |_| {});
    let changed = |find: &[u8]| {
        let found = good.windows(find.len()).position(|octets| octets == find).unwrap();
        let mut changed = good.clone();
        changed[found + find.len() - 1] ^= 1;
        changed
    };
    let mut torn = good.clone();
    *torn.last_mut().unwrap() ^= 1;
    let by_others =
        |issuer: &str| Error::OtherIssuer { serial: ca.serial(), issuer: issuer.into() };
    let bad = Error::BadSignature(ca.serial());
    let cases = [
        ("another CA's", TestCa::root("other").list(6, &[], |_| {}), by_others("CN=other")),
        ("another name", renamed.list(6, &[], |_| {}), by_others("CN=renamed")),
        ("another key", namesake.list(6, &[], |_| {}), bad.clone()),
        ("unsigned", draft().unsigned(), bad.clone()),
        ("torn signature", torn, bad.clone()),
        ("another entry", changed(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]), bad.clone()),
        ("another name of its algorithm", by(ECDSA_WITH_SHA384).signed_by(&ca), bad),
        (
            "no algorithm of ours",
            by(ECDSA_WITH_SHA1).signed_by(&ca),
            Error::UnsupportedAlgorithm("1.2.840.10045.4.1".into()),
        ),
    ];
    for (name, der, expected) in cases {
        assert_eq!(door.load(&ca, &der).map(drop), Err(expected), "{name}");
        let in_force = door.in_force(&ca).unwrap();
        assert!(in_force.revokes(&serial("05")) && !in_force.revokes(&revoked), "{name}");
    }
    assert!(door.load(&ca, &good).unwrap().changed);
    assert!(door.load(&ca, &draft().signed_by(&ca)).unwrap().changed);
}

/// List number 7 of the CA "fleet".
fn draft() -> ListDraft {
    ListDraft { extensions: vec![number(&[7])], ..ListDraft::by("fleet") }
}

fn by(algorithm: &[u8]) -> ListDraft {
    let algorithms = [algorithm, algorithm].map(|oid| sequence(&[tlv(6, oid)]));
    ListDraft { algorithms, ..draft() }
}

const ECDSA_WITH_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const ECDSA_WITH_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];

#[test]
fn a_ca_that_may_not_sign_lists_has_none() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
    let cases: [(&[KeyUsagePurpose], bool); 4] = [
        (&[KeyCertSign], false),
        (&[KeyCertSign, DigitalSignature], false),
        (&[KeyCertSign, CrlSign], true),
        // "If a key usage extension is present".
        (&[], true),
    ];
    for (usages, allowed) in cases {
        let door = Door::open();
        let ca = TestCa::root_with("fleet", |params| params.key_usages = usages.to_vec());
        door.register(&ca, Active).unwrap();
        let outcome = door.load(&ca, &ca.list(1, &[], |_| {})).map(|answer| answer.changed);
        let expected = if allowed { Ok(true) } else { Err(Error::NoCrlSign(ca.serial())) };
        assert_eq!(outcome, expected, "{usages:?}");
        assert_eq!(door.in_force(&ca).is_some(), allowed);
    }
}

#[test]
fn a_list_counts_from_the_second_of_its_making_to_that_of_the_next_one() {
    let cases = [
        (NOW, NOW + WEEK, Ok(())),
        (NOW + 1, NOW + WEEK, Err(Error::NotYetValid { this_update: at(NOW + 1) })),
        (NOW - WEEK, NOW, Ok(())),
        (NOW - WEEK, NOW - 1, Err(Error::Stale { next_update: at(NOW - 1) })),
    ];
    for (this_update, next_update, expected) in cases {
        for accept_stale in [false, true] {
            let door = Door::open_as(|spec| {
                if accept_stale { spec.accept_stale_revocation_lists() } else { spec }
            });
            let ca = TestCa::root("fleet");
            door.register(&ca, Active).unwrap();
            let der = ca.list(6, &[], |list| {
                list.this_update = date(this_update);
                list.next_update = date(next_update);
            });
            let is_stale = matches!(expected, Err(Error::Stale { .. }));
            let expected = if is_stale && accept_stale { Ok(()) } else { expected.clone() };
            assert_eq!(door.load(&ca, &der).map(drop), expected);
            assert_eq!(door.in_force(&ca).is_some(), expected.is_ok());
        }
    }
}

#[test]
fn a_list_takes_the_place_of_an_older_one_only() {
    let (door, ca) = with_list_5();
    let same = door.in_force(&ca).unwrap();
    let not_later = |number| Err(Error::NotLater { number, in_force: number_of(5) });
    // Whatever the dates say.
    let made = |at| move |list: &mut CertificateRevocationListParams| list.this_update = date(at);
    let later = made(NOW + 10);
    door.clock.set(NOW + 10);
    let this_update = time("260101000010Z");
    let without_number = ListDraft { this_update, extensions: vec![key_id()], ..draft() };
    let cases = [
        ("a lower one", ca.list(4, &[], later), number_of(4)),
        ("the same with other content", ca.list(5, &[serial("06")], later), number_of(5)),
        ("the same, signed anew", ca.list(5, &[serial("05")], |_| {}), number_of(5)),
        ("none", without_number.signed_by(&ca), None),
    ];
    for (name, der, number) in cases {
        assert_eq!(door.load(&ca, &der).map(drop), not_later(number), "{name}");
        assert!(Arc::ptr_eq(&door.in_force(&ca).unwrap(), &same), "{name}");
    }
    assert!(door.load(&ca, &ca.list(6, &[], made(NOW - 10))).unwrap().changed);
    assert!(!door.in_force(&ca).unwrap().revokes(&serial("05")));
}

#[test]
fn where_no_list_had_a_number_the_date_tells_the_later_one() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, Active).unwrap();
    door.clock.set(NOW + 10);
    let of = |second: u8, extensions: Vec<Vec<u8>>| {
        let this_update = time(&format!("2601010000{second:02}Z"));
        let entries = vec![entry(&[second + 1])];
        ListDraft { this_update, entries, extensions, ..draft() }.signed_by(&ca)
    };
    let not_later = |number| Err(Error::NotLater { number, in_force: None });
    let changed = |der: &[u8]| door.load(&ca, der).map(|answer| answer.changed);
    let second = of(2, vec![key_id()]);
    assert_eq!(changed(&second), Ok(true));
    assert_eq!(changed(&of(1, vec![key_id()])), not_later(None));
    assert_eq!(changed(&of(2, vec![key_id(), number(&[9])])), not_later(number_of(9)));
    assert_eq!(changed(&second), Ok(false));
    assert_eq!(changed(&of(3, vec![key_id()])), Ok(true));
    assert_eq!(changed(&of(4, vec![number(&[1])])), Ok(true));
    assert_eq!(changed(&of(3, vec![number(&[2])])), Ok(true), "now the number tells");
}

fn key_id() -> Vec<u8> {
    extension(&[0x55, 0x1d, 35], false, &sequence(&[tlv(0x80, &[1, 2, 3])]))
}

#[test]
fn the_same_list_again_changes_nothing_for_as_long_as_it_counts() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, Active).unwrap();
    let der = ca.list(5, &[serial("05")], |_| {});
    assert!(door.load(&ca, &der).unwrap().changed);
    let same = door.in_force(&ca).unwrap();
    for second in [NOW, NOW + WEEK] {
        door.clock.set(second);
        assert!(!door.load(&ca, &der).unwrap().changed);
    }
    door.clock.set(NOW + WEEK + 1);
    assert_eq!(door.load(&ca, &der).map(drop), Err(Error::Stale { next_update: at(NOW + WEEK) }));
    door.clock.set(NOW - 1);
    assert_eq!(door.load(&ca, &der).map(drop), Err(Error::NotYetValid { this_update: at(NOW) }));
    assert!(Arc::ptr_eq(&door.in_force(&ca).unwrap(), &same));
    // Once it was replaced it does not come back.
    door.clock.set(NOW);
    door.revoke(&ca, 6, &[]);
    let expected = Error::NotLater { number: number_of(5), in_force: number_of(6) };
    assert_eq!(door.load(&ca, &der).map(drop), Err(expected));
}

#[test]
fn lists_are_taken_by_keys_of_every_kind_that_cas_have() {
    let keys: [fn() -> KeyPair; 4] = [
        rsa_key,
        || key(&rcgen::PKCS_ECDSA_P256_SHA256),
        || key(&rcgen::PKCS_ECDSA_P384_SHA384),
        || key(&rcgen::PKCS_ED25519),
    ];
    for key in keys {
        let door = Door::open();
        let ca = TestCa::self_signed(Arc::new(key()), "fleet", |_| {});
        door.register(&ca, Active).unwrap();
        assert!(door.revoke(&ca, 1, &[serial("05")]).changed);
        let mut torn = ca.list(2, &[], |_| {});
        *torn.last_mut().unwrap() ^= 1;
        assert_eq!(door.load(&ca, &torn).map(drop), Err(Error::BadSignature(ca.serial())));
    }
}

#[test]
fn a_list_by_openssl_is_put_in_force() {
    let door = Door::open();
    let ca = include_bytes!("../../testdata/list_by_openssl_ca.pem");
    let ca = mqtls::CaCertificate::from_pem(ca).unwrap();
    door.register_certificate(ca.clone(), Active).unwrap();
    let text = include_bytes!("../../testdata/list_by_openssl.pem");
    let operation = LoadRevocationList {
        mqtt_instance_id: door.instance.id().clone(),
        sn: ca.serial().clone(),
        revocation_list: RevocationList::from_pem(text).unwrap(),
    };
    door.clock.set(NOW - 1);
    let early = operation.apply(&door.instances, &Caller::local()).unwrap_err();
    assert_eq!(revocation_error(early), Error::NotYetValid { this_update: at(NOW) });
    door.clock.set(NOW);
    assert!(operation.apply(&door.instances, &Caller::local()).unwrap().changed);
    assert!(!operation.apply(&door.instances, &Caller::local()).unwrap().changed);
    let in_force = door.instance.trust().get(ca.serial()).unwrap().revocation_list().unwrap();
    assert_eq!(in_force.number().unwrap().to_string(), "0x1002");
    assert!(in_force.revokes(&serial("1002")) && !in_force.revokes(&serial("1001")));
}

#[test]
fn a_list_for_a_ca_that_is_not_registered_is_find_ca_by_sn_error() {
    let (door, ca) = with_list_5();
    let (unknown, twin) = (TestCa::root("unknown"), ca.twin(|_| {}));
    for (stranger, der) in
        [(&unknown, unknown.list(6, &[], |_| {})), (&twin, ca.list(6, &[], |_| {}))]
    {
        for outcome in [door.foresee_load(stranger, &der), door.try_load(stranger, &der)] {
            let error = outcome.unwrap_err();
            let answer = (error.action(), error.http_status(), error.code().to_string());
            assert_eq!(answer, ("LoadRevocationList", 500, "FindCaBySnError".to_owned()));
            assert!(matches!(error.cause(), Cause::NoSuchCa(sn) if *sn == stranger.serial()));
        }
    }
    assert_eq!(door.in_force(&ca).unwrap().number(), number_of(5));
}

#[test]
fn twins_have_one_list_whichever_of_them_it_came_through_and_whenever_they_came() {
    let door = Door::open();
    let first = TestCa::root("fleet");
    let [second, third] = [(); 2].map(|()| first.twin(|_| {}));
    let namesake = TestCa::root("fleet");
    let renamed = TestCa::self_signed(Arc::clone(&first.key), "renamed", |params| {
        params.serial_number = Some(7_000.into());
    });
    for ca in [&first, &second, &namesake, &renamed] {
        door.register(ca, Active).unwrap();
    }
    assert!(door.revoke(&second, 5, &[serial("05")]).changed);
    door.register(&third, Inactive).unwrap();
    let same = |cas: &[&TestCa]| {
        let list = door.in_force(cas[0]).unwrap();
        assert!(cas.iter().all(|ca| Arc::ptr_eq(&door.in_force(ca).unwrap(), &list)));
        list.number()
    };
    assert_eq!(same(&[&first, &second, &third]), number_of(5));
    let not_later = Error::NotLater { number: number_of(5), in_force: number_of(5) };
    assert_eq!(door.load(&third, &first.list(5, &[], |_| {})).map(drop), Err(not_later));
    assert!(door.revoke(&third, 6, &[]).changed);
    assert_eq!(same(&[&second, &first, &third]), number_of(6));
    assert!(door.in_force(&namesake).is_none() && door.in_force(&renamed).is_none());

    // It is there for as long as one of them is.
    door.delete(&first);
    door.delete(&second);
    door.register(&second, Active).unwrap();
    assert_eq!(same(&[&second, &third]), number_of(6));
    door.delete(&second);
    door.delete(&third);
    door.register(&first, Active).unwrap();
    assert!(door.in_force(&first).is_none());
    assert!(door.revoke(&first, 1, &[]).changed);
}

#[test]
fn a_twin_that_may_not_sign_lists_has_those_of_the_one_that_may() {
    let door = Door::open();
    let may = TestCa::root("fleet");
    let may_not = may.twin(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    door.register(&may_not, Active).unwrap();
    door.register(&may, Active).unwrap();
    let der = may.list(1, &[serial("05")], |_| {});
    let refused = Err(Error::NoCrlSign(may_not.serial()));
    assert_eq!(door.load(&may_not, &der).map(drop), refused);
    assert!(door.in_force(&may).is_none());
    assert!(door.load(&may, &der).unwrap().changed);
    assert!(Arc::ptr_eq(&door.in_force(&may).unwrap(), &door.in_force(&may_not).unwrap()));
}

#[test]
fn instances_have_lists_of_their_own() {
    let (door, ca) = with_list_5();
    let beside = door.beside("mqtt-beside");
    beside.register(&ca, Active).unwrap();
    assert!(beside.in_force(&ca).is_none());
    assert!(beside.revoke(&ca, 3, &[]).changed);
    assert_eq!(door.in_force(&ca).unwrap().number(), number_of(5));
}

/// Whoever wrote a list writes lines of its own into the operator's log.
#[test]
fn the_issuer_of_a_list_is_escaped_in_the_log() {
    let (door, ca) = (Door::open(), TestCa::root("fleet"));
    door.register(&ca, Active).unwrap();
    let evil = ListDraft::by("x\n2026-01-01T00:00:00Z  INFO operation applied \u{1b}[2K");
    let operation = LoadRevocationList {
        mqtt_instance_id: door.instance.id().clone(),
        sn: ca.serial(),
        revocation_list: RevocationList::from_der(&evil.unsigned()).unwrap(),
    };
    let log = Log::start();
    let error = operation.apply(&door.instances, &Caller::local()).unwrap_err();
    assert!(matches!(error.cause(), Cause::Revocation(_)));
    for line in log.so_far() {
        assert!(!line.text.contains(['\n', '\u{1b}']), "{:?}", line.text);
    }
}
