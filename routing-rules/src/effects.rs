//! What a text may do to the session that runs it, as a set of bits.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of effects.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects(u32);

impl Effects {
    /// Nothing outlives the transaction.
    pub const EMPTY: Effects = Effects(0);
    /// May change session state in a way the text does not show: the server must be asked when the transaction ends.
    pub const PROBE: Effects = Effects(1);
    /// Calls `pg_backend_pid`.
    pub const BACKEND_PID: Effects = Effects(2);
    /// Calls `currval` or `lastval`.
    pub const SEQUENCE_STATE: Effects = Effects(4);
    /// Seeds `random()`.
    pub const SET_SEED: Effects = Effects(8);
    /// Loads a library into the server process.
    pub const LOADS: Effects = Effects(16);
    /// Sets a setting whose name is computed, so it is not in `custom_settings`. Without `PROBE`: for the transaction only.
    pub const COMPUTED_SETTING: Effects = Effects(32);
    /// Sets or resets a custom setting. Even if only for the transaction, its name stays known to the server afterwards,
    /// with the value `''` where an untouched server has NULL.
    pub const CUSTOM_SETTING: Effects = Effects(64);

    /// Is there none?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Are all of `other` in it?
    pub fn contains(self, other: Effects) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Effects {
    type Output = Effects;

    fn bitor(self, other: Effects) -> Effects {
        Effects(self.0 | other.0)
    }
}

impl BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Effects) {
        self.0 |= other.0;
    }
}

const NAMES: [(Effects, &str); 7] = [
    (Effects::PROBE, "probe"),
    (Effects::BACKEND_PID, "backend_pid"),
    (Effects::SEQUENCE_STATE, "sequence_state"),
    (Effects::SET_SEED, "set_seed"),
    (Effects::LOADS, "loads"),
    (Effects::COMPUTED_SETTING, "computed_setting"),
    (Effects::CUSTOM_SETTING, "custom_setting"),
];

impl fmt::Display for Effects {
    /// Names with blanks between them; `-` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let mut between = "";
        for (effect, name) in NAMES {
            if self.contains(effect) {
                write!(f, "{between}{name}")?;
                between = " ";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Effects({self})")
    }
}
