//! Which devices may be recorded.

/// Whether a device that is not on record may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Provisioning {
    /// It may, and is recorded, active, when it has completed its first handshake.
    #[default]
    Automatic,
    /// It may not. An operator [registers](crate::RegisterDeviceCertificate) each device beforehand,
    /// under whichever of the CAs that lead to it.
    RegisteredOnly,
}

/// Which devices may be recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceLimits {
    pub(crate) provisioning: Provisioning,
    pub(crate) max_devices: usize,
}

impl Default for DeviceLimits {
    fn default() -> Self {
        Self { provisioning: Provisioning::default(), max_devices: MAX_DEVICES }
    }
}

/// Some 800 MB: `cargo bench --bench devices` tells what a record weighs.
const MAX_DEVICES: usize = 1_000_000;
