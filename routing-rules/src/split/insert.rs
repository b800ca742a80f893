//! An INSERT … VALUES of several rows as one text for each shard, made of the statement's own bytes.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::arrays::from_arrays;
use crate::keys::{Reading, Reason, Values};
use crate::sharding::Sharding;
use crate::sql::{Kind, Pieces};

/// What one shard gets of an INSERT of several rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertPart {
    /// The shard.
    pub shard: Box<str>,
    /// The statement with this shard's rows alone; RETURNING and ON CONFLICT are as they were.
    pub text: String,
    /// The statement's parameters that the text uses, in its order: its `$1` is the first of them.
    pub parameters: Vec<u16>,
    /// Which of the statement's rows these are, from 0, in their order.
    pub rows: Vec<usize>,
}

impl Reading {
    /// The parts of an INSERT … VALUES of several rows, in order of the shards' names; `None` if it is no such statement.
    ///
    /// The sum of their counts is the statement's count. What they return follows the shards; [`in_order`] says when it can be
    /// brought back into the order of the rows.
    pub fn split_insert(
        &self,
        sharding: &Sharding,
        values: &Values<'_>,
    ) -> Option<Result<Vec<InsertPart>, Reason>> {
        let rows = self.rows.as_ref()?;
        let shards = match self.row_shards(sharding, values)? {
            Ok(shards) => shards,
            Err(reason) => return Some(Err(reason)),
        };
        if let Some(arrays) = &rows.arrays {
            return Some(from_arrays(sharding, values, (rows, arrays), &shards));
        }
        if let Err(what) = check(values.pieces, &rows.rows) {
            return Some(Err(Reason::Construct(what)));
        }
        let mut by_shard: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, shard) in shards.into_iter().enumerate() {
            by_shard.entry(shard).or_default().push(row);
        }
        let parts = by_shard
            .into_iter()
            .map(|(shard, own)| part(values.pieces, &rows.rows, shard, own));
        Some(Ok(parts.collect()))
    }
}

/// Brings rows that came back from several shards into the order of the statement: the place of each row as (part, number). `None`
/// if a part did not give back one row for each that it got (ON CONFLICT DO NOTHING, a trigger): then nobody knows whose they are.
pub fn in_order(parts: &[InsertPart], counts: &[usize]) -> Option<Vec<(usize, usize)>> {
    let is_whole = parts.len() == counts.len()
        && parts
            .iter()
            .zip(counts)
            .all(|(part, &count)| part.rows.len() == count);
    if !is_whole {
        return None;
    }
    let numbered = parts.iter().enumerate().flat_map(|(part, own)| {
        own.rows
            .iter()
            .enumerate()
            .map(move |(at, &row)| (row, (part, at)))
    });
    let mut all: Vec<(usize, (usize, usize))> = numbered.collect();
    all.sort_unstable();
    Some(all.into_iter().map(|(_, place)| place).collect())
}

/// The tree said where the rows are; their surroundings must look like it.
fn check(pieces: &Pieces<'_>, rows: &[(usize, usize)]) -> Result<(), &'static str> {
    let (Some(&(first, _)), Some(&(_, last))) = (rows.first(), rows.last()) else {
        return Err("an INSERT without rows");
    };
    let word = |place: usize| pieces.text(place).to_ascii_lowercase();
    let is_row = |&(open, close): &(usize, usize)| pieces.text(open) == "(" && pieces.text(close) == ")";
    let are_apart = rows.windows(2).all(|pair| {
        let (end, next) = (pair[0].1, pair[1].0);
        end + 2 == next && pieces.text(end + 1) == ","
    });
    if first == 0 || word(first - 1) != "values" || !rows.iter().all(is_row) || !are_apart {
        return Err("an INSERT whose rows are not clear");
    }
    // Each shard would run the whole of it.
    if (0..first).any(|place| pieces.all[place].2 == Kind::Word && word(place) == "with") {
        return Err("INSERT of rows with WITH");
    }
    let is_end = last + 1 >= pieces.all.len() || matches!(&*word(last + 1), ";" | "on" | "returning");
    if !is_end {
        return Err("INSERT of rows with ORDER BY or LIMIT");
    }
    // Of several rows they are refused, of one they are not: a shard with one row would insert more.
    let gives_sets = |place: usize| {
        pieces.text(place + 1) == "(" && SETS.split_ascii_whitespace().any(|name| name == word(place))
    };
    match (first..last).any(gives_sets) {
        true => Err("a function that gives several rows within VALUES"),
        false => Ok(()),
    }
}

/// The text for one shard; its parameters are numbered anew, so that each is used and has a type.
fn part(pieces: &Pieces<'_>, rows: &[(usize, usize)], shard: &str, own: Vec<usize>) -> InsertPart {
    let mut part = InsertPart {
        shard: shard.into(),
        text: String::new(),
        parameters: Vec::new(),
        rows: own,
    };
    let (first, last) = (rows[0].0, rows[rows.len() - 1].1);
    part.add(pieces, 0, first);
    for at in 0..part.rows.len() {
        if at > 0 {
            part.text.push_str(", ");
        }
        let (open, close) = rows[part.rows[at]];
        part.add(pieces, open, close + 1);
    }
    part.text.push(' ');
    part.add(pieces, last + 1, pieces.all.len());
    part
}

impl InsertPart {
    /// Adds these pieces with what stands between them.
    pub(super) fn add(&mut self, pieces: &Pieces<'_>, first: usize, end: usize) {
        let (Some(&(from, ..)), true) = (pieces.all.get(first), first < end) else {
            return;
        };
        let mut done = from as usize;
        for &(from, to, kind) in &pieces.all[first..end] {
            let number = match kind {
                Kind::Parameter => pieces.text[from as usize + 1..to as usize].parse().ok(),
                _ => None,
            };
            let upto = if number.is_some() { from } else { to } as usize;
            self.text.push_str(&pieces.text[done..upto]);
            if let Some(number) = number {
                let known = self.parameters.iter().position(|&own| own == number);
                let at = known.unwrap_or(self.parameters.len());
                if known.is_none() {
                    self.parameters.push(number);
                }
                let _ = write!(self.text, "${}", at + 1);
            }
            done = to as usize;
        }
        // What stands between VALUES and the first row, or within nothing else.
        let after = pieces
            .all
            .get(end)
            .map_or(pieces.text.len(), |&(from, ..)| from as usize);
        if end < pieces.all.len() && first == 0 {
            self.text.push_str(&pieces.text[done..after]);
        }
    }
}

/// `proretset` in `pg_proc.dat` of PostgreSQL 15 to 18, without those that only describe the server.
const SETS: &str = "generate_series generate_subscripts unnest regexp_matches regexp_split_to_table string_to_table \
    json_array_elements json_array_elements_text json_each json_each_text json_object_keys json_populate_recordset \
    json_to_recordset jsonb_array_elements jsonb_array_elements_text jsonb_each jsonb_each_text jsonb_object_keys \
    jsonb_path_query jsonb_path_query_tz jsonb_populate_recordset jsonb_to_recordset ts_debug ts_parse ts_stat ts_token_type \
    aclexplode";
