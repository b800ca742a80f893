//! A session on a replica: one unit at a time, and back to the primary when the replica can't do it.

use routing_rules::{Control, read};

use std::rc::Rc;

use super::prepared::Statement;
use super::shard::Pace;
use super::{Backend, Session, Unnamed};
use crate::protocol::frame::HEADER;
use crate::protocol::message::{error_field, query_text};

/// Where the session's server stands, and how far its unit has gone.
#[derive(Debug, Default)]
pub(super) enum Lane {
    /// On the primary: whatever comes is sent on.
    #[default]
    Primary,
    /// On a replica, before a unit or in it.
    Replica(OnReplica),
    /// On the primary of one shard of several.
    Shard(Pace),
}

/// A session on a replica.
#[derive(Debug, Default)]
pub(super) struct OnReplica {
    /// Part of the unit was sent.
    is_begun: bool,
    /// All of it was: what follows waits, for it may be another server's.
    is_sent: bool,
    /// Nothing of an answer has reached the client.
    is_unheard: bool,
    /// The BEGIN of its transaction, to be said again elsewhere.
    begin: Option<Box<[u8]>>,
    /// The transaction holds more than reads, each of which sees what is committed: it can't be begun again.
    stays: bool,
    /// What the unheard unit has changed of the client's statements, in order.
    changes: Vec<Change>,
}

/// A change of the client's statements, by what was there before.
#[derive(Debug)]
enum Change {
    Named(Box<[u8]>, Option<Rc<Statement>>),
    Unnamed(Unnamed),
}

impl Session {
    /// A replica was lent for one unit. Should it fail for being one, the unit can be run elsewhere.
    pub fn attach_replica(&mut self, backend: &mut Backend, back: &mut Vec<u8>) {
        let begin = self.begin.clone();
        self.attach(backend, back);
        self.lane = Lane::Replica(OnReplica {
            is_unheard: true,
            begin,
            ..OnReplica::default()
        });
    }

    /// Is the session on a replica, with no unit begun there? Then its next one is looked at before it is sent.
    pub fn is_between_units(&self) -> bool {
        match &self.lane {
            Lane::Primary | Lane::Shard(_) => false,
            Lane::Replica(on) => !on.is_begun && self.stream_left == 0,
        }
    }

    /// Is the session on a replica?
    pub fn is_on_replica(&self) -> bool {
        matches!(self.lane, Lane::Replica(_))
    }

    /// Has nothing of the unit's answer reached the client, and could the unit be run again?
    pub fn is_unheard(&self) -> bool {
        matches!(&self.lane, Lane::Replica(on) if on.is_unheard)
    }

    /// The unit has ended, the server stays.
    pub(super) fn next_unit(&mut self) {
        match &mut self.lane {
            Lane::Replica(on) if on.is_sent => {
                (on.is_begun, on.is_sent, on.is_unheard) = (false, false, false);
                on.changes.clear();
            }
            Lane::Shard(pace) if pace.is_sent => *pace = Pace::default(),
            Lane::Primary | Lane::Replica(_) | Lane::Shard(_) => {}
        }
    }

    /// Must this wait for the end of the unit on the replica?
    pub(super) fn is_unit_sent(&self) -> bool {
        match &self.lane {
            Lane::Primary => false,
            Lane::Replica(on) => on.is_sent,
            Lane::Shard(pace) => pace.is_sent,
        }
    }

    /// A frame was sent on.
    pub(super) fn sent(&mut self, kind: u8) {
        let is_end = matches!(kind, b'Q' | b'S' | b'F');
        match &mut self.lane {
            Lane::Primary => {}
            Lane::Replica(on) => {
                on.is_begun = true;
                on.is_sent |= is_end;
            }
            Lane::Shard(pace) => {
                // What follows a Flush is looked at for itself.
                pace.is_begun = kind != b'H';
                pace.is_sent |= is_end;
            }
        }
    }

    /// A frame of the answer: is it the first that shows that the replica does its work?
    pub(super) fn is_heard_by(&mut self, kind: u8) {
        if let Lane::Replica(on) = &mut self.lane
            && on.is_unheard
            && matches!(kind, b'D' | b'C' | b'I' | b's' | b'H' | b'G' | b'W' | b'd' | b'Z')
        {
            on.is_unheard = false;
            on.changes.clear();
        }
    }

    /// What the client knows by this name is about to change, by a unit that may have to be run elsewhere.
    pub(super) fn changes_name(&mut self, name: &[u8]) {
        if let Lane::Replica(on) = &mut self.lane
            && on.is_unheard
        {
            let before = self.prepared.as_ref().and_then(|map| map.get(name)).cloned();
            on.changes.push(Change::Named(name.into(), before));
        }
    }

