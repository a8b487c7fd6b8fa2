//! Which topics a device may touch.

use super::identity::Identity;

/// The topic rules of one connection, decided once from the verified identity.
///
/// A device may publish and subscribe under `demo`, which all devices share, and under
/// `devices/<its own identity>`. Every other topic is refused, `$SYS` and shared subscriptions
/// (`$share/…`) with it.
#[derive(Debug)]
pub(super) struct TopicRules {
    own: Option<String>,
}

impl TopicRules {
    /// The rules for this device.
    pub(super) fn of(identity: &Identity) -> Self {
        Self { own: identity.own_topics() }
    }

    /// Whether the device may publish to this topic, as a will too.
    ///
    /// A topic name has no wildcards (MQTT 5, 3.3.2.1: "The Topic Name in the PUBLISH packet MUST
    /// NOT contain wildcard characters"); for a will nobody else has checked that yet.
    pub(super) fn may_publish(&self, topic: &str) -> bool {
        !topic.contains(['+', '#', '\0']) && self.reaches(topic)
    }

    /// Whether the device may subscribe to this filter: its leading levels must be literally one
    /// of the device's roots, so no wildcard stands where another device's name could.
    pub(super) fn may_subscribe(&self, filter: &str) -> bool {
        self.reaches(filter)
    }

    fn reaches(&self, topic: &str) -> bool {
        lies_under(SHARED, topic) || self.own.as_deref().is_some_and(|own| lies_under(own, topic))
    }
}

/// Whether a topic or filter is `root` or has all of its levels in front. A root holds no
/// wildcard, so comparing text compares levels.
fn lies_under(root: &str, topic: &str) -> bool {
    topic.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The topics that all devices share.
const SHARED: &str = "demo";

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(name: &str) -> TopicRules {
        TopicRules::of(&Identity::new("01", Some(name), "ab"))
    }

    #[test]
    fn a_device_publishes_to_shared_and_own_topics_only() {
        let rules = rules("device-1");
        for topic in ["demo", "demo/hello", "demo/a/b", "devices/01/device-1/up"] {
            assert!(rules.may_publish(topic), "{topic}");
        }
        for topic in [
            "demolition",
            "demo+",
            "Demo/hello",
            "/demo/hello",
            "devices/01/device-2/up",
            "devices/01/device-10/up",
            "devices/02/device-1/up",
            "devices/01",
            "devices/01/+/up",
            "demo/#",
            "demo/\0",
            "$SYS/broker/uptime",
            "",
        ] {
            assert!(!rules.may_publish(topic), "{topic}");
        }
    }

    #[test]
    fn a_wildcard_never_stands_for_another_device() {
        let rules = rules("device-1");
        for filter in ["demo/#", "demo/+", "demo/+/x", "devices/01/device-1/#"] {
            assert!(rules.may_subscribe(filter), "{filter}");
        }
        for filter in [
            "#",
            "+/#",
            "demo#",
            "+/hello",
            "devices/#",
            "devices/+/device-1/#",
            "devices/01/+/#",
            "devices/01/device-2/#",
            "$share/group/demo/#",
            "$SYS/#",
        ] {
            assert!(!rules.may_subscribe(filter), "{filter}");
        }
    }

    #[test]
    fn a_name_of_wildcards_widens_nothing() {
        for name in ["+", "#", "+/+", "device-2/../device-1", "../device-2"] {
            let rules = rules(name);
            assert!(!rules.may_publish("devices/01/device-2/up"), "{name}");
            assert!(!rules.may_subscribe("devices/01/device-2/up"), "{name}");
            assert!(!rules.may_subscribe("devices/01/+/up"), "{name}");
            assert!(!rules.may_subscribe("devices/01/#"), "{name}");
        }
    }
}
