//! To whom the connections of a listener belong.

use std::sync::Arc;

use rustls::server::ClientHello;

use crate::instance::{Announcer, Counters, Instance, Instances, NoRoute, Route};
use crate::name::HostName;

/// The instances behind one listener.
#[derive(Clone, Debug)]
pub(super) enum Hosts {
    /// One, whatever name is asked for.
    One(Arc<Instance>),
    /// Those that share it, by name; the other one for all other names.
    Shared(Instances, Option<Arc<Instance>>),
}

impl Hosts {
    /// Where a client goes with this ClientHello, of which `name` is the server name. `None` where
    /// nobody answers.
    pub(super) fn route(&self, hello: &ClientHello<'_>, name: Option<&HostName>) -> Option<Route> {
        match self {
            Self::One(instance) => Route::to(instance),
            Self::Shared(instances, fallback) => {
                let find = |name: &HostName| {
                    let (schemes, suites) = (hello.signature_schemes(), hello.cipher_suites());
                    instances.find(name.as_str(), schemes, suites)
                };
                match name.map_or(Err(NoRoute::Unknown), find) {
                    Ok(route) => Some(route),
                    Err(NoRoute::Unknown) => fallback.as_ref().and_then(Route::to),
                    Err(NoRoute::Unready) => None,
                }
            }
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        match self {
            Self::One(instance) => instance.counters(),
            Self::Shared(instances, _) => instances.counters(),
        }
    }

    pub(super) fn announcer(&self) -> &Announcer {
        match self {
            Self::One(instance) => instance.announcer(),
            Self::Shared(instances, _) => instances.announcer(),
        }
    }

    /// The instance, where there is one only.
    pub(super) fn only(&self) -> Option<&Arc<Instance>> {
        match self {
            Self::One(instance) => Some(instance),
            Self::Shared(..) => None,
        }
    }

    /// See [`Instance::sweep`].
    pub(super) fn sweep(&self) {
        match self {
            Self::One(instance) => drop(instance.sweep()),
            Self::Shared(instances, fallback) => {
                instances.sweep();
                // It may be of another set.
                if let Some(fallback) = fallback {
                    fallback.sweep();
                }
            }
        }
    }
}
