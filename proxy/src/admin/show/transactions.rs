//! SHOW TRANSACTIONS.

use crate::admin::lookout::Seen;
use crate::admin::table::{Cell, Column, Row, big, text};

pub(super) const TRANSACTIONS: [Column; 7] = [
    text("database"),
    text("gid"),
    text("state"),
    big("age_ms"),
    text("shards"),
    text("role"),
    text("why"),
];

/// Prepared transactions of databases with several shards, as of the last look.
pub(super) fn transactions(seen: &Seen) -> Vec<Row> {
    let rows = seen.transactions.iter().flat_map(|(database, seen)| {
        seen.transactions.iter().map(move |transaction| -> Row {
            vec![
                database.into(),
                (&transaction.gid).into(),
                transaction.state.word().into(),
                u64::try_from(transaction.age.as_millis())
                    .unwrap_or(u64::MAX)
                    .into(),
                transaction.shards.join(",").into(),
                (&transaction.role).into(),
                transaction.why.as_ref().map_or(Cell::Null, Cell::from),
            ]
        })
    });
    rows.collect()
}
