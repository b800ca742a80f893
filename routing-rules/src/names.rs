//! What a database has beyond the builtins, as far as it matters on a replica: its functions, and the names that must
//! stay on the primary. Read from the server's own catalog by whoever holds a connection to it.

use std::collections::HashSet;

/// Names in lower case or as they were quoted.
#[derive(Clone, Debug, Default)]
pub struct Names {
    safe: HashSet<Box<[u8]>>,
    volatile: HashSet<Box<[u8]>>,
    primary: HashSet<Box<[u8]>>,
    operators: HashSet<Box<[u8]>>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function none of whose variants is volatile.
    SafeFunction,
    /// A function of which at least one variant is volatile.
    VolatileFunction,
    /// A relation replicas can't read, or reading which runs a volatile function.
    PrimaryRelation,
    /// An operator whose function is volatile.
    VolatileOperator,
}

impl Names {
    /// Adds one. What a user's rule says goes in last and wins.
    pub fn add(&mut self, kind: Kind, name: &[u8]) {
        match kind {
            Kind::SafeFunction => {
                self.volatile.remove(name);
                self.primary.remove(name);
                self.safe.insert(name.into());
            }
            Kind::VolatileFunction => {
                self.safe.remove(name);
                self.volatile.insert(name.into());
                // Also as `row.function`, which looks like a column.
                self.primary.insert(name.into());
            }
            Kind::PrimaryRelation => {
                self.primary.insert(name.into());
            }
            Kind::VolatileOperator => {
                self.operators.insert(name.into());
            }
        }
    }

    /// Is the function safe on a replica? `None`: there is no such function.
    pub fn is_safe_function(&self, name: &[u8]) -> Option<bool> {
        if self.volatile.contains(name) {
            return Some(false);
        }
        self.safe.contains(name).then_some(true)
    }

    /// Must whatever has this name stay on the primary?
    pub fn is_for_primary(&self, name: &[u8]) -> bool {
        !self.primary.is_empty() && self.primary.contains(name)
    }

    /// Does the operator run a volatile function?
    pub fn is_volatile_operator(&self, operator: &[u8]) -> bool {
        !self.operators.is_empty() && self.operators.contains(operator)
    }
}
