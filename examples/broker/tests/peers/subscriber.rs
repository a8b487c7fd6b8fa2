//! `mosquitto_sub` while it runs.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use crate::harness::{Broker, finish};

/// A `mosquitto_sub` that the broker has let in.
pub(crate) struct Subscriber {
    /// Whose it is and what it speaks.
    name: String,
    process: Option<Child>,
    said: Lines<BufReader<ChildStdout>>,
}

impl Broker {
    /// Runs one for a device until it is subscribed.
    pub(crate) fn subscribed(&self, device: &str, version: &str, topic: &str) -> Subscriber {
        // By lines, or else it keeps what it says about SUBACK to itself until it ends.
        let mut process = self
            .mosquitto(&["stdbuf", "-oL", "mosquitto_sub"], device, version)
            .args(["-q", "1", "-W", "20", "-d", "-t", topic])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        let name = format!("{device} over {version}");
        let mut subscriber = Subscriber { name, process: Some(process), said };
        subscriber.hears("SUBACK");
        subscriber
    }
}

impl Subscriber {
    /// Waits until it says something with these words in it.
    pub(crate) fn hears(&mut self, words: &str) {
        let heard = self.said.any(|line| line.unwrap().contains(words));
        assert!(heard, "{}: it ended without {words}", self.name);
    }

    /// That it ends by itself, never says these words, and was told why where there are words for
    /// that, and only there.
    pub(crate) fn ends_without(mut self, words: &str, told: Option<&str>) {
        let name = &self.name;
        let heard: Vec<_> = self.said.by_ref().map(|line| line.unwrap().to_lowercase()).collect();
        assert!(!heard.iter().any(|line| line.contains(words)), "{name}: {heard:?}");
        let disconnect = heard.iter().find(|line| line.contains("received disconnect"));
        match (disconnect, told) {
            (Some(line), Some(told)) => assert!(line.contains(told), "{name}: {line}"),
            (None, None) => {}
            _ => panic!("{name}: {heard:?}"),
        }
        let ended = self.process.take().map(finish).unwrap();
        assert_ne!(ended.status.code(), Some(TIME_IS_UP), "{name}: it was still there");
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // One that is gone already is as good.
            let _gone = process.kill();
            let _status = process.wait();
        }
    }
}

/// How it ends at its own limit of time: nobody has cut it.
const TIME_IS_UP: i32 = 27;
