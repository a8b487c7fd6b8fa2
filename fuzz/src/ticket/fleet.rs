//! The CAs that stand behind tickets, and devices of theirs; made anew in each process, with serial
//! numbers that are always the same.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Three registered as active, one as inactive, and two that are not.
pub struct Fleet {
    pub root: Ca,
    pub sub: Ca,
    /// Not valid yet, so that no path ends there.
    pub early: Ca,
    pub retired: Ca,
    /// A twin of `early`: what a path through its key has in it.
    renewed: Ca,
    pub unregistered: Ca,
}

impl Fleet {
    pub fn make() -> Self {
        let root = Ca::make("root", &[0x11; 8], None, new_key(), |_| {});
        let below = |name, serial, key, change: fn(&mut _)| {
            Ca::make(name, &[serial; 8], Some(&root), key, change)
        };
        let early = below("early", 0x33, new_key(), |params| {
            params.not_before = date_time_ymd(2030, 1, 1);
        });
        Self {
            sub: below("sub", 0x22, new_key(), |_| {}),
            retired: below("retired", 0x44, new_key(), |_| {}),
            renewed: below("early", 0x55, Arc::clone(&early.key), |_| {}),
            unregistered: below("unregistered", 0x66, new_key(), |_| {}),
            early,
            root,
        }
    }

    /// Whom all doors know as active.
    pub fn active(&self) -> [&Ca; 3] {
        [&self.root, &self.sub, &self.early]
    }

    /// One of a registered CA, one below an unregistered one, and one below the twin of one that is
    /// registered: with each other they have every kind of CA on their paths.
    pub fn devices(&self) -> [Device; 3] {
        [
            self.sub.device("of sub", &[]),
            self.unregistered.device("of unregistered", &[&self.unregistered]),
            self.renewed.device("of renewed", &[&self.renewed]),
        ]
    }

    /// A certificate for `a.com`, which the clients believe for being below the root.
    pub fn server(&self) -> Device {
        let params = CertificateParams::new(vec!["a.com".to_owned()]).unwrap();
        self.root.issue(params, &[])
    }
}

pub struct Ca {
    params: CertificateParams,
    key: Arc<KeyPair>,
    pub der: CertificateDer<'static>,
    /// As it stands in tickets.
    pub serial: Vec<u8>,
    /// The same, DER without the outer SEQUENCE.
    pub subject: Vec<u8>,
}

impl Ca {
    fn make(
        name: &str,
        serial: &[u8],
        issuer: Option<&Self>,
        key: Arc<KeyPair>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(serial));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        let certificate = match issuer {
            None => params.self_signed(key.as_ref()),
            Some(issuer) => params.signed_by(key.as_ref(), &issuer.issuer()),
        };
        let der = certificate.unwrap().der().clone();
        Self { subject: common_name(name), serial: serial.to_vec(), der, params, key }
    }

    /// The public key's value, as it stands in tickets.
    pub fn point(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn device(&self, name: &str, sent_along: &[&Self]) -> Device {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, sent_along)
    }

    fn issue(&self, mut params: CertificateParams, sent_along: &[&Self]) -> Device {
        params.serial_number = Some(SerialNumber::from_slice(&[0x77; 8]));
        let key = new_key();
        let leaf = params.signed_by(key.as_ref(), &self.issuer()).unwrap().der().clone();
        let sent_along = sent_along.iter().map(|ca| ca.der.clone());
        Device { chain: std::iter::once(leaf).chain(sent_along).collect(), key }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, self.key.as_ref())
    }
}

/// A chain, its own certificate first, with its key.
pub struct Device {
    pub chain: Vec<CertificateDer<'static>>,
    key: Arc<KeyPair>,
}

impl Device {
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}

fn new_key() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate().unwrap())
}

/// A name of one attribute.
fn common_name(name: &str) -> Vec<u8> {
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    let length = u8::try_from(name.len()).unwrap();
    let text = [&[0x0c, length], name.as_bytes()].concat();
    [&[0x31, length + 9, 0x30, length + 7], &COMMON_NAME[..], &text].concat()
}
