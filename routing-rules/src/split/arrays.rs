//! An INSERT of rows that come as arrays, as one text for each shard: every shard gets the arrays, and keeps its own rows.

use std::collections::{BTreeMap, BTreeSet};

use super::insert::InsertPart;
use crate::guard::constant;
use crate::keys::{InsertArrays, InsertRows, Reason, Values};
use crate::place::KeyType;
use crate::sharding::Sharding;
use crate::sql::{Kind, Pieces};

/// The parts, in order of the shards' names; `shards` are those of the rows.
pub(super) fn from_arrays(
    sharding: &Sharding,
    values: &Values<'_>,
    (rows, arrays): (&InsertRows, &InsertArrays),
    shards: &[&str],
) -> Result<Vec<InsertPart>, Reason> {
    let unclear = || Reason::Construct("an INSERT from arrays that is not clear");
    // A text that stands for char(n) may end in blanks, which its key does not have.
    if sharding.key_type == KeyType::Char {
        return Err(unclear());
    }
    let pieces = values.pieces;
    let end = end_of_source(pieces, arrays).ok_or_else(unclear)?;
    let keys = rows.keys(sharding, values)?;
    let mut by_shard: BTreeMap<&str, (Vec<usize>, BTreeSet<String>)> = BTreeMap::new();
    for (row, (shard, key)) in shards.iter().zip(&keys).enumerate() {
        let (own, names) = by_shard.entry(shard).or_default();
        own.push(row);
        names.insert(constant(key));
    }
    let parts = by_shard.into_iter().map(|(shard, (own, names))| {
        let mut part = InsertPart {
            shard: shard.into(),
            text: String::new(),
            parameters: Vec::new(),
            rows: own,
        };
        part.add(pieces, 0, end);
        let column = match &arrays.columns {
            Some(columns) => quoted(&columns[arrays.at]),
            None => {
                let columns: Vec<String> = (0..arrays.lengths.len())
                    .map(|number| format!("c{number}"))
                    .collect();
                part.text
                    .push_str(&format!(" AS pgshunt_rows ({})", columns.join(", ")));
                format!("c{}", arrays.at)
            }
        };
        let names: Vec<String> = names.into_iter().collect();
        part.text
            .push_str(&format!(" WHERE {column} IN ({}) ", names.join(", ")));
        part.add(pieces, end, pieces.all.len());
        part
    });
    Ok(parts.collect())
}

/// The piece behind `unnest (…) AS t (…)`, if that is the end of the query. The tree said what it is; its surroundings must look
/// like it.
fn end_of_source(pieces: &Pieces<'_>, arrays: &InsertArrays) -> Option<usize> {
    let word = |place: usize| pieces.text(place).to_ascii_lowercase();
    let all = 0..pieces.all.len();
    if all
        .clone()
        .any(|place| pieces.all[place].2 == Kind::Word && word(place) == "with")
    {
        return None;
    }
    let mut unnests = all
        .clone()
        .filter(|&place| pieces.all[place].2 == Kind::Word && word(place) == "unnest");
    let (unnest, None) = (unnests.next()?, unnests.next()) else {
        return None;
    };
    if word(unnest.checked_sub(1)?) != "from" || pieces.text(unnest + 1) != "(" {
        return None;
    }
    let mut end = closing(pieces, unnest + 1)? + 1;
    if arrays.columns.is_some() {
        let open = (end..all.end)
            .take(ALIAS_PIECES_MAX)
            .find(|&place| pieces.text(place) == "(")?;
        end = closing(pieces, open)? + 1;
    }
    let is_end = end >= all.end || matches!(&*word(end), ";" | "on" | "returning");
    is_end.then_some(end)
}

/// `AS`, a name, a parenthesis.
const ALIAS_PIECES_MAX: usize = 3;

/// The piece that closes the parenthesis at `open`.
fn closing(pieces: &Pieces<'_>, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    (open..pieces.all.len()).find(|&place| {
        match pieces.text(place) {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
