//! Who a connection is, in the words of topics and sessions.

use std::fmt;
use std::fmt::Write as _;

/// The verified device behind a connection, as one text that is safe inside a topic.
///
/// It reads `<serial of the admitting CA>/<common name>`, the name escaped: a CA vouches for the
/// names that it signs, so a renewed certificate is still the same device, while the same name
/// under another CA is another device. Without a common name the certificate's SHA-256 takes its
/// place behind a `#`, which no escaped name holds, and the device has no topics of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    user: String,
    is_named: bool,
}

impl Identity {
    /// Makes the identity from what the handshake verified, each part in its canonical text:
    /// serial and fingerprint as lower-case hex.
    pub(crate) fn new(ca_serial: &str, common_name: Option<&str>, fingerprint: &str) -> Self {
        match common_name.filter(|name| !name.is_empty()) {
            Some(name) => Self { user: format!("{ca_serial}/{}", escaped(name)), is_named: true },
            None => Self { user: format!("{ca_serial}/#{fingerprint}"), is_named: false },
        }
    }

    /// The identity as the one text under which sessions and log lines know the device.
    pub(crate) fn as_str(&self) -> &str {
        &self.user
    }

    /// The root of the topics that are this device's alone, where it has a name.
    pub(crate) fn own_topics(&self) -> Option<String> {
        self.is_named.then(|| format!("{DEVICES}/{}", self.user))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)
    }
}

/// Writes a common name so that it is one topic level and nothing more.
///
/// Whatever a CA was talked into signing, `+`, `#`, `/`, `$` or a NUL, ends as `%2B` and the
/// like. Different names stay different, since `%` itself is escaped too.
fn escaped(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            text.push(char::from(byte));
        } else {
            // Writing into a `String` cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// First level of every device's own topics.
const DEVICES: &str = "devices";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_reaches_a_topic_only_escaped() {
        for (name, level) in [
            ("device-1", "device-1"),
            ("Device_1.local", "Device_1.local"),
            ("+", "%2B"),
            ("#", "%23"),
            ("a/b", "a%2Fb"),
            ("$SYS", "%24SYS"),
            ("a\0b", "a%00b"),
            ("%2B", "%252B"),
            ("ü", "%C3%BC"),
            ("two words", "two%20words"),
            ("\n\u{1b}[31m", "%0A%1B%5B31m"),
        ] {
            let identity = Identity::new("00ff", Some(name), "ab");
            assert_eq!(identity.own_topics(), Some(format!("devices/00ff/{level}")), "{name:?}");
        }
    }

    #[test]
    fn different_names_never_meet() {
        let names = ["a/b", "a%2Fb", "a%252Fb", "a b", "a%20b", "a", "A"];
        for (index, left) in names.iter().enumerate() {
            for right in names.iter().skip(index + 1) {
                assert_ne!(escaped(left), escaped(right));
            }
        }
    }

    #[test]
    fn the_same_name_under_another_ca_is_another_device() {
        let one = Identity::new("01", Some("device-1"), "ab");
        assert_ne!(one, Identity::new("02", Some("device-1"), "ab"));
        assert_eq!(one, Identity::new("01", Some("device-1"), "cd"), "a renewed certificate");
    }

    #[test]
    fn a_device_without_a_name_has_no_topics_of_its_own() {
        for name in [None, Some("")] {
            let identity = Identity::new("01", name, "ab");
            assert_eq!(identity.own_topics(), None);
            assert_eq!(identity.as_str(), "01/#ab");
        }
        assert_ne!(
            Identity::new("01", None, "ab").as_str(),
            Identity::new("01", Some("#ab"), "ab").as_str()
        );
    }
}
