//! The instance that an operation of the console's own reads.

use std::sync::Arc;

use mqtls::{Instance, InstanceId, Instances};
use thiserror::Error;

use super::answer::Failure;
use super::typed::{INSTANCE, Typed};

/// The instance that is named among the parameters.
pub(super) fn named(from: &Typed, instances: &Instances) -> Result<Arc<Instance>, Failure> {
    let id: InstanceId = from.required(INSTANCE)?;
    Ok(instances.get(&id).ok_or(NoSuchInstance(id))?)
}

/// There is no such instance.
#[derive(Debug, Error)]
#[error("there is no instance {0}")]
pub(super) struct NoSuchInstance(InstanceId);
