//! Which device uses which MQTT client identifier.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::identity::Identity;

/// The client identifiers of all live connections, each with the device that uses it.
///
/// MQTT ends the older of two connections with one client identifier and may hand its session to
/// the newer one. So an identifier belongs to a device from its first connection to the end of
/// its last, and no other device can end or inherit that session. What outlives the connections
/// is the stored session, which names its owner itself. Identifiers are free otherwise: clients
/// that make one up at random connect as they are.
#[derive(Debug, Default)]
pub(super) struct ClientIds {
    owners: DashMap<String, Owner>,
}

impl ClientIds {
    /// Claims an identifier for a device until the claim is dropped; `None` where another device
    /// holds it.
    pub(super) fn claim(self: &Arc<Self>, client_id: &str, device: &Identity) -> Option<Claim> {
        match self.owners.entry(client_id.to_owned()) {
            Entry::Vacant(free) => {
                free.insert(Owner { device: device.clone(), claims: 1 });
            }
            Entry::Occupied(mut taken) => {
                let owner = taken.get_mut();
                if owner.device != *device {
                    return None;
                }
                owner.claims = owner.claims.saturating_add(1);
            }
        }
        Some(Claim { client_id: client_id.to_owned(), all: Arc::clone(self) })
    }

    fn release(&self, client_id: &str) {
        self.owners.remove_if_mut(client_id, |_, owner| {
            owner.claims = owner.claims.saturating_sub(1);
            owner.claims == 0
        });
    }
}

/// One connection's hold on its client identifier.
#[derive(Debug)]
pub(super) struct Claim {
    client_id: String,
    all: Arc<ClientIds>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.all.release(&self.client_id);
    }
}

#[derive(Debug)]
struct Owner {
    device: Identity,
    /// How many connections hold it: two for the moment in which a device replaces its own.
    claims: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Identity {
        Identity::new("01", Some(name), "ab")
    }

    #[test]
    fn an_identifier_belongs_to_one_device_while_it_is_connected() {
        let ids = Arc::new(ClientIds::default());
        let first = ids.claim("sensor", &device("device-1")).unwrap();
        assert!(ids.claim("sensor", &device("device-2")).is_none());
        assert!(ids.claim("other", &device("device-2")).is_some());

        let replacing = ids.claim("sensor", &device("device-1")).unwrap();
        drop(first);
        assert!(ids.claim("sensor", &device("device-2")).is_none(), "the newer one holds it");
        drop(replacing);
        assert!(ids.claim("sensor", &device("device-2")).is_some());
        assert!(ids.owners.is_empty());
    }
}
