//! What the broker says when it is ready: lines to paste into another terminal.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use crate::door::{Door, FIRST_ENDPOINT, SECOND_ENDPOINT};
use crate::mqtt::Identity;
use crate::pki::{
    DEVICE_1_REVOKED, DEVICE_CA, EXACT_RENEWALS, FIRST_INSTANCE, NOBODY_REVOKED, Pki, RETIRED_CA,
    SECOND_DEVICE_CA, SECOND_INSTANCE, SECOND_SERVER_CA, SERVER_CA,
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
    let first = Peers { pki, port, host: FIRST_ENDPOINT, server_ca: SERVER_CA };
    let second = Peers { pki, port, host: SECOND_ENDPOINT, server_ca: SECOND_SERVER_CA };
    writeln!(
        to,
        "instance {FIRST_INSTANCE}: MQTT over TLS on {address}, client certificates required
instance {SECOND_INSTANCE}: the same port, for who asks for {SECOND_ENDPOINT} or *.second.example.test
keys and certificates: {root}
",
        root = pki.path("").display(),
    )?;
    greet_first(to, &first, door)?;
    greet_renewer(to, pki)?;
    greet_second(to, &first, &second)?;
    greet_operator(to, pki, door)?;
    to.flush()
}

fn greet_first(to: &mut impl Write, peers: &Peers<'_>, door: &Door) -> io::Result<()> {
    let own = Identity::new(&door.device_ca.to_string(), Some("device-1"), "").own_topics();
    let own = own.unwrap_or_default();
    writeln!(
        to,
        "# a message from one device to another, at least once
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
",
        sub = peers.mosquitto("mosquitto_sub", "device-1", "-t 'demo/#' -v"),
        publish = peers.mosquitto("mosquitto_pub", "device-2", "-t demo/hello -m hello"),
        own_by_one =
            peers.mosquitto("mosquitto_pub", "device-1", &format!("-V 5 -t {own}/up -m mine")),
        own_by_two =
            peers.mosquitto("mosquitto_pub", "device-2", &format!("-V 5 -t {own}/up -m yours")),
        exact = peers.openssl("device-1", "eu.mqtt.example.test"),
        wildcard = peers.openssl("device-1", "a.mqtt.example.test"),
        default = peers.openssl("device-1", FIRST_ENDPOINT),
        refused =
            peers.mosquitto("mosquitto_pub", "retired-device", "-t demo/hello -m 'let me in'"),
        cut = peers.mosquitto("mosquitto_sub", "retired-device", "-V 5 -t 'demo/#' -v -d"),
        saved = peers.session("-sess_out"),
        resumed = peers.session("-sess_in"),
        retired_ca = RETIRED_CA,
    )
}

fn greet_renewer(to: &mut impl Write, pki: &Pki) -> io::Result<()> {
    let [first, next] = EXACT_RENEWALS.map(|file| renewal(pki, file));
    writeln!(
        to,
        "# a certificate renewed on disk: written beside the old one, then put in its place. A moment
# later the exact name above shows the new one, without an operation, and tickets stay good
{next}

# and the first one again
{first}
"
    )
}

/// The command that has one file take the place of the certificate for the exact name.
fn renewal(pki: &Pki, by: &str) -> String {
    let exact = pki.server_certificate(FIRST_INSTANCE, "exact");
    let beside = quoted(&exact.with_extension("next"));
    let (by, exact) = (quoted(&pki.path(by)), quoted(&exact));
    format!("cp {by} {beside} && mv -f {beside} {exact}")
}

fn greet_second(to: &mut impl Write, first: &Peers<'_>, second: &Peers<'_>) -> io::Result<()> {
    let [one, two] = ["mqtt-second/device-1", "mqtt-second/device-2"];
    writeln!(
        to,
        "# {SECOND_INSTANCE} has a device-1, too. It comes in under a name of its own instance; under any
# other name, or none, it is refused by {FIRST_INSTANCE}, to which these lead
{own_name}
{other_name}

# and {FIRST_INSTANCE}'s device-1 is refused by {SECOND_INSTANCE}
{other_device}

# a message within {SECOND_INSTANCE}: nobody at {FIRST_INSTANCE} hears it. These two need {SECOND_ENDPOINT}
# to lead to this machine; where it does not, put it into /etc/hosts
{sub}
{publish}
",
        own_name = second.openssl(one, "eu.second.example.test"),
        other_name = first.openssl(one, FIRST_ENDPOINT),
        other_device = second.openssl("device-1", "eu.second.example.test"),
        sub = second.mosquitto("mosquitto_sub", one, "-t 'demo/#' -v"),
        publish = second.mosquitto("mosquitto_pub", two, "-t demo/hello -m hello"),
    )
}

