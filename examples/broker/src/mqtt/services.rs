//! The MQTT half of several instances.

use std::collections::BTreeMap;
use std::convert::Infallible;

use mqtls::InstanceId;
use tokio::time::{MissedTickBehavior, interval};

use super::service::{HOUSEKEEPING, Service};

/// One MQTT service for each instance.
///
/// Whatever MQTT knows by a name is kept in a service: topics, subscriptions, retained messages,
/// client identifiers, sessions, rates. Services share nothing, so one name in two instances is two
/// names, and no rule about topics has to tell them apart.
pub(crate) struct Services {
    by_instance: BTreeMap<InstanceId, Service>,
}

impl Services {
    /// An empty service for each of these.
    pub(crate) fn of<'a>(instances: impl IntoIterator<Item = &'a InstanceId>) -> Self {
        let services = instances.into_iter().map(|id| (id.clone(), Service::new()));
        Self { by_instance: services.collect() }
    }

    /// The service of this instance's devices.
    pub(crate) fn get(&self, instance: &InstanceId) -> Option<&Service> {
        self.by_instance.get(instance)
    }

    /// Removes what has expired, again and again: sessions, queued messages, rate windows.
    pub(crate) async fn keep_house(&self) -> Infallible {
        let mut ticks = interval(HOUSEKEEPING);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for service in self.by_instance.values() {
                service.clean_up().await;
            }
        }
    }
}
