//! What a client sends before it has proven anything: a chain of certificates.

use std::sync::{Arc, LazyLock};

use mqtls::trust::DeviceVerifier;
use mqtls::{CaCertificate, CaStatus, Caller, Memory, RegisterCa};
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error};
use rustls_pki_types::CertificateDer;

use super::fixed;

/// Reads a chain, each certificate behind its length in two octets, and shows it to an instance
/// with active and inactive CAs. Nobody can forge a signature of theirs, so it believes the devices
/// that they were made for and nobody else. Tells whether this chain was one of those.
pub fn run(data: &[u8]) -> bool {
    let chain = read(data);
    let Some((device, sent_along)) = chain.split_first() else {
        return false;
    };
    let believed = match VERIFIER.verify_client_cert(device, sent_along, fixed::now()) {
        Ok(_) => true,
        // One error for every reason: nobody learns which CAs are registered.
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => false,
        Err(error) => panic!("{error:?}"),
    };
    if believed {
        assert!(DEVICES.contains(&device.as_ref()), "a stranger is believed");
    } else if DIRECT.contains(&device.as_ref()) {
        // Whatever is sent along, it cannot talk a device out of its issuer.
        let bytes: usize = chain.iter().map(|der| der.len()).sum();
        assert!(sent_along.len() > 8 || bytes > 32 * 1024, "a device is refused");
    }
    believed
}

/// The last certificate may end before its length says so.
fn read(mut data: &[u8]) -> Vec<CertificateDer<'_>> {
    let mut chain = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (der, behind) = rest.split_at(length);
        chain.push(CertificateDer::from(der));
        data = behind;
    }
    chain
}

static VERIFIER: LazyLock<Arc<DeviceVerifier>> = LazyLock::new(|| {
    let (instances, instance) = fixed::instance(Memory::new());
    let active = ACTIVE.iter().map(|der| (der, CaStatus::Active));
    let inactive = INACTIVE.iter().map(|der| (der, CaStatus::Inactive));
    for (der, status) in active.chain(inactive) {
        let operation = RegisterCa {
            mqtt_instance_id: instance.id().clone(),
            name: String::new(),
            status,
            certificate: CaCertificate::from_der(der).unwrap(),
        };
        operation.apply(&instances, &Caller::local()).unwrap();
    }
    instance.verifier()
});

const ACTIVE: [&[u8]; 5] = [
    include_bytes!("../fixtures/root.der"),
    include_bytes!("../fixtures/sub.der"),
    include_bytes!("../fixtures/rsa.der"),
    include_bytes!("../fixtures/ed25519.der"),
    include_bytes!("../fixtures/constrained.der"),
];

const INACTIVE: [&[u8]; 2] =
    [include_bytes!("../fixtures/retired.der"), include_bytes!("../fixtures/retired_sub.der")];

/// Whose issuer is registered.
const DIRECT: [&[u8]; 8] = [
    include_bytes!("../fixtures/believed_direct.der"),
    include_bytes!("../fixtures/believed_with_names.der"),
    include_bytes!("../fixtures/believed_with_strangers.der"),
    include_bytes!("../fixtures/believed_below_sub.der"),
    include_bytes!("../fixtures/believed_sub_sent_along.der"),
    include_bytes!("../fixtures/believed_below_rsa.der"),
    include_bytes!("../fixtures/believed_below_ed25519.der"),
    include_bytes!("../fixtures/believed_in_constraints.der"),
];

static DEVICES: LazyLock<Vec<&[u8]>> = LazyLock::new(|| {
    let below_unregistered = include_bytes!("../fixtures/believed_below_unregistered.der");
    DIRECT.into_iter().chain([below_unregistered.as_slice()]).collect()
});
