//! A console over the demo's door, as tests need it.

use mqtls::{
    CaCertificate, CaStatus, Caller, DeviceCertificate, DeviceStatus, RegisterCa,
    RegisterDeviceCertificate,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::line::Line;
use super::operation;
use crate::door::Door;
use crate::pki::Pki;

pub(super) struct Desk {
    pub(super) pki: Pki,
    pub(super) door: Door,
    _dir: TempDir,
}

impl Desk {
    pub(super) fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_make(&dir.path().join("demo")).unwrap();
        let door = Door::open(&pki).unwrap();
        Self { pki, door, _dir: dir }
    }

    /// The answer to a line.
    pub(super) fn answer(&self, line: &str) -> Value {
        let line = Line::parse(line).unwrap().unwrap();
        operation::apply(line, &self.door.instances, &Caller::local())
    }

    /// The answer to a line that is applied, but for the request's id.
    pub(super) fn done(&self, line: &str) -> Value {
        let mut answer = self.answer(line);
        assert_eq!(answer.get("Code"), None, "{line}: {answer}");
        answer.as_object_mut().unwrap().remove("RequestId").unwrap();
        answer
    }

    /// The SHA-256 of a server certificate, as its file has it.
    pub(super) fn sha256(&self, instance: &str, id: &str) -> String {
        let file = self.pki.server_certificate(instance, id);
        let digest = Sha256::digest(CertificateDer::from_pem_file(file).unwrap());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Registers a device of the first instance's active CA, and tells its serial number.
    pub(super) fn register(&self, device: &str) -> String {
        let (ca, file) = (&self.door.device_ca, self.pki.path(&format!("{device}.pem")));
        let line = format!("RegisterDeviceCertificate CaSn={ca} File={}", file.display());
        self.done(&line)["DeviceSn"].as_str().unwrap().to_owned()
    }

    /// Registers devices of another CA, and tells that one's serial number.
    pub(super) fn register_many(&self, count: usize) -> String {
        let (instances, me) = (&self.door.instances, Caller::local());
        let mqtt_instance_id = self.door.ids()[0].clone();
        let key = KeyPair::generate().unwrap();
        let mut ca = params("many");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = ca.self_signed(&key).unwrap().pem();
        let register = RegisterCa {
            mqtt_instance_id: mqtt_instance_id.clone(),
            name: "many".to_owned(),
            status: CaStatus::Active,
            certificate: CaCertificate::from_pem(certificate.as_bytes()).unwrap(),
        };
        let ca_sn = register.apply(instances, &me).unwrap().sn;
        let issuer = Issuer::new(ca, &key);
        for number in 0..count {
            let mut device = params(&number.to_string());
            // Left open it would be made from the key.
            device.serial_number = Some(u64::try_from(number).unwrap().into());
            let device = device.signed_by(&key, &issuer).unwrap();
            RegisterDeviceCertificate {
                mqtt_instance_id: mqtt_instance_id.clone(),
                ca_sn: ca_sn.clone(),
                status: DeviceStatus::Active,
                certificate: DeviceCertificate::from_der(vec![device.into()]).unwrap(),
            }
            .apply(instances, &me)
            .unwrap();
        }
        ca_sn.to_string()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
