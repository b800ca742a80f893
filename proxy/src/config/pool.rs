//! The `[pool]` keys, at each of their three places: user over database over global.

use super::mistake::Wrong;
use super::raw::Section;
use crate::pool::settings::{Mode, Settings};

/// What the section says, over what a wider one said.
pub(super) fn narrowed(wider: &Settings, section: &Section) -> Settings {
    let time = |key| section.time(key);
    let settings = Settings {
        mode: section.word("mode", &MODES).unwrap_or(wider.mode),
        size: section.count("size", 1..=SERVERS_MAX).unwrap_or(wider.size),
        min_size: section
            .count("min_size", 0..=SERVERS_MAX)
            .unwrap_or(wider.min_size),
        reserve_pool_size: section
            .count("reserve_pool_size", 0..=SERVERS_MAX)
            .unwrap_or(wider.reserve_pool_size),
        reserve_pool_timeout: time("reserve_pool_timeout").unwrap_or(wider.reserve_pool_timeout),
        queue_size: section
            .count("queue_size", 0..=CLIENTS_MAX)
            .unwrap_or(wider.queue_size),
        query_wait_timeout: time("query_wait_timeout").unwrap_or(wider.query_wait_timeout),
        query_wait_notify: time("query_wait_notify").unwrap_or(wider.query_wait_notify),
        server_idle_timeout: time("server_idle_timeout").unwrap_or(wider.server_idle_timeout),
        server_lifetime: time("server_lifetime").unwrap_or(wider.server_lifetime),
        server_connect_timeout: time("server_connect_timeout").unwrap_or(wider.server_connect_timeout),
        server_login_retry: time("server_login_retry").unwrap_or(wider.server_login_retry),
        server_check_delay: time("server_check_delay").unwrap_or(wider.server_check_delay),
        server_fast_close: section
            .count("server_fast_close", 0..=1)
            .map_or(wider.server_fast_close, |number| number == 1),
        connect_parallel: section
            .count("connect_parallel", 1..=SERVERS_MAX)
            .unwrap_or(wider.connect_parallel),
        max_prepared_statements: section
            .count("max_prepared_statements", 1..=STATEMENTS_MAX)
            .unwrap_or(wider.max_prepared_statements),
        query_timeout: time("query_timeout").unwrap_or(wider.query_timeout),
        client_idle_timeout: time("client_idle_timeout").unwrap_or(wider.client_idle_timeout),
        idle_transaction_timeout: time("idle_transaction_timeout").unwrap_or(wider.idle_transaction_timeout),
        transaction_timeout: time("transaction_timeout").unwrap_or(wider.transaction_timeout),
        cancel_wait_timeout: time("cancel_wait_timeout").unwrap_or(wider.cancel_wait_timeout),
        shard_timeout: time("shard_timeout").unwrap_or(wider.shard_timeout),
        merge_memory: section
            .count("merge_memory", MERGE_MIN..=MERGE_MAX)
            .unwrap_or(wider.merge_memory),
    };
    check(&settings, section);
    settings
}

/// The least and the most that one statement may hold, in bytes.
const MERGE_MIN: usize = 64 << 10;
const MERGE_MAX: usize = 1 << 30;

fn check(settings: &Settings, section: &Section) {
    let sizes = section.place("min_size").or_else(|| section.place("size"));
    if let Some(at) = sizes.filter(|_| settings.min_size > settings.size) {
        let what = format!("is {}, above size, which is {}", settings.min_size, settings.size);
        section.wrong_value("min_size", at, Wrong::new(what));
    }
    for (key, span) in [
        ("server_connect_timeout", settings.server_connect_timeout),
        ("cancel_wait_timeout", settings.cancel_wait_timeout),
    ] {
        if let Some(at) = section.place(key).filter(|_| span.is_zero()) {
            section.wrong_value(key, at, Wrong::new("must be above zero"));
        }
    }
}

const MODES: [(&str, Mode); 4] = [
    ("auto", Mode::Auto),
    ("session", Mode::Session),
    ("transaction", Mode::Transaction),
    ("statement", Mode::Statement),
];

/// PostgreSQL's own bound on `max_connections`.
pub(super) const SERVERS_MAX: usize = 262_143;

/// More clients than one machine has ports for one address, several times over.
pub(super) const CLIENTS_MAX: usize = 1_000_000;

/// Each prepared statement costs a server some kilobytes.
const STATEMENTS_MAX: usize = 100_000;
