//! Revocation lists, as DER and as PEM texts.

use std::collections::BTreeSet;
use std::time::Duration;

use mqtls::certificate::RevocationList;
use mqtls::{SerialNumber, Sha256};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use super::fixed;

/// Reads the octets behind the first as DER where that is even, else as a PEM text. What is taken
/// says and revokes what a naive reading has. Returns whether it is taken.
pub fn run(data: &[u8]) -> bool {
    let [form, data @ ..] = data else {
        return false;
    };
    let read =
        if form % 2 == 0 { RevocationList::from_der(data) } else { RevocationList::from_pem(data) };
    let list = match read {
        Ok(list) => list,
        Err(error) => {
            fixed::check_length(&error);
            return false;
        }
    };
    if form % 2 == 0 {
        check(&list, data);
    } else {
        let der = CertificateRevocationListDer::from_pem_slice(data).unwrap();
        check_same(&list, &RevocationList::from_der(&der).unwrap());
        check(&list, &der);
    }
    true
}

fn check(list: &RevocationList, der: &[u8]) {
    assert_eq!(list.sha256(), Sha256::of(der));
    let text = pem::encode(&pem::Pem::new("X509 CRL", der));
    check_same(list, &RevocationList::from_pem(text.as_bytes()).unwrap());

    let (rest, naive) = CertificateRevocationList::from_der(der).unwrap();
    assert!(rest.is_empty());
    assert_eq!(list.issuer(), naive.issuer().to_string());
    let number = naive.crl_number().map(|number| format!("0x{}", number.to_str_radix(16)));
    assert_eq!(list.number().map(|number| number.to_string()), number);
    assert_eq!(list.this_update(), unix(naive.last_update()));
    assert_eq!(list.next_update(), unix(naive.next_update().unwrap()));
    assert!(list.this_update() <= list.next_update());
    assert_eq!(naive.tbs_cert_list.signature, naive.signature_algorithm);
    for extension in naive.extensions() {
        let oid = extension.oid.to_id_string();
        assert!(!COVERS_LESS.contains(&oid.as_str()), "{oid}");
        assert!(!extension.critical || UNDERSTOOD.contains(&oid.as_str()), "{oid}");
    }
    check_entries(list, &naive);
}

fn check_entries(list: &RevocationList, naive: &CertificateRevocationList<'_>) {
    let mut revoked = BTreeSet::new();
    for entry in naive.iter_revoked_certificates() {
        for extension in entry.extensions() {
            let oid = extension.oid.to_id_string();
            assert_ne!(oid, CERTIFICATE_ISSUER);
            assert!(!extension.critical || ENTRY_UNDERSTOOD.contains(&oid.as_str()), "{oid}");
        }
        let octets = entry.raw_serial();
        match SerialNumber::from_der_content(octets) {
            Ok(serial) => revoked.extend([serial.to_string()]),
            Err(_) => assert!(octets[0] & 0x80 != 0 || octets.len() > 64, "{octets:02x?}"),
        }
    }
    assert_eq!((list.len(), list.is_empty()), (revoked.len(), revoked.is_empty()));
    for shown in &revoked {
        assert!(list.revokes(&shown.parse().unwrap()), "{shown}");
        let (front, last) = shown.split_at(shown.len() - 2);
        let last = u8::from_str_radix(last, 16).unwrap();
        let neighbours =
            [last ^ 1, last.wrapping_add(0x80)].map(|last| format!("{front}{last:02x}"));
        for other in neighbours.into_iter().chain([front.to_owned(), format!("{front}00")]) {
            let Ok(serial) = other.parse::<SerialNumber>() else {
                continue;
            };
            let expected = revoked.contains(&serial.to_string());
            assert_eq!(list.revokes(&serial), expected, "{other} beside {shown}");
        }
    }
}

fn check_same(one: &RevocationList, other: &RevocationList) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    assert_eq!(one.sha256(), other.sha256());
    assert_eq!(one.this_update(), other.this_update());
    assert_eq!(one.next_update(), other.next_update());
}

fn unix(time: ASN1Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.timestamp().try_into().unwrap()))
}

/// Delta CRL indicator, issuing distribution point.
const COVERS_LESS: [&str; 2] = ["2.5.29.27", "2.5.29.28"];
/// CRL number, authority key identifier.
const UNDERSTOOD: [&str; 2] = ["2.5.29.20", "2.5.29.35"];
/// Reason code, invalidity date.
const ENTRY_UNDERSTOOD: [&str; 2] = ["2.5.29.21", "2.5.29.24"];
const CERTIFICATE_ISSUER: &str = "2.5.29.29";
