//! How the answers of several shards become one: the closed algebra of reads. A plan is what to send to each shard and what to
//! do with what comes back; PostgreSQL itself does all arithmetic. What is outside the algebra names its operator.
//!
//! Texts are made from pieces of the statement's own text, never by printing a tree.

mod aggregates;
mod clauses;
mod deviation;
mod finish;
mod merge;
mod template;

use std::ops::Range;

use sqlparser::ast::Query;

pub use finish::{Finish, WrongType};
pub use merge::{Count, Merge, SortColumn, SortKey, TextOrder};
pub use template::Template;

use crate::keys::query::is_limited;
use crate::keys::read::Reader;
use crate::keys::scope::Outputs;
use crate::keys::spread::{Node, Spread, body, spread};

/// How several shards answer a query together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Each gets the text as it is; their rows follow each other in any order.
    Concatenate,
    /// Each gives its rows sorted, or no more than asked for; they are merged and cut.
    Merge(Merge),
    /// Each gives partial results; one PostgreSQL makes the answer of them.
    Finish(Finish),
}

/// Plans the query in these pieces; else the operator that is outside the algebra.
pub fn plan(
    reader: &mut Reader<'_>,
    query: &Query,
    range: Range<usize>,
    node: &Node,
    outputs: &Outputs,
) -> Result<Plan, Box<str>> {
    let (inner, limited) = match node {
        Node::Whole(inner, _) if is_limited(query) => (&**inner, true),
        node => (node, false),
    };
    let operator = match spread(inner, &reader.classes) {
        Spread::Same => return Err("a query without a sharded table".into()),
        Spread::Parts(_) if !limited && query.order_by.is_none() => return Ok(Plan::Concatenate),
        Spread::Parts(_) => return merge::merge(reader, query, range, outputs).map(Plan::Merge),
        Spread::PerKey(_, operator) => operator,
        Spread::No(operator) => return Err(operator.into()),
    };
    match inner {
        Node::Level(level)
            if level.whole.is_none()
                && level.windows.is_empty()
                && matches!(body(level, &reader.classes), Spread::Parts(_)) =>
        {
            finish::finish(reader, query, range).map(Plan::Finish)
        }
        _ => Err(operator.into()),
    }
}
