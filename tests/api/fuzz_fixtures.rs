//! Makes the CAs that the fuzz targets know, and the certificates that their searches start from.
//!
//! ```sh
//! cargo test --test api -- --ignored fuzz_fixtures
//! ```
//!
//! makes them all anew. Their keys are thrown away, so that no one can add to what is believed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mqtls::SerialNumber;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints,
    RevocationReason, SanType,
};

use crate::list_draft::{ListDraft, entry, entry_with, extension, sequence, time};
use crate::support::{Identity, NOW, TestCa, date, key, pem, rsa_key};

#[test]
#[ignore = "replaces files of the repository"]
fn fuzz_fixtures_are_made() {
    let cas = Cas::make();
    for (name, ca) in cas.known() {
        write(&format!("fixtures/{name}.der"), &ca.der);
    }
    for (name, device) in cas.believed_devices() {
        write(&format!("fixtures/believed_{name}.der"), device.end_entity());
        write(&format!("seeds/client_chain/believed_{name}"), &framed(&device));
    }
    write("seeds/client_chain/believed_behind_unreadable", &framed(&cas.behind_unreadable()));
    for (name, device) in cas.refused_devices() {
        write(&format!("seeds/client_chain/refused_{name}"), &framed(&device));
    }
    for (name, ca) in cas.known() {
        write(&format!("seeds/der/ca_{name}"), &ca.der);
        write(&format!("seeds/pem/ca_{name}"), pem("CERTIFICATE", &ca.der).as_bytes());
    }
    for (name, key) in [("p256", key(&rcgen::PKCS_ECDSA_P256_SHA256)), ("rsa", rsa_key())] {
        let server = cas.root.server_over(key, &["a.com", "*.a.com"], |_| {});
        write(&format!("seeds/der/server_{name}"), server.end_entity());
        write(&format!("seeds/der/key_{name}"), &server.key.serialize_der());
        write(&format!("seeds/pem/server_{name}"), server.pem().as_bytes());
    }
}

#[test]
#[ignore = "replaces files of the repository"]
fn fuzz_lists_are_made() {
    let ca = TestCa::root("fleet");
    let der = |name: &str, der: &[u8]| {
        write(&format!("seeds/revocation_list/{name}"), &[&[0], der].concat());
    };
    let serials = ["00", "7f", "ff", "1002", "f0e1d2c3b4a5968778695a4b3c2d1e0f12345678"];
    let serials = serials.map(|text| text.parse::<SerialNumber>().unwrap());
    let list = ca.list(0x1a, &serials, |list| {
        let reasons = [RevocationReason::CertificateHold, RevocationReason::KeyCompromise];
        for (entry, reason) in list.revoked_certs.iter_mut().zip(reasons) {
            entry.reason_code = Some(reason);
            entry.invalidity_date = Some(date(NOW));
        }
    });
    der("taken_five_entries", &list);
    der("taken_no_entries", &ca.list(1, &[], |_| {}));
    der("taken_until_2060", &ca.list(1, &[], |list| list.next_update = date(2_840_140_800)));
    let text = pem("X509 CRL", &ca.list(1, &serials, |_| {}));
    write("seeds/revocation_list/taken_pem", &[b"\x01", text.as_bytes()].concat());

    let drafted = |name: &str, change: fn(&mut ListDraft)| {
        let mut draft = ListDraft::by("fleet");
        change(&mut draft);
        der(name, &draft.signed_by(&ca));
    };
    drafted("taken_without_number", |list| list.extensions = vec![any_extension(35, false)]);
    drafted("taken_twice_and_negative", |list| {
        list.entries = [&[2][..], &[0, 2], &[0xff], &[1; 65]].map(entry).to_vec();
    });
    drafted("taken_long_serials", |list| {
        list.entries = [&[1; 21][..], &[1; 64], &[2; 21]].map(entry).to_vec();
    });
    drafted("taken_unknown_extensions", |list| {
        list.entries = vec![entry_with(&[1], &[any_extension(99, false)])];
        list.extensions.push(any_extension(99, false));
    });
    drafted("refused_delta", |list| list.extensions.push(any_extension(27, true)));
    drafted("refused_partial", |list| list.extensions.push(any_extension(28, true)));
    drafted("refused_unknown", |list| list.extensions.push(any_extension(99, true)));
    drafted("refused_indirect", |list| {
        list.entries = vec![entry_with(&[1], &[any_extension(29, true)])];
    });
    drafted("refused_next_update_first", |list| list.next_update = time("250101000000Z"));
    drafted("refused_without_next_update", |list| list.next_update.clear());
}

/// An extension of RFC 5280 by the last number of its object identifier, around an empty sequence.
fn any_extension(number: u8, critical: bool) -> Vec<u8> {
    extension(&[0x55, 0x1d, number], critical, &sequence(&[]))
}

struct Cas {
    root: TestCa,
    sub: TestCa,
    rsa: TestCa,
    ed25519: TestCa,
    constrained: TestCa,
    retired: TestCa,
    retired_sub: TestCa,
    unregistered: TestCa,
    /// A device of the unregistered one: believed where that is sent along.
    distant: Identity,
}

