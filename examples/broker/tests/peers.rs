//! The broker against programs that nobody here wrote: `openssl s_client`, `mosquitto_pub` and
//! `mosquitto_sub`.
//!
//! Where one of them is missing its test says so and passes, unless `MQTLS_PEERS=1` is set: then
//! it fails.
#![cfg(test)]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Which file's certificate each client is shown.
#[test]
fn openssl_is_shown_the_certificate_for_its_server_name() {
    if !found("openssl") {
        return;
    }
    let broker = Broker::start();
    let cases: [(&[&str], &str); 5] = [
        (&["-servername", "eu.mqtt.example.test"], "exact"),
        (&["-servername", "EU.mqtt.example.test"], "exact"),
        (&["-servername", "a.mqtt.example.test"], "wildcard"),
        (&["-servername", "b.a.mqtt.example.test"], "default"),
        (&["-noservername"], "default"),
    ];
    let rsa_suites_only: (&[&str], &str) = (
        &["-servername", "eu.mqtt.example.test", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
        "exact-rsa",
    );
    for (version, more) in [("-tls1_2", Some(rsa_suites_only)), ("-tls1_3", None)] {
        for (options, file) in cases.into_iter().chain(more) {
            let (status, text) = broker.s_client("device-1", &[options, &[version]].concat());
            assert!(status.success(), "{version} {options:?}\n{text}");
            assert_eq!(first_certificate(&text), broker.shown(file), "{version} {options:?}");
            assert!(text.contains("Verify return code: 0 (ok)"), "{version} {options:?}\n{text}");
        }
    }
}

#[test]
fn openssl_reads_the_alert_that_it_deserves() {
    if !found("openssl") {
        return;
    }
    let broker = Broker::start();
    for version in ["-tls1_2", "-tls1_3"] {
        let (status, text) = broker.refused_s_client(Some("retired-device"), version);
        assert_eq!(status.code(), Some(1), "{version}\n{text}");
        assert!(text.contains("SSL alert number 48"), "{version}: not unknown_ca\n{text}");
    }
    let (status, text) = broker.refused_s_client(None, "-tls1_3");
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("SSL alert number 116"), "not certificate_required\n{text}");
    let (status, text) = broker.refused_s_client(None, "-tls1_2");
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("SSL alert number"), "no alert at all\n{text}");
}

#[test]
fn mosquitto_clients_exchange_messages_of_qos_1() {
    if !found("mosquitto_pub") || !found("mosquitto_sub") || !found("stdbuf") {
        return;
    }
    let broker = Broker::start();
    for version in ["mqttv311", "mqttv5"] {
        let topic = format!("demo/{version}");
        // By lines, or else it keeps what it says about SUBACK to itself until it ends.
        let mut subscriber = broker
            .mosquitto(&["stdbuf", "-oL", "mosquitto_sub"], "device-1", version)
            .args(["-q", "1", "-C", "1", "-W", "20", "-d", "-t", &topic])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(subscriber.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("SUBACK")), "{version}: not subscribed");
        let published = broker.publish("device-2", version, &topic, "one message");
        assert!(published.status.success(), "{version}: {published:?}");
        let heard: Vec<String> = said.map(Result::unwrap).collect();
        assert!(heard.iter().any(|line| line == "one message"), "{version}: {heard:?}");
        assert!(subscriber.wait().unwrap().success(), "{version}");
    }
}

#[test]
fn a_retired_device_comes_in_only_while_its_ca_is_active() {
    if !found("mosquitto_pub") {
        return;
    }
    let mut broker = Broker::start();
    for version in ["mqttv311", "mqttv5"] {
        let mut comes_in = |operation: Option<&str>| {
            if let Some(operation) = operation {
                let sn = broker.retired_ca.clone();
                let answer = broker.operate(&format!("{operation} Sn={sn}"));
                assert_eq!(answer["Sn"], Value::String(sn), "{answer}");
            }
            broker.publish("retired-device", version, "demo/retired", "?").status.success()
        };
        assert!(!comes_in(None), "{version}");
        assert!(comes_in(Some("ActiveCaCertificate")), "{version}");
        assert!(!comes_in(Some("InactivateCaCertificate")), "{version}");
    }
}

/// A broker process with a PKI of its own, on a free port of the loopback interface.
struct Broker {
    process: Child,
    console: ChildStdin,
    said: Receiver<String>,
    dir: TempDir,
    port: String,
    retired_ca: String,
}

