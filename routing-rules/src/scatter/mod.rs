//! How the answers of several shards become one: the closed algebra of reads. A plan is what to send to each shard and what to
//! do with what comes back; PostgreSQL itself does all arithmetic. What is outside the algebra names its operator.
//!
//! Texts are made from pieces of the statement's own text, never by printing a tree.

mod aggregates;
mod clauses;
mod deviation;
mod finish;
mod groups;
mod inner;
mod merge;
mod names;
mod rewrite;
mod rows;
mod template;
mod uses;
mod windows;

use std::ops::Range;

use sqlparser::ast::Query;

pub use finish::{Finish, WrongType};
pub use merge::{Count, Merge, SortColumn, SortKey, TextOrder};
pub use template::Template;

use finish::Part;
use groups::Known;

use crate::keys::query::{ON, SETS, is_limited};
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
    /// Each gives partial results, or rows; one PostgreSQL makes the answer of them.
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
    let operator: Box<str> = match spread(without_limit(query, node), &reader.classes) {
        Spread::Same => return Err("a query without a sharded table".into()),
        Spread::Parts(_) if !is_limited(query) && query.order_by.is_none() => return Ok(Plan::Concatenate),
        Spread::Parts(_) => return merge::merge(reader, query, range, outputs).map(Plan::Merge),
        Spread::PerKey(_, operator) | Spread::No(operator) => operator.into(),
    };
    let place = Place::default();
    match part(reader, query, range.clone(), node, &operator, place).unwrap_or(Err(operator)) {
        Ok(part) => Ok(Plan::Finish(Finish::of(part))),
        // Maybe queries within it can be.
        Err(operator) => match inner::inner(reader, query, range) {
            Some(finish) => Ok(Plan::Finish(finish)),
            None => Err(operator),
        },
    }
}

/// Where a part is in a plan.
#[derive(Clone, Copy, Default)]
struct Place<'k> {
    /// Its columns are numbered from here.
    first: usize,
    /// Subqueries in it that are answered beforehand.
    known: &'k [Known],
    /// It is a query within another: its outputs' names matter.
    is_inner: bool,
}

/// Plans a query whose tables are at their keys, by groups or by rows; `None`: they are not. `operator` is why it has to be.
fn part(
    reader: &mut Reader<'_>,
    query: &Query,
    range: Range<usize>,
    node: &Node,
    operator: &str,
    place: Place<'_>,
) -> Option<Result<Part, Box<str>>> {
    let Node::Level(level) = without_limit(query, node) else {
        return None;
    };
    if !matches!(body(level, &reader.classes), Spread::Parts(_)) {
        return None;
    }
    let has_groups = level.groups.is_some() || level.distinct.is_some() && level.windows.is_empty();
    let has_rows = matches!(level.whole, None | Some(SETS | ON));
    let by_groups = match has_groups && level.whole.is_none() {
        true => groups::groups(reader, query, range.clone(), place),
        false => Err(operator.into()),
    };
    Some(by_groups.or_else(|operator| match has_rows {
        true => rows::rows(reader, query, range, &operator, place).map_err(|why| match has_groups {
            true => operator,
            false => why,
        }),
        false => Err(operator),
    }))
}

/// A query as it is before its LIMIT.
fn without_limit<'n>(query: &Query, node: &'n Node) -> &'n Node {
    match node {
        Node::Whole(inner, _) if is_limited(query) => inner,
        node => node,
    }
}
