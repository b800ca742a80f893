//! The words behind `SHOW`: which columns each has, and its rows. Pure: all of it is made from what the lookout saw.
//!
//! Columns, their names, order and types are PgBouncer 1.25's, so that its monitoring tools work.

mod about;
mod cache;
mod config;
mod databases;
mod peers;
mod pools;
mod routes;
mod shards;
mod stats;
mod tenants;
mod transactions;

pub(super) use shards::every as every_shard;

use super::lookout::Seen;
use super::table::{Column, Row};

macro_rules! shows {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $about:literal, $columns:expr, $rows:expr;)*) => {
        /// A word that can stand behind `SHOW`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Show { $($name),* }

        impl Show {
            /// Every word.
            pub const ALL: &[Show] = &[$(Show::$name),*];

            /// The word itself.
            pub fn word(self) -> &'static str {
                match self { $(Show::$name => $word),* }
            }

            /// What it shows.
            pub fn about(self) -> &'static str {
                match self { $(Show::$name => $about),* }
            }

            /// Its columns.
            pub fn columns(self) -> &'static [Column] {
                match self { $(Show::$name => $columns),* }
            }

            /// Its rows.
            pub fn rows(self, seen: &Seen) -> Vec<Row> {
                match self { $(Show::$name => $rows(seen)),* }
            }
        }
    };
}

shows! {
    Help = "HELP", "what the console understands", &about::HELP, about::help;
    Version = "VERSION", "the version of pgshunt", &about::VERSION, about::version;
    Pools = "POOLS", "pools: clients and servers by state, longest wait", &pools::POOLS, pools::pools;
    Databases = "DATABASES", "databases: servers, limits, connections", &databases::DATABASES, databases::databases;
    Clients = "CLIENTS", "clients", &peers::COLUMNS, peers::clients;
    Servers = "SERVERS", "server connections", &peers::COLUMNS, peers::servers;
    Pins = "PINS", "clients that keep their server, and why", &pools::PINS, pools::pins;
    Stats = "STATS", "totals of each database, and averages of the last minute", &stats::STATS, stats::stats;
    StatsTotals = "STATS_TOTALS", "totals of each database", &stats::TOTALS_OF_EACH, stats::totals_of_each;
    StatsAverages = "STATS_AVERAGES", "averages of each database", &stats::TOTALS_OF_EACH, stats::averages_of_each;
    Totals = "TOTALS", "totals and averages of all databases", &stats::TOTALS, stats::totals;
    Lists = "LISTS", "how many there are of everything", &pools::LISTS, pools::lists;
    Users = "USERS", "roles: limits, connections", &databases::USERS, databases::users;
    Replicas = "REPLICAS", "servers: role, how fresh, what they do", &routes::REPLICAS, routes::replicas;
    Shards = "SHARDS", "shards: where they are, what they do", &shards::SHARDS, shards::shards;
    Tenants = "TENANTS", "tenants that have a shard by name", &tenants::TENANTS, tenants::tenants;
    Routes = "ROUTES", "where statements went", &routes::ROUTES, routes::routes;
    Reasons = "REASONS", "why they went there", &routes::REASONS, routes::reasons;
    Transactions = "TRANSACTIONS", "prepared transactions on several shards, and why they are", &transactions::TRANSACTIONS, transactions::transactions;
    Cache = "CACHE", "answers kept: hits, misses, room, and why statements are not looked for", &cache::CACHE, cache::cache;
    Config = "CONFIG", "the configuration, secrets left out", &config::CONFIG, config::config;
    State = "STATE", "is pgshunt active, paused, stopping?", &about::STATE, about::state;
    Mem = "MEM", "memory of the process", &about::MEM, about::mem;
}

impl Show {
    /// The show of that word, in whatever case.
    pub fn named(word: &str) -> Option<Show> {
        let all = Show::ALL.iter().copied();
        all.into_iter()
            .find(|show| show.word().eq_ignore_ascii_case(word))
    }

    /// Does it need to know what the workers have?
    pub fn asks_workers(self) -> bool {
        !matches!(
            self,
            Show::Help
                | Show::Version
                | Show::Replicas
                | Show::Transactions
                | Show::Cache
                | Show::Config
                | Show::State
                | Show::Mem
        )
    }
}

#[cfg(test)]
mod tests;
