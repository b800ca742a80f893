//! A pool's places among all servers of its database, and among all servers of its role: a server needs one of each.

use std::sync::Arc;

use super::ledger::Need;
use super::room::{Room, Seat};

/// Whose servers are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// All pools of a database.
    Database,
    /// All pools of a role.
    Role,
}

/// The seats of one worker's part of a pool.
#[derive(Debug)]
pub struct Seats {
    /// Among the servers of its database (`max_db_connections`).
    pub database: Seat,
    /// Among the servers of its role (`max_user_connections`).
    pub role: Seat,
}

impl Seats {
    /// Changes both limits (0: none).
    pub fn limit(&self, max_db_connections: usize, max_user_connections: usize) {
        self.database.room.limit(max_db_connections);
        self.role.room.limit(max_user_connections);
    }

    /// Both rooms: what changes in them concerns the pool.
    pub fn rooms(&self) -> [Arc<Room>; 2] {
        [self.database.room.clone(), self.role.room.clone()]
    }

    /// Takes both places for one more server; else says which one there is to wait for.
    pub fn reserve(&self) -> Result<(), Need> {
        if !self.role.reserve() {
            return Err(Need::Role);
        }
        if !self.database.reserve() {
            self.role.hand_back();
            return Err(Need::Database);
        }
        Ok(())
    }

    /// Gives both places back.
    pub fn release(&self) {
        self.database.release();
        self.role.release();
    }

    /// The pool's need has changed.
    pub fn wait(&self, from: Need, to: Need) {
        for (need, seat) in [(Need::Database, &self.database), (Need::Role, &self.role)] {
            if (from == need) != (to == need) {
                seat.wait(to == need);
            }
        }
    }

    /// Is a server to be closed so that somebody else can have one? Then [`Seats::made_room`] says that it was.
    pub fn makes_room(&self, is_idle: bool) -> Option<Whose> {
        if self.database.makes_room(is_idle) {
            return Some(Whose::Database);
        }
        self.role.makes_room(is_idle).then_some(Whose::Role)
    }

    /// A server that was to make room has been released.
    pub fn made_room(&self, whose: Whose) {
        match whose {
            Whose::Database => self.database.made_room(),
            Whose::Role => self.role.made_room(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_needs_a_place_of_each() {
        let rooms: [Arc<Room>; 3] = Default::default();
        let [one, other, role] = &rooms;
        let seats = |database: &Arc<Room>| Seats {
            database: database.seat(),
            role: role.seat(),
        };
        let (here, there) = (seats(one), seats(other));
        here.limit(1, 2);
        there.limit(5, 2);
        assert_eq!(here.reserve(), Ok(()));
        assert_eq!(here.reserve(), Err(Need::Database));
        // What was handed back is there for the other.
        assert_eq!(there.reserve(), Ok(()));
        assert_eq!(there.reserve(), Err(Need::Role));
        here.wait(Need::None, Need::Role);
        assert_eq!(there.makes_room(true), Some(Whose::Role));
        there.release();
        there.made_room(Whose::Role);
        assert_eq!(here.reserve(), Err(Need::Database));
    }
}
