//! What CREATE and its like make. Temporary relations concern their session alone, which keeps its server as long as it has
//! some: what the names of the database mean to others stays as it was, and reads stay on replicas.

use routing_rules::{Effects, makes_temporary_only};

use super::prepared::Schema;
use super::{Backend, Session};
use crate::protocol::message::cstr;

/// What the texts on their way to the server make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Makes {
    /// Anything.
    #[default]
    Anything,
    /// Nothing but temporary relations.
    Temporary,
    /// Anything, and when, the client says with the name of a portal.
    AtAnyTime,
}

/// What a transaction has changed of what statements may mean, from the least on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Defines {
    /// Nothing.
    #[default]
    Nothing,
    /// What is the session's own, and no name that others have.
    Own,
    /// The same, with names.
    OwnNames,
    /// What others see, and no name.
    Shared,
    /// The same, with names.
    SharedNames,
}

impl Defines {
    /// Counts it.
    pub(super) fn tell(self, schema: &Schema) {
        match self {
            Defines::Nothing => {}
            Defines::Own => schema.changed_but_for_names(false),
            Defines::OwnNames => schema.changed(false),
            Defines::Shared => schema.changed_but_for_names(true),
            Defines::SharedNames => schema.changed(true),
        }
    }
}

impl Session {
    /// What a command has just changed, with or without names.
    pub(super) fn makes_now(&self, names: bool) -> Defines {
        match (self.makes_temporary, names) {
            (true, false) => Defines::Own,
            (true, true) => Defines::OwnNames,
            (false, false) => Defines::Shared,
            (false, true) => Defines::SharedNames,
        }
    }

    /// A text that may make something is sent. `has_name`: it waits in a portal with a name.
    pub(super) fn note_makes(&mut self, text: &[u8], has_name: bool, backend: &Backend) {
        let is_first = backend.pipeline.is_empty() && !backend.pipeline.is_open();
        let is_temporary = makes_temporary_only(text, self.lex());
        self.makes = match (is_temporary, self.makes) {
            (_, Makes::AtAnyTime) => Makes::AtAnyTime,
            (false, _) if has_name => Makes::AtAnyTime,
            (true, Makes::Temporary) => Makes::Temporary,
            (true, Makes::Anything) if is_first => Makes::Temporary,
            (_, Makes::Anything | Makes::Temporary) => Makes::Anything,
        };
    }

    /// The same of the unnamed statement, which is bound.
    pub(super) fn note_unnamed_makes(&mut self, has_name: bool, backend: &Backend) {
        if !self.unnamed.effects.contains(Effects::PROBE) {
            return;
        }
        let body = std::mem::take(&mut self.unnamed.body);
        if let Some((text, _)) = cstr(&body) {
            self.note_makes(text, has_name, backend);
        }
        self.unnamed.body = body;
    }

    /// The transaction is over, and with it all portals.
    pub(super) fn portals_ended(&mut self) {
        if self.makes == Makes::AtAnyTime {
            self.makes = Makes::Anything;
        }
    }

    /// Does a command's tag say that it changed what the database's names mean? What is dropped makes no read a write, nor
    /// does an index.
    pub(super) fn changes_names(&self, tag: &[u8]) -> bool {
        self.makes != Makes::Temporary
            && !tag.starts_with(b"DROP ")
            && tag != b"CREATE INDEX\0"
            && !RIGHTS.iter().any(|word| tag.starts_with(word))
    }
}

/// Does a command's tag say that it changed what statements may mean, or who may run them?
pub(super) fn changes_schema(tag: &[u8]) -> bool {
    [&b"CREATE "[..], b"ALTER ", b"DROP ", b"IMPORT FOREIGN SCHEMA"]
        .iter()
        .chain(&RIGHTS)
        .any(|word| tag.starts_with(word))
}

/// How tags of what changes rights begin. A coordinator has rights of its own, which follow.
const RIGHTS: [&[u8]; 2] = [b"GRANT", b"REVOKE"];
