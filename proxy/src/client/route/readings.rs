//! What is known of statements on a sharded database: readings of their texts, remembered for each search path, for as long as
//! the rules and the tables stay as they are.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use routing_rules::{Context, Lex, Pieces, Reading, Shapes, Sharding, Slot, Tables, Unread, cut};

use crate::catalog::Found;
use crate::protocol::session::prepared::Statement;

/// All readings of a worker.
#[derive(Default)]
pub struct Readings {
    all: RefCell<Vec<Rc<Remembered>>>,
    serial: Rc<Cell<u64>>,
}

/// Readings of one database's texts under one search path.
pub struct Remembered {
    database: String,
    /// As the session has set it; `None`: not known.
    path: Option<Box<[u8]>>,
    backslashes: bool,
    names: Option<Vec<String>>,
    state: RefCell<State>,
    serials: Rc<Cell<u64>>,
}

struct State {
    /// Tells this state from all others of the worker.
    serial: u64,
    under: Option<(Arc<Sharding>, u64)>,
    shapes: Shapes,
}

impl Default for State {
    fn default() -> Self {
        State {
            serial: 0,
            under: None,
            shapes: Shapes::new(SHAPES_BYTES),
        }
    }
}

/// A reading, and the text in pieces if its values stand there.
pub struct Read<'t> {
    /// The reading.
    pub reading: Arc<Reading>,
    /// The text; without a piece where none is needed.
    pub pieces: Pieces<'t>,
}

/// Search paths remembered by a worker.
const PATHS_MAX: usize = 32;

/// What each may take, in bytes.
const SHAPES_BYTES: usize = 4 << 20;

impl Readings {
    /// The readings of a database under a search path.
    pub fn of(&self, database: &str, path: Option<&[u8]>, lex: Lex) -> Rc<Remembered> {
        let backslashes = !lex.standard_conforming_strings;
        let mut all = self.all.borrow_mut();
        let is_it = |known: &Rc<Remembered>| {
            known.database == database && known.path.as_deref() == path && known.backslashes == backslashes
        };
        if let Some(at) = all.iter().position(is_it) {
            let found = all.remove(at);
            all.push(found.clone());
            return found;
        }
        if all.len() >= PATHS_MAX {
            all.remove(0);
        }
        let new = Rc::new(Remembered {
            database: database.to_owned(),
            path: path.map(Into::into),
            backslashes,
            names: path.and_then(path_names),
            state: RefCell::new(State::default()),
            serials: self.serial.clone(),
        });
        all.push(new.clone());
        new
    }
}

impl Remembered {
    /// The same for tables that only one transaction sees: nothing is remembered of it.
    pub fn apart(&self) -> Remembered {
        Remembered {
            database: self.database.clone(),
            path: self.path.clone(),
            backslashes: self.backslashes,
            names: self.names.clone(),
            state: RefCell::new(State::default()),
            serials: self.serials.clone(),
        }
    }

