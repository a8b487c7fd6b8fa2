//! The records that have one thing in common.

use std::ops::Deref;
use std::sync::Arc;

/// The records under one key of an index, in the order of their registration.
///
/// Nearly always it is one, and that costs no list. A reader takes all out with one clone; a writer
/// changes a list in place where no reader holds it, and else a copy.
#[derive(Debug, Default)]
pub(super) enum Records<T> {
    #[default]
    None,
    One(Arc<T>),
    Several(Arc<Vec<Arc<T>>>),
}

impl<T> Records<T> {
    pub(super) fn add(&mut self, added: &Arc<T>) {
        let added = Arc::clone(added);
        match self {
            Self::None => *self = Self::One(added),
            Self::One(first) => *self = Self::Several(Arc::new(vec![Arc::clone(first), added])),
            Self::Several(all) => Arc::make_mut(all).push(added),
        }
    }

    pub(super) fn take_out(&mut self, taken: &Arc<T>) {
        match self {
            Self::One(only) if Arc::ptr_eq(only, taken) => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Several(all) => {
                Arc::make_mut(all).retain(|record| !Arc::ptr_eq(record, taken));
                if let [only] = all.as_slice() {
                    *self = Self::One(Arc::clone(only));
                }
            }
        }
    }
}

// Derived it would be for a `T` that can be cloned itself.
impl<T> Clone for Records<T> {
    fn clone(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(only) => Self::One(Arc::clone(only)),
            Self::Several(all) => Self::Several(Arc::clone(all)),
        }
    }
}

impl<T> Deref for Records<T> {
    type Target = [Arc<T>];

    fn deref(&self) -> &[Arc<T>] {
        match self {
            Self::None => &[],
            Self::One(only) => std::slice::from_ref(only),
            Self::Several(all) => all,
        }
    }
}
