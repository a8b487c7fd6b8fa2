//! What the broker says when it is ready: lines to paste into another terminal.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use crate::door::{Door, FIRST_ENDPOINT, SECOND_ENDPOINT};
use crate::mqtt::Identity;
use crate::pki::{
    DEVICE_CA, FIRST_INSTANCE, Pki, RETIRED_CA, SECOND_INSTANCE, SECOND_SERVER_CA, SERVER_CA,
};

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
    let port = address.port();
    let peers = Peers { pki, port, host: FIRST_ENDPOINT, server_ca: SERVER_CA };
    let second = Peers { pki, port, host: SECOND_ENDPOINT, server_ca: SECOND_SERVER_CA };
    let device_ca = door.device_ca.to_string();
    let own = Identity::new(&device_ca, Some("device-1"), "").own_topics().unwrap_or_default();
    let retired = &door.retired_ca;
    let root = pki.path("");
    writeln!(
        to,
        "instance {FIRST_INSTANCE}: MQTT over TLS on {address}, client certificates required
instance {SECOND_INSTANCE}: the same port, under {SECOND_ENDPOINT} and *.second.example.test
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

# {SECOND_INSTANCE} has a device-1, too: it comes in under a name of its own instance, and is refused
# under any other name and under none, which lead to {FIRST_INSTANCE}. There device-1 is another one
{second_in}
{second_out}
{first_out}

# the two instances' topics do not meet, whatever their names. These two are about {SECOND_INSTANCE}, and
# need {SECOND_ENDPOINT} to be this machine (in /etc/hosts, say)
{second_sub}
{second_publish}

# the operator's console is here, on standard input; each answer is one line of JSON
help
ListCaCertificate
ActiveCaCertificate Sn={retired}
dry-run InactivateCaCertificate Sn={retired}
InactivateCaCertificate Sn={retired}
SetSniConfig DefaultCertificate=default SniConfig=eu.mqtt.example.test#exact-rsa
ListCaCertificate MqttInstanceId={SECOND_INSTANCE}
InactivateCaCertificate MqttInstanceId={SECOND_INSTANCE} Sn={second_ca}

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
        second_in = second.openssl(SECOND_DEVICES[0], "eu.second.example.test"),
        second_out = peers.openssl(SECOND_DEVICES[0], FIRST_ENDPOINT),
        first_out = second.openssl("device-1", "eu.second.example.test"),
        second_sub = second.mosquitto("mosquitto_sub", SECOND_DEVICES[0], "-t 'demo/#' -v"),
        second_publish =
            second.mosquitto("mosquitto_pub", SECOND_DEVICES[1], "-t demo/hello -m hello"),
        second_ca = door.second_ca,
        retired_ca = RETIRED_CA,
        device_ca_file = DEVICE_CA,
    )?;
    to.flush()
}

/// The programs that are run against one instance of the broker.
struct Peers<'a> {
    pki: &'a Pki,
    port: u16,
    /// A name of the instance that leads to this machine.
    host: &'static str,
    server_ca: &'static str,
}

impl Peers<'_> {
    fn mosquitto(&self, program: &str, device: &str, rest: &str) -> String {
        let files = self.files(device, Style::Long);
        format!("{program} -h {} -p {} {files} -q 1 {rest}", self.host, self.port)
    }

    fn openssl(&self, device: &str, name: &str) -> String {
        let files = self.files(device, Style::OpenSsl);
        format!("openssl s_client -connect localhost:{} -servername {name} {files}", self.port)
    }

    /// With a session that is saved or used. Its file holds secrets: it lies beside the keys.
    fn session(&self, option: &str) -> String {
        let file = quoted(&self.pki.path("session.pem"));
        format!("{} {option} {file}", self.openssl("retired-device", "localhost"))
    }

    /// The options that name a device's files.
    fn files(&self, device: &str, style: Style) -> String {
        let file = |name: &str| quoted(&self.pki.path(name));
        let (ca, certificate, key) = match style {
            Style::Long => ("--cafile", "--cert", "--key"),
            Style::OpenSsl => ("-CAfile", "-cert", "-key"),
        };
        format!(
            "{ca} {} {certificate} {} {key} {}",
            file(self.server_ca),
            file(&format!("{device}.pem")),
            file(&format!("{device}.key")),
        )
    }
}

/// How a program spells its options.
#[derive(Clone, Copy)]
enum Style {
    Long,
    OpenSsl,
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

const SECOND_DEVICES: [&str; 2] = ["mqtt-second/device-1", "mqtt-second/device-2"];

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
