//! DER: certificates that an operator registers or shows, and keys.

use std::sync::{Arc, LazyLock};

use mqtls::control::{Cause, DeleteCaCertificate};
use mqtls::{
    CaCertificate, CaStatus, Caller, CertificateMaterial, Instance, Instances, Memory, RegisterCa,
    ServerCertificate, Sha256,
};
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use super::fixed;

/// Reads the bytes as each of them.
pub fn run(data: &[u8]) {
    match CaCertificate::from_der(data) {
        Ok(ca) => register(&ca, data),
        Err(error) => fixed::check_length(&error),
    }
    let certificate = CertificateDer::from(data.to_vec());
    if let Some(shown) = show(vec![certificate.clone()], fixed::server_key()) {
        assert_eq!(shown.sha256(), Sha256::of(data));
    }
    // In second place nothing but its form counts.
    show(vec![fixed::server_certificate(), certificate], fixed::server_key());
    let keys: [PrivateKeyDer<'_>; 3] = [
        PrivatePkcs8KeyDer::from(data).into(),
        PrivateSec1KeyDer::from(data).into(),
        PrivatePkcs1KeyDer::from(data).into(),
    ];
    for key in keys {
        show(vec![fixed::server_certificate()], key.clone_key());
    }
}

/// A CA that can be read is registered, or refused for a reason of its own. With it alone, no one
/// else's device is believed, nor the CA itself.
fn register(ca: &CaCertificate, der: &[u8]) {
    static ALONE: LazyLock<(Instances, Arc<Instance>)> =
        LazyLock::new(|| fixed::instance(Memory::new()));
    let (instances, instance) = &*ALONE;
    assert_eq!(ca.der().as_ref(), der);
    let _shown = format!("{ca:?} {} {:?}", ca.subject(), ca.validity());
    let again = CaCertificate::from_pem(pem::encode(&pem::Pem::new("CERTIFICATE", der)).as_bytes());
    assert_eq!(again.unwrap().sha256(), ca.sha256());

    let operation = RegisterCa {
        mqtt_instance_id: instance.id().clone(),
        name: String::new(),
        status: CaStatus::Active,
        certificate: ca.clone(),
    };
    match operation.apply(instances, &Caller::local()) {
        Ok(response) => {
            assert_eq!(&response.sn, ca.serial());
            response.warnings.iter().for_each(|warning| fixed::check_length(warning));
        }
        Err(error) => {
            assert!(matches!(error.cause(), Cause::Register(_)), "{error:?}");
            return fixed::check_length(&error);
        }
    }
    let verifier = instance.verifier();
    let device = DEVICE.into();
    let believed =
        |der| verifier.verify_client_cert(der, &[ca.der().clone()], fixed::now()).is_ok();
    assert!(!believed(ca.der()));
    assert!(!believed(&device) || ca.subject() == ISSUER);
    let delete =
        DeleteCaCertificate { mqtt_instance_id: instance.id().clone(), sn: ca.serial().clone() };
    delete.apply(instances, &Caller::local()).unwrap();
    assert!(instance.trust().is_empty());
    assert!(!believed(&device));
}

fn show(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Option<ServerCertificate> {
    let material = CertificateMaterial::from_der(chain, key).unwrap();
    match ServerCertificate::new(&material, &fixed::provider()) {
        Ok(certificate) => {
            assert!(certificate.names().iter().all(|name| certificate.is_for(name)));
            let _shown = format!("{certificate:?} {:?}", certificate.validity());
            Some(certificate)
        }
        Err(error) => {
            fixed::check_length(&error);
            None
        }
    }
}

const DEVICE: &[u8] = include_bytes!("../fixtures/believed_direct.der");
const ISSUER: &str = "CN=root";
