//! The threads that look for renewed certificates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::instances::Instances;
use super::looks::Look;
use super::renewal::RenewalError;
use crate::id::InstanceId;

/// Has looks done on a few threads, of which one instance never takes more than one: so one whose
/// certificates are slow to load holds up no other's.
pub(super) struct Lookers {
    /// In which order those that wait have come: each instance once.
    order: VecDeque<InstanceId>,
    waiting: BTreeMap<InstanceId, Look>,
    under_way: BTreeSet<InstanceId>,
    to_lookers: Sender<Look>,
    looked: Receiver<Looked>,
}

/// A look, and what could not be renewed with it.
type Looked = (Look, Vec<RenewalError>);

impl Lookers {
    /// Begins the threads, which end when this is dropped. `wake` is called behind each look.
    pub(super) fn begin(
        instances: &Instances,
        wake: impl Fn() + Clone + Send + 'static,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (to_lookers, looks) = channel();
        let (done, looked) = channel();
        let looks = Arc::new(Mutex::new(looks));
        let threads = (0..LOOKERS).map(|_| {
            let (instances, looks) = (instances.clone(), Arc::clone(&looks));
            let (done, wake) = (done.clone(), wake.clone());
            Builder::new().name("mqtls-look".to_owned()).spawn(move || {
                while let Some(look) = next(&looks) {
                    let failed = look_at(&instances, &look);
                    let _gone = done.send((look, failed));
                    wake();
                }
            })
        });
        let threads = threads.collect::<io::Result<_>>()?;
        let (order, waiting, under_way) = Default::default();
        Ok((Self { order, waiting, under_way, to_lookers, looked }, threads))
    }

    /// Puts a look behind those that wait, or with the one of its instance that does.
    pub(super) fn put(&mut self, look: Look) {
        if let Some(waiting) = self.waiting.get_mut(&look.instance) {
            waiting.join(look);
        } else {
            self.order.push_back(look.instance.clone());
            self.waiting.insert(look.instance.clone(), look);
        }
    }

    /// Begins those for which there is a thread.
    pub(super) fn proceed(&mut self) {
        while self.under_way.len() < LOOKERS {
            let is_free = |instance: &InstanceId| !self.under_way.contains(instance);
            let Some(first) = self.order.iter().position(is_free) else { return };
            let Some(instance) = self.order.remove(first) else { return };
            if let Some(look) = self.waiting.remove(&instance) {
                self.under_way.insert(instance);
                let _all_have_ended = self.to_lookers.send(look);
            }
        }
    }

    /// The next look that is done.
    pub(super) fn take_looked(&mut self) -> Option<Looked> {
        let looked = self.looked.try_recv().ok()?;
        self.under_way.remove(&looked.0.instance);
        Some(looked)
    }
}

/// The next look that is begun; `None` at the end.
fn next(looks: &Mutex<Receiver<Look>>) -> Option<Look> {
    looks.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn look_at(instances: &Instances, look: &Look) -> Vec<RenewalError> {
    let Some(instance) = instances.get(&look.instance) else { return vec![] };
    let renew = || {
        let which = look.which().with_twins(&instance);
        instances.renew(&instance, &which, |id| look.failing(id)).failed
    };
    // Unwind safe: a renewal builds what it publishes by itself, and puts it in place at its end.
    catch_unwind(AssertUnwindSafe(renew)).unwrap_or_else(|_payload| {
        // A source of the embedder's, say. The panic hook has printed the panic by then.
        tracing::error!(instance = %look.instance, "a renewal has panicked");
        vec![]
    })
}

/// So many instances are looked at at once.
const LOOKERS: usize = 4;
