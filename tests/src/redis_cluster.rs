//! A real cluster of redis-servers of one test's own: three masters, each with a replica.

use pgshunt::cache::redis::resp::Reply;
use pgshunt::cli::demo::cluster::free_port;

use crate::certificates::Certificates;
use crate::redis::REDIS_PASSWORD;
use crate::{Redis, until};

/// The nodes; masters first, then their replicas in the same order.
pub struct RedisCluster {
    /// All of them.
    pub nodes: Vec<Redis>,
    /// Where they listen for TLS, if they do.
    tls: Vec<u16>,
}

const MASTERS: usize = 3;

/// Slots there are.
const SLOTS: usize = 16_384;

impl RedisCluster {
    /// Starts one.
    #[track_caller]
    pub fn start() -> RedisCluster {
        RedisCluster::with(None)
    }

    /// Starts one whose nodes speak TLS with each other and with pgshunt, by these certificates, of which
    /// one is for role `node`.
    #[track_caller]
    pub fn by_tls(files: &Certificates) -> RedisCluster {
        RedisCluster::with(Some(files))
    }

    #[track_caller]
    fn with(files: Option<&Certificates>) -> RedisCluster {
        let (mut bus, mut tls) = (Vec::new(), Vec::new());
        let mut node = || {
            Redis::with(|_| {
                bus.push(free_port());
                let port = bus[bus.len() - 1].to_string();
                let words = [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &port,
                    "--cluster-node-timeout",
                    "1000",
                    "--cluster-replica-validity-factor",
                    "0",
                    "--repl-diskless-sync-delay",
                    "0",
                    "--masterauth",
                    REDIS_PASSWORD,
                ];
                let mut words = words.map(str::to_owned).to_vec();
                if let Some(files) = files {
                    tls.push(free_port());
                    words.extend(tls_words(files, tls[tls.len() - 1]));
                }
                words
            })
        };
        let nodes: Vec<Redis> = (0..2 * MASTERS).map(|_| node()).collect();
        let cluster = RedisCluster { nodes, tls };
        for (at, bus) in bus.iter().enumerate().skip(1) {
            let (port, bus) = (cluster.port(at).to_string(), bus.to_string());
            cluster.ok(
                0,
                &[b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes(), bus.as_bytes()],
            );
        }
        for at in 0..MASTERS {
            let (from, to) = (SLOTS * at / MASTERS, SLOTS * (at + 1) / MASTERS - 1);
            let (from, to) = (from.to_string(), to.to_string());
            cluster.ok(
                at,
                &[b"CLUSTER", b"ADDSLOTSRANGE", from.as_bytes(), to.as_bytes()],
            );
        }
        until("the nodes to know each other", || {
            (0..2 * MASTERS).all(|at| {
                let info = cluster.text(at, &[b"CLUSTER", b"INFO"]);
                info.contains("cluster_known_nodes:6") && info.contains("cluster_state:ok")
            })
        });
        for at in 0..MASTERS {
            let master = cluster.id(at);
            cluster.ok(MASTERS + at, &[b"CLUSTER", b"REPLICATE", master.as_bytes()]);
        }
        until("the replicas to have all", || {
            (0..MASTERS).all(|at| {
                let info = cluster.text(at, &[b"INFO", b"replication"]);
                info.contains("state=online")
            }) && (0..2 * MASTERS).all(|at| {
                let nodes = cluster.text(at, &[b"CLUSTER", b"NODES"]);
                nodes.matches(" slave ").count() + nodes.matches(",slave ").count() == MASTERS
            })
        });
        cluster
    }

    /// `[redis]` of a configuration; nobody listens at the first address.
    pub fn section(&self) -> String {
        let url = format!(
            "redis{}-cluster://127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}",
            if self.tls.is_empty() { "" } else { "s" },
            free_port(),
            self.port(2),
            self.port(0)
        );
        self.nodes[0].section_with(&url)
    }

    /// Where others reach this node.
    fn port(&self, at: usize) -> u16 {
        self.tls.get(at).copied().unwrap_or(self.nodes[at].port)
    }

    /// Which node has answers that its clients may read, if one has.
    #[track_caller]
    pub fn holder(&self) -> Option<usize> {
        let is_it = |at: &usize| {
            let node = &self.nodes[*at];
            let is_master = || self.text(*at, &[b"INFO", b"replication"]).contains("role:master");
            node.is_there() && is_master() && !node.answers().is_empty()
        };
        (0..self.nodes.len()).find(is_it)
    }

    /// The slot of a name.
    #[track_caller]
    pub fn slot(&self, name: &[u8]) -> i64 {
        match self.nodes[0].say(&[b"CLUSTER", b"KEYSLOT", name]) {
            Reply::Integer(slot) => slot,
            other => panic!("{other:?}"),
        }
    }

    /// Moves a slot from one master to another, with all that lies there.
    #[track_caller]
    pub fn move_slot(&self, slot: i64, from: usize, to: usize) {
        let (slot, source, target) = (slot.to_string(), self.id(from), self.id(to));
        let (slot, target_bytes) = (slot.as_bytes(), target.as_bytes());
        self.ok(
            to,
            &[b"CLUSTER", b"SETSLOT", slot, b"IMPORTING", source.as_bytes()],
        );
        self.ok(from, &[b"CLUSTER", b"SETSLOT", slot, b"MIGRATING", target_bytes]);
        let port = self.port(to).to_string();
        loop {
            let names = match self.nodes[from].say(&[b"CLUSTER", b"GETKEYSINSLOT", slot, b"100"]) {
                Reply::Array(Some(names)) => names,
                other => panic!("{other:?}"),
            };
            if names.is_empty() {
                break;
            }
            let mut words: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000"];
            words.extend([&b"AUTH"[..], REDIS_PASSWORD.as_bytes(), b"KEYS"]);
            words.extend(names.iter().map(|name| match name {
                Reply::Bulk(Some(name)) => name.as_slice(),
                other => panic!("{other:?}"),
            }));
            let moved = self.nodes[from].say(&words);
            assert!(matches!(moved, Reply::Status(_)), "{moved:?}");
        }
        for at in [to, from].into_iter().chain(0..MASTERS) {
            self.ok(at, &[b"CLUSTER", b"SETSLOT", slot, b"NODE", target_bytes]);
        }
    }

    fn id(&self, at: usize) -> String {
        self.text(at, &[b"CLUSTER", b"MYID"])
    }

    #[track_caller]
    fn ok(&self, at: usize, words: &[&[u8]]) {
        let reply = self.nodes[at].say(words);
        assert_eq!(reply, Reply::Status(b"OK".to_vec()), "{words:?}");
    }

    #[track_caller]
    fn text(&self, at: usize, words: &[&[u8]]) -> String {
        match self.nodes[at].say(words) {
            Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).into_owned(),
            other => panic!("{words:?}: {other:?}"),
        }
    }
}

/// What a node is started with to speak TLS.
fn tls_words(files: &Certificates, port: u16) -> Vec<String> {
    let words = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", files.path("server.crt")),
        ("--tls-key-file", files.path("server.key")),
        ("--tls-client-cert-file", files.path("node.crt")),
        ("--tls-client-key-file", files.path("node.key")),
        ("--tls-ca-cert-file", files.path("ca.crt")),
        ("--tls-auth-clients", "no".to_owned()),
        ("--tls-cluster", "yes".to_owned()),
        ("--tls-replication", "yes".to_owned()),
    ];
    let words = words.into_iter();
    words.flat_map(|(word, value)| [word.to_owned(), value]).collect()
}