fn greet_operator(to: &mut impl Write, pki: &Pki, door: &Door) -> io::Result<()> {
    writeln!(
        to,
        "# the operator's console is here, on standard input; each answer is one line of JSON
help
ListCaCertificate
ActiveCaCertificate Sn={retired}
dry-run InactivateCaCertificate Sn={retired}
InactivateCaCertificate Sn={retired}

# a change of the certificates' names: what it would do, and made only if nobody was quicker
plan DefaultCertificate=default SniConfig=eu.mqtt.example.test#exact-rsa
SetSniConfig DefaultCertificate=default SniConfig=eu.mqtt.example.test#exact-rsa Generation=<Generation>

# what a client is shown and why, and what is served
explain ServerName=eu.mqtt.example.test
explain ServerName=eu.mqtt.example.test Client=rsa
certificates

# the same for {SECOND_INSTANCE}
ListCaCertificate MqttInstanceId={SECOND_INSTANCE}
InactivateCaCertificate MqttInstanceId={SECOND_INSTANCE} Sn={second_ca}

# a single device, by its DeviceSn: the list has it once it came in, registering it answers with it
ListDeviceCertificateByCaSn CaSn={device_ca}
RegisterDeviceCertificate CaSn={device_ca} File={device}
dry-run InactivateDeviceCertificate CaSn={device_ca} DeviceSn=<DeviceSn>
InactivateDeviceCertificate CaSn={device_ca} DeviceSn=<DeviceSn>
ActiveDeviceCertificate CaSn={device_ca} DeviceSn=<DeviceSn>

# what their CA says: device-1 is revoked; and by a later list nobody is any more
dry-run LoadRevocationList Sn={device_ca} File={revoked}
LoadRevocationList Sn={device_ca} File={revoked}
LoadRevocationList Sn={device_ca} File={nobody}

# active CAs: {device_ca} ({DEVICE_CA}), {second_ca} ({SECOND_DEVICE_CA}).
# Ctrl-C ends the broker.",
        retired = door.retired_ca,
        device_ca = door.device_ca,
        second_ca = door.second_ca,
        device = pki.path("device-1.pem").display(),
        revoked = pki.path(DEVICE_1_REVOKED).display(),
        nobody = pki.path(NOBODY_REVOKED).display(),
    )
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
        format!("{} {option} {file}", self.openssl("retired-device", self.host))
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

    #[test]
    fn every_line_names_files_that_are_there_and_the_server_ca_of_whom_it_calls() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("demo");
        let pki = Pki::open_or_make(&root).unwrap();
        let mut greeting = Vec::new();
        let door = Door::open(&pki).unwrap();
        greet(&mut greeting, ([127, 0, 0, 1], 8883).into(), &pki, &door).unwrap();
        let greeting = String::from_utf8(greeting).unwrap();
        let commands = greeting.lines().filter(|line| line.contains("8883 "));
        let renewals = greeting.lines().filter(|line| line.starts_with("cp "));
        let copied: Vec<_> =
            renewals.map(|line| Path::new(line.split(' ').nth(1).unwrap())).collect();
        assert_eq!(copied.len(), 2);
        assert!(copied.iter().all(|file| file.is_file()), "{copied:?}");
        let mut calls = [0, 0];
        for line in commands {
            let words: Vec<_> = line.split(' ').collect();
            let after = |options: &[&str]| {
                let at = words.iter().position(|word| options.contains(word));
                at.map(|at| words[at + 1])
            };
            for file in words.iter().filter(|word| word.starts_with(root.to_str().unwrap())) {
                assert!(file.ends_with("session.pem") || Path::new(file).is_file(), "{file}");
            }
            let name = after(&["-servername"]).or_else(|| after(&["-h"])).unwrap();
            let is_second = ["second.localhost", "eu.second.example.test"].contains(&name);
            let expected = pki.path(if is_second { SECOND_SERVER_CA } else { SERVER_CA });
            let server_ca = after(&["-CAfile", "--cafile"]).unwrap();
            assert_eq!(Path::new(server_ca), expected, "{line}");
            calls[usize::from(is_second)] += 1;
        }
        assert_eq!(calls, [12, 4]);
    }
}
