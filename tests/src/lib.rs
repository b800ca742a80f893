//! What the tests share: real PostgreSQL servers, the real pgshunt binary, a raw protocol client, PostgreSQL's own programs.
//!
//! A test opens a [`Database`], puts a [`Proxy`] in front of it and goes through one [`Door`] or the other: what
//! PostgreSQL does directly is what it must do through pgshunt.

pub mod beside;
pub mod cached;
pub mod certificates;
pub mod cluster;
pub mod coordinated;
pub mod differential;
pub mod door;
pub mod fake_server;
pub mod frame;
pub mod fuzzing;
pub mod load;
pub mod made_up;
pub mod messages;
pub mod parity;
mod parity_beyond;
pub mod programs;
pub mod proxy;
pub mod redis;
pub mod redis_cluster;
pub mod shard;
pub mod sharded;
pub mod sharing;
pub mod span;
pub mod twins;
pub mod ways;
pub mod wire;

use std::time::{Duration, Instant};

pub use cluster::{Cluster, Database};
pub use door::Door;
pub use frame::Frame;
pub use messages::Messages;
pub use proxy::{Config, Proxy};
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use wire::Wire;

/// Longer than anything here takes, even on a busy machine. A test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until it sees what it waits for, at most [`PATIENCE`]; then fails, naming it.
pub fn until(awaited: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < deadline, "waited in vain for {awaited}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Does the same through both doors and compares what was seen, line by line.
#[track_caller]
pub fn same(direct: &Door, through: &Door, script: impl Fn(&mut Wire) -> Vec<String>) {
    let expected = script(&mut direct.wire());
    let seen = script(&mut through.wire());
    assert_eq!(expected, seen, "left: PostgreSQL itself, right: through pgshunt");
}