    /// Reads a text under these rules and these tables.
    pub fn read<'t>(
        &self,
        text: &'t [u8],
        sharding: &Arc<Sharding>,
        found: &Found,
        temporary: &[Box<str>],
    ) -> Result<Read<'t>, Unread> {
        let pieces = cut(text, self.lex())?;
        let path: Option<Vec<&str>> = self
            .names
            .as_ref()
            .map(|names| names.iter().map(String::as_str).collect());
        let context = self.context(sharding, found.tables.as_ref(), path.as_deref(), temporary);
        if !temporary.is_empty() {
            let reading = Arc::new(Reading::new(&pieces, &context));
            return Ok(Read { reading, pieces });
        }
        let mut state = self.state.borrow_mut();
        self.follow(&mut state, sharding, found);
        let reading = state.shapes.read(&pieces, &context);
        Ok(Read { reading, pieces })
    }

    /// The same for a statement by a name, which remembers its reading itself.
    pub fn read_named<'t>(
        &self,
        statement: &'t Statement,
        text: &'t [u8],
        sharding: &Arc<Sharding>,
        found: &Found,
    ) -> Result<Read<'t>, Unread> {
        let serial = {
            let mut state = self.state.borrow_mut();
            self.follow(&mut state, sharding, found);
            state.serial
        };
        if let Some((known, reading, has_values)) = &*statement.reading.borrow()
            && *known == serial
        {
            let pieces = match has_values {
                true => cut(text, self.lex())?,
                false => cut(b"", self.lex())?,
            };
            let reading = reading.clone();
            return Ok(Read { reading, pieces });
        }
        let read = self.read(text, sharding, found, &[])?;
        let has_values = has_values(&read.reading);
        *statement.reading.borrow_mut() = Some((serial, read.reading.clone(), has_values));
        Ok(read)
    }

    /// Runs something with what a text is read with.
    pub fn with_context<R>(
        &self,
        sharding: &Sharding,
        tables: Option<&Tables>,
        temporary: &[Box<str>],
        run: impl FnOnce(&Context<'_>) -> R,
    ) -> R {
        let path: Option<Vec<&str>> = self
            .names
            .as_ref()
            .map(|names| names.iter().map(String::as_str).collect());
        run(&self.context(sharding, tables, path.as_deref(), temporary))
    }

    /// How its texts are cut.
    pub fn lex(&self) -> Lex {
        Lex {
            standard_conforming_strings: !self.backslashes,
        }
    }

    fn context<'c>(
        &self,
        sharding: &'c Sharding,
        tables: Option<&'c Tables>,
        search_path: Option<&'c [&'c str]>,
        temporary: &'c [Box<str>],
    ) -> Context<'c> {
        Context {
            sharding,
            tables,
            search_path,
            temporary,
        }
    }

    /// Forgets what other rules or other tables have made of texts.
    fn follow(&self, state: &mut State, sharding: &Arc<Sharding>, found: &Found) {
        let is_same = state
            .under
            .as_ref()
            .is_some_and(|(rules, stamp)| Arc::ptr_eq(rules, sharding) && *stamp == found.stamp);
        if !is_same {
            state.shapes.clear();
            state.under = Some((sharding.clone(), found.stamp));
            self.serials.set(self.serials.get() + 1);
            state.serial = self.serials.get();
        }
    }
}

/// Do keys stand in the text itself?
fn has_values(reading: &Reading) -> bool {
    let is_value = |slot: &Slot| matches!(slot, Slot::Literal(_) | Slot::Negative(_) | Slot::LiteralArray(_));
    let ties = reading.bounds.iter().flat_map(|bound| &bound.ties).flatten();
    let rows = reading.rows.iter().flat_map(|rows| &rows.slots);
    ties.chain(rows).any(is_value)
}

/// The schemas of a search path, as far as it is certain which they are.
fn path_names(path: &[u8]) -> Option<Vec<String>> {
    let path = std::str::from_utf8(path).ok()?;
    let mut names = Vec::new();
    for part in path.split(',') {
        let part = part.trim();
        let quoted = part.strip_prefix('"').and_then(|part| part.strip_suffix('"'));
        match quoted {
            // Whose schema that is, is the session's role's to say.
            Some("$user") => return None,
            Some(name) if name.contains('"') => return None,
            Some(name) => names.push(name.to_owned()),
            None if part.is_empty() || part.contains('"') || part.contains('$') => return None,
            None => names.push(part.to_lowercase()),
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_or_not() {
        let names = |path: &str| path_names(path.as_bytes()).map(|names| names.join("|"));
        assert_eq!(names("Public, \"My App\" ,x").as_deref(), Some("public|My App|x"));
        for unknown in ["\"$user\", public", "$user", "", "a,,b", "\"a\"\"b\""] {
            assert_eq!(names(unknown), None, "{unknown}");
        }
    }
}
