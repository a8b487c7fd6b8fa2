//! The demo's keys and certificates: where they lie, and that they are all there.

mod files;
mod issue;
mod layout;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use layout::{
    DEVICE_1_REVOKED, DEVICE_CA, EXACT_RENEWALS, FIRST_INSTANCE, NOBODY_REVOKED, OLDER_LIST,
    RETIRED_CA, SECOND_DEVICE_CA, SECOND_INSTANCE, SECOND_SERVER_CA, SERVER_CA,
};
use layout::{FIRST, InstanceFiles, SECOND};

/// A directory that holds the demo's whole PKI.
///
/// ```text
/// server-ca.pem                      what clients trust
/// certs/mqtt-demo/default.pem        localhost and 127.0.0.1; chain and key in one file
/// certs/mqtt-demo/wildcard.pem       *.mqtt.example.test
/// certs/mqtt-demo/exact.pem          eu.mqtt.example.test, ECDSA
/// certs/mqtt-demo/exact-rsa.pem      eu.mqtt.example.test, RSA
/// exact-1.pem                        the same as exact.pem,
/// exact-2.pem                        and another one, by which that can be replaced
/// device-ca.pem                      active: issued device-1 and device-2
/// device-1.pem  device-1.key  device-2.pem  device-2.key
/// device-ca-1.crl.pem                its revocation lists: nobody is on the first one,
/// device-ca-2.crl.pem                device-1 is on the second one,
/// device-ca-3.crl.pem                and nobody is on the third one
/// retired-ca.pem                     inactive: issued retired-device
/// retired-device.pem  retired-device.key
///
/// certs/mqtt-second/default.pem      second.localhost
/// certs/mqtt-second/wildcard.pem     *.second.example.test
/// mqtt-second/server-ca.pem          what clients of the second instance trust
/// mqtt-second/device-ca.pem          active: issued the second instance's device-1 and device-2
/// mqtt-second/device-1.pem  …
/// ```
///
/// No CA's private key is among them: each is dropped once it has signed, so nothing can be
/// issued later by whoever reads the directory. The revocation lists are signed beforehand, too, and
/// so is what a certificate can be renewed by.
#[derive(Debug, Clone)]
pub(crate) struct Pki {
    root: PathBuf,
}

impl Pki {
    /// Takes the PKI in `root` if one is there, or makes it.
    ///
    /// It is made beside `root` and renamed into place as a whole, so a start that is broken off
    /// leaves nothing that the next one would take for complete. One from before there was a second
    /// instance is given that instance's part. One from before there were revocation lists, or a
    /// certificate to renew another one by, cannot be given any: their CAs' keys are gone.
    ///
    /// # Errors
    /// When `root` holds something else or only a part of a PKI: nothing there is replaced.
    pub(crate) fn open_or_make(root: &Path) -> Result<Self> {
        let root =
            std::path::absolute(root).with_context(|| format!("{} is no path", root.display()))?;
        if !is_empty_or_absent(&root)? {
            let pki = Self { root };
            pki.check(&FIRST)?;
            if !SECOND.directories().iter().any(|directory| pki.path(directory).exists()) {
                pki.add_second().context("cannot add the second instance's certificates")?;
            }
            pki.check(&SECOND)?;
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

    /// The file of a server certificate of an instance.
    pub(crate) fn server_certificate(&self, instance: &str, id: &str) -> PathBuf {
        self.certificates().join(instance).join(format!("{id}.pem"))
    }

    /// Replaces a file with a key as renewals do: the next one is written beside it and takes its place
    /// in one step, so that nobody who reads it finds half of it.
    pub(crate) fn replace(file: &Path, content: &[u8]) -> Result<()> {
        files::replace(file, content)
    }

    /// All server certificates, each as its instance and its identifier.
    pub(crate) fn server_certificates() -> impl Iterator<Item = (&'static str, &'static str)> {
        [&FIRST, &SECOND]
            .into_iter()
            .flat_map(|files| files.server_certificates.iter().map(|&id| (files.instance, id)))
    }

    /// The directory with all instances' server certificates.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.root.join(CERTIFICATES)
    }

    /// Makes the second instance's part inside `root` and renames it into its two places.
    fn add_second(&self) -> Result<()> {
        let making = files::temporary_directory(&self.root)?;
        files::create_directory(&making.path().join(CERTIFICATES))?;
        issue::write_second(making.path())?;
        for directory in SECOND.directories() {
            fs::rename(making.path().join(&directory), self.path(&directory))
                .with_context(|| format!("cannot put {directory} into {}", self.root.display()))?;
        }
        files::sync_directory(&self.certificates())?;
        files::sync_directory(&self.root)
    }

    fn check(&self, of: &InstanceFiles) -> Result<()> {
        let secret: Vec<_> = self.secret(of).collect();
        for file in self.public(of).chain(secret.iter().cloned()) {
            ensure!(
                file.is_file(),
                "{} exists without {}: remove it and it is made anew, or choose another --dir",
                self.root.display(),
                file.display(),
            );
        }
        for file in secret.iter().filter(|file| !files::is_private(file)) {
            tracing::warn!(file = %file.display(), "others than its owner may read this key");
        }
        Ok(())
    }

    /// Files without a key: CAs, their revocation lists and the certificates of devices.
    fn public(&self, of: &InstanceFiles) -> impl Iterator<Item = PathBuf> {
        let devices = of.devices.iter().map(|name| self.path(&format!("{name}.pem")));
        of.cas.iter().chain(of.lists).map(|file| self.path(file)).chain(devices)
    }

    /// Files with a key.
    fn secret(&self, of: &InstanceFiles) -> impl Iterator<Item = PathBuf> {
        let servers =
            of.server_certificates.iter().map(|id| self.server_certificate(of.instance, id));
        let renewals = of.renewals.iter().map(|file| self.path(file));
        let devices = of.devices.iter().map(|name| self.path(&format!("{name}.key")));
        servers.chain(renewals).chain(devices)
    }
}

fn is_empty_or_absent(root: &Path) -> Result<bool> {
    match fs::read_dir(root) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => bail!("cannot read {}: {error}", root.display()),
    }
}

