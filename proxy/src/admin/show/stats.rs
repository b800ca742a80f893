//! SHOW STATS, STATS_TOTALS, STATS_AVERAGES and TOTALS.

use crate::admin::lookout::Seen;
use crate::admin::rates::{Twelve, add};
use crate::admin::table::{Column, Row, numeric, text};

pub(super) const STATS: [Column; 25] = [
    text("database"),
    numeric("total_server_assignment_count"),
    numeric("total_xact_count"),
    numeric("total_query_count"),
    numeric("total_received"),
    numeric("total_sent"),
    numeric("total_xact_time"),
    numeric("total_query_time"),
    numeric("total_wait_time"),
    numeric("total_client_parse_count"),
    numeric("total_server_parse_count"),
    numeric("total_bind_count"),
    numeric("total_client_login_count"),
    numeric("avg_server_assignment_count"),
    numeric("avg_xact_count"),
    numeric("avg_query_count"),
    numeric("avg_recv"),
    numeric("avg_sent"),
    numeric("avg_xact_time"),
    numeric("avg_query_time"),
    numeric("avg_wait_time"),
    numeric("avg_client_parse_count"),
    numeric("avg_server_parse_count"),
    numeric("avg_bind_count"),
    numeric("avg_client_login_count"),
];

pub(super) const TOTALS_OF_EACH: [Column; 13] = [
    text("database"),
    numeric("server_assignment_count"),
    numeric("xact_count"),
    numeric("query_count"),
    numeric("bytes_received"),
    numeric("bytes_sent"),
    numeric("xact_time"),
    numeric("query_time"),
    numeric("wait_time"),
    numeric("client_parse_count"),
    numeric("server_parse_count"),
    numeric("bind_count"),
    numeric("client_login_count"),
];

pub(super) const TOTALS: [Column; 2] = [text("name"), numeric("value")];

pub(super) fn stats(seen: &Seen) -> Vec<Row> {
    each(seen, |totals, rates| totals.into_iter().chain(rates).collect())
}

pub(super) fn totals_of_each(seen: &Seen) -> Vec<Row> {
    each(seen, |totals, _| totals.to_vec())
}

pub(super) fn averages_of_each(seen: &Seen) -> Vec<Row> {
    each(seen, |_, rates| rates.to_vec())
}

fn each(seen: &Seen, numbers: impl Fn(Twelve, Twelve) -> Vec<u64>) -> Vec<Row> {
    let row = |(database, totals): (&String, &Twelve)| {
        let rates = seen.rates.databases.get(database).copied().unwrap_or_default();
        let numbers = numbers(*totals, rates).into_iter().map(u64::into);
        std::iter::once(database.into()).chain(numbers).collect()
    };
    seen.totals.iter().map(row).collect()
}

/// All databases together, one number a row, named as in SHOW STATS.
pub(super) fn totals(seen: &Seen) -> Vec<Row> {
    let mut totals = Twelve::default();
    seen.totals.values().for_each(|one| add(&mut totals, one));
    let names = STATS.iter().skip(1).map(|column| column.name);
    let numbers = totals.into_iter().chain(seen.rates.together);
    names
        .zip(numbers)
        .map(|(name, number)| vec![name.into(), number.into()])
        .collect()
}
