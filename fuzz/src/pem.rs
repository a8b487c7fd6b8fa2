//! PEM texts: CAs, chains with their keys, and keys that a password opens.

use mqtls::certificate::{EncryptedKeyError, MaterialError, Password};
use mqtls::{CaCertificate, CertificateMaterial, ServerCertificate};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};

use super::fixed;

/// Reads the bytes as a text, and as the DER of an encrypted key in a text that is otherwise good:
/// changes would seldom get through the base64.
pub fn run(data: &[u8]) {
    read(data);
    if data.first() == Some(&SEQUENCE) {
        let key = pem::encode(&pem::Pem::new("ENCRYPTED PRIVATE KEY", data));
        read(&[fixed::CERTIFICATE, key.as_bytes()].concat());
    }
}

fn read(text: &[u8]) {
    let without = CertificateMaterial::from_pem(text, None);
    match CaCertificate::from_pem(text) {
        Ok(ca) => {
            assert!(matches!(without, Err(MaterialError::NoKey)), "{without:?}");
            let again = CaCertificate::from_der(ca.der()).unwrap();
            assert_eq!((ca.serial(), ca.sha256()), (again.serial(), again.sha256()));
        }
        Err(error) => fixed::check_length(&error),
    }
    let encrypted = match &without {
        Ok(material) => {
            show(material);
            false
        }
        Err(error) => {
            fixed::check_length(error);
            *error == MaterialError::EncryptedKey(EncryptedKeyError::NoPassword)
        }
    };
    if encrypted && is_slow(text) {
        return;
    }
    match CertificateMaterial::from_pem(text, Some(&Password::from(PASSWORD.to_owned()))) {
        Ok(material) => {
            assert!(encrypted);
            show(&material);
        }
        Err(error) => {
            fixed::check_length(&error);
            if without.is_ok() {
                assert_eq!(error, MaterialError::PasswordForPlainKey);
            }
        }
    }
}

fn show(material: &CertificateMaterial) {
    match ServerCertificate::new(material, &fixed::provider()) {
        Ok(certificate) => {
            assert!(certificate.names().iter().all(|name| certificate.is_for(name)));
        }
        Err(error) => fixed::check_length(&error),
    }
}

/// Whether trying a password takes longer than a run should, and yet not so long that it is
/// refused: up to a second is allowed.
fn is_slow(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some(section) = text.find(BEGIN).and_then(|start| text.get(start..)) else {
        return false;
    };
    let end = section.find(END).map_or(0, |end| end + END.len());
    let key = section.get(..end).and_then(|section| SecretDocument::from_pem(section).ok());
    key.is_some_and(|(_label, key)| costs_much(&key))
}

fn costs_much(key: &SecretDocument) -> bool {
    let Ok(info) = EncryptedPrivateKeyInfoRef::try_from(key.as_bytes()) else {
        return false;
    };
    match &info.encryption_algorithm {
        EncryptionScheme::Pbes2(parameters) => match &parameters.kdf {
            Kdf::Pbkdf2(kdf) => (10_000..=5_000_000).contains(&kdf.iteration_count),
            Kdf::Scrypt(kdf) => {
                let passes = u64::from(kdf.block_size) * u64::from(kdf.parallelization);
                let blocks = kdf.cost_parameter.saturating_mul(passes);
                (1 << 12..=1 << 21).contains(&blocks)
            }
            _ => false,
        },
        _ => false,
    }
}

const SEQUENCE: u8 = 0x30;
const PASSWORD: &str = "hunter2";
const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