/// The directory that the broker reads server certificates from.
const CERTIFICATES: &str = "certs";

#[cfg(test)]
mod tests {
    use mqtls::{CaCertificate, RevocationList};

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
        let made = fs::read(first.server_certificate(FIRST_INSTANCE, "exact")).unwrap();
        let second = Pki::open_or_make(&root).unwrap();
        assert_eq!(made, fs::read(second.server_certificate(FIRST_INSTANCE, "exact")).unwrap());
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

    #[test]
    fn the_device_cas_lists_follow_each_other_and_stay_good_as_long_as_it_does() {
        let parent = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_make(&parent.path().join("demo")).unwrap();
        let read = |file: &str| fs::read(pki.path(file)).unwrap();
        let ca = CaCertificate::from_pem(&read(DEVICE_CA)).unwrap();
        for (file, number, revoked) in
            [(OLDER_LIST, "0x1", 0), (DEVICE_1_REVOKED, "0x2", 1), (NOBODY_REVOKED, "0x3", 0)]
        {
            let list = RevocationList::from_pem(&read(file)).unwrap();
            assert_eq!(list.issuer(), ca.subject(), "{file}");
            assert_eq!(list.number().unwrap().to_string(), number, "{file}");
            assert_eq!(list.len(), revoked, "{file}");
            assert!(list.next_update() >= ca.validity().not_after, "{file}");
        }
    }

    #[test]
    fn a_pki_of_one_instance_is_given_the_second_ones_part() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("demo");
        let pki = Pki::open_or_make(&root).unwrap();
        let kept: Vec<_> = { pki.public(&FIRST) }.chain(pki.secret(&FIRST)).collect();
        let content = || kept.iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>();
        let (before, all) = (content(), names(&root));
        for directory in SECOND.directories() {
            fs::remove_dir_all(pki.path(&directory)).unwrap();
        }
        let again = Pki::open_or_make(&root).unwrap();
        again.check(&SECOND).unwrap();
        assert_eq!(content(), before, "the first instance's part is as it was");
        assert_eq!(names(&root), all, "nothing is left over");

        fs::remove_dir_all(pki.path(SECOND_INSTANCE)).unwrap();
        let error = Pki::open_or_make(&root).unwrap_err().to_string();
        assert!(error.contains(SECOND_SERVER_CA), "{error}");
    }

    #[test]
    fn a_certificate_can_be_renewed_by_another_one_and_put_back() {
        let parent = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_make(&parent.path().join("demo")).unwrap();
        let exact = pki.server_certificate(FIRST_INSTANCE, "exact");
        let [first, next] = EXACT_RENEWALS.map(|file| fs::read(pki.path(file)).unwrap());
        assert_eq!(fs::read(&exact).unwrap(), first);
        assert_ne!(first, next);
        let folder = exact.parent().unwrap();
        let before = names(folder);
        for content in [next, first] {
            Pki::replace(&exact, &content).unwrap();
            assert_eq!(fs::read(&exact).unwrap(), content);
            assert!(files::is_private(&exact));
            assert_eq!(names(folder), before, "nothing is left over");
        }
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_only_and_no_ca_key_is_kept() {
        use std::os::unix::fs::PermissionsExt as _;

        let parent = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_make(&parent.path().join("demo")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for file in [&FIRST, &SECOND].into_iter().flat_map(|files| pki.secret(files)) {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
            assert!(fs::read_to_string(file).unwrap().contains("PRIVATE KEY"));
        }
        for directory in [&pki.root, &pki.path(SECOND_INSTANCE)] {
            assert_eq!(mode(directory), 0o700, "{}", directory.display());
        }
        for file in [&FIRST, &SECOND].into_iter().flat_map(|files| pki.public(files)) {
            assert!(!fs::read_to_string(file).unwrap().contains("PRIVATE KEY"));
        }
    }
}
