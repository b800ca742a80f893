//! What a session says beside its statements while a gathering server is lent to it.

use std::cell::{Cell, RefCell};

use routing_rules::Key;

use crate::fault::Fault;

/// Shared between the session's task and the server's.
#[derive(Default)]
pub(in crate::client) struct Course {
    /// The session's tenant.
    pub tenant: RefCell<Option<Key>>,
    /// The place of the shard that `pgshunt.target` names.
    pub target: Cell<Option<usize>>,
    /// What comes next is refused with this.
    pub refusal: RefCell<Option<Fault>>,
}