impl Cas {
    fn make() -> Self {
        let root = TestCa::root("root");
        let unregistered = root.child("unregistered");
        let self_signed = |key, name| TestCa::self_signed(Arc::new(key), name, |_| {});
        Self {
            sub: root.child("sub"),
            rsa: self_signed(rsa_key(), "RSA root"),
            ed25519: self_signed(key(&rcgen::PKCS_ED25519), "Ed25519 root"),
            constrained: TestCa::root_with("constrained", |params| {
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
                params.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName("a.com".to_owned())],
                    excluded_subtrees: vec![],
                });
            }),
            retired: TestCa::root("retired"),
            retired_sub: root.child("retired sub"),
            distant: unregistered.device("device"),
            unregistered,
            root,
        }
    }

    /// The registered ones, the last two as inactive.
    fn known(&self) -> [(&str, &TestCa); 7] {
        [
            ("root", &self.root),
            ("sub", &self.sub),
            ("rsa", &self.rsa),
            ("ed25519", &self.ed25519),
            ("constrained", &self.constrained),
            ("retired", &self.retired),
            ("retired_sub", &self.retired_sub),
        ]
    }

    fn believed_devices(&self) -> Vec<(&str, Identity)> {
        let stranger = TestCa::root("stranger");
        vec![
            ("direct", self.root.device("device")),
            ("with_names", self.root.device_with("device", every_name)),
            ("below_sub", self.sub.device("device")),
            ("sub_sent_along", self.sub.device("device").with_chain(&[&self.sub, &self.root])),
            ("below_unregistered", self.distant.clone().with_chain(&[&self.unregistered])),
            (
                "with_strangers",
                self.root.device("device").with_chain(&[&stranger, &self.retired, &self.sub]),
            ),
            ("below_rsa", self.rsa.device("device")),
            ("below_ed25519", self.ed25519.device("device")),
            ("in_constraints", self.constrained.device_with("device", dns("x.a.com"))),
        ]
    }

    /// What cannot be read stands before what is needed.
    fn behind_unreadable(&self) -> Identity {
        let mut device = self.distant.clone();
        device.chain.push(vec![0x30, 0x01, 0x00].into());
        device.chain.push(include_bytes!("../../testdata/ca_x509_v1.der").to_vec().into());
        device.with_chain(&[&self.unregistered])
    }

    fn refused_devices(&self) -> Vec<(&str, Identity)> {
        let crossed = self.root.sign(Arc::clone(&self.retired.key), "retired", |_| {});
        let renamed = self.root.sign(Arc::clone(&self.retired.key), "renamed", |_| {});
        let deep = self.constrained.child("deep");
        let stranger = TestCa::root("stranger");
        let expired = |params: &mut CertificateParams| params.not_after = date(NOW - 1);
        let server = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        };
        vec![
            ("of_retired", self.retired.device("device")),
            ("of_retired_cross_signed", self.retired.device("device").with_chain(&[&crossed])),
            ("of_retired_renamed", renamed.device("device").with_chain(&[&renamed])),
            ("of_retired_sub", self.retired_sub.device("device").with_chain(&[&self.retired_sub])),
            ("of_stranger", stranger.device("device").with_chain(&[&stranger])),
            ("intermediate_missing", self.distant.clone()),
            ("too_many_sent", self.distant.clone().with_chain(&[&self.unregistered; 9])),
            ("expired", self.root.device_with("device", expired)),
            ("for_servers", self.root.device_with("device", server)),
            ("ca_as_device", self.sub.as_device()),
            ("root_as_device", self.root.as_device()),
            ("out_of_constraints", self.constrained.device_with("device", dns("x.b.com"))),
            ("too_deep", deep.device_with("device", dns("x.a.com")).with_chain(&[&deep])),
        ]
    }
}

fn dns(name: &str) -> impl FnOnce(&mut CertificateParams) {
    let name = SanType::DnsName(name.try_into().unwrap());
    |params| params.subject_alt_names = vec![name]
}

fn every_name(params: &mut CertificateParams) {
    params.distinguished_name.push(DnType::OrganizationName, "Größe \u{0} & Söhne");
    params.subject_alt_names = vec![
        SanType::DnsName("x.a.com".try_into().unwrap()),
        SanType::Rfc822Name("x@a.com".try_into().unwrap()),
        SanType::URI("spiffe://a.com/x".try_into().unwrap()),
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::IpAddress([0; 16].into()),
    ];
}

/// The certificates of a chain, each behind its length in two octets, as the target reads them.
fn framed(device: &Identity) -> Vec<u8> {
    let frame = |der: &rustls_pki_types::CertificateDer<'_>| {
        let length = u16::try_from(der.len()).unwrap().to_be_bytes();
        [&length, der.as_ref()].concat()
    };
    device.chain.iter().flat_map(frame).collect()
}

fn write(name: &str, bytes: &[u8]) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
