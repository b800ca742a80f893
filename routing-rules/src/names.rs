//! What a database has beyond the builtins, as far as it matters on a replica: its functions, and the names that must
//! stay on the primary. Read from the server's own catalog by whoever holds a connection to it.

use std::collections::{HashMap, HashSet};

/// Names as the catalog has them.
#[derive(Clone, Debug, Default)]
pub struct Names {
    known: HashMap<Box<[u8]>, Known>,
    operators: HashSet<Box<[u8]>>,
    /// A name that must stay on the primary has letters beyond ASCII: what it looks like depends on the client's encoding.
    has_odd: bool,
    implicit: Option<Box<[u8]>>,
}

/// What a name is, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Is it a function that is safe on a replica? `None`: it is no function.
    pub is_safe_function: Option<bool>,
    /// Is it a relation or a type that must stay on the primary?
    pub is_for_primary: bool,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function none of whose variants is volatile.
    SafeFunction,
    /// A function of which at least one variant is volatile.
    VolatileFunction,
    /// A relation replicas can't read or reading which runs a volatile function; a type casting to which does.
    PrimaryRelation,
    /// An operator whose function is volatile.
    VolatileOperator,
}

/// Operators that words stand for: IN, BETWEEN, LIKE, SIMILAR, USING, NULLIF, CASE, DISTINCT, ORDER BY.
const IMPLICIT: [&[u8]; 12] = [
    b"=", b"<>", b"<", b">", b"<=", b">=", b"~~", b"!~~", b"~~*", b"!~~*", b"~", b"!~",
];

impl Names {
    /// Adds one. What a user's rule says goes in last and wins.
    pub fn add(&mut self, kind: Kind, name: &[u8]) {
        match kind {
            Kind::SafeFunction => self.entry(name).is_safe_function = Some(true),
            Kind::VolatileFunction => {
                self.entry(name).is_safe_function = Some(false);
                self.has_odd |= !name.is_ascii();
            }
            Kind::PrimaryRelation => {
                self.entry(name).is_for_primary = true;
                self.has_odd |= !name.is_ascii();
            }
            Kind::VolatileOperator => {
                self.operators.insert(name.into());
                if IMPLICIT.contains(&name) {
                    self.implicit = Some(name.into());
                }
            }
        }
    }

    fn entry(&mut self, name: &[u8]) -> &mut Known {
        self.known.entry(name.into()).or_default()
    }

    /// What is known of a name.
    pub fn look_up(&self, name: &[u8]) -> Known {
        let mut known = self.known.get(name).copied().unwrap_or_default();
        known.is_for_primary |= self.has_odd && !name.is_ascii();
        known
    }

    /// An operator that is volatile and may be run by words as well: no text is safe then.
    pub fn volatile_implicit_operator(&self) -> Option<&[u8]> {
        self.implicit.as_deref()
    }

    /// Does the operator run a volatile function?
    pub fn is_volatile_operator(&self, operator: &[u8]) -> bool {
        !self.operators.is_empty() && self.operators.contains(operator)
    }
}
