//! Makes the demo's CAs and lets each sign what belongs to it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, SerialNumber,
};
use uuid::Uuid;

use super::files::{Readers, create, create_directory, sync_directory};
use super::{
    CERTIFICATES, DEVICE_1_REVOKED, DEVICE_CA, EXACT_RENEWALS, FIRST_INSTANCE, NOBODY_REVOKED,
    OLDER_LIST, RETIRED_CA, SECOND_DEVICE_CA, SECOND_INSTANCE, SECOND_SERVER_CA, SERVER_CA,
};

/// Writes a whole PKI into an empty directory.
pub(super) fn write_pki(root: &Path) -> Result<()> {
    let certificates = root.join(CERTIFICATES);
    create_directory(&certificates)?;
    write_first(root)?;
    write_second(root)?;
    [&*certificates, root].into_iter().try_for_each(sync_directory)
}

fn write_first(root: &Path) -> Result<()> {
    let servers = root.join(CERTIFICATES).join(FIRST_INSTANCE);
    create_directory(&servers)?;

    let ca = Ca::make("mqtls demo server CA", &root.join(SERVER_CA))?;
    ca.issue_server(&servers.join("default.pem"), &["localhost", "127.0.0.1"], ecdsa()?)?;
    ca.issue_server(&servers.join("wildcard.pem"), &["*.mqtt.example.test"], ecdsa()?)?;
    let [first, next] = EXACT_RENEWALS.map(|file| root.join(file));
    ca.issue_server(&first, &["eu.mqtt.example.test"], ecdsa()?)?;
    ca.issue_server(&next, &["eu.mqtt.example.test"], ecdsa()?)?;
    create(&servers.join("exact.pem"), &fs::read_to_string(&first)?, Readers::Owner)?;
    ca.issue_server(&servers.join("exact-rsa.pem"), &["eu.mqtt.example.test"], rsa()?)?;

    let ca = Ca::make("mqtls demo device CA", &root.join(DEVICE_CA))?;
    let device_1 = ca.issue_device(root, "device-1")?;
    ca.issue_device(root, "device-2")?;
    ca.issue_list(&root.join(OLDER_LIST), 1, None)?;
    ca.issue_list(&root.join(DEVICE_1_REVOKED), 2, Some(device_1))?;
    ca.issue_list(&root.join(NOBODY_REVOKED), 3, None)?;

    let ca = Ca::make("mqtls demo retired CA", &root.join(RETIRED_CA))?;
    ca.issue_device(root, "retired-device")?;

    sync_directory(&servers)
}

/// Writes the second instance's part into a PKI that has a directory of server certificates.
pub(super) fn write_second(root: &Path) -> Result<()> {
    let servers = root.join(CERTIFICATES).join(SECOND_INSTANCE);
    let devices = root.join(SECOND_INSTANCE);
    create_directory(&servers)?;
    create_directory(&devices)?;

    let ca = Ca::make("mqtls demo second server CA", &root.join(SECOND_SERVER_CA))?;
    ca.issue_server(&servers.join("default.pem"), &["second.localhost"], ecdsa()?)?;
    ca.issue_server(&servers.join("wildcard.pem"), &["*.second.example.test"], ecdsa()?)?;

    let ca = Ca::make("mqtls demo second device CA", &root.join(SECOND_DEVICE_CA))?;
    ca.issue_device(&devices, "device-1")?;
    ca.issue_device(&devices, "device-2")?;

    [servers, devices].iter().try_for_each(|directory| sync_directory(directory))
}

/// A CA while it signs. Its key is nowhere but here and ends with it.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn make(name: &str, file: &Path) -> Result<Self> {
        let mut ca = params(name, &[])?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = ecdsa()?;
        create(file, &ca.self_signed(&key)?.pem(), Readers::Anyone)?;
        Ok(Self { issuer: Issuer::new(ca, key) })
    }

    /// Writes chain and key into one file, as the broker's certificate directory wants them.
    fn issue_server(&self, file: &Path, names: &[&str], key: KeyPair) -> Result<()> {
        let mut server = params(names.first().copied().unwrap_or_default(), names)?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = self.sign(server, &key)?;
        create(file, &format!("{certificate}{}", key.serialize_pem()), Readers::Owner)
    }

    /// Writes certificate and key into two files, as MQTT clients want them, and tells the serial
    /// number, by which it can be revoked.
    fn issue_device(&self, directory: &Path, name: &str) -> Result<SerialNumber> {
        let serial = SerialNumber::from_slice(Uuid::new_v4().as_bytes());
        let mut device = params(name, &[])?;
        device.serial_number = Some(serial.clone());
        device.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = ecdsa()?;
        let certificate = self.sign(device, &key)?;
        create(&directory.join(format!("{name}.pem")), &certificate, Readers::Anyone)?;
        create(&directory.join(format!("{name}.key")), &key.serialize_pem(), Readers::Owner)?;
        Ok(serial)
    }

    /// Writes a list of what it revokes. It is good for as long as the CA itself, since its key will
    /// not be there to sign the next one.
    fn issue_list(&self, file: &Path, number: u64, revokes: Option<SerialNumber>) -> Result<()> {
        let CertificateParams { not_before, not_after, .. } = params("", &[])?;
        let revoked = |serial_number| RevokedCertParams {
            serial_number,
            revocation_time: not_before,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: not_before,
            next_update: not_after,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revokes.into_iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        create(file, &list.signed_by(&self.issuer)?.pem()?, Readers::Anyone)
    }

    fn sign(&self, mut leaf: CertificateParams, key: &KeyPair) -> Result<String> {
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        Ok(leaf.signed_by(key, &self.issuer)?.pem())
    }
}

fn params(common_name: &str, names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + now + VALIDITY;
    Ok(params)
}

fn ecdsa() -> Result<KeyPair> {
    Ok(KeyPair::generate()?)
}

fn rsa() -> Result<KeyPair> {
    Ok(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?)
}

/// Certificates are valid from this long before now: a client's clock may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// Long enough that a demo directory that lies around still works, short enough to end.
const VALIDITY: Duration = Duration::from_secs(5 * 365 * 24 * 60 * 60);
