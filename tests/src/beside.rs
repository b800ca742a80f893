//! A sharded database beside one PostgreSQL with the same rows: what is said to both must be answered alike, and leave the same
//! behind.

use pgshunt::cli::demo::cluster::{Node, Plan};

use crate::sharded::{RULES, Sharded, TABLES};
use crate::{Cluster, Config, Database, Frame, Messages, Proxy, Wire, cluster};

/// Four shards that can prepare transactions, and one database with all their rows.
pub struct Beside {
    /// The database with all rows.
    pub whole: Database,
    /// The shards.
    pub sharded: Sharded,
    /// pgshunt in front of the shards.
    pub proxy: Proxy,
    _node: Node,
}

/// The rows of [`Sharded::filled`] in one database.
const ROWS: &str = "INSERT INTO currency VALUES ('EUR', 'Euro'), ('USD', 'Dollar');\
    INSERT INTO tenants SELECT t, 'tenant ' || t FROM generate_series(1, 5) t;\
    INSERT INTO accounts SELECT n, t, 'account ' || n FROM generate_series(1, 5) t, generate_series(1, 2) n;\
    INSERT INTO orders SELECT n, t, n, n * 10, 'of ' || t FROM generate_series(1, 5) t, generate_series(1, 2) n;\
    INSERT INTO items SELECT t, n, n FROM generate_series(1, 5) t, generate_series(1, 2) n";

/// What both must hold afterwards.
const STATE: &str = "SELECT id, tenant_id, amount, note FROM orders ORDER BY id, tenant_id, amount";

impl Beside {
    /// Tables and rows of [`Sharded::filled`].
    #[track_caller]
    pub fn new() -> Beside {
        Beside::with("", |config| config)
    }

    /// With more that is run everywhere, and another configuration.
    #[track_caller]
    pub fn with(more: &str, config: impl Fn(Config) -> Config) -> Beside {
        let node = cluster::private(&Plan {
            settings: &[("max_prepared_transactions", "50")],
            ..Plan::default()
        });
        let cluster = Cluster::of(&node);
        let sharded = Sharded::of(&cluster, 4).set_up().filled();
        let whole = cluster.database();
        whole.door().psql(TABLES);
        whole.door().psql(ROWS);
        if !more.is_empty() {
            whole.door().psql(more);
            sharded.on_all(more);
        }
        let proxy = config(sharded.config(RULES)).start();
        Beside {
            whole,
            sharded,
            proxy,
            _node: node,
        }
    }

    /// A session with the whole, and one with pgshunt.
    pub fn wires(&self) -> (Wire, Wire) {
        let mut wires = (
            self.whole.door().wire(),
            self.proxy.door(&self.sharded.first).wire(),
        );
        for wire in [&mut wires.0, &mut wires.1] {
            wire.run("SET client_min_messages = warning");
        }
        wires
    }

    /// Each of these texts, as a simple query, must be answered alike and leave the same behind.
    #[track_caller]
    pub fn assert_same(&self, texts: &[&str]) {
        let (mut direct, mut through) = self.wires();
        for text in texts {
            let messages = Messages::new().query(text);
            let (expected, got) = (said(&mut direct, &messages), said(&mut through, &messages));
            assert_eq!(got, expected, "{text}");
            if got.last().is_none_or(|last| last != "Z E") {
                assert_eq!(through.rows(STATE), direct.rows(STATE), "after {text}");
            }
        }
        self.assert_settled();
    }

    /// Nothing is left half done.
    #[track_caller]
    pub fn assert_settled(&self) {
        let door = self.sharded.first.door();
        assert_eq!(door.psql("SELECT count(*) FROM pg_prepared_xacts"), "0");
    }
}

impl Default for Beside {
    fn default() -> Self {
        Beside::new()
    }
}

/// What is answered, with the positions of errors.
pub fn said(wire: &mut Wire, messages: &Messages) -> Vec<String> {
    wire.send(messages);
    let mut lines = Vec::new();
    for _ in 0..messages.syncs {
        let frames = wire.until_ready();
        let frames = frames.iter().filter(|frame| frame.kind != b'S');
        lines.extend(frames.map(shown));
    }
    lines
}

fn shown(frame: &Frame) -> String {
    match frame.kind {
        b'E' => format!("{frame} at {}", frame.field(b'P')),
        _ => frame.to_string(),
    }
}
