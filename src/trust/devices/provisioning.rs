//! Which devices may be recorded.

/// Whether a device that is not on record may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Provisioning {
    /// It is recorded, active, when it has completed its first handshake.
    #[default]
    Automatic,
    /// Only a device whose certificate an operator has registered may, under whichever CA that was.
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

/// Some 800 MB: see the figures in the README.
const MAX_DEVICES: usize = 1_000_000;