    /// The same of the unnamed statement, behind other messages that may fail.
    pub(super) fn changes_unnamed(&mut self) {
        if let Lane::Replica(on) = &mut self.lane
            && on.is_unheard
        {
            on.changes.push(Change::Unnamed(self.unnamed.clone()));
        }
    }

    /// The replica is given up, in the middle of a unit of which the client has heard nothing, or with a transaction that
    /// can begin again elsewhere: the session is as before.
    pub fn retract(&mut self) {
        let lane = std::mem::take(&mut self.lane);
        let token = self.unnamed.token;
        self.detach();
        self.unnamed.token = token;
        if let Lane::Replica(on) = lane {
            self.begin = on.begin;
            // The last change is taken back first.
            on.changes
                .into_iter()
                .rev()
                .for_each(|change| self.take_back(change));
        }
        self.stream_left = 0;
        self.stream_drops = false;
        self.script = None;
        self.due = false;
    }

    fn take_back(&mut self, change: Change) {
        match change {
            Change::Named(name, Some(statement)) => {
                self.prepared.get_or_insert_default().insert(name, statement);
            }
            Change::Named(name, None) => {
                self.prepared.as_mut().map(|map| map.remove(&name));
            }
            Change::Unnamed(unnamed) => self.unnamed = unnamed,
        }
    }

    /// The BEGIN of the transaction there.
    pub(super) fn lane_begin(&self) -> Option<&[u8]> {
        match &self.lane {
            Lane::Replica(on) => on.begin.as_deref(),
            Lane::Primary | Lane::Shard(_) => None,
        }
    }

    /// Could the transaction on the replica begin anew elsewhere, and nobody notice?
    pub fn can_begin_again(&mut self) -> bool {
        let Lane::Replica(on) = &self.lane else {
            return false;
        };
        let Some(begin) = on.begin.clone().filter(|_| !on.stays && self.pins.is_empty()) else {
            return false;
        };
        let text = query_text(begin.get(HEADER..).unwrap_or_default()).unwrap_or_default();
        let repeatable = self.settings.value(b"default_transaction_isolation") == Some(b"repeatable read");
        let lex = self.lex();
        matches!(read(text, lex).control, Control::Begin { repeatable_read: false, .. } if !repeatable)
    }

    /// The transaction can't be begun again elsewhere from now on.
    pub fn stays(&mut self) {
        if let Lane::Replica(on) = &mut self.lane {
            on.stays = true;
        }
    }
}

/// When a replica can do what it has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cannot {
    /// Never: it writes, or makes sense on the primary alone.
    Ever,
    /// At another time, or in another transaction.
    Now,
}

/// Is this an error that the primary would not give?
pub(super) fn of_replicas(error: &[u8]) -> Option<Cannot> {
    let code = error_field(error, b'C').unwrap_or_default();
    let says = |word: &[u8]| {
        let routine = error_field(error, b'R').unwrap_or_default();
        let text = error_field(error, b'M').unwrap_or_default();
        [routine, text]
            .iter()
            .any(|field| field.windows(word.len()).any(|window| window == word))
    };
    match code {
        // read_only_sql_transaction
        b"25006" => Some(Cannot::Ever),
        // "cannot execute … during recovery", "cannot use serializable mode in a hot standby"
        b"0A000" | b"55000" if says(b"recovery") || says(b"Recovery") => Some(Cannot::Ever),
        b"0A000" | b"55000" if says(b"standby") => Some(Cannot::Now),
        // A conflict with recovery, or the end of the connection.
        b"40001" | b"40P01" if says(b"recovery") || says(b"Recovery") || says(b"ProcessInterrupts") => {
            Some(Cannot::Now)
        }
        b"57P01" | b"57P02" | b"57P03" | b"57P04" | b"08006" => Some(Cannot::Now),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_replicas_are_told_from_others() {
        let error = |code: &str, routine: &str| format!("SERROR\0VERROR\0C{code}\0Mtext\0R{routine}\0\0");
        for (code, routine, is) in [
            ("25006", "PreventCommandIfReadOnly", true),
            ("25006", "PreventCommandDuringRecovery", true),
            ("40001", "ProcessInterrupts", true),
            ("40001", "heap_update", false),
            ("0A000", "InitPostgres", false),
            ("55000", "RecoveryInProgress", true),
            ("42P01", "parserOpenTable", false),
            ("57P01", "ProcessInterrupts", true),
        ] {
            assert_eq!(
                of_replicas(error(code, routine).as_bytes()).is_some(),
                is,
                "{code} {routine}"
            );
        }
    }
}
