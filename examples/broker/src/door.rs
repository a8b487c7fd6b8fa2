//! The front door as the demo sets it up.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use mqtls::{
    CaCertificate, CaStatus, Caller, ClientAuth, Directory, Instance, InstanceId, InstanceSpec,
    Instances, RegisterCa, SerialNumber, SetSniConfig,
};

use crate::pki::{DEVICE_CA, INSTANCE, Pki, RETIRED_CA};

/// The demo's instance with its certificates shown and its CAs registered.
pub(crate) struct Door {
    /// All instances, which is one: what operations are applied to.
    pub(crate) instances: Instances,
    /// The one instance: what the listener is bound to.
    pub(crate) instance: Arc<Instance>,
    /// The CA whose devices are let in.
    pub(crate) device_ca: SerialNumber,
    /// The CA whose devices are not, until it is activated.
    pub(crate) retired_ca: SerialNumber,
}

impl Door {
    /// Opens the door over a PKI. Blocks: certificates are read and keys checked.
    pub(crate) fn open(pki: &Pki) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let instances = Instances::new(provider, Directory::open(pki.certificates())?);
        let id: InstanceId = INSTANCE.parse()?;
        let instance =
            instances.create(InstanceSpec::new(id.clone()).client_auth(ClientAuth::Required))?;
        let me = Caller::local();
        SetSniConfig {
            mqtt_instance_id: id.clone(),
            default_certificate: DEFAULT_CERTIFICATE.parse()?,
            sni_config: FIRST_SNI_CONFIG.parse()?,
        }
        .apply(&instances, &me)?;
        let register = |file: &str, status| -> Result<SerialNumber> {
            let path = pki.path(file);
            let pem = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let certificate = CaCertificate::from_pem(&pem)
                .with_context(|| format!("{} is no CA certificate", path.display()))?;
            let name = file.trim_end_matches(".pem").to_owned();
            let mqtt_instance_id = id.clone();
            let serial = certificate.serial().clone();
            RegisterCa { mqtt_instance_id, name, status, certificate }.apply(&instances, &me)?;
            Ok(serial)
        };
        let device_ca = register(DEVICE_CA, CaStatus::Active)?;
        let retired_ca = register(RETIRED_CA, CaStatus::Inactive)?;
        Ok(Self { instances, instance, device_ca, retired_ca })
    }
}

/// What a client is shown that names no server or an unknown one.
pub(crate) const DEFAULT_CERTIFICATE: &str = "default";

/// The names of the first start. Two certificates for one name are allowed since their keys are
/// of different types: each client is shown the one that it can check.
pub(crate) const FIRST_SNI_CONFIG: &str =
    "*.mqtt.example.test#wildcard;eu.mqtt.example.test#exact;eu.mqtt.example.test#exact-rsa";
