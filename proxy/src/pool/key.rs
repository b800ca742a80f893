//! What tells pools apart.

use std::sync::Arc;

/// Whose servers a pool holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The database as clients name it.
    pub database: String,
    /// The role.
    pub user: String,
    /// Which of the database's servers.
    pub place: Place,
}

impl Key {
    /// The pool of the primary of a shard.
    pub fn primary(database: String, user: String, shard: Arc<str>) -> Self {
        let role = Role::Primary;
        Key {
            database,
            user,
            place: Place { shard, role },
        }
    }

    /// The pool of the same database and role at another place.
    pub fn at(&self, place: Place) -> Self {
        Key {
            place,
            ..self.clone()
        }
    }
}

/// Which of a database's servers. A shard goes by its name: its place in the configuration may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The shard.
    pub shard: Arc<str>,
    /// Which of its servers.
    pub role: Role,
}

/// Which of a shard's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Whichever takes writes.
    Primary,
    /// The one of this number in the configuration, for reads.
    Replica(usize),
    /// The coordinator, whose name stands for a shard's.
    Coordinator,
}
