//! What is known of a function by its name.

use sqlparser::ast::ObjectName;

use super::scope::names;
use crate::words::{Call, WORDS};

/// A kind of function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A builtin aggregate.
    Aggregate,
    /// Any other builtin: it reads no table of the user's.
    Builtin,
    /// Nobody knows.
    Unknown,
}

/// The kind of a function called by this name. The system's schema is searched first, so that a builtin's name without a
/// schema is the builtin.
pub fn kind(name: &ObjectName) -> Kind {
    let Some((schema, name)) = names(name) else {
        return Kind::Unknown;
    };
    if schema.is_some_and(|schema| schema.value != "pg_catalog") {
        return Kind::Unknown;
    }
    let name = name.value.as_str();
    if AGGREGATES
        .split_ascii_whitespace()
        .any(|aggregate| aggregate == name)
    {
        return Kind::Aggregate;
    }
    let is_keyword = KEYWORDS
        .split_ascii_whitespace()
        .chain(LOCKS.split_ascii_whitespace())
        .any(|keyword| keyword == name);
    match WORDS.exact(name.as_bytes()).call {
        Call::Unknown if !is_keyword => Kind::Unknown,
        _ => Kind::Builtin,
    }
}

/// Does a builtin answer differently on each shard, or at each call?
pub fn is_unstable(name: &ObjectName) -> bool {
    let last = names(name).map_or("", |(_, name)| name.value.as_str());
    UNSTABLE.split_ascii_whitespace().any(|unstable| unstable == last) || last.starts_with("pg_")
}

/// `prokind = 'a'` in `pg_proc.dat` of PostgreSQL 15 to 18.
const AGGREGATES: &str = "any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp \
    cume_dist dense_rank every json_agg json_agg_strict json_object_agg json_object_agg_strict json_object_agg_unique \
    json_object_agg_unique_strict json_arrayagg json_objectagg jsonb_agg jsonb_agg_strict jsonb_object_agg \
    jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict max min mode percent_rank percentile_cont \
    percentile_disc range_agg range_intersect_agg rank regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope \
    regr_sxx regr_sxy regr_syy stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance xmlagg grouping";

/// Builtins that leave locks with the session, and read no table.
const LOCKS: &str = "pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared \
    pg_try_advisory_lock pg_try_advisory_lock_shared";

/// Written like functions, and none.
const KEYWORDS: &str = "coalesce nullif greatest least current_date current_time current_timestamp localtime localtimestamp \
    current_user session_user user current_role current_catalog current_schema row array exists extract cast";

const UNSTABLE: &str = "now clock_timestamp statement_timestamp transaction_timestamp timeofday random random_normal \
    gen_random_uuid uuidv4 uuidv7 nextval currval lastval setval current_date current_time current_timestamp localtime \
    localtimestamp txid_current inet_client_addr inet_client_port inet_server_addr inet_server_port setseed version \
    current_setting current_user session_user user current_role current_catalog current_schema current_schemas current_database";
