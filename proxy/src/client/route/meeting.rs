//! What sessions on different shards must meet at: locks and notifications. They go to the tenant's shard, or the first,
//! whoever asks; elsewhere they would not meet.

use routing_rules::{Key, Sharding};

use super::sets::mentions;

/// What a text may have to do with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::client) struct Meets {
    /// It listens to others.
    pub listens: bool,
    /// It notifies others.
    pub notifies: bool,
    /// It locks something of no table.
    pub locks: bool,
}

impl Meets {
    /// What a text has.
    pub(in crate::client) fn of(text: &[u8]) -> Meets {
        let word = text.trim_ascii_start();
        let begins = |verb: &[u8]| {
            word.get(..verb.len())
                .is_some_and(|first| first.eq_ignore_ascii_case(verb))
        };
        Meets {
            listens: begins(b"listen") || begins(b"unlisten"),
            notifies: mentions(text, b"notify"),
            locks: mentions(text, b"advisory"),
        }
    }

    /// Has it anything to do with others?
    pub(in crate::client) fn are_any(self) -> bool {
        self.listens || self.notifies || self.locks
    }
}

/// The shard where sessions of this tenant meet; `None`: all sessions' first.
pub(in crate::client) fn of_tenant<'s>(sharding: &'s Sharding, tenant: Option<&Key>) -> Option<&'s str> {
    sharding.placement.shard(tenant?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_meets_others_is_seen() {
        let meets = |text: &str| {
            let Meets {
                listens,
                notifies,
                locks,
            } = Meets::of(text.as_bytes());
            (listens, notifies, locks)
        };
        assert_eq!(meets(" listen x"), (true, false, false));
        assert_eq!(meets("NOTIFY x"), (false, true, false));
        assert_eq!(meets("SELECT pg_notify('x', '')"), (false, true, false));
        assert_eq!(meets("SELECT pg_advisory_xact_lock(1)"), (false, false, true));
        assert_eq!(meets("SELECT 1"), (false, false, false));
    }
}
