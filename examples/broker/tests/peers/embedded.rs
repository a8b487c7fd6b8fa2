//! Devices on mbedTLS and wolfSSL, which come back with the session that their stack has saved.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Broker, miss};

#[test]
fn a_device_on_mbedtls_keeps_its_ticket_while_its_ca_stays_active() {
    let Some(client) = Client::compile("mbedtls", &["-lmbedtls", "-lmbedx509", "-lmbedcrypto"])
    else {
        return;
    };
    let mut broker = Broker::start();
    let device = client.run(&broker, "1.2");
    broker.admits_while_its_ca_is_active(device, FULL, KEEPS);
}

#[test]
fn a_device_on_wolfssl_keeps_its_ticket_while_its_ca_stays_active() {
    let Some(client) = Client::compile("wolfssl", &["-lwolfssl"]) else {
        return;
    };
    let mut broker = Broker::start();
    let device = client.run(&broker, "1.2");
    broker.admits_while_its_ca_is_active(device, FULL, KEEPS);
}

/// rustls gives each TLS 1.3 ticket a nonce of 32 bytes. A wolfSSL that was not configured with
/// `--enable-ticket-nonce-malloc` has room for 8 and ends the connection when such a ticket comes.
/// Its devices come in where they ask for none.
#[test]
fn a_device_on_wolfssl_has_tls_1_3_with_tickets_or_without() {
    let Some(client) = Client::compile("wolfssl", &["-lwolfssl"]) else {
        return;
    };
    let mut broker = Broker::start();
    broker.operate_on_retired_ca("ActiveCaCertificate");
    if client.run(&broker, "1.3").visits() == NONCE_TOO_LONG {
        let device = client.run(&broker, "1.3-without-tickets");
        broker.admits_while_its_ca_is_active(device, FULL_WITHOUT, FULL_WITHOUT);
    } else {
        let device = client.run(&broker, "1.3");
        broker.admits_while_its_ca_is_active(device, FULL, RENEWS);
    }
}

impl Broker {
    /// What a device of the CA that begins inactive says of its visits: this of a first one, that
    /// of each that follows one.
    fn admits_while_its_ca_is_active(&mut self, mut device: Device, first: &str, again: &str) {
        self.operate_on_retired_ca("ActiveCaCertificate");
        assert_eq!(device.visits(), first);
        // Each time with what was saved the time before.
        for time in 1..=3 {
            assert_eq!(device.visits(), again, "time {time}");
        }

        self.operate_on_retired_ca("InactivateCaCertificate");
        assert_eq!(device.visits_with_stale_session(), UNKNOWN_CA);

        self.operate_on_retired_ca("ActiveCaCertificate");
        assert_eq!(device.visits_with_stale_session(), first, "with the session from before");
        assert_eq!(device.visits(), again, "with the new session");
    }
}

/// A program that visits the broker by means of one stack.
struct Client {
    dir: TempDir,
}

impl Client {
    /// `None` where the C compiler or the stack is missing, or the stack is another version than
    /// the program is for.
    fn compile(stack: &str, libraries: &[&str]) -> Option<Self> {
        let client = Self { dir: tempfile::tempdir().unwrap() };
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/embedded");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = Command::new(&compiler);
        command.args(["-Wall", "-Wextra", "-Werror", "-o"]).arg(client.dir.path().join(PROGRAM));
        command.arg(sources.join("device.c")).arg(sources.join(format!("{stack}.c")));
        let why = match command.args(libraries).output() {
            Ok(output) if output.status.success() => return Some(client),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => format!("{compiler}: {error}"),
        };
        eprintln!("{why}");
        miss(stack);
        None
    }

    /// A device that has not been there before.
    fn run(&self, broker: &Broker, version: &str) -> Device {
        let mut process = Command::new(self.dir.path().join(PROGRAM))
            .args(["localhost", &broker.port])
            .args(
                ["server-ca.pem", "retired-device.pem", "retired-device.key"]
                    .map(|name| broker.file(name)),
            )
            .arg(version)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let bell = process.stdin.take().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        Device { process, bell, said }
    }
}

/// A running program with the session of its last visit.
struct Device {
    process: Child,
    bell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Device {
    /// Has it connect, with its session where it has one, and returns how it says that this went.
    fn visits(&mut self) -> String {
        self.asked("again")
    }

    /// Has it connect with a session that the broker does not resume any more.
    ///
    /// On TLS 1.2, a wolfSSL without [this fix](https://github.com/wolfSSL/wolfssl/pull/8097) takes
    /// each session with a ticket for resumed, and ends the handshake when the server's certificate
    /// comes. Its devices have to come anew.
    fn visits_with_stale_session(&mut self) -> String {
        let said = self.asked("again");
        if said == TAKEN_FOR_RESUMED { self.asked("anew") } else { said }
    }

    fn asked(&mut self, how: &str) -> String {
        writeln!(self.bell, "{how}").unwrap();
        self.said.next().expect("it ended without a word").unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // One that is gone already is as good.
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

const PROGRAM: &str = "device";

const FULL: &str = "full, new ticket";
const FULL_WITHOUT: &str = "full, no ticket";

/// On TLS 1.2 a resumed handshake brings no new ticket so soon, and the old one stays good
/// ([RFC 5077 section 3.3](https://www.rfc-editor.org/rfc/rfc5077#section-3.3)).
const KEEPS: &str = "resumed, old ticket";

/// On TLS 1.3 each handshake brings new ones.
const RENEWS: &str = "resumed, new ticket";

/// The alert of this name.
const UNKNOWN_CA: &str = "refused, alert 48";

/// Which wolfSSL calls `OUT_OF_ORDER_E`.
const TAKEN_FOR_RESUMED: &str = "failed, -373";

/// Which wolfSSL calls `INVALID_PARAMETER`.
const NONCE_TOO_LONG: &str = "failed, -425";
