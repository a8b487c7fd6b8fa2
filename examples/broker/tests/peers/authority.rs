//! A CA of devices that the `openssl` command line runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A CA that keeps its key, and issues certificates and revocation lists.
pub(crate) struct Authority {
    dir: TempDir,
}

impl Authority {
    /// A CA with a `device-1` and a `device-2`.
    pub(crate) fn make() -> Self {
        let ca = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(ca.file("ca.cnf"), CONFIGURATION).unwrap();
        fs::write(ca.file(INDEX), "").unwrap();
        fs::write(ca.file("number"), "00ff\n").unwrap();
        ca.openssl(
            "req -x509 -config ca.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                    -subj /CN=openssl -days 2 -keyout ca.key -out ca.pem",
        );
        for device in DEVICES {
            ca.openssl(&format!(
                "req -new -config ca.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                 -subj /CN={device} -keyout {device}.key -out {device}.csr"
            ));
            ca.openssl(&format!(
                "ca -batch -config ca.cnf -notext -in {device}.csr -out {device}.pem"
            ));
        }
        ca
    }

    /// Puts itself and its devices into a PKI of the broker's, in the place of those that it made.
    pub(crate) fn take_over(&self, pki: &Path) {
        let put = |from: &str, to: &str| fs::copy(self.file(from), pki.join(to)).unwrap();
        put("ca.pem", "device-ca.pem");
        for device in DEVICES {
            for kind in ["pem", "key"] {
                let file = format!("{device}.{kind}");
                put(&file, &file);
            }
        }
    }

    /// Its next list, with nobody or one device on it, in PEM and in DER.
    pub(crate) fn list(&self, revoked: Option<&str>) -> [PathBuf; 2] {
        let before = fs::read(self.file(INDEX)).unwrap();
        if let Some(device) = revoked {
            self.openssl(&format!("ca -config ca.cnf -revoke {device}.pem"));
        }
        self.openssl("ca -config ca.cnf -gencrl -out list.pem");
        self.openssl("crl -in list.pem -outform DER -out list.der");
        // It knows no way back from a revocation but this.
        fs::write(self.file(INDEX), before).unwrap();
        ["list.pem", "list.der"].map(|name| self.file(name))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, line: &str) {
        let mut command = Command::new("openssl");
        command.args(line.split_whitespace()).current_dir(self.dir.path());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {line}\n{said}");
    }
}

const DEVICES: [&str; 2] = ["device-1", "device-2"];

/// The CA's record of what it issued and revoked.
const INDEX: &str = "index";

/// With a number a list is of version 2.
const CONFIGURATION: &str = "
[req]
distinguished_name = nothing
x509_extensions = authority
[nothing]
[authority]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[ca]
default_ca = demo
[demo]
certificate = ca.pem
private_key = ca.key
database = index
new_certs_dir = .
rand_serial = yes
crlnumber = number
default_md = sha256
default_days = 1
default_crl_days = 1
policy = name
x509_extensions = device
crl_extensions = list
[name]
commonName = supplied
[device]
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
[list]
authorityKeyIdentifier = keyid
";
