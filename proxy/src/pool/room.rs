//! How many servers a database, or a role, may have over all its pools and workers: places, and turns for those who wait for one.
//!
//! Asked when a server is connected or closed, and when one is given back while somebody waits; never otherwise.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// The places of one database, or of one role.
#[derive(Debug, Default)]
pub struct Room {
    /// A worker's pool began to wait for a place, or a place came free while one did.
    pub changed: Notify,
    places: Mutex<Places>,
    pressed: AtomicBool,
}

#[derive(Debug, Default)]
struct Places {
    /// The most servers (0: as many as the pools may have).
    limit: usize,
    servers: usize,
    /// Servers being closed so that somebody else gets their place.
    closing: usize,
    /// The number of the next seat, and of the next wait.
    next: u64,
    seats: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    id: u64,
    servers: usize,
    /// Its turn among those that wait; `None`: it does not.
    turn: Option<u64>,
}

impl Room {
    /// Changes the limit.
    pub fn limit(&self, limit: usize) {
        let mut places = self.places();
        if std::mem::replace(&mut places.limit, limit) != limit {
            self.tell(&places, true);
        }
    }

    /// A seat for one worker's part of one pool.
    pub fn seat(self: &Arc<Self>) -> Seat {
        let mut places = self.places();
        let id = places.number();
        places.seats.push(Held {
            id,
            servers: 0,
            turn: None,
        });
        drop(places);
        Seat {
            room: self.clone(),
            id,
        }
    }

    fn tell(&self, places: &Places, changed: bool) {
        let pressed = places.waiting() > 0 || places.surplus() > 0;
        self.pressed.store(pressed, Ordering::Release);
        if changed && pressed {
            self.changed.notify_waiters();
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Places {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn waiting(&self) -> usize {
        self.seats.iter().filter(|held| held.turn.is_some()).count()
    }

    fn surplus(&self) -> usize {
        match self.limit {
            0 => 0,
            limit => self.servers.saturating_sub(limit),
        }
    }

    fn seat(&mut self, id: u64) -> &mut Held {
        let found = self.seats.iter_mut().find(|held| held.id == id);
        found.expect("a seat is in its room until it is dropped")
    }

    /// Whoever has fewest servers comes first, and among those whoever has waited longest.
    fn has_a_turn(&self, id: u64) -> bool {
        let rank = |held: &Held| (held.servers, held.turn.unwrap_or(u64::MAX));
        let Some(own) = self.seats.iter().find(|held| held.id == id).map(rank) else {
            return false;
        };
        let others = self
            .seats
            .iter()
            .filter(|held| held.id != id && held.turn.is_some());
        let ahead = others.filter(|held| rank(held) < own).count();
        ahead < self.limit.saturating_sub(self.servers)
    }

    /// Would somebody who waits make better use of one of this seat's places?
    fn is_wanted(&self, id: u64, is_idle: bool) -> bool {
        let own = self
            .seats
            .iter()
            .find(|held| held.id == id)
            .map_or(0, |held| held.servers);
        let mut others = self
            .seats
            .iter()
            .filter(|held| held.id != id && held.turn.is_some());
        others.any(|held| is_idle || held.servers == 0 || own > held.servers + 1)
    }
}

/// The part that one worker's part of a pool has in a room. Dropped, it gives back what it holds.
#[derive(Debug)]
pub struct Seat {
    /// The room it is in.
    pub room: Arc<Room>,
    id: u64,
}

impl Seat {
    /// Takes a place for one more server. False when all are taken, or others come first.
    pub fn reserve(&self) -> bool {
        let mut places = self.room.places();
        let granted = places.limit == 0 || places.has_a_turn(self.id);
        if granted {
            places.servers += 1;
            places.seat(self.id).servers += 1;
        }
        granted
    }

    /// Gives a place back.
    pub fn release(&self) {
        let mut places = self.room.places();
        places.servers = places.servers.saturating_sub(1);
        let held = places.seat(self.id);
        debug_assert!(held.servers > 0, "a place was given back twice");
        held.servers = held.servers.saturating_sub(1);
        self.room.tell(&places, true);
    }

    /// Gives a place back at once, since something else is missing. Nobody is told: nothing has become free.
    pub fn hand_back(&self) {
        let mut places = self.room.places();
        places.servers = places.servers.saturating_sub(1);
        let held = places.seat(self.id);
        held.servers = held.servers.saturating_sub(1);
    }

    /// Its clients wait for a place, or no longer do.
    pub fn wait(&self, waits: bool) {
        let mut places = self.room.places();
        let number = places.number();
        let held = places.seat(self.id);
        held.turn = match waits {
            true => held.turn.or(Some(number)),
            false => None,
        };
        self.room.tell(&places, true);
    }

    /// Is one of its servers to be closed so that somebody else can have one, or because the limit was lowered?
    /// Then [`Seat::made_room`] says that it was. A server is idle if no client of its own pool waits for it either.
    pub fn makes_room(&self, is_idle: bool) -> bool {
        if !self.room.pressed.load(Ordering::Acquire) {
            return false;
        }
        let mut places = self.room.places();
        let (surplus, waiting, closing) = (places.surplus(), places.waiting(), places.closing);
        let wanted = closing < surplus || (closing < surplus + waiting && places.is_wanted(self.id, is_idle));
        places.closing += usize::from(wanted);
        wanted
    }

    /// A server that was to make room has been released.
    pub fn made_room(&self) {
        let mut places = self.room.places();
        places.closing = places.closing.saturating_sub(1);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut places = self.room.places();
        if let Some(at) = places.seats.iter().position(|held| held.id == self.id) {
            let held = places.seats.swap_remove(at);
            places.servers = places.servers.saturating_sub(held.servers);
        }
        self.room.tell(&places, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(limit: usize) -> Arc<Room> {
        let room = Arc::new(Room::default());
        room.limit(limit);
        room
    }

    #[test]
    fn whoever_has_none_gets_the_next_place() {
        let room = room(2);
        let (rich, poor) = (room.seat(), room.seat());
        assert!(rich.reserve() && rich.reserve() && !rich.reserve());
        rich.wait(true);
        assert!(!poor.reserve());
        poor.wait(true);
        assert!(rich.makes_room(false));
        rich.release();
        rich.made_room();
        assert!(!rich.reserve(), "it has one, and was asked to give up the other");
        assert!(poor.reserve());
        poor.wait(false);
        // One each: nobody gives anything up that is in use.
        assert!(!rich.makes_room(false) && !poor.makes_room(false));
        assert!(poor.makes_room(true), "but what is idle goes to who waits");
    }

    #[test]
    fn those_without_take_turns() {
        let room = room(1);
        let (first, second) = (room.seat(), room.seat());
        assert!(first.reserve());
        second.wait(true);
        for (has, waits) in [(&first, &second), (&second, &first)].repeat(3) {
            assert!(has.makes_room(false));
            assert!(!has.makes_room(false), "one is enough");
            has.release();
            has.made_room();
            assert!(!has.reserve());
            has.wait(true);
            assert!(waits.reserve());
            waits.wait(false);
        }
    }

    #[test]
    fn a_lower_limit_closes_what_is_too_many_and_a_dropped_seat_gives_back() {
        let room = room(0);
        let (one, other) = (room.seat(), room.seat());
        assert!((0..3).all(|_| one.reserve() && other.reserve()));
        room.limit(4);
        assert!(one.makes_room(false) && other.makes_room(false) && !one.makes_room(true));
        drop(one);
        other.release();
        other.made_room();
        assert!(other.reserve() && other.reserve() && !other.reserve());
    }
}