impl Broker {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_broker"))
            .args(["--listen", "127.0.0.1:0", "--dir"])
            .arg(dir.path().join("demo"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let console = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (says, said) = channel();
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| says.send(line))
        });
        let mut broker =
            Self { process, console, said, dir, port: String::new(), retired_ca: String::new() };
        broker.port = broker.hears(|line| {
            let address = line.split_once("TLS on ")?.1.split_once(',')?.0;
            Some(address.rsplit_once(':')?.1.to_owned())
        });
        broker.retired_ca =
            broker.hears(|line| Some(line.strip_prefix("ActiveCaCertificate Sn=")?.to_owned()));
        broker
    }

    /// Types a line on the console and reads the answer.
    fn operate(&mut self, line: &str) -> Value {
        writeln!(self.console, "{line}").unwrap();
        self.hears(|line| serde_json::from_str(line).ok())
    }

    fn hears<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.said.recv_timeout(left).expect("the broker says nothing more");
            if let Some(found) = wanted(&line) {
                return found;
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("demo").join(name)
    }

    /// The certificate in one of the files that the broker serves from.
    fn shown(&self, id: &str) -> String {
        let path = self.file(&format!("certs/mqtt-demo/{id}.pem"));
        first_certificate(&std::fs::read_to_string(path).unwrap())
    }

    fn openssl(&self, device: Option<&str>, options: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-verify_return_error", "-connect"]);
        command.arg(format!("127.0.0.1:{}", self.port)).args(options);
        command.arg("-CAfile").arg(self.file("server-ca.pem"));
        if let Some(device) = device {
            command.arg("-cert").arg(self.file(&format!("{device}.pem")));
            command.arg("-key").arg(self.file(&format!("{device}.key")));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `openssl s_client` until its handshake is done, then has it quit.
    fn s_client(&self, device: &str, options: &[&str]) -> (ExitStatus, String) {
        let mut process = self.openssl(Some(device), options).spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        let mut text = String::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.contains("Verify return code") {
                // It may be gone already; then its exit status tells.
                let _gone = writeln!(input, "Q");
            }
            text.push_str(&line);
            text.push('\n');
        }
        (process.wait().unwrap(), text)
    }

    /// Runs `openssl s_client` with its input held open until it ends by itself: at the end of its
    /// input it would leave before a TLS 1.3 server's alert has come.
    fn refused_s_client(&self, device: Option<&str>, version: &str) -> (ExitStatus, String) {
        let mut process = self.openssl(device, &[version]).spawn().unwrap();
        let input = process.stdin.take();
        let output = finish(process);
        drop(input);
        let text = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&text).into_owned())
    }

    fn mosquitto(&self, program: &[&str], device: &str, version: &str) -> Command {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]);
        command.args(["-h", "localhost", "-p", &self.port, "-V", version]);
        command.arg("--cafile").arg(self.file("server-ca.pem"));
        command.arg("--cert").arg(self.file(&format!("{device}.pem")));
        command.arg("--key").arg(self.file(&format!("{device}.key")));
        command
    }

    fn publish(&self, device: &str, version: &str, topic: &str, message: &str) -> Output {
        let mut command = self.mosquitto(&["mosquitto_pub"], device, version);
        command.args(["-q", "1", "-t", topic, "-m", message]);
        finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A test that fails must not leave it running; one that is gone already is as good.
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Waits for a process that ends by itself, and fails where it does not.
fn finish(process: Child) -> Output {
    let id = process.id();
    let (tells, told) = channel();
    thread::spawn(move || tells.send(process.wait_with_output()));
    match told.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap(),
        Err(_) => panic!("process {id} did not end by itself"),
    }
}

/// Whether a peer is there. Says so where it is not, and fails where it has to be.
fn found(program: &str) -> bool {
    let version = if program == "openssl" { "version" } else { "--help" };
    let mut asked = Command::new(program);
    if asked.arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        return true;
    }
    let demanded = std::env::var("MQTLS_PEERS").is_ok_and(|value| value == "1");
    assert!(!demanded, "{program} is missing, and MQTLS_PEERS=1 demands it");
    eprintln!("skipped: {program} is missing");
    false
}

fn first_certificate(text: &str) -> String {
    let start = text.find("-----BEGIN CERTIFICATE-----").unwrap();
    let end = text[start..].find("-----END CERTIFICATE-----").unwrap();
    text[start..start + end].split_whitespace().collect()
}

const PATIENCE: Duration = Duration::from_secs(30);
