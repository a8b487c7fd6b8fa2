//! What the broker says when it is ready: lines to paste into another terminal.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use crate::door::Door;
use crate::mqtt::Identity;
use crate::pki::{DEVICE_CA, INSTANCE, Pki, RETIRED_CA, SERVER_CA};

/// Writes the greeting.
///
/// # Errors
/// When nobody reads it any more; the broker serves all the same.
pub(crate) fn greet(
    to: &mut impl Write,
    address: SocketAddr,
    pki: &Pki,
    door: &Door,
) -> io::Result<()> {
    let peers = Peers { pki, port: address.port() };
    let device_ca = door.device_ca.to_string();
    let own = Identity::new(&device_ca, Some("device-1"), "").own_topics().unwrap_or_default();
    let retired = &door.retired_ca;
    let root = pki.path("");
    writeln!(
        to,
        "instance {INSTANCE}: MQTT over TLS on {address}, client certificates required
keys and certificates: {root}

# a message from one device to another, at least once
{sub}
{publish}

# device-1's own topics: device-1 may, device-2 may not
{own_by_one}
{own_by_two}

# which certificate is shown: exact name, wildcard, default
{exact}
{wildcard}
{default}

# a device of a CA that is registered and inactive ({retired_ca}): refused
{refused}

# once that CA is active: a subscriber that is cut, and told so, when it is deactivated
{cut}

# and a session, saved and resumed: New, then Reused (Q ends each). With the CA inactive it is
# refused; with the CA active again it is New once more
{saved}
{resumed}

# the operator's console is here, on standard input; each answer is one line of JSON
help
ListCaCertificate
ActiveCaCertificate Sn={retired}
dry-run InactivateCaCertificate Sn={retired}
InactivateCaCertificate Sn={retired}
SetSniConfig DefaultCertificate=default SniConfig=eu.mqtt.example.test#exact-rsa

# active CA: {device_ca} ({device_ca_file}). Ctrl-C ends the broker.",
        root = root.display(),
        sub = peers.mosquitto("mosquitto_sub", "device-1", "-t 'demo/#' -v"),
        publish = peers.mosquitto("mosquitto_pub", "device-2", "-t demo/hello -m hello"),
        own_by_one =
            peers.mosquitto("mosquitto_pub", "device-1", &format!("-V 5 -t {own}/up -m mine")),
        own_by_two =
            peers.mosquitto("mosquitto_pub", "device-2", &format!("-V 5 -t {own}/up -m yours")),
        exact = peers.openssl("device-1", "eu.mqtt.example.test"),
        wildcard = peers.openssl("device-1", "a.mqtt.example.test"),
        default = peers.openssl("device-1", "localhost"),
        refused =
            peers.mosquitto("mosquitto_pub", "retired-device", "-t demo/hello -m 'let me in'"),
        cut = peers.mosquitto("mosquitto_sub", "retired-device", "-V 5 -t 'demo/#' -v -d"),
        saved = peers.session("-sess_out"),
        resumed = peers.session("-sess_in"),
        retired_ca = RETIRED_CA,
        device_ca_file = DEVICE_CA,
    )?;
    to.flush()
}

/// The programs that are run against the broker.
struct Peers<'a> {
    pki: &'a Pki,
    port: u16,
}

impl Peers<'_> {
    fn mosquitto(&self, program: &str, device: &str, rest: &str) -> String {
        let files = files(self.pki, device, Style::Long);
        format!("{program} -h localhost -p {} {files} -q 1 {rest}", self.port)
    }

    fn openssl(&self, device: &str, name: &str) -> String {
        let files = files(self.pki, device, Style::OpenSsl);
        format!("openssl s_client -connect localhost:{} -servername {name} {files}", self.port)
    }

    /// With a session that is saved or used. Its file holds secrets: it lies beside the keys.
    fn session(&self, option: &str) -> String {
        let file = quoted(&self.pki.path("session.pem"));
        format!("{} {option} {file}", self.openssl("retired-device", "localhost"))
    }
}

/// How a program spells its options.
#[derive(Clone, Copy)]
enum Style {
    Long,
    OpenSsl,
}

/// The options that name a device's files.
fn files(pki: &Pki, device: &str, style: Style) -> String {
    let file = |name: &str| quoted(&pki.path(name));
    let (ca, certificate, key) = match style {
        Style::Long => ("--cafile", "--cert", "--key"),
        Style::OpenSsl => ("-CAfile", "-cert", "-key"),
    };
    format!(
        "{ca} {} {certificate} {} {key} {}",
        file(SERVER_CA),
        file(&format!("{device}.pem")),
        file(&format!("{device}.key")),
    )
}

/// A path as one word of a POSIX shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word() {
        for (path, word) in [
            ("/tmp/demo/a.pem", "/tmp/demo/a.pem"),
            ("/tmp/my demo/a.pem", "'/tmp/my demo/a.pem'"),
            ("/tmp/it's/$HOME", r"'/tmp/it'\''s/$HOME'"),
        ] {
            assert_eq!(quoted(Path::new(path)), word);
        }
    }
}
