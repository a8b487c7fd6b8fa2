//! What the demo's PKI consists of, instance by instance.

use super::CERTIFICATES;

/// The files of one instance, all named from the root of the PKI.
pub(super) struct InstanceFiles {
    /// The instance, and the directory of its server certificates.
    pub(super) instance: &'static str,
    /// The CA of its server certificates, then those of its devices.
    pub(super) cas: &'static [&'static str],
    /// The identifiers of its server certificates.
    pub(super) server_certificates: &'static [&'static str],
    /// Its devices: each has a `.pem` and a `.key`.
    pub(super) devices: &'static [&'static str],
    /// The revocation lists of its CAs.
    pub(super) lists: &'static [&'static str],
    /// What its certificate for one name can be replaced by.
    pub(super) renewals: &'static [&'static str],
}

impl InstanceFiles {
    /// Where its files lie, if they lie in directories of their own: the server certificates first,
    /// so that the rest is there only when all is.
    pub(super) fn directories(&self) -> [String; 2] {
        [format!("{CERTIFICATES}/{}", self.instance), self.instance.to_owned()]
    }
}

/// The first instance, whose CAs and devices lie in the root itself.
pub(super) const FIRST: InstanceFiles = InstanceFiles {
    instance: FIRST_INSTANCE,
    cas: &[SERVER_CA, DEVICE_CA, RETIRED_CA],
    server_certificates: &["default", "wildcard", "exact", "exact-rsa"],
    devices: &["device-1", "device-2", "retired-device"],
    lists: &[OLDER_LIST, DEVICE_1_REVOKED, NOBODY_REVOKED],
    renewals: &EXACT_RENEWALS,
};

/// The second instance, whose devices are called as the first one's are.
pub(super) const SECOND: InstanceFiles = InstanceFiles {
    instance: SECOND_INSTANCE,
    cas: &[SECOND_SERVER_CA, SECOND_DEVICE_CA],
    server_certificates: &["default", "wildcard"],
    devices: &["mqtt-second/device-1", "mqtt-second/device-2"],
    lists: &[],
    renewals: &[],
};

/// The first instance.
pub(crate) const FIRST_INSTANCE: &str = "mqtt-demo";

/// The second instance.
pub(crate) const SECOND_INSTANCE: &str = "mqtt-second";

/// The CA of the first instance's server certificates.
pub(crate) const SERVER_CA: &str = "server-ca.pem";

/// The CA of the devices that are let in.
pub(crate) const DEVICE_CA: &str = "device-ca.pem";

/// The first revocation list of the CA of the devices that are let in: nobody is on it.
pub(crate) const OLDER_LIST: &str = "device-ca-1.crl.pem";

/// Its second one: `device-1` is on it.
pub(crate) const DEVICE_1_REVOKED: &str = "device-ca-2.crl.pem";

/// Its third one: nobody is on it any more.
pub(crate) const NOBODY_REVOKED: &str = "device-ca-3.crl.pem";

/// The first instance's certificate for a name of its own, and the one that can take its place: chain
/// and key in one file.
pub(crate) const EXACT_RENEWALS: [&str; 2] = ["exact-1.pem", "exact-2.pem"];

/// The CA that has been deactivated.
pub(crate) const RETIRED_CA: &str = "retired-ca.pem";

/// The CA of the second instance's server certificates.
pub(crate) const SECOND_SERVER_CA: &str = "mqtt-second/server-ca.pem";

/// The CA of the second instance's devices.
pub(crate) const SECOND_DEVICE_CA: &str = "mqtt-second/device-ca.pem";
