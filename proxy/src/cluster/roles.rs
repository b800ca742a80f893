//! Who is the primary: looks at servers in, one answer out. Pure: time and looks are arguments.
//!
//! A server is the primary only if it is not in recovery, belongs to the same system as the others, and nobody has a
//! later timeline: an old primary that comes back is fenced, not followed. A role changes on two looks in a row, or on
//! one after a statement was refused because of it (25006).

use super::lag::Lsn;

/// What one look at a server found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Is it a standby?
    pub in_recovery: bool,
    /// Written (primary) or replayed (standby) up to here.
    pub lsn: Lsn,
    /// The timeline it writes or receives, if it says.
    pub timeline: Option<u32>,
    /// The system it is a copy of, if it says.
    pub system: Option<u64>,
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has looked yet.
    Unknown,
    /// It takes writes.
    Primary,
    /// It follows the primary.
    Standby,
    /// It says it is a primary, and must not be used: another has gone on without it, or it is another system's.
    Fenced,
    /// It does not answer.
    Down,
}

impl Standing {
    /// All of them, in the order of their numbers.
    pub const ALL: [Standing; 5] = [
        Standing::Unknown,
        Standing::Primary,
        Standing::Standby,
        Standing::Fenced,
        Standing::Down,
    ];

    /// The word in SHOW REPLICAS.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Unknown => "unknown",
            Standing::Primary => "primary",
            Standing::Standby => "replica",
            Standing::Fenced => "fenced",
            Standing::Down => "down",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Server {
    standing: Standing,
    /// It looked like this once, and is believed when it looks so again.
    doubt: Option<Standing>,
}

/// The roles of one shard's servers.
#[derive(Debug)]
pub struct Roles {
    servers: Vec<Server>,
    primary: Option<usize>,
    epoch: u64,
    timeline: u32,
    system: Option<u64>,
}

impl Roles {
    /// Servers nobody has looked at.
    pub fn new(count: usize) -> Self {
        let server = Server {
            standing: Standing::Unknown,
            doubt: None,
        };
        Roles {
            servers: vec![server; count],
            primary: None,
            epoch: 0,
            timeline: 0,
            system: None,
        }
    }

    /// The primary, if one has been seen. It may be down.
    pub fn primary(&self) -> Option<usize> {
        self.primary
    }

    /// Grows with every change of the primary.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The timeline the primary writes.
    pub fn timeline(&self) -> u32 {
        self.timeline
    }

    /// What a server is.
    pub fn standing(&self, at: usize) -> Standing {
        self.servers[at].standing
    }

    /// A statement was refused by a server because it is not what it was taken for: the next look is believed.
    pub fn doubted(&mut self, at: usize) {
        let other = match self.servers[at].standing {
            Standing::Primary => Standing::Standby,
            Standing::Standby => Standing::Primary,
            Standing::Unknown | Standing::Fenced | Standing::Down => return,
        };
        self.servers[at].doubt = Some(other);
    }

    /// A server did not answer.
    pub fn failed(&mut self, at: usize) {
        self.servers[at] = Server {
            standing: Standing::Down,
            doubt: None,
        };
    }

    /// A server answered.
    pub fn looked(&mut self, at: usize, look: &Look) {
        let seen = self.seen(at, look);
        let server = &mut self.servers[at];
        let is_first = matches!(server.standing, Standing::Unknown | Standing::Down);
        if server.standing != seen && !is_first && server.doubt != Some(seen) {
            server.doubt = Some(seen);
            return;
        }
        server.doubt = None;
        server.standing = seen;
        if seen != Standing::Primary {
            return;
        }
        let timeline = look.timeline.unwrap_or(self.timeline);
        if self.primary != Some(at) || timeline > self.timeline {
            self.epoch += 1;
            if let Some(old) = self.primary.filter(|&old| old != at)
                && self.servers[old].standing == Standing::Primary
            {
                self.servers[old].standing = Standing::Fenced;
            }
            self.primary = Some(at);
        }
        self.timeline = self.timeline.max(timeline);
    }

