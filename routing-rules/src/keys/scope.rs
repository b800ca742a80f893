//! Which column a name stands for: the tables of a query level, those around it, and WITH.

use sqlparser::ast::{Cte, Expr, Ident, ObjectName, ObjectNamePart, TableAlias};

use super::classes::Class;
use super::spread::Node;

/// What a query gives: names and, for those that hold a key or constants, their class.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// In order.
    pub columns: Vec<(String, Option<Class>)>,
    /// Are these all? If not, places mean nothing.
    pub is_complete: bool,
}

/// One table, subquery or function in FROM.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name columns are qualified with.
    pub alias: String,
    /// Of a table without an alias.
    pub schema: Option<String>,
    /// Its columns.
    pub outputs: Outputs,
}

/// One query level.
#[derive(Clone, Debug, Default)]
pub struct Level {
    /// Its FROM, in order.
    pub entries: Vec<Entry>,
    /// Columns merged by USING: name, the entry it stands for, its class.
    pub merged: Vec<(String, usize, Option<Class>)>,
}

/// A level that has nothing in FROM.
pub static NOTHING: Level = Level {
    entries: Vec::new(),
    merged: Vec::new(),
};

/// All that can be seen from a place.
#[derive(Clone, Copy)]
pub struct Env<'e> {
    /// What is around.
    pub outer: Option<&'e Env<'e>>,
    /// The level here.
    pub level: &'e Level,
    /// The WITH here.
    pub ctes: &'e [Cte],
    /// How many of them can be seen.
    pub visible: usize,
    /// Those that were read already, because they write.
    pub done: &'e [Option<(Outputs, Node)>],
    /// WITH RECURSIVE?
    pub is_recursive: bool,
    /// The one being read, if it may refer to itself.
    pub recursion: Option<(usize, &'e Outputs)>,
}

/// A column found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Is it of the innermost level?
    pub is_own: bool,
    /// Its entry there.
    pub entry: usize,
    /// Its class.
    pub class: Class,
}

/// What a search in one level gives.
enum Search {
    /// It is this.
    Is(usize, Option<Class>),
    /// It could be something here that is not known, or more than one thing.
    Unclear,
    /// It is nothing here.
    No,
}

impl<'e> Env<'e> {
    /// Nothing at all.
    pub const EMPTY: Env<'static> = Env {
        outer: None,
        level: &NOTHING,
        ctes: &[],
        visible: 0,
        done: &[],
        is_recursive: false,
        recursion: None,
    };

    /// A level inside this.
    pub fn with<'f>(&'f self, level: &'f Level) -> Env<'f> {
        Env {
            outer: Some(self),
            level,
            ..Env::EMPTY
        }
    }

    /// The WITH query of this name: where it is defined, and its place there.
    pub fn cte(&'e self, name: &str) -> Option<(&'e Env<'e>, usize)> {
        // With RECURSIVE, those that come later hide tables too.
        let seen = if self.is_recursive {
            self.ctes.len()
        } else {
            self.visible
        };
        let found = self.ctes[..seen]
            .iter()
            .rposition(|cte| cte.alias.name.value == name);
        match found {
            Some(place) => Some((self, place)),
            None => self.outer?.cte(name),
        }
    }

    /// The column an expression is, if it is one whose class is known.
    pub fn column(&self, expr: &Expr) -> Option<Column> {
        match strip(expr) {
            Expr::Identifier(name) => self.find(|level| level.unqualified(&name.value)),
            Expr::CompoundIdentifier(parts) => match &parts[..] {
                [table, name] => self.find(|level| level.qualified(None, &table.value, &name.value)),
                [schema, table, name] => {
                    self.find(|level| level.qualified(Some(&schema.value), &table.value, &name.value))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn find(&self, search: impl Fn(&Level) -> Search) -> Option<Column> {
        let mut env = Some(self);
        let mut is_own = true;
        while let Some(here) = env {
            match search(here.level) {
                Search::Is(entry, class) => {
                    return class.map(|class| Column { is_own, entry, class });
                }
                Search::Unclear => return None,
                Search::No => {}
            }
            is_own = false;
            env = here.outer;
        }
        None
    }

    /// Is it certain that a name is a column of the innermost level?
    pub fn is_own(&self, expr: &Expr) -> bool {
        let found = match strip(expr) {
            Expr::Identifier(name) => self.level.unqualified(&name.value),
            Expr::CompoundIdentifier(parts) => match &parts[..] {
                [table, name] => self.level.qualified(None, &table.value, &name.value),
                _ => Search::Unclear,
            },
            _ => Search::Unclear,
        };
        matches!(found, Search::Is(..))
    }
}

impl Level {
    fn unqualified(&self, name: &str) -> Search {
        if let Some((_, entry, class)) = self.merged.iter().rev().find(|(merged, ..)| merged == name) {
            return Search::Is(*entry, *class);
        }
        let mut found = Search::No;
        let mut is_unclear = false;
        for (place, entry) in self.entries.iter().enumerate() {
            match entry.outputs.named(name) {
                Search::Is(_, class) => match found {
                    Search::No => found = Search::Is(place, class),
                    Search::Is(..) | Search::Unclear => return Search::Unclear,
                },
                Search::Unclear => is_unclear = true,
                Search::No => {}
            }
        }
        match found {
            Search::No if is_unclear => Search::Unclear,
            found => found,
        }
    }

    fn qualified(&self, schema: Option<&str>, table: &str, name: &str) -> Search {
        let is_it = |entry: &Entry| {
            entry.alias == table
                && (schema.is_none() || entry.schema.as_deref().is_none_or(|own| Some(own) == schema))
        };
        let mut found = self.entries.iter().enumerate().filter(|(_, entry)| is_it(entry));
        match (found.next(), found.next()) {
            (None, _) => Search::No,
            (Some((place, entry)), None) => match entry.outputs.named(name) {
                Search::Is(_, class) => Search::Is(place, class),
                Search::Unclear | Search::No => Search::Unclear,
            },
            (Some(_), Some(_)) => Search::Unclear,
        }
    }
}

impl Outputs {
    fn named(&self, name: &str) -> Search {
        let mut found = self.columns.iter().filter(|(column, _)| column == name);
        match (found.next(), found.next()) {
            (Some((_, class)), None) => Search::Is(0, *class),
            (Some(_), Some(_)) => Search::Unclear,
            (None, _) if self.is_complete => Search::No,
            (None, _) => Search::Unclear,
        }
    }

    /// The class of the column at a place.
    pub fn at(&self, place: usize) -> Option<Class> {
        match self.is_complete {
            true => self.columns.get(place)?.1,
            false => None,
        }
    }

    /// As an alias renames them.
    pub fn renamed(mut self, alias: Option<&TableAlias>) -> Outputs {
        let names = alias.map_or(&[][..], |alias| &alias.columns);
        if names.is_empty() {
            return self;
        }
        if !self.is_complete {
            return Outputs::default();
        }
        for (column, name) in self.columns.iter_mut().zip(names) {
            column.0 = name.name.value.clone();
        }
        self
    }
}

/// An expression without the parentheses around it.
pub fn strip(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

/// The names of an object: schema and name.
pub fn names(name: &ObjectName) -> Option<(Option<&Ident>, &Ident)> {
    let ident = |part: &'_ ObjectNamePart| part.as_ident().is_some();
    if !name.0.iter().all(ident) {
        return None;
    }
    match &name.0[..] {
        [name] => Some((None, name.as_ident()?)),
        [schema, name] | [_, schema, name] => Some((Some(schema.as_ident()?), name.as_ident()?)),
        _ => None,
    }
}
