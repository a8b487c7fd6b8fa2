//! A room with so many places: when it is full, the newcomer takes the place of whoever has been
//! in it for longest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections that cost a socket and no work: those whose ClientHello is awaited, and those that
/// are left to read their alert.
///
/// It is the oldest who goes, since a real client is through within a few round trips: whoever
/// would keep it out has to bring a room's worth of new connections in that time, again and again.
pub(super) struct Room {
    limit: usize,
    inside: Mutex<Inside>,
}

impl Room {
    /// A room with `limit` places, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), inside: Mutex::default() }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Comes in. Where the room is full, whoever has been inside longest is told to go. Costs the
    /// logarithm of the number inside.
    pub(super) fn enter(&self) -> Place<'_> {
        let crowded_out = Arc::new(Notify::new());
        let (number, oldest) = {
            let mut inside = self.inside();
            let full = inside.places.len() >= self.limit;
            let oldest = if full { inside.places.pop_first() } else { None };
            let number = inside.next;
            inside.next += 1;
            inside.places.insert(number, Arc::clone(&crowded_out));
            (number, oldest)
        };
        if let Some((_number, oldest)) = oldest {
            oldest.notify_one();
        }
        Place { room: self, number, crowded_out }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In order of arrival. Everyone who comes or goes changes it and nobody reads it for an answer,
/// so it is a short lock and not a published table.
#[derive(Default)]
struct Inside {
    next: u64,
    places: BTreeMap<u64, Arc<Notify>>,
}

/// A place in a room, free again when dropped.
pub(super) struct Place<'a> {
    room: &'a Room,
    number: u64,
    crowded_out: Arc<Notify>,
}

impl Place<'_> {
    /// Waits until a newcomer has taken the place.
    pub(super) async fn crowded_out(&self) {
        self.crowded_out.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Nothing to remove where a newcomer has taken it.
        self.room.inside().places.remove(&self.number);
    }
}
