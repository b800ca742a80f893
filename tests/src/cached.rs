//! What tests of the result cache share: rules, a table, and how it is seen that an answer was the cache's.

use std::time::Instant;

use crate::shard::Shard;
use crate::{Database, PATIENCE, Proxy, Wire};

/// Everything is kept for a minute; only rights are followed.
pub const EVERYTHING: &str =
    "[cache]\nelsewhere = \"ttl\"\n[[cache.class]]\nname = \"all\"\ntables = [\"*\"]\nttl = \"1min\"\n";

/// Everything is kept for a minute; writes from elsewhere are followed, for two seconds at most.
pub const FOLLOWED: &str = "[cache]\n[[cache.class]]\nname = \"all\"\ntables = [\"*\"]\nttl = \"1min\"\n";

/// What writes from elsewhere are followed by.
pub const LOGICAL: &[(&str, &str)] = &[("wal_level", "logical")];

/// A read of the table that [`fill`] makes, answered `v3`.
pub const READ: &str = "SELECT v FROM t WHERE id = 3";

/// Makes a table of ten rows.
pub fn fill(database: &Database) {
    let mut direct = database.door().wire();
    direct.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    direct.run("INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 10) AS n");
}

/// A shard with that table, whose writes can be followed.
pub fn shard_with_rows() -> Shard {
    let shard = Shard::made(LOGICAL, &[]);
    fill(&shard.database);
    shard
}

/// The `cache` column of the last statement's route.
pub fn said(wire: &mut Wire) -> String {
    let route = wire.rows("SHOW pgshunt.last_route");
    route[0].split('|').nth(4).unwrap_or_default().to_owned()
}

/// Runs a statement until it is answered from the cache, and gives back the answer.
#[track_caller]
pub fn hit(wire: &mut Wire, sql: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rows = wire.rows(sql);
        let last = said(wire);
        if last == "hit" {
            return rows;
        }
        assert!(Instant::now() < deadline, "{sql}: {last}, {rows:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Columns of SHOW CACHE.
pub mod column {
    /// Does it answer?
    pub const STATE: usize = 2;
    /// Questions a server was asked.
    pub const MISSES: usize = 4;
    /// What Redis is to it.
    pub const REDIS: usize = 17;
    /// Answers Redis had.
    pub const HITS: usize = 18;
    /// Answers that went there.
    pub const STORED: usize = 19;
    /// What lay there and was not pgshunt's.
    pub const FOREIGN: usize = 20;
    /// Answers fetched in advance.
    pub const WARMED: usize = 21;
    /// Answers that were to be, and were not.
    pub const UNWARMED: usize = 22;
}

/// One column of SHOW CACHE's row that is of the whole database; empty while there is no such row.
pub fn shown(proxy: &Proxy, column: usize) -> String {
    let rows = proxy.console().wire().rows("SHOW CACHE");
    let row = rows.iter().find(|row| row.split('|').nth(1) == Some("*"));
    let field = row.and_then(|row| row.split('|').nth(column));
    field.unwrap_or_default().to_owned()
}