    fn seen(&mut self, at: usize, look: &Look) -> Standing {
        if let Some(system) = look.system {
            let ours = *self.system.get_or_insert(system);
            if ours != system {
                return Standing::Fenced;
            }
        }
        if look.in_recovery {
            return Standing::Standby;
        }
        let timeline = look.timeline.unwrap_or(0);
        let rival = self
            .primary
            .is_some_and(|other| other != at && self.servers[other].standing == Standing::Primary);
        if timeline < self.timeline || (rival && timeline <= self.timeline) {
            return Standing::Fenced;
        }
        Standing::Primary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(in_recovery: bool, timeline: u32) -> Look {
        Look {
            in_recovery,
            lsn: Lsn(0),
            timeline: Some(timeline),
            system: Some(7),
        }
    }

    /// A primary and two replicas, looked at once.
    fn three() -> Roles {
        let mut roles = Roles::new(3);
        roles.looked(0, &look(false, 1));
        roles.looked(1, &look(true, 1));
        roles.looked(2, &look(true, 1));
        roles
    }

    #[test]
    fn the_first_look_is_believed() {
        let roles = three();
        assert_eq!((roles.primary(), roles.epoch()), (Some(0), 1));
        assert_eq!(roles.standing(2), Standing::Standby);
    }

    #[test]
    fn a_role_changes_on_the_second_look() {
        let mut roles = three();
        roles.looked(1, &look(false, 2));
        assert_eq!(roles.primary(), Some(0));
        roles.looked(1, &look(true, 1));
        roles.looked(1, &look(false, 2));
        assert_eq!(roles.primary(), Some(0), "two looks in a row");
        roles.looked(1, &look(false, 2));
        assert_eq!((roles.primary(), roles.epoch()), (Some(1), 2));
        assert_eq!(roles.standing(0), Standing::Fenced);
    }

    #[test]
    fn a_refused_write_makes_one_look_enough() {
        let mut roles = three();
        roles.failed(0);
        roles.doubted(1);
        roles.looked(1, &look(false, 2));
        assert_eq!(roles.primary(), Some(1));
    }

    #[test]
    fn an_old_primary_that_comes_back_is_fenced() {
        let mut roles = three();
        roles.failed(0);
        roles.looked(1, &look(false, 2));
        roles.looked(1, &look(false, 2));
        roles.looked(0, &look(false, 1));
        assert_eq!(roles.standing(0), Standing::Fenced);
        assert_eq!((roles.primary(), roles.epoch()), (Some(1), 2));
        roles.looked(0, &look(true, 2));
        roles.looked(0, &look(true, 2));
        assert_eq!(roles.standing(0), Standing::Standby, "rebuilt as a replica");
    }

    #[test]
    fn a_restart_is_no_failover() {
        let mut roles = three();
        roles.failed(0);
        assert_eq!(roles.primary(), Some(0), "it may come back");
        roles.looked(0, &look(false, 1));
        assert_eq!((roles.primary(), roles.epoch()), (Some(0), 1));
    }

    #[test]
    fn another_system_is_never_followed() {
        let mut roles = three();
        roles.failed(0);
        let stranger = Look {
            system: Some(8),
            ..look(false, 9)
        };
        roles.looked(2, &stranger);
        roles.looked(2, &stranger);
        assert_eq!(roles.standing(2), Standing::Fenced);
        assert_eq!(roles.primary(), Some(0));
    }

    #[test]
    fn of_two_primaries_on_one_timeline_the_first_stays() {
        let mut roles = three();
        roles.looked(1, &look(false, 1));
        roles.looked(1, &look(false, 1));
        assert_eq!((roles.primary(), roles.standing(1)), (Some(0), Standing::Fenced));
    }
}
