//! The demo's keys and certificates: where they lie, and that they are all there.

mod files;
mod issue;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// A directory that holds the demo's whole PKI.
///
/// ```text
/// server-ca.pem                      what clients trust
/// certs/mqtt-demo/default.pem        localhost and 127.0.0.1; chain and key in one file
/// certs/mqtt-demo/wildcard.pem       *.mqtt.example.test
/// certs/mqtt-demo/exact.pem          eu.mqtt.example.test, ECDSA
/// certs/mqtt-demo/exact-rsa.pem      eu.mqtt.example.test, RSA
/// device-ca.pem                      active: issued device-1 and device-2
/// device-1.pem  device-1.key  device-2.pem  device-2.key
/// retired-ca.pem                     inactive: issued retired-device
/// retired-device.pem  retired-device.key
/// ```
///
/// No CA's private key is among them: each is dropped once it has signed, so nothing can be
/// issued later by whoever reads the directory.
#[derive(Debug)]
pub(crate) struct Pki {
    root: PathBuf,
}

impl Pki {
    /// Takes the PKI in `root` if one is there, or makes it.
    ///
    /// It is made beside `root` and renamed into place as a whole, so a start that is broken off
    /// leaves nothing that the next one would take for complete.
    ///
    /// # Errors
    /// When `root` holds something else or only a part of a PKI: nothing there is replaced.
    pub(crate) fn open_or_make(root: &Path) -> Result<Self> {
        let root =
            std::path::absolute(root).with_context(|| format!("{} is no path", root.display()))?;
        if !is_empty_or_absent(&root)? {
            let pki = Self { root };
            pki.check()?;
            return Ok(pki);
        }
        let parent = root.parent().context("the root directory cannot hold the demo")?;
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        // Removed again where anything below fails.
        let making = files::temporary_directory(parent)?;
        issue::write_pki(making.path()).context("cannot make the demo's certificates")?;
        // Replaces an empty directory and fails on any other (rename(2)): of two first starts at
        // one time, one wins and the other says so.
        fs::rename(making.path(), &root)
            .with_context(|| format!("cannot put the certificates into {}", root.display()))?;
        files::sync_directory(parent)?;
        Ok(Self { root })
    }

    /// A file of the PKI.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// The file of a server certificate.
    pub(crate) fn server_certificate(&self, id: &str) -> PathBuf {
        self.certificates().join(INSTANCE).join(format!("{id}.pem"))
    }

    /// The directory with all instances' server certificates.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.root.join("certs")
    }

    fn check(&self) -> Result<()> {
        let shared = [SERVER_CA, DEVICE_CA, RETIRED_CA].map(|file| self.path(file));
        let secret = SERVER_CERTIFICATES.map(|id| self.server_certificate(id));
        let devices = DEVICES.map(|name| self.path(&format!("{name}.pem")));
        let keys = DEVICES.map(|name| self.path(&format!("{name}.key")));
        for file in shared.iter().chain(&secret).chain(&devices).chain(&keys) {
            ensure!(
                file.is_file(),
                "{} exists without {}: remove it and it is made anew, or choose another --dir",
                self.root.display(),
                file.display(),
            );
        }
        for file in secret.iter().chain(&keys).filter(|file| !files::is_private(file)) {
            tracing::warn!(file = %file.display(), "others than its owner may read this key");
        }
        Ok(())
    }
}

fn is_empty_or_absent(root: &Path) -> Result<bool> {
    match fs::read_dir(root) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => bail!("cannot read {}: {error}", root.display()),
    }
}

/// The one instance of the demo.
pub(crate) const INSTANCE: &str = "mqtt-demo";

/// The CA of the server certificates.
pub(crate) const SERVER_CA: &str = "server-ca.pem";

/// The CA of the devices that are let in.
pub(crate) const DEVICE_CA: &str = "device-ca.pem";

/// The CA that has been deactivated.
pub(crate) const RETIRED_CA: &str = "retired-ca.pem";

/// The identifiers of the server certificates.
pub(crate) const SERVER_CERTIFICATES: [&str; 4] = ["default", "wildcard", "exact", "exact-rsa"];

/// The devices: each has a `.pem` and a `.key`.
const DEVICES: [&str; 3] = ["device-1", "device-2", "retired-device"];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_second_start_takes_the_same_certificates() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("deeper/demo");
        let first = Pki::open_or_make(&root).unwrap();
        let made = fs::read(first.server_certificate("exact")).unwrap();
        let second = Pki::open_or_make(&root).unwrap();
        assert_eq!(made, fs::read(second.server_certificate("exact")).unwrap());
        assert_eq!(names(&parent.path().join("deeper")), ["demo"], "nothing is left over");
    }

    #[test]
    fn an_empty_directory_is_filled_and_any_other_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let empty = parent.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert!(Pki::open_or_make(&empty).is_ok());

        let foreign = parent.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("letter.txt"), "dear").unwrap();
        let error = Pki::open_or_make(&foreign).unwrap_err().to_string();
        assert!(error.contains("server-ca.pem"), "{error}");
        assert_eq!(names(&foreign), ["letter.txt"]);
    }

    #[test]
    fn a_pki_that_lacks_a_file_is_refused_by_name() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("demo");
        let pki = Pki::open_or_make(&root).unwrap();
        fs::remove_file(pki.path("device-2.key")).unwrap();
        let error = Pki::open_or_make(&root).unwrap_err().to_string();
        assert!(error.contains("device-2.key"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_only_and_no_ca_key_is_kept() {
        use std::os::unix::fs::PermissionsExt as _;

        let parent = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_make(&parent.path().join("demo")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let keys = DEVICES.map(|name| pki.path(&format!("{name}.key")));
        let servers = SERVER_CERTIFICATES.map(|id| pki.server_certificate(id));
        for file in keys.iter().chain(&servers) {
            assert_eq!(mode(file), 0o600, "{}", file.display());
            assert!(fs::read_to_string(file).unwrap().contains("PRIVATE KEY"));
        }
        assert_eq!(mode(&pki.root), 0o700);
        for file in [SERVER_CA, DEVICE_CA, RETIRED_CA] {
            assert!(!fs::read_to_string(pki.path(file)).unwrap().contains("PRIVATE KEY"));
        }
    }
}
