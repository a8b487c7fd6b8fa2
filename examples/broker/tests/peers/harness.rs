//! A broker process, and the programs that are run against it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A broker process with a PKI of its own, on a free port of the loopback interface.
pub(crate) struct Broker {
    process: Child,
    console: ChildStdin,
    said: Receiver<String>,
    dir: Rc<TempDir>,
    pub(crate) port: String,
    pub(crate) retired_ca: String,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more words on its command line.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        Self::start_in(Rc::new(tempfile::tempdir().unwrap()), options)
    }

    /// With files of its PKI replaced: it takes a whole one as it finds it.
    pub(crate) fn start_changed(change: impl FnOnce(&Path)) -> Self {
        let first = Self::start();
        let dir = Rc::clone(&first.dir);
        drop(first);
        change(&dir.path().join("demo"));
        Self::start_in(dir, &[])
    }

    fn start_in(dir: Rc<TempDir>, options: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_broker"))
            .args(options)
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
    pub(crate) fn operate(&mut self, line: &str) -> Value {
        self.types(line);
        self.says()
    }

    pub(crate) fn types(&mut self, line: &str) {
        writeln!(self.console, "{line}").unwrap();
    }

    /// What the broker says next in JSON.
    pub(crate) fn says(&self) -> Value {
        self.hears(|line| serde_json::from_str(line).ok())
    }

    /// Applies an operation to the CA that begins inactive.
    pub(crate) fn operate_on_retired_ca(&mut self, operation: &str) -> Value {
        let sn = self.retired_ca.clone();
        let answer = self.operate(&format!("{operation} Sn={sn}"));
        assert_eq!(answer["Sn"], Value::String(sn), "{answer}");
        answer
    }

    /// Applies an operation to a device that has been let in.
    pub(crate) fn operate_on_device(&mut self, operation: &str, device: &str) -> Value {
        let list = self.operate("ListDeviceCertificate");
        let devices = list["Data"]["DeviceCertificateVOS"].as_array().unwrap();
        let record = devices.iter().find(|it| it["DeviceName"] == device).unwrap();
        let [ca_sn, device_sn] = ["CaSn", "DeviceSn"].map(|it| record[it].as_str().unwrap());
        let answer = self.operate(&format!("{operation} CaSn={ca_sn} DeviceSn={device_sn}"));
        assert_eq!(answer["DeviceSn"], device_sn, "{answer}");
        answer
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

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("demo").join(name)
    }

    /// The certificate in one of the files that the broker serves from.
    pub(crate) fn shown(&self, id: &str) -> String {
        self.shown_by("mqtt-demo", id)
    }

    /// The same of any instance.
    pub(crate) fn shown_by(&self, instance: &str, id: &str) -> String {
        let path = self.file(&format!("certs/{instance}/{id}.pem"));
        first_certificate(&std::fs::read_to_string(path).unwrap())
    }

    pub(crate) fn openssl(&self, device: Option<&str>, options: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-verify_return_error", "-connect"]);
        command.arg(format!("127.0.0.1:{}", self.port)).args(options);
        // Whom it calls, an option tells: only the second instance has names of this kind.
        let is_second = options.iter().any(|option| option.ends_with(".second.example.test"));
        let server_ca = if is_second { "mqtt-second/server-ca.pem" } else { "server-ca.pem" };
        command.arg("-CAfile").arg(self.file(server_ca));
        if let Some(device) = device {
            command.arg("-cert").arg(self.file(&format!("{device}.pem")));
            command.arg("-key").arg(self.file(&format!("{device}.key")));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `openssl s_client` until its handshake is done, then has it quit.
    pub(crate) fn s_client(&self, device: &str, options: &[&str]) -> (ExitStatus, String) {
        self.s_client_until(device, options, || {})
    }

    /// Runs `openssl s_client` until its handshake is done and `ready` has returned, then has it
    /// quit.
    pub(crate) fn s_client_until(
        &self,
        device: &str,
        options: &[&str],
        ready: impl FnOnce(),
    ) -> (ExitStatus, String) {
        let mut process = self.openssl(Some(device), options).spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        let mut text = String::new();
        let mut ready = Some(ready);
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(ready) = ready.take_if(|_| line.contains("Verify return code")) {
                ready();
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
    pub(crate) fn refused_s_client(
        &self,
        device: Option<&str>,
        options: &[&str],
    ) -> (ExitStatus, String) {
        let mut process = self.openssl(device, options).spawn().unwrap();
        let input = process.stdin.take();
        let output = finish(process);
        drop(input);
        let text = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&text).into_owned())
    }

    pub(crate) fn mosquitto(&self, program: &[&str], device: &str, version: &str) -> Command {
        self.mosquitto_at("localhost", program, device, version)
    }

    /// Calls a host of the first instance by this name, or by its address.
    pub(crate) fn mosquitto_at(
        &self,
        host: &str,
        program: &[&str],
        device: &str,
        version: &str,
    ) -> Command {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]);
        command.args(["-h", host, "-p", &self.port, "-V", version]);
        command.arg("--cafile").arg(self.file("server-ca.pem"));
        command.arg("--cert").arg(self.file(&format!("{device}.pem")));
        command.arg("--key").arg(self.file(&format!("{device}.key")));
        command
    }

    pub(crate) fn publish(
        &self,
        device: &str,
        version: &str,
        topic: &str,
        message: &str,
    ) -> Output {
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
pub(crate) fn finish(process: Child) -> Output {
    let id = process.id();
    let (tells, told) = channel();
    thread::spawn(move || tells.send(process.wait_with_output()));
    match told.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap(),
        Err(_) => panic!("process {id} did not end by itself"),
    }
}

/// Whether a peer is there. Says so where it is not, and fails where it has to be.
pub(crate) fn found(program: &str) -> bool {
    let version = if program == "openssl" { "version" } else { "--help" };
    let mut asked = Command::new(program);
    if asked.arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        return true;
    }
    miss(program);
    false
}

/// Says that a peer is not there, and fails where it has to be.
pub(crate) fn miss(peer: &str) {
    let demanded = std::env::var("MQTLS_PEERS").is_ok_and(|value| value == "1");
    assert!(!demanded, "{peer} is missing, and MQTLS_PEERS=1 demands it");
    eprintln!("skipped: {peer} is missing");
}

/// Asks again and again until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn first_certificate(text: &str) -> String {
    let start = text.find("-----BEGIN CERTIFICATE-----").unwrap();
    let end = text[start..].find("-----END CERTIFICATE-----").unwrap();
    text[start..start + end].split_whitespace().collect()
}

const PATIENCE: Duration = Duration::from_secs(30);
