//! Several pgshunts that share what they keep, in a Redis or a cluster of them, and what SHOW CACHE says of it.

use crate::shard::Shard;
use crate::{Config, Proxy, Wire, until};

/// Writes from elsewhere are followed, for two seconds at most.
pub const RULES: &str = "[cache]\n[[cache.class]]\nname = \"all\"\ntables = [\"*\"]\nttl = \"1min\"\n";

/// A row of [`shard_with_rows`].
pub const READ: &str = "SELECT v FROM t WHERE id = 3";

/// Columns of SHOW CACHE.
pub const STATE: usize = 2;
/// Questions a server was asked.
pub const MISSES: usize = 4;
/// Whether answers are shared at this moment.
pub const REDIS: usize = 17;
/// Answers found in Redis.
pub const HITS: usize = 18;
/// Answers stored there.
pub const STORED: usize = 19;
/// What lay there and was nobody's of ours.
pub const FOREIGN: usize = 20;

/// One primary whose stream can be heard, and a table `t` of ten rows.
#[track_caller]
pub fn shard_with_rows() -> Shard {
    let shard = Shard::made(&[("wal_level", "logical")], &[]);
    let mut direct = shard.database.door().wire();
    direct.run("CREATE TABLE t (id int PRIMARY KEY, v text)");
    direct.run("INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 10) AS n");
    shard
}

/// pgshunt in front of it, with this `[redis]`.
pub fn config(shard: &Shard, section: &str) -> Config {
    shard.config().rules(RULES).section(section)
}

/// The row of SHOW CACHE that is of the whole database.
#[track_caller]
pub fn shown(proxy: &Proxy) -> Vec<String> {
    let rows = proxy.console().wire().rows("SHOW CACHE");
    let row = rows.iter().find(|row| row.split('|').nth(1) == Some("*"));
    row.map(|row| row.split('|').map(str::to_owned).collect())
        .unwrap_or_default()
}

/// A number of that row.
#[track_caller]
pub fn number(proxy: &Proxy, column: usize) -> u64 {
    shown(proxy)[column].parse().expect("a number")
}

/// Does the cache answer, and is Redis there?
#[track_caller]
pub fn is_ready(proxy: &Proxy) -> bool {
    let row = shown(proxy);
    !row.is_empty() && row[STATE] == "answers" && row[REDIS] == "shared"
}

/// Asks until the cache answers and Redis is there.
#[track_caller]
pub fn ready(wire: &mut Wire, proxy: &Proxy) {
    until("the cache to share", || {
        wire.rows(READ);
        is_ready(proxy)
    });
}

/// Runs the statement until its answer was stored in Redis.
#[track_caller]
pub fn stored(wire: &mut Wire, proxy: &Proxy, sql: &str) {
    let before = number(proxy, STORED);
    until("the answer to be stored", || {
        wire.run("SET pgshunt.cache = 'refresh'");
        wire.rows(sql);
        wire.run("SET pgshunt.cache = 'auto'");
        number(proxy, STORED) > before
    });
}

/// What the cache said to the last statement.
#[track_caller]
pub fn said(wire: &mut Wire) -> String {
    let route = wire.rows("SHOW pgshunt.last_route");
    route[0].split('|').nth(4).unwrap_or_default().to_owned()
}

/// Two pgshunts in front of one database, both ready.
#[track_caller]
pub fn two(shard: &Shard, section: &str) -> ([Proxy; 2], [Wire; 2]) {
    let proxies = [0, 1].map(|_| config(shard, section).start());
    let mut wires = [0, 1].map(|one: usize| proxies[one].door(&shard.database).wire());
    for (wire, proxy) in wires.iter_mut().zip(&proxies) {
        ready(wire, proxy);
    }
    (proxies, wires)
}

/// Asks one and then the other until the other finds in Redis what the first has asked. Every answer must be right.
#[track_caller]
pub fn share((one, asks): (&Proxy, &mut Wire), (other, listens): (&Proxy, &mut Wire), expected: &str) {
    let mut tries = 0;
    // What was heard of late makes an answer old: then it is stored again.
    until("an answer of the other one's", || {
        // Another text each time: what the other keeps itself it does not look for.
        tries += 1;
        let sql = format!("{READ} AND {tries} > 0 AND '{}' <> ''", one.port());
        let before = (number(one, STORED), number(other, HITS));
        assert_eq!(asks.rows(&sql), [expected]);
        let stored = std::time::Instant::now();
        while number(one, STORED) == before.0 && stored.elapsed().as_millis() < 500 {
            std::thread::yield_now();
        }
        assert_eq!(listens.rows(&sql), [expected]);
        number(other, HITS) > before.1
    });
}
