//! The CAs that stand behind tickets, and devices of theirs; made anew in each process, with serial
//! numbers that are always the same.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Three registered as active, one as inactive, one that is deleted later, and others that are not
/// registered.
pub struct Fleet {
    pub root: Ca,
    pub sub: Ca,
    /// Not valid yet, so that no path ends there.
    pub early: Ca,
    pub retired: Ca,
    pub deleted: Ca,
    /// A twin of `early`: what a path through its key has in it.
    renewed: Ca,
    pub unregistered: Ca,
    /// Of the root, recorded as inactive.
    pub inactive: Device,
    /// With the keys of the active ones, under names that nobody knows: each issued the next.
    cousins: [Ca; 3],
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
        let sub = below("sub", 0x22, new_key(), |_| {});
        let cousin = |name, serial: u8, issuer: &Ca, of: &Ca| {
            Ca::make(name, &[serial; 8], Some(issuer), Arc::clone(&of.key), |_| {})
        };
        let first = cousin("cousin of root", 0x9a, &root, &root);
        let second = cousin("cousin of sub", 0x9b, &first, &sub);
        let third = cousin("cousin of early", 0x9c, &second, &early);
        Self {
            cousins: [first, second, third],
            sub,
            deleted: below("deleted", 0x88, new_key(), |_| {}),
            retired: below("retired", 0x44, new_key(), |_| {}),
            inactive: root.device("inactive", 0x70, &[], &[]),
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

    /// One of a registered CA, one below an unregistered one, one below the twin of one that is
    /// registered, one below the one that is deleted, and one below the keys of all that are active:
    /// with each other they have every kind of CA on their paths. And one of the root whose
    /// certificate is as long as the first one's.
    pub fn devices(&self) -> [Device; 6] {
        let of_sub = self.sub.device("of sub", 0x71, &[], &[&self.sub]);
        let [first, second, third] = &self.cousins;
        let other = loop {
            // Signatures differ in length.
            let other = self.root.device("other", 0x76, &[], &[&self.root]);
            if other.chain[0].len() == of_sub.chain[0].len() {
                break other;
            }
        };
        let below = |ca: &Ca, name, serial, over: &[&Ca]| ca.device(name, serial, &[ca], over);
        [
            of_sub,
            below(&self.unregistered, "of unregistered", 0x72, &[&self.root]),
            below(&self.renewed, "of renewed", 0x73, &[&self.early, &self.root]),
            below(&self.deleted, "of deleted", 0x74, &[&self.root]),
            third.device("of cousins", 0x75, &[third, second, first], &[&self.root]),
            other,
        ]
    }

    /// A certificate for `a.com`, which the clients believe for being below the root.
    pub fn server(&self) -> Device {
        let params = CertificateParams::new(vec!["a.com".to_owned()]).unwrap();
        self.root.issue(params, 0x77, &[], &[])
    }
}

pub struct Ca {
    params: CertificateParams,
    key: Arc<KeyPair>,
    pub der: CertificateDer<'static>,
    /// As it stands in tickets, where it does.
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

    fn device(&self, name: &str, serial: u8, sent_along: &[&Self], over: &[&Self]) -> Device {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, serial, sent_along, over)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        serial: u8,
        sent_along: &[&Self],
        over: &[&Self],
    ) -> Device {
        params.serial_number = Some(SerialNumber::from_slice(&[serial; 8]));
        let key = new_key();
        let leaf = params.signed_by(key.as_ref(), &self.issuer()).unwrap().der().clone();
        let sent_along = sent_along.iter().map(|ca| ca.der.clone());
        let over = over.iter().map(|ca| ca.serial.clone()).collect();
        let chain = std::iter::once(leaf).chain(sent_along).collect();
        Device { chain, serial: vec![serial; 8], key, over }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, self.key.as_ref())
    }
}

/// A chain, its own certificate first, with its key.
pub struct Device {
    pub chain: Vec<CertificateDer<'static>>,
    pub serial: Vec<u8>,
    key: Arc<KeyPair>,
    /// Of the registered CAs on its path, the anchor last, when nothing changes any more.
    pub over: Vec<Vec<u8>>,
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
