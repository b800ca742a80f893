//! Variance and standard deviation over all shards, exactly as `numeric_stddev_internal` of `numeric.c` has them: from the count, the
//! sum and the sum of squares of each shard, in numeric. Of `real` and `double precision` they are not: PostgreSQL adds those up
//! in another way.

use super::template::column;

/// Is it one of these aggregates?
pub fn is_deviation(name: &str) -> bool {
    matches!(
        name,
        "stddev" | "stddev_samp" | "stddev_pop" | "variance" | "var_samp" | "var_pop"
    )
}

/// The answer, from the columns of counts, sums and sums of squares, which begin at `first`.
pub fn total(name: &str, first: usize) -> String {
    let [count, sum, squares] = [0, 1, 2].map(|at| format!("pg_catalog.sum({})", column(first + at)));
    let is_sample = !name.ends_with("_pop");
    // Of one value there is no sample's variance, of none no variance at all.
    let (least, divisor) = match is_sample {
        true => (2, format!("({count} * ({count} - 1))")),
        false => (1, format!("({count} * {count})")),
    };
    let above = format!("({count} * {squares} - {sum} * {sum})");
    let variance = format!("({above} / {divisor})");
    let value = match name.starts_with("std") {
        false => variance,
        // As many digits as the variance has. Forty more before it is rounded, so that it is not rounded twice.
        true => format!(
            "pg_catalog.round(pg_catalog.sqrt(pg_catalog.round({variance}, pg_catalog.scale({variance}) + 40)), \
             pg_catalog.scale({variance}))"
        ),
    };
    format!(
        "(CASE WHEN {count} >= {least} THEN CASE WHEN {above} <= 0 THEN 0::pg_catalog.numeric ELSE {value} END END)"
    )
}
