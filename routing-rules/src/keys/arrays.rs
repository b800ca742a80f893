//! Rows of an INSERT that come as an array for each column, as drivers and ORMs write them:
//! `INSERT INTO t (a, b) SELECT * FROM unnest($1::int[], $2::text[])`. Anything but exactly that is not for here.

use sqlparser::ast::{DataType, Expr, GroupByExpr, Query, SelectItem, SetExpr, TableFactor};

use super::Slot;
use super::read::Reader;
use super::scope::strip;
use super::slot::Values;
use crate::place::{KeyType, NotAKey};

/// The arrays, and which of them holds the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertArrays {
    /// The place of the keys' array.
    pub at: usize,
    /// How long each of them is.
    pub lengths: Vec<Length>,
    /// What the statement calls their columns, if it does.
    pub columns: Option<Vec<Box<str>>>,
}

/// How long an array is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Length {
    /// As it is written.
    Known(usize),
    /// As long as the value.
    Of(Slot),
}

impl Reader<'_> {
    /// The arrays of such a query, and the slots of the keys, which its column `at` holds.
    pub fn arrays(&self, query: &Query, at: usize) -> Option<(InsertArrays, Vec<Slot>)> {
        let Query {
            with: None,
            body,
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks,
            ..
        } = query
        else {
            return None;
        };
        let SetExpr::Select(select) = &**body else {
            return None;
        };
        let [from] = &select.from[..] else {
            return None;
        };
        let TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            with_ordinality: false,
            ..
        } = &from.relation
        else {
            return None;
        };
        let is_plain = locks.is_empty()
            && from.joins.is_empty()
            && select.distinct.is_none()
            && select.selection.is_none()
            && select.having.is_none()
            && select.named_window.is_empty()
            && matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
        let columns = alias
            .as_ref()
            .map(|alias| alias.columns.iter().map(|column| column.name.value.as_str()));
        let columns: Option<Vec<&str>> = columns.map(Iterator::collect);
        if !is_plain
            || columns
                .as_ref()
                .is_some_and(|columns| columns.len() != array_exprs.len())
        {
            return None;
        }
        let at = match &select.projection[..] {
            [SelectItem::Wildcard(_)] => at,
            items => match items.get(at)? {
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => columns
                    .as_ref()?
                    .iter()
                    .position(|column| *column == name.value)?,
                _ => return None,
            },
        };
        let keys = self.array(array_exprs.get(at)?)?;
        let lengths: Option<Vec<Length>> = array_exprs.iter().map(|array| self.length(array)).collect();
        let columns = columns.map(|columns| columns.into_iter().map(Into::into).collect());
        let arrays = InsertArrays {
            at,
            lengths: lengths?,
            columns,
        };
        Some((arrays, keys))
    }

    fn length(&self, array: &Expr) -> Option<Length> {
        match strip(array) {
            Expr::Cast {
                expr,
                data_type: DataType::Array(_),
                ..
            } => self.length(expr),
            Expr::Array(array) => Some(Length::Known(array.elem.len())),
            Expr::Value(value) => match self.array_value(value)? {
                // No array: no rows, whatever the others bring.
                Slot::Null => Some(Length::Known(0)),
                slot => Some(Length::Of(slot)),
            },
            _ => None,
        }
    }
}

impl InsertArrays {
    /// Has each row a key? An array that is longer than the keys' makes rows without.
    pub fn check(&self, values: &Values<'_>, keys: usize, kind: KeyType) -> Result<(), NotAKey> {
        for length in &self.lengths {
            let count = match length {
                Length::Known(count) => *count,
                Length::Of(slot) => values.count(slot, kind)?,
            };
            if count > keys {
                return Err(NotAKey::Null);
            }
        }
        Ok(())
    }
}
