//! Several pgshunts that share what they keep, in a Redis or a cluster of them, and what SHOW CACHE says of it.

use crate::cached::column::{HITS, REDIS, STATE, STORED};
use crate::cached::{FOLLOWED, READ, shown};
use crate::shard::Shard;
use crate::{Config, Proxy, Wire, until};

/// pgshunt in front of a shard, with this `[redis]`.
pub fn config(shard: &Shard, section: &str) -> Config {
    shard.config().rules(FOLLOWED).section(section)
}

/// A number of SHOW CACHE's row that is of the whole database.
#[track_caller]
pub fn number(proxy: &Proxy, column: usize) -> u64 {
    shown(proxy, column).parse().expect("a number")
}

/// Does the cache answer, and is Redis there?
#[track_caller]
pub fn is_ready(proxy: &Proxy) -> bool {
    shown(proxy, STATE) == "answers" && shown(proxy, REDIS) == "shared"
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
