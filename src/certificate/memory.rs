//! Certificates that the embedder hands over.

use dashmap::DashMap;

use super::material::{CertificateMaterial, MaterialError};
use super::password::Password;
use super::source::{CertificateSource, SourceError};
use crate::id::{CertificateId, InstanceId};

/// A [`CertificateSource`] in memory, filled by the embedder: for brokers whose certificates come
/// from a vault, and for tests.
#[derive(Debug, Default)]
pub struct Memory(DashMap<(InstanceId, CertificateId), CertificateMaterial>);

impl Memory {
    /// An empty source.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps `material` under `id` for `instance`, in place of what was there. What is being
    /// served does not change before the next operation that asks.
    pub fn insert(&self, instance: InstanceId, id: CertificateId, material: CertificateMaterial) {
        self.0.insert((instance, id), material);
    }

    /// Forgets `id` for `instance`; tells whether it was there.
    pub fn remove(&self, instance: &InstanceId, id: &CertificateId) -> bool {
        self.0.remove(&(instance.clone(), id.clone())).is_some()
    }
}

impl CertificateSource for Memory {
    fn load(
        &self,
        instance: &InstanceId,
        id: &CertificateId,
        password: Option<&Password>,
    ) -> Result<CertificateMaterial, SourceError> {
        let kept = self.0.get(&(instance.clone(), id.clone())).map(|material| material.clone());
        let material = kept.ok_or_else(|| SourceError::NotFound(id.clone()))?;
        match password {
            None => Ok(material),
            Some(_) => Err(SourceError::Material {
                id: id.clone(),
                source: MaterialError::PasswordForPlainKey,
            }),
        }
    }
}
