//! Why a client keeps its server: things that live in one server and can't travel.

/// A set of reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins(u16);

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Relations in the session's temporary schema.
    TemporaryTables,
    /// Channels listened to.
    Listen,
    /// Session-level advisory locks.
    AdvisoryLocks,
    /// Cursors WITH HOLD.
    HeldCursors,
    /// Statements made by SQL PREPARE.
    SqlPrepare,
    /// The session knows its server's process id.
    BackendPid,
    /// setseed: the random state lives in the server.
    RandomSeed,
    /// LOAD: a library can't be unloaded.
    Library,
    /// The pool's mode is `session`.
    SessionMode,
    /// A setting whose name is not known, or more of them than are followed.
    UnknownSettings,
    /// The probe failed: what the session left is not known.
    Unknown,
}

impl Pin {
    /// Every reason.
    pub const ALL: [Pin; 11] = [
        Pin::TemporaryTables,
        Pin::Listen,
        Pin::AdvisoryLocks,
        Pin::HeldCursors,
        Pin::SqlPrepare,
        Pin::BackendPid,
        Pin::RandomSeed,
        Pin::Library,
        Pin::SessionMode,
        Pin::UnknownSettings,
        Pin::Unknown,
    ];

    /// The reason in words, as SHOW PINS has it.
    pub fn reason(self) -> &'static str {
        match self {
            Pin::TemporaryTables => "temporary tables",
            Pin::Listen => "LISTEN",
            Pin::AdvisoryLocks => "session advisory locks",
            Pin::HeldCursors => "cursors WITH HOLD",
            Pin::SqlPrepare => "SQL PREPARE",
            Pin::BackendPid => "pg_backend_pid()",
            Pin::RandomSeed => "setseed()",
            Pin::Library => "LOAD",
            Pin::SessionMode => "session mode",
            Pin::UnknownSettings => "settings of unknown names",
            Pin::Unknown => "state could not be asked for",
        }
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The reasons a probe sees come and go; the others last as long as the session.
const PROBED: Pins = Pins(0b1_1111);

impl Pins {
    /// Is there none?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds one.
    pub fn insert(&mut self, pin: Pin) {
        self.0 |= pin.bit();
    }

    /// Takes one away.
    pub fn remove(&mut self, pin: Pin) {
        self.0 &= !pin.bit();
    }

    /// Is it among them?
    pub fn contains(self, pin: Pin) -> bool {
        self.0 & pin.bit() != 0
    }

    /// What a probe found takes the place of what earlier ones found.
    pub fn probed(self, found: Pins) -> Pins {
        Pins(self.0 & !PROBED.0 | found.0 & PROBED.0)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Pin> {
        Pin::ALL.into_iter().filter(move |&pin| self.contains(pin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_ends_what_it_no_longer_finds_and_nothing_else() {
        let mut pins = Pins::default();
        pins.insert(Pin::Listen);
        pins.insert(Pin::BackendPid);
        let mut found = Pins::default();
        found.insert(Pin::TemporaryTables);
        let pins = pins.probed(found);
        assert_eq!(
            pins.iter().collect::<Vec<_>>(),
            [Pin::TemporaryTables, Pin::BackendPid]
        );
    }
}
