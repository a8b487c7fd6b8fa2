//! What is read as a revocation list, what it says, and what it is refused for.

use std::collections::BTreeSet;
use std::time::Duration;

use mqtls::SerialNumber;
use mqtls::certificate::{
    ListNumber, ListNumberError, PemError, RevocationList, RevocationListError as Error, Sha256,
};
use proptest::prelude::*;
use rcgen::{
    CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, DnType, RevocationReason,
};
use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::SectionKind;

use crate::list_draft::{
    ListDraft, entry, entry_with, extension, integer, number, sequence, time, tlv,
};
use crate::support::{NOW, TestCa, date, pem, revoked_entry};

const MAX_DER: usize = 64 * 1024 * 1024;
const MAX_PEM: usize = MAX_DER / 5 * 7;

fn serial(text: &str) -> SerialNumber {
    text.parse().unwrap()
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn number_of(octets: &[u8]) -> ListNumber {
    ListNumber::from_der_content(octets).unwrap()
}

fn read(change: impl FnOnce(&mut ListDraft)) -> Result<RevocationList, Error> {
    let mut draft = ListDraft::by("fleet");
    change(&mut draft);
    RevocationList::from_der(&draft.unsigned())
}

#[test]
fn a_list_says_who_made_it_when_and_whom_it_revokes() {
    let ca = TestCa::root_with("fleet", |params| {
        params.distinguished_name.push(DnType::OrganizationName, "mqtls");
    });
    let (device, other) = (ca.device("revoked"), ca.device("other"));
    let der = ca.list(0x1a, &[device.serial()], |_| {});
    let list = RevocationList::from_der(&der).unwrap();
    assert_eq!(list.issuer(), ca.certificate().subject());
    assert_eq!(list.number(), Some(number_of(&[0x1a])));
    assert_eq!((list.this_update(), list.next_update()), (at(NOW), at(NOW + 7 * 24 * 60 * 60)));
    assert_eq!((list.len(), list.is_empty()), (1, false));
    assert!(list.revokes(&device.serial()));
    assert!(!list.revokes(&other.serial()));
    assert_eq!(list.sha256(), Sha256::of(&der));
    let shown = format!("{list:?}");
    assert!(shown.contains("CN=fleet") && shown.contains("0x1a"), "{shown}");
    assert!(!shown.contains(&device.serial().to_string()), "{shown}");

    let empty = RevocationList::from_der(&ca.list(2, &[], |_| {})).unwrap();
    assert_eq!((empty.len(), empty.is_empty()), (0, true));
    assert!(!empty.revokes(&device.serial()));
}

#[test]
fn a_list_by_openssl_revokes_whatever_the_reason() {
    let text = include_bytes!("../../testdata/list_by_openssl.pem");
    let ca = include_bytes!("../../testdata/list_by_openssl_ca.pem");
    let ca = mqtls::CaCertificate::from_pem(ca).unwrap();
    let list = RevocationList::from_pem(text).unwrap();
    assert_eq!(list.issuer(), ca.subject());
    assert_eq!(list.number().unwrap().to_string(), "0x1002");
    assert_eq!((list.this_update(), list.next_update()), (at(NOW), at(4_891_363_200)));
    let revoked = ["00", "7f", "ff", "1002", "1003", "1004", "1005"];
    let long = "f0e1d2c3b4a5968778695a4b3c2d1e0f12345678";
    assert_eq!(list.len(), 8);
    for text in revoked.into_iter().chain([long]) {
        assert!(list.revokes(&serial(text)), "{text}");
    }
    for text in ["01", "80", "1000", "1001", "1006", "10", "02", "0f", &long[2..]] {
        assert!(!list.revokes(&serial(text)), "{text}");
    }
}

#[test]
fn a_serial_number_is_revoked_with_every_reason() {
    use RevocationReason::{
        AaCompromise, AffiliationChanged, CaCompromise, CertificateHold, CessationOfOperation,
        KeyCompromise, PrivilegeWithdrawn, RemoveFromCrl, Superseded, Unspecified,
    };
    let ca = TestCa::root("fleet");
    let revoked = serial("ab12");
    let reasons = [
        Unspecified,
        KeyCompromise,
        CaCompromise,
        AffiliationChanged,
        Superseded,
        CessationOfOperation,
        CertificateHold,
        // Of use in deltas only: in doubt it is revoked.
        RemoveFromCrl,
        PrivilegeWithdrawn,
        AaCompromise,
    ];
    for reason in reasons {
        let der = ca.list(1, &[], |list| {
            let mut entry = revoked_entry(&revoked);
            entry.reason_code = Some(reason);
            entry.invalidity_date = Some(date(NOW - 1));
            list.revoked_certs.push(entry);
        });
        assert!(RevocationList::from_der(&der).unwrap().revokes(&revoked), "{reason:?}");
    }
}

type Case = (&'static str, fn(&mut ListDraft), Result<(), Error>);

#[test]
fn what_is_no_list_of_version_2_is_refused_by_its_fault() {
    let swapped = Error::NextUpdateBeforeThis { this_update: at(NOW), next_update: at(NOW - 1) };
    let malformed = Err(Error::Malformed);
    let cases: [Case; 16] = [
        ("as it is", |_| {}, Ok(())),
        ("version 1", |list| list.version.clear(), Err(Error::Version(1))),
        ("version 1, said", |list| list.version = integer(&[0]), Err(Error::Version(1))),
        ("version 3", |list| list.version = integer(&[2]), Err(Error::Version(3))),
        ("version -1", |list| list.version = integer(&[0xff]), malformed.clone()),
        ("no issuer", |list| list.issuer.clear(), malformed.clone()),
        ("no dates", |list| list.this_update.clear(), Err(Error::NoNextUpdate)),
        ("no next update", |list| list.next_update.clear(), Err(Error::NoNextUpdate)),
        ("swapped", |list| list.next_update = time("251231235959Z"), Err(swapped)),
        ("at once", |list| list.next_update = time("260101000000Z"), Ok(())),
        ("no such day", |list| list.next_update = time("260230000000Z"), malformed.clone()),
        ("before 1970", |list| list.this_update = time("691231235959Z"), malformed.clone()),
        ("elsewhere", |list| list.this_update = time("260101000000+0100"), malformed.clone()),
        ("no algorithm", |list| list.algorithms[1].clear(), malformed.clone()),
        (
            "two algorithms",
            |list| list.algorithms[0] = sequence(&[tlv(6, &[0x2a, 3])]),
            Err(Error::TwoAlgorithms),
        ),
        ("a rest", |list| list.rest = integer(&[1]), malformed),
    ];
    check(cases);
}

#[test]
fn what_is_no_complete_list_is_refused_by_its_extensions() {
    let unknown = Error::UnknownCriticalExtension("1.3.9999.1".into());
    let cases: [Case; 13] = [
        ("none", |list| list.extensions.clear(), Err(Error::NoExtensions)),
        ("no number", |list| list.extensions = vec![key_id()], Ok(())),
        ("two numbers", |list| list.extensions.push(number(&[2])), Err(Error::Malformed)),
        ("delta", |list| list.extensions.push(delta(true)), Err(Error::Delta)),
        ("delta, not critical", |list| list.extensions.push(delta(false)), Err(Error::Delta)),
        ("reasons", |list| list.extensions.push(point(true, &REASONS)), Err(Error::Partial)),
        ("point", |list| list.extensions.push(point(true, &[])), Err(Error::Partial)),
        (
            "point, not critical",
            |list| list.extensions.push(point(false, &[])),
            Err(Error::Partial),
        ),
        ("broken point", |list| list.extensions.push(point(true, &[1])), Err(Error::Partial)),
        ("indirect", |list| list.extensions.push(point(true, &INDIRECT)), Err(Error::Indirect)),
        ("unknown", |list| list.extensions.push(strange(true)), Err(unknown)),
        ("unknown, not critical", |list| list.extensions.push(strange(false)), Ok(())),
        (
            "taken for entries",
            |list| list.rest = list.extensions.remove(0),
            Err(Error::NoExtensions),
        ),
    ];
    check(cases);
}

fn check<const COUNT: usize>(cases: [Case; COUNT]) {
    for (name, change, expected) in cases {
        assert_eq!(read(change).map(drop), expected, "{name}");
    }
}

#[test]
fn a_list_for_some_certificates_only_is_refused() {
    let ca = TestCa::root("fleet");
    for scope in [None, Some(CrlScope::UserCertsOnly), Some(CrlScope::CaCertsOnly)] {
        let der = ca.list(1, &[], |list| {
            let uris = vec!["http://ca.example/1.crl".to_owned()];
            let distribution_point = CrlDistributionPoint { uris };
            list.issuing_distribution_point =
                Some(CrlIssuingDistributionPoint { distribution_point, scope });
        });
        assert_eq!(RevocationList::from_der(&der).map(drop), Err(Error::Partial), "{scope:?}");
    }
}

#[test]
fn numbers_have_at_most_20_octets_and_no_sign() {
    let ca = TestCa::root("fleet");
    assert_eq!(
        RevocationList::from_der(&ca.list(7, &[], |_| {})).unwrap().number(),
        Some(number_of(&[7]))
    );
    let highest = [&[0][..], &[0xff; 20]].concat();
    let too_long = |octets| Err(Error::Number(ListNumberError::TooLong { octets }));
    let cases = [
        (vec![0], Ok(Some(number_of(&[0])))),
        (vec![0x7f; 20], Ok(Some(number_of(&[0x7f; 20])))),
        (highest.clone(), Ok(Some(number_of(&highest)))),
        (vec![0x7f; 21], too_long(21)),
        (vec![0x7f; 1000], too_long(1000)),
        (vec![0xff], Err(ListNumberError::Negative.into())),
        (vec![], Err(ListNumberError::Empty.into())),
        // The same value has one encoding.
        (vec![0, 1], Err(Error::Malformed)),
    ];
    for (octets, expected) in cases {
        let list = read(|list| list.extensions = vec![number(&octets)]);
        assert_eq!(list.map(|list| list.number()), expected, "{octets:02x?}");
    }
    assert_eq!(read(|list| list.extensions = vec![key_id()]).unwrap().number(), None);
}

#[test]
fn a_list_is_read_whoever_signed_it() {
    let ca = TestCa::root("fleet");
    let mut draft = ListDraft::by("fleet");
    draft.entries = vec![entry(&[0x12])];
    let lists = [draft.unsigned(), draft.signed_by(&ca), ca.list(1, &[serial("12")], |_| {})];
    let [unsigned, signed, by_rcgen] = lists.map(|der| RevocationList::from_der(&der).unwrap());
    for other in [unsigned, signed] {
        assert_eq!((other.issuer(), other.number()), (by_rcgen.issuer(), by_rcgen.number()));
        assert_eq!(other.this_update(), by_rcgen.this_update());
        assert_eq!(other.next_update(), by_rcgen.next_update());
        assert!(other.revokes(&serial("12")) && by_rcgen.revokes(&serial("12")));
        assert_ne!(other.sha256(), by_rcgen.sha256());
    }
}

#[test]
fn numbers_of_different_length_are_ordered_by_value() {
    let ca = TestCa::root("fleet");
    let of = |number| RevocationList::from_der(&ca.list(number, &[], |_| {})).unwrap().number();
    for (lower, higher) in [(1, 2), (0x7f, 0x80), (0xff, 0x100), (2, 0x100), (0xff00, 0x1_0000)] {
        assert!(of(lower) < of(higher), "{lower} {higher}");
    }
}

#[test]
fn entries_that_no_certificate_here_could_have_are_passed_over() {
    let entries = [
        // Who has one of these is refused for it.
        entry(&[0xff]),
        entry(&[0x80; 20]),
        entry(&[1; 65]),
        entry(&[0]),
        entry(&[0, 0xff]),
        entry(&[1; 64]),
        entry(&[0x7f; 21]),
        // The same twice, the second time in another encoding.
        entry(&[2]),
        entry(&[0, 2]),
    ];
    let list = read(|list| list.entries = entries.to_vec()).unwrap();
    assert_eq!(list.len(), 5);
    for revoked in ["00", "ff", &"01".repeat(64), &"7f".repeat(21), "02"] {
        assert!(list.revokes(&serial(revoked)), "{revoked}");
    }
    for other in ["01", "80", &"80".repeat(20), &"01".repeat(63), &"7f".repeat(20)] {
        assert!(!list.revokes(&serial(other)), "{other}");
    }
}

#[test]
fn what_is_no_entry_is_refused_by_its_fault() {
    let reason = |octets: &[u8]| extension(&[0x55, 0x1d, 21], false, &tlv(10, octets));
    let issuer = |critical| extension(&[0x55, 0x1d, 29], critical, &sequence(&[]));
    let second = Err(Error::UnknownCriticalEntryExtension { position: 2 });
    let cases = [
        (entry_with(&[2], &[reason(&[1])]), Ok(())),
        (entry_with(&[2], &[strange(false)]), Ok(())),
        (entry_with(&[2], &[strange(true)]), second),
        // Of another CA's certificate, in an indirect list.
        (entry_with(&[2], &[issuer(true)]), Err(Error::Indirect)),
        (entry_with(&[2], &[issuer(false)]), Err(Error::Indirect)),
        (entry_with(&[2], &[reason(&[7])]), Err(Error::Malformed)),
        (entry_with(&[2], &[reason(&[1]), reason(&[1])]), Err(Error::Malformed)),
        (entry(&[]), Err(Error::Malformed)),
        (sequence(&[integer(&[2])]), Err(Error::Malformed)),
        (integer(&[2]), Err(Error::Malformed)),
        (sequence(&[entry(&[2]), entry(&[3])]), Err(Error::Malformed)),
    ];
    for (position, (second, expected)) in cases.into_iter().enumerate() {
        let read = read(|list| list.entries = vec![entry(&[1]), second]);
        assert_eq!(read.map(drop), expected, "case {position}");
    }
}

#[test]
fn bytes_that_are_no_one_list_are_refused_by_their_fault() {
    let ca = TestCa::root("fleet");
    let good = ca.list(1, &[serial("ab12")], |_| {});
    let with_tail = [good.as_slice(), &[0]].concat();
    let cut = good[..good.len() - 1].to_vec();
    let without = include_bytes!("../../testdata/list_without_extensions.der").to_vec();
    let v1 = include_bytes!("../../testdata/list_x509_v1.der").to_vec();
    let cases = [
        (good, Ok(())),
        (with_tail, Err(Error::TrailingData)),
        (cut, Err(Error::Malformed)),
        (Vec::new(), Err(Error::Malformed)),
        (ca.der.to_vec(), Err(Error::Malformed)),
        (without, Err(Error::NoExtensions)),
        (v1, Err(Error::Version(1))),
    ];
    for (position, (der, expected)) in cases.into_iter().enumerate() {
        assert_eq!(RevocationList::from_der(&der).map(drop), expected, "case {position} as DER");
        let text = pem("X509 CRL", &der);
        assert_eq!(
            RevocationList::from_pem(text.as_bytes()).map(drop),
            expected,
            "case {position}"
        );
    }
}

#[test]
fn a_pem_text_holds_one_list_and_no_secret() {
    let ca = TestCa::root("fleet");
    let one = pem("X509 CRL", &ca.list(1, &[], |_| {}));
    let two = pem("X509 CRL", &ca.list(2, &[], |_| {}));
    let certificate = pem("CERTIFICATE", &ca.der);
    let key = ca.key.serialize_pem();
    let encrypted = include_str!("../../testdata/key_encrypted_pkcs8.pem");
    let legacy = include_str!("../../testdata/key_encrypted_legacy.pem");
    let section = |label| pem(label, b"whatever");
    let no_pem = |error: PemError| Err(Error::Pem(error));
    let cases = [
        (one.clone(), Ok(())),
        (one.replace('\n', "\r\n"), Ok(())),
        (format!("Certificate Revocation List (CRL):\n{one}\n \n"), Ok(())),
        (format!("{one}{two}"), Err(Error::SeveralLists(2))),
        (format!("{one}{one}"), Err(Error::SeveralLists(2))),
        (format!("{one}{certificate}"), Err(Error::Certificate)),
        (certificate, Err(Error::Certificate)),
        (format!("{one}{key}"), Err(Error::PrivateKey)),
        (format!("{key}{one}"), Err(Error::PrivateKey)),
        (format!("{one}{}", section("EC PRIVATE KEY")), Err(Error::PrivateKey)),
        (format!("{one}{}", section("RSA PRIVATE KEY")), Err(Error::PrivateKey)),
        (format!("{one}{encrypted}"), Err(Error::PrivateKey)),
        (format!("{one}{legacy}"), Err(Error::PrivateKey)),
        (
            format!("{one}{}", section("PUBLIC KEY")),
            Err(Error::UnexpectedSection(SectionKind::PublicKey)),
        ),
        (format!("{one}{}", section("CRL")), no_pem(PemError::UnknownSection("CRL".into()))),
        (format!("{one}garbage"), no_pem(PemError::TrailingData)),
        (one.replace("-----END X509 CRL-----", ""), no_pem(PemError::Malformed { position: 1 })),
        (String::new(), no_pem(PemError::NoSection)),
    ];
    for (position, (text, expected)) in cases.into_iter().enumerate() {
        let parsed = RevocationList::from_pem(text.as_bytes()).map(drop);
        assert_eq!(parsed, expected, "case {position}: {text}");
    }
}

#[test]
fn a_list_of_64_mib_is_read_and_a_larger_one_refused_unread() {
    let of = |padding: usize| {
        let filled = |bytes| extension(&UNKNOWN, false, &vec![0; bytes]);
        let mut draft = ListDraft::by("fleet");
        draft.entries = (0..1116_u16)
            .map(|at| entry_with(&[&[1][..], &at.to_be_bytes()].concat(), &[filled(60_000)]))
            .collect();
        draft.entries.push(entry_with(&[1], &[filled(padding / 2)]));
        draft.entries.push(entry_with(&[2], &[filled(padding - padding / 2)]));
        draft.unsigned()
    };
    let padding = MAX_DER - of(40_000).len() + 40_000;
    let (largest, larger) = (of(padding), of(padding + 1));
    assert_eq!((largest.len(), larger.len()), (MAX_DER, MAX_DER + 1));
    let list = RevocationList::from_der(&largest).unwrap();
    assert_eq!(list.len(), 1118);
    assert!(list.revokes(&serial("01045b")) && !list.revokes(&serial("01045c")));
    let too_large = |length, limit| Err(Error::TooLarge { length, limit });
    assert_eq!(RevocationList::from_der(&larger).map(drop), too_large(MAX_DER + 1, MAX_DER));

    let refused = RevocationList::from_pem(&vec![b'\n'; MAX_PEM + 1]).map(drop);
    assert_eq!(refused, too_large(MAX_PEM + 1, MAX_PEM));
    let in_lines_of_64_with_two_ends = MAX_DER.div_ceil(3) * 4 / 64 * 66;
    assert!(in_lines_of_64_with_two_ends + 1024 < MAX_PEM);
}

proptest! {
    #[test]
    fn exactly_what_is_in_a_list_is_revoked(
        revoked in prop::collection::vec(serials(), 0..20),
        asked in prop::collection::vec(serials(), 20),
    ) {
        let naive: BTreeSet<&Vec<u8>> = revoked.iter().collect();
        let list = read(|list| {
            list.entries = revoked.iter().map(|octets| entry(octets)).collect();
        }).unwrap();
        prop_assert_eq!(list.len(), naive.len());
        for octets in revoked.iter().chain(&asked) {
            let serial = SerialNumber::from_der_content(octets).unwrap();
            prop_assert_eq!(list.revokes(&serial), naive.contains(octets), "{}", serial);
        }
    }
}

/// The content octets of serial numbers, of which many are drawn twice or differ little.
fn serials() -> impl Strategy<Value = Vec<u8>> {
    let few = prop::collection::vec(1..4_u8, 1..3);
    let many = (1..0x80_u8, prop::collection::vec(0..3_u8, 15..24));
    prop_oneof![few, many.prop_map(|(first, rest)| [vec![first], rest].concat())]
}

fn key_id() -> Vec<u8> {
    extension(&[0x55, 0x1d, 35], false, &sequence(&[tlv(0x80, &[1, 2, 3])]))
}

fn delta(critical: bool) -> Vec<u8> {
    extension(&[0x55, 0x1d, 27], critical, &integer(&[1]))
}

/// An issuing distribution point with this content.
fn point(critical: bool, content: &[u8]) -> Vec<u8> {
    extension(&[0x55, 0x1d, 28], critical, &tlv(0x30, content))
}

/// An extension of a kind that nobody knows.
fn strange(critical: bool) -> Vec<u8> {
    extension(&UNKNOWN, critical, &[5, 0])
}

/// Of an issuing distribution point: onlySomeReasons, keyCompromise.
const REASONS: [u8; 4] = [0x83, 2, 1, 0x40];
/// Of an issuing distribution point: indirectCRL.
const INDIRECT: [u8; 3] = [0x84, 1, 0xff];
/// 1.3.9999.1
const UNKNOWN: [u8; 4] = [0x2b, 0xce, 0x0f, 1];
