//! Builtins that are STABLE, and whose answer follows from what the cache's key holds: the session's settings, its role, its
//! database, and a catalog whose every change makes all answers old.

/// Is a STABLE builtin one of those?
pub(super) fn is_told_by_the_key(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    BY_KEY.split_ascii_whitespace().any(|known| known == name)
}

/// `age` is not here: with one argument it counts from today. Nor are `current_setting`, which reads any setting, and what
/// asks for rights, times, addresses or sizes.
const BY_KEY: &str = "
array_agg_array_transfn array_to_json array_to_string cash_words concat concat_ws current_database date date_add date_bin
date_ge_timestamptz date_gt_timestamptz date_le_timestamptz date_lt_timestamptz date_eq_timestamptz date_ne_timestamptz
date_part date_subtract date_trunc enum_first enum_in enum_last enum_out enum_range extract format generate_series
interval_pl_timestamptz json_agg json_agg_strict json_build_array json_build_object json_object_agg
json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict json_populate_record
json_populate_recordset json_to_record json_to_recordset jsonb_agg jsonb_agg_strict jsonb_build_array jsonb_build_object
jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict
jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_path_query_tz
jsonb_populate_record jsonb_populate_recordset jsonb_to_record jsonb_to_recordset make_timestamptz money numeric
overlaps pg_typeof phraseto_tsquery plainto_tsquery quote_literal quote_nullable row_to_json time timestamp timestamptz
timestamptz_cmp_date timestamptz_cmp_timestamp timestamptz_eq_date timestamptz_eq_timestamp timestamptz_ge_date
timestamptz_ge_timestamp timestamptz_gt_date timestamptz_gt_timestamp timestamptz_le_date timestamptz_le_timestamp
timestamptz_lt_date timestamptz_lt_timestamp timestamptz_mi_interval timestamptz_ne_date timestamptz_ne_timestamp
timestamptz_pl_interval timestamp_cmp_timestamptz timestamp_eq_timestamptz timestamp_ge_timestamptz
timestamp_gt_timestamptz timestamp_le_timestamptz timestamp_lt_timestamptz timestamp_ne_timestamptz timetz timezone
to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector ts_headline websearch_to_tsquery
interval_out timestamptz_out date_out timestamp_out
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_the_moment_is_not_told_by_the_key() {
        assert!(is_told_by_the_key(b"to_char"));
        for name in [
            "now",
            "age",
            "transaction_timestamp",
            "statement_timestamp",
            "current_setting",
            "inet_client_addr",
            "has_table_privilege",
            "pg_backend_pid",
            "txid_current_snapshot",
            "",
        ] {
            assert!(!is_told_by_the_key(name.as_bytes()), "{name}");
        }
    }
}
