//! The front door as the demo sets it up.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use mqtls::{
    Acceptor, CaCertificate, CaStatus, Caller, ClientAuth, Directory, Instance, InstanceId,
    InstanceSpec, Instances, RegisterCa, SerialNumber, SetSniConfig,
};
use rustls::crypto::CryptoProvider;

use crate::pki::{DEVICE_CA, FIRST_INSTANCE, Pki, RETIRED_CA, SECOND_DEVICE_CA, SECOND_INSTANCE};

/// The demo's two instances with their certificates shown and their CAs registered.
#[derive(Clone)]
pub(crate) struct Door {
    /// Both instances: what operations are applied to.
    pub(crate) instances: Instances,
    /// The first one, to which everyone comes who asks for no name of the other.
    first: Arc<Instance>,
    second: Arc<Instance>,
    /// The CA whose devices are let in.
    pub(crate) device_ca: SerialNumber,
    /// The CA whose devices are not, until it is activated.
    pub(crate) retired_ca: SerialNumber,
    /// The CA whose devices the second instance lets in.
    pub(crate) second_ca: SerialNumber,
}

impl Door {
    /// Opens the door over a PKI. Blocks: certificates are read and keys checked.
    pub(crate) fn open(pki: &Pki) -> Result<Self> {
        let instances = Instances::new(Arc::new(provider()), Directory::open(pki.certificates())?);
        let first = open_instance(&instances, FIRST_INSTANCE, FIRST_ENDPOINT, FIRST_SNI_CONFIG)?;
        let second =
            open_instance(&instances, SECOND_INSTANCE, SECOND_ENDPOINT, SECOND_SNI_CONFIG)?;
        let register =
            |to: &Instance, file, status| register(&instances, to.id(), &pki.path(file), status);
        let device_ca = register(&first, DEVICE_CA, CaStatus::Active)?;
        let retired_ca = register(&first, RETIRED_CA, CaStatus::Inactive)?;
        let second_ca = register(&second, SECOND_DEVICE_CA, CaStatus::Active)?;
        Ok(Self { instances, first, second, device_ca, retired_ca, second_ca })
    }

    /// Who takes connections to both instances from one listener.
    ///
    /// Clients that name no server, as all do that connect to an IP address, and clients that name
    /// an unknown one come to the first instance: before there was another, they did.
    pub(crate) fn acceptor(&self) -> Acceptor {
        Acceptor::shared(&self.instances).fallback(&self.first)
    }

    /// All instances to which it leads.
    pub(crate) fn ids(&self) -> [&InstanceId; 2] {
        [self.first.id(), self.second.id()]
    }
}

/// The cryptography of all handshakes.
pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn open_instance(
    instances: &Instances,
    id: &str,
    endpoint: &str,
    sni_config: &str,
) -> Result<Arc<Instance>> {
    let id: InstanceId = id.parse()?;
    let spec = InstanceSpec::new(id.clone())
        .client_auth(ClientAuth::Required)
        .shared([endpoint.parse()?])
        .max_connections(MAX_CONNECTIONS)
        .handshakes_per_second(MAX_HANDSHAKES);
    let instance = instances.create(spec)?;
    SetSniConfig {
        mqtt_instance_id: id,
        default_certificate: DEFAULT_CERTIFICATE.parse()?,
        sni_config: sni_config.parse()?,
    }
    .apply(instances, &Caller::local())?;
    Ok(instance)
}

fn register(
    instances: &Instances,
    to: &InstanceId,
    file: &Path,
    status: CaStatus,
) -> Result<SerialNumber> {
    let pem = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let certificate = CaCertificate::from_pem(&pem)
        .with_context(|| format!("{} is no CA certificate", file.display()))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mqtt_instance_id = to.clone();
    let serial = certificate.serial().clone();
    RegisterCa { mqtt_instance_id, name, status, certificate }
        .apply(instances, &Caller::local())?;
    Ok(serial)
}

/// What a client is shown that asks for a name without an entry, or for none.
pub(crate) const DEFAULT_CERTIFICATE: &str = "default";

/// The name of the first instance that no `SniConfig` takes away.
pub(crate) const FIRST_ENDPOINT: &str = "localhost";

/// The same of the second instance.
pub(crate) const SECOND_ENDPOINT: &str = "second.localhost";

/// The names of the first start. Two certificates for one name are allowed since their keys are
/// of different types: each client is shown the one that it can check.
pub(crate) const FIRST_SNI_CONFIG: &str =
    "*.mqtt.example.test#wildcard;eu.mqtt.example.test#exact;eu.mqtt.example.test#exact-rsa";

/// The names of the second instance.
pub(crate) const SECOND_SNI_CONFIG: &str = "*.second.example.test#wildcard";

/// Of each instance: a crowd at the one leaves the other its places.
const MAX_CONNECTIONS: usize = 10_000;
const MAX_HANDSHAKES: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
