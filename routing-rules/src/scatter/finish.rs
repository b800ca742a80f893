//! What is made of the shards' rows by one statement over them, the arrays of all shards' columns being its parameters. Sums,
//! quotients, formats, windows and the order of rows are PostgreSQL's own, nothing is computed here.

use std::ops::Range;

use super::template::{Template, column};
use crate::sql::Pieces;

/// What to send, and how to make the answer of what comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The text for each shard. Uses the parameters of the statement as they are, though maybe not all of them: their types must
    /// be given.
    pub shard: Template,
    /// How many columns it gives.
    pub columns: usize,
    /// The parameters of the statement that the last text uses, in its order.
    pub parameters: Vec<u16>,
    /// Why each shard gives rows as they are, rather than sums of them: the operator.
    pub ships: Option<Box<str>>,
    /// Columns that may not be `real`: an avg of them would be rounded too early.
    not_real: Vec<usize>,
    /// Columns that must be `bigint` or `numeric`.
    exact: Vec<usize>,
    last: Template,
}

/// Why partial results of such types can't be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongType {
    /// Arrays of arrays are not told apart.
    Array,
    /// avg(real): it adds up in double precision, sum(real) does not.
    Real,
    /// stddev() and variance() of `real` and `double precision`.
    Float,
}

/// A query that shards answer in part: what each is asked for, and what is made of their rows.
#[derive(Clone, Debug)]
pub struct Part {
    /// The text for each shard.
    pub shard: Template,
    /// The columns it gives, among those of all parts.
    pub columns: Range<usize>,
    /// The text over these columns.
    pub last: Template,
    /// See [`Finish::ships`].
    pub ships: Option<Box<str>>,
    /// Columns that may not be `real`.
    pub not_real: Vec<usize>,
    /// Columns that must be `bigint` or `numeric`.
    pub exact: Vec<usize>,
}

impl Finish {
    /// A query that is one part.
    pub fn of(part: Part) -> Finish {
        Finish {
            shard: part.shard,
            columns: part.columns.len(),
            parameters: part.last.parameters(),
            ships: part.ships,
            not_real: part.not_real,
            exact: part.exact,
            last: part.last,
        }
    }

    /// A query around parts, whose columns follow each other. Where there are several, each shard answers all of them in one
    /// statement, so that they are of one moment: a row is one part's, which a column more for each part says, and NULL elsewhere.
    pub fn around(parts: Vec<Part>, mut last: Template) -> Finish {
        let columns = parts.last().map_or(0, |part| part.columns.end);
        let count = if parts.len() > 1 { parts.len() } else { 0 };
        if count > 0 {
            last.mark(&|first| {
                parts
                    .iter()
                    .position(|part| part.columns.start == first)
                    .map(|part| columns + part)
            });
        }
        let mut whole = Part {
            shard: Template::default(),
            columns: 0..columns + count,
            last,
            ships: None,
            not_real: Vec::new(),
            exact: Vec::new(),
        };
        for (place, part) in parts.into_iter().enumerate() {
            let word = if place == 0 { "WITH" } else { "," };
            match count {
                0 => whole.shard.append(part.shard),
                _ => whole
                    .shard
                    .text(format!(
                        "{word} pgshunt_part_{place} AS (SELECT pgshunt_own.*, true AS {} FROM (",
                        column(columns + place)
                    ))
                    .append(part.shard)
                    .text(") AS pgshunt_own)"),
            };
            whole.ships = whole.ships.or(part.ships);
            whole.not_real.extend(part.not_real);
            whole.exact.extend(part.exact);
        }
        let all: Vec<String> = whole.columns.clone().map(column).collect();
        let rows = |place: usize| {
            let others = (0..count).filter(|other| *other != place);
            let joins = others.map(|other| {
                format!(
                    " LEFT JOIN (SELECT * FROM pgshunt_part_{other} LIMIT 0) AS pgshunt_no_{other} ON true"
                )
            });
            format!(
                "SELECT {} FROM pgshunt_part_{place}{}",
                all.join(", "),
                joins.collect::<String>()
            )
        };
        let rows: Vec<String> = (0..count).map(rows).collect();
        if count > 0 {
            whole.shard.text(rows.join(" UNION ALL "));
        }
        Finish::of(whole)
    }

    /// The statement that makes the answer, given the SQL names of the types of the shards' columns (as `format_type` writes
    /// them). Its first [`Finish::columns`] parameters are arrays of these types: each column of all shards' rows. Behind
    /// them come those of [`Finish::parameters`].
    pub fn last(&self, pieces: &Pieces<'_>, types: &[&str]) -> Result<String, WrongType> {
        if types.iter().any(|name| name.ends_with(']')) {
            return Err(WrongType::Array);
        }
        if self
            .not_real
            .iter()
            .any(|&column| types.get(column).is_some_and(|name| *name == "real"))
        {
            return Err(WrongType::Real);
        }
        let is_exact = |column: &usize| matches!(types.get(*column), Some(&"bigint" | &"numeric") | None);
        if !self.exact.iter().all(is_exact) {
            return Err(WrongType::Float);
        }
        Ok(self.last.render_with(pieces, types, &self.parameters))
    }
}
