//! Collations: whether texts might compare otherwise than by the database's own.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Visit, visit_expressions};

use super::read::Reader;
use crate::tables::Table;

impl Reader<'_> {
    /// Notes the columns of a table that have a collation of their own.
    pub fn note_collations(&mut self, table: Option<&Table>) {
        let columns = table.map_or(&[][..], |table| &table.columns[..]);
        let own = columns.iter().filter(|column| column.has_own_collation);
        self.collated.extend(own.map(|column| column.name.to_string()));
    }

    /// May texts in this have a collation that is not the database's: by COLLATE, or as columns that have one?
    pub fn is_collated<T: Visit>(&self, within: &T) -> bool {
        let is_own = |name: Option<&sqlparser::ast::Ident>| {
            name.is_some_and(|name| self.collated.contains(&name.value))
        };
        let found = visit_expressions(within, |expr| {
            let is_it = match expr {
                Expr::Collate { .. } => true,
                Expr::Identifier(name) => is_own(Some(name)),
                Expr::CompoundIdentifier(parts) => is_own(parts.last()),
                _ => false,
            };
            match is_it {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        found.is_break() || (!self.collated.is_empty() && self.has_star())
    }

    /// Is there a `*` that stands for columns?
    fn has_star(&self) -> bool {
        let pieces = self.pieces;
        (1..pieces.all.len()).any(|place| {
            let before = pieces.text(place - 1).to_ascii_lowercase();
            pieces.text(place) == "*" && matches!(&*before, "select" | "distinct" | "all" | "," | ".")
        })
    }
}
