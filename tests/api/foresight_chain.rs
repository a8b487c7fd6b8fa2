//! What is to look at in a server certificate's chain, found when the certificate is loaded.

use mqtls::certificate::ChainFinding::{Incomplete, OutOfOrder, WeakKey, WeakSignature};
use mqtls::certificate::{ChainFinding, ServerCertificateError};
use mqtls::{CertificateMaterial, ServerCertificate};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{Identity, TestCa, provider, rsa_key};

const WEAK_KEYS: &str = include_str!("../../testdata/chain_weak_keys.pem");
const WEAK_SIGNATURES: &str = include_str!("../../testdata/chain_weak_signatures.pem");
const WITH_CA_ISSUERS: &str = include_str!("../../testdata/chain_with_ca_issuers.pem");
const SELF_ISSUED: &str = include_str!("../../testdata/lone_self_issued_with_ca_issuers.pem");
const WITH_OCSP_ONLY: &str = include_str!("../../testdata/lone_with_ocsp_only.pem");

fn findings(material: &CertificateMaterial) -> Vec<ChainFinding> {
    ServerCertificate::new(material, &provider()).unwrap().chain_findings().to_vec()
}

/// The findings in a chain of these certificates of a PEM text, counted from 1.
fn findings_of(text: &str, positions: &[usize]) -> Vec<ChainFinding> {
    let sections = pem::parse_many(text).unwrap();
    let (certificates, keys): (Vec<_>, Vec<_>) =
        sections.into_iter().partition(|section| section.tag() == "CERTIFICATE");
    let der = |at: &usize| CertificateDer::from(certificates[at - 1].contents().to_vec());
    let key = PrivateKeyDer::try_from(keys[0].contents().to_vec()).unwrap();
    let chain = positions.iter().map(der).collect();
    findings(&CertificateMaterial::from_der(chain, key).unwrap())
}

#[test]
fn weak_keys_are_found_wherever_they_stand_in_the_chain() {
    let found = findings_of(WEAK_KEYS, &[1, 2, 3, 4, 5]);
    let weak = |position, bits| WeakKey { position, bits };
    // Not P-256, nor RSA of 2048 bits.
    assert_eq!(found, [weak(2, 224), weak(3, 2047), weak(5, 1024)]);
    let rsa = TestCa::root("root").server_over(rsa_key(), &["a.com"], |_| {});
    assert_eq!(findings(&rsa.material()), []);
}

#[test]
fn weak_signatures_are_found_but_for_those_that_a_certificate_made_itself() {
    let found = findings_of(WEAK_SIGNATURES, &[1, 2, 3, 4, 5, 6]);
    let weak = |position| WeakSignature { position };
    // The fifth is signed with SHA-256, and the root, with SHA-1, by itself.
    assert_eq!(found, [weak(1), weak(2), weak(3), weak(4)]);
}

/// A server's certificate below two CAs below a root, with the certificates of this list behind it.
fn chain_of(names: &[&str]) -> Vec<ChainFinding> {
    let root = TestCa::root("root");
    let upper = root.child("upper");
    let lower = upper.child("lower");
    let other = TestCa::root("other root").child("other");
    let leaf = lower.server(&["a.com"]);
    let cas = [("root", &root), ("upper", &upper), ("lower", &lower), ("other", &other)];
    let der = |name: &&str| match *name {
        "leaf" => leaf.end_entity().clone(),
        name => cas.iter().find(|(known, _)| *known == name).unwrap().1.der.clone(),
    };
    let behind = names.iter().map(der);
    let chain = [leaf.end_entity().clone()].into_iter().chain(behind).collect();
    findings(&Identity { chain, key: leaf.key.clone() }.material())
}

#[test]
fn each_certificate_is_followed_by_its_issuer_up_to_where_the_chain_ends() {
    let out_of_order = |position| OutOfOrder { position };
    let incomplete = |position| Incomplete { position };
    let cases: &[(&[&str], &[ChainFinding])] = &[
        (&[], &[]),
        (&["lower"], &[]),
        (&["lower", "upper"], &[]),
        (&["lower", "upper", "root"], &[]),
        // What comes last in a chain that was turned round leads to the root all the same.
        (&["upper", "lower"], &[out_of_order(1)]),
        (&["upper", "lower", "other"], &[out_of_order(1), incomplete(2), out_of_order(3)]),
        (&["root", "upper", "lower"], &[out_of_order(1), out_of_order(3)]),
        (&["lower", "root", "upper"], &[out_of_order(2)]),
        (&["upper"], &[incomplete(1)]),
        (&["root"], &[incomplete(1)]),
        (&["other"], &[incomplete(1)]),
        (&["lower", "root"], &[incomplete(2)]),
        (&["lower", "other"], &[incomplete(2)]),
        (&["upper", "root"], &[incomplete(1)]),
        // The end entity's certificate stands twice, as where two files were put together.
        (&["leaf", "lower"], &[out_of_order(1)]),
        (&["leaf"], &[]),
        (&["lower", "lower"], &[]),
        (&["lower", "lower", "root"], &[incomplete(2), incomplete(3)]),
        // What stands behind a root is of no use, and does no harm.
        (&["lower", "upper", "root", "other"], &[]),
    ];
    for (names, expected) in cases {
        assert_eq!(chain_of(names), *expected, "{names:?}");
    }
}

#[test]
fn an_end_entity_alone_is_incomplete_where_it_says_where_its_issuer_is_to_be_had() {
    assert_eq!(findings_of(WITH_CA_ISSUERS, &[1]), [Incomplete { position: 1 }]);
    assert_eq!(findings_of(WITH_CA_ISSUERS, &[1, 2]), [], "the last one says so too");
    assert_eq!(findings_of(WITH_OCSP_ONLY, &[1]), []);
    assert_eq!(findings_of(SELF_ISSUED, &[1]), []);
}

#[test]
fn a_certificate_that_issued_itself_has_no_other_issuer() {
    let root = TestCa::root("root");
    assert_eq!(findings(&root.as_device().material()), []);
    let other = TestCa::root("other");
    assert_eq!(findings(&root.as_device().with_chain(&[&other]).material()), []);
}

#[test]
fn a_chain_is_read_once_and_its_first_malformed_certificate_is_named() {
    let leaf = TestCa::root("root").server(&["a.com"]);
    for (chain, position) in [
        (vec![leaf.end_entity().clone(), b"no certificate".to_vec().into()], 2),
        (vec![b"no certificate".to_vec().into(), b"nor this".to_vec().into()], 1),
    ] {
        let material = Identity { chain, key: leaf.key.clone() }.material();
        let error = ServerCertificate::new(&material, &provider()).unwrap_err();
        assert_eq!(error, ServerCertificateError::Malformed { position });
    }
}

#[test]
fn findings_read_as_sentences() {
    let cases = [
        (
            WeakKey { position: 2, bits: 1024 },
            "certificate 2 of the chain has a weak key of 1024 bits",
        ),
        (WeakSignature { position: 1 }, "certificate 1 of the chain is signed with SHA-1 or MD5"),
        (
            OutOfOrder { position: 1 },
            "certificate 1 of the chain is not followed by its issuer, which stands elsewhere in it",
        ),
        (Incomplete { position: 3 }, "the issuer of certificate 3 of the chain is missing"),
    ];
    for (finding, text) in cases {
        assert_eq!(finding.to_string(), text);
    }
}
