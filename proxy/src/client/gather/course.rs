//! What a session says beside its statements while a gathering server is lent to it, and what it is told of where that has been.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use routing_rules::Key;

use crate::fault::Fault;
use crate::server::address::Target;

/// Shared between the session's task and the server's.
#[derive(Default)]
pub(in crate::client) struct Course {
    /// The session's tenant.
    pub tenant: RefCell<Option<Key>>,
    /// The place of the shard that `pgshunt.target` names.
    pub target: Cell<Option<usize>>,
    /// What comes next is refused with this.
    pub refusal: RefCell<Option<Fault>>,
    /// Shards may be read on replicas.
    pub is_on_replicas: bool,
    /// One that can't be may be read on its primary beside them.
    pub may_mix: bool,
    /// The servers that took part, in the order of their shards.
    seats: RefCell<Vec<Seat>>,
}

/// A server that took part.
#[derive(Clone)]
pub(in crate::client) struct Seat {
    /// Its shard's place.
    pub at: usize,
    /// Its shard's name.
    pub shard: Arc<str>,
    /// Which of the shard's replicas it is; `None`: its primary.
    pub replica: Option<usize>,
    /// Where it is.
    pub server: Arc<Target>,
}

impl Course {
    /// Nothing was said yet.
    pub fn new(is_on_replicas: bool, may_mix: bool) -> Self {
        Course {
            is_on_replicas,
            may_mix,
            ..Course::default()
        }
    }

    /// A server takes part.
    pub fn takes_part(&self, seat: Seat) {
        let mut seats = self.seats.borrow_mut();
        match seats.binary_search_by_key(&seat.at, |known| known.at) {
            Ok(place) => seats[place] = seat,
            Err(place) => seats.insert(place, seat),
        }
    }

    /// Those that have.
    pub fn seats(&self) -> Vec<Seat> {
        self.seats.borrow().clone()
    }
}
