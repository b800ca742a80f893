//! Who is the primary: looks at servers in, one answer out. Pure: time and looks are arguments.
//!
//! A server is the primary only if it is not in recovery, belongs to the same system as the others, and nobody has a
//! later timeline: an old primary that comes back is fenced, not followed. A role changes on two looks in a row, or on
//! one after a statement was refused because of it (25006).
//!
//! At first nobody has a role until every server has been looked at, or has failed to answer: which system is meant, and
//! which of several primaries is the latest, must not depend on who answers first.

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
    /// The first look at each server, until there is one at all of them.
    first: Option<Vec<First>>,
}

/// The first look at a server.
#[derive(Clone, Copy, Debug)]
enum First {
    Awaited,
    Failed,
    Made(Look),
}

impl Roles {
    /// Servers nobody has looked at. `system`: the one they are known to be copies of.
    pub fn new(count: usize, system: Option<u64>) -> Self {
        let server = Server {
            standing: Standing::Unknown,
            doubt: None,
        };
        Roles {
            servers: vec![server; count],
            primary: None,
            epoch: 0,
            timeline: 0,
            system,
            first: Some(vec![First::Awaited; count]),
        }
    }

    /// The system the servers are copies of, once that is known. It never changes.
    pub fn system(&self) -> Option<u64> {
        self.system
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
        self.first_look(at, First::Failed);
    }

    /// A server answered.
    pub fn looked(&mut self, at: usize, look: &Look) {
        if !self.first_look(at, First::Made(*look)) {
            self.judge(at, look);
        }
    }

    /// Takes in one of the first looks; false: there has been one at every server before.
    fn first_look(&mut self, at: usize, look: First) -> bool {
        let Some(first) = &mut self.first else {
            return false;
        };
        first[at] = look;
        if first.iter().any(|look| matches!(look, First::Awaited)) {
            return true;
        }
        let looks = self.first.take().unwrap_or_default().into_iter().enumerate();
        let mut made: Vec<(usize, Look)> = looks
            .filter_map(|(at, look)| match look {
                First::Made(look) => Some((at, look)),
                First::Awaited | First::Failed => None,
            })
            .collect();
        self.system = self.system.or_else(|| system_of(&made));
        // Of several primaries the one with the latest timeline comes first; of equals the first of the configuration.
        made.sort_by_key(|(_, look)| (look.in_recovery, std::cmp::Reverse(look.timeline)));
        made.iter().for_each(|(at, look)| self.judge(*at, look));
        true
    }

    fn judge(&mut self, at: usize, look: &Look) {
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
        if let Some(system) = look.system
            && *self.system.get_or_insert(system) != system
        {
            return Standing::Fenced;
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

/// The system most servers are copies of; of equals the one that has a primary, then the one named first.
fn system_of(looks: &[(usize, Look)]) -> Option<u64> {
    let of = |system: u64| looks.iter().filter(move |(_, look)| look.system == Some(system));
    let weight = |system: u64| (of(system).count(), of(system).any(|(_, look)| !look.in_recovery));
    let systems = looks.iter().filter_map(|(_, look)| look.system);
    // The last of equals is taken.
    systems.rev().max_by_key(|system| weight(*system))
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
        let mut roles = Roles::new(3, None);
        roles.looked(2, &look(true, 1));
        roles.looked(0, &look(false, 1));
        assert_eq!(roles.primary(), None, "one has not been looked at");
        roles.looked(1, &look(true, 1));
        roles
    }

    #[test]
    fn the_first_look_at_all_is_believed() {
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

    fn of_system(system: u64, in_recovery: bool) -> Look {
        Look {
            system: Some(system),
            ..look(in_recovery, 1)
        }
    }

    #[test]
    fn most_servers_say_which_system_is_meant() {
        let mut roles = Roles::new(3, None);
        roles.looked(0, &of_system(8, false));
        roles.looked(2, &of_system(7, true));
        roles.looked(1, &of_system(7, false));
        assert_eq!((roles.primary(), roles.system()), (Some(1), Some(7)));
        assert_eq!(roles.standing(0), Standing::Fenced);
    }

    #[test]
    fn of_two_systems_the_one_with_a_primary_and_then_the_first_is_meant() {
        for (first, second, system) in [
            (of_system(7, true), of_system(8, false), 8),
            (of_system(7, false), of_system(8, false), 7),
            (of_system(7, true), of_system(8, true), 7),
        ] {
            let mut roles = Roles::new(2, None);
            roles.looked(1, &second);
            roles.looked(0, &first);
            assert_eq!(roles.system(), Some(system), "{first:?} {second:?}");
        }
    }

    #[test]
    fn a_system_known_before_stays_the_one() {
        let mut roles = Roles::new(2, Some(8));
        roles.looked(0, &of_system(7, false));
        roles.failed(1);
        assert_eq!((roles.primary(), roles.standing(0)), (None, Standing::Fenced));
    }

    #[test]
    fn who_answers_first_is_not_who_is_the_primary() {
        for order in [[0, 1], [1, 0]] {
            let mut roles = Roles::new(3, None);
            roles.failed(2);
            for at in order {
                roles.looked(at, &look(false, 1 + u32::try_from(at).expect("small")));
            }
            assert_eq!((roles.primary(), roles.epoch()), (Some(1), 1));
            assert_eq!(roles.standing(0), Standing::Fenced);
        }
    }

    #[test]
    fn of_two_primaries_on_one_timeline_the_first_stays() {
        let mut roles = three();
        roles.looked(1, &look(false, 1));
        roles.looked(1, &look(false, 1));
        assert_eq!((roles.primary(), roles.standing(1)), (Some(0), Standing::Fenced));
    }
}
