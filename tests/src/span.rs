//! Three shards on two servers of their own, and transactions that write on all of them by pgshunt's own coordinator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgshunt::cli::demo::cluster::{Node, Plan};
use pgshunt::net::buffer::Buffers;
use pgshunt::net::tls::ToServer;
use pgshunt::protocol::auth::Secret;
use pgshunt::server::address::{Address, Target};
use pgshunt::server::connect::connect;
use pgshunt::server::held::Server;
use pgshunt::twophase::Participant;
use pgshunt::twophase::door::Door;
use pgshunt::twophase::known::Seen;
use pgshunt::twophase::recover::sweep;

use crate::cluster::{self, Cluster, Database, PASSWORD};
use crate::{PATIENCE, proxy};

/// Three shards on two servers.
pub struct World {
    /// Their servers.
    pub nodes: [Node; 2],
    /// The shards' databases, in the order of [`NAMES`].
    pub shards: Vec<Database>,
    /// Buffers for the servers.
    pub buffers: Buffers,
}

/// Their names.
pub const NAMES: [&str; 3] = ["s0", "s1", "eu_west"];
/// Which server each is on.
const NODE: [usize; 3] = [0, 1, 1];

impl World {
    /// With this `max_prepared_transactions`, and what `pgshunt setup` makes.
    #[track_caller]
    pub fn new(prepared_max: &str) -> World {
        let node = |name| {
            cluster::private(&Plan {
                name,
                settings: &[("max_prepared_transactions", prepared_max)],
                ..Plan::default()
            })
        };
        let nodes = [node("a"), node("b")];
        let shards: Vec<Database> = NODE.map(|at| Cluster::of(&nodes[at]).database()).into();
        let mut setup = proxy::pgshunt();
        setup.arg("setup").env("PGPASSWORD", PASSWORD);
        for database in &shards {
            // The same role everywhere.
            database.superuser().psql(
                "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN CREATE ROLE app LOGIN PASSWORD \
                 's3cret pass/word'; END IF; END $$",
            );
            let (port, name) = (database.cluster.port, &database.name);
            setup.args(["--to", &format!("postgres://postgres@127.0.0.1:{port}/{name}")]);
        }
        let made = setup
            .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD)
            .output()
            .expect("pgshunt");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for database in &shards {
            database.superuser().psql(
                "CREATE TABLE t (n int PRIMARY KEY, m int, UNIQUE (m) DEFERRABLE INITIALLY DEFERRED); GRANT ALL ON t TO app",
            );
        }
        World {
            nodes,
            shards,
            buffers: Buffers::default(),
        }
    }

    fn target(&self, at: usize) -> Arc<Target> {
        Arc::new(Target {
            address: Address::Tcp {
                host: "127.0.0.1".into(),
                port: self.shards[at].cluster.port,
            },
            dbname: self.shards[at].name.clone(),
            tls: ToServer::disabled().into(),
            connect_timeout: Duration::from_secs(5),
            tcp: Default::default(),
            name: Arc::default(),
        })
    }

    /// As pgshunt's own role, which is no superuser.
    pub fn doors(&self) -> Vec<Door> {
        let door = |at: usize| Door {
            shard: NAMES[at].into(),
            servers: vec![self.target(at)],
            user: "pgshunt".into(),
            secret: Secret::Password(PASSWORD.into()),
        };
        (0..NAMES.len()).map(door).collect()
    }

    /// A server on one shard, logged in as role app.
    pub async fn server(&self, at: usize, parameters: &[(&str, &str)]) -> Server {
        let owned = |&(name, value): &(&str, &str)| (name.into(), value.into());
        let parameters: Vec<(Vec<u8>, Vec<u8>)> = parameters.iter().map(owned).collect();
        let target = self.target(at);
        let secret = Secret::Password(PASSWORD.into());
        let logged_in = connect(&target, "app", &secret, &parameters)
            .await
            .expect("a server");
        Server::new((at as u64, 0), target, b"app"[..].into(), logged_in)
    }

    /// Runs a statement that must succeed.
    pub async fn run(&self, server: &mut Server, sql: &str) {
        let ran = server
            .run(sql.as_bytes(), &self.buffers)
            .await
            .expect("an answer");
        ran.unwrap_or_else(|error| panic!("{sql}: {}", String::from_utf8_lossy(&error)));
    }

    /// A transaction that has inserted `n` on all shards.
    pub async fn written(&self, n: usize) -> Vec<Server> {
        let mut servers = Vec::new();
        for at in 0..NAMES.len() {
            let mut server = self.server(at, &[]).await;
            self.run(&mut server, &format!("BEGIN; INSERT INTO t VALUES ({n}, {n})"))
                .await;
            servers.push(server);
        }
        servers
    }

    /// On which shards it is.
    pub fn places(&self, n: usize) -> Vec<usize> {
        let is_there = |at: &usize| {
            let count = self.shards[*at]
                .superuser()
                .psql(&format!("SELECT count(*) FROM t WHERE n = {n}"));
            count == "1"
        };
        (0..NAMES.len()).filter(is_there).collect()
    }

    /// The sum of a number over all shards.
    pub fn count(&self, sql: &str) -> usize {
        let count = |shard: &Database| shard.superuser().psql(sql).parse::<usize>().expect("a number");
        self.shards.iter().map(count).sum()
    }

    /// Recovers until nothing is left, as several pgshunts do.
    pub async fn recover(&self) {
        let doors = self.doors();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (one, other) = tokio::join!(sweep(&doors, Duration::ZERO), sweep(&doors, Duration::ZERO));
            let is_clear = |seen: &Seen| seen.transactions.is_empty() && seen.silent.is_empty();
            if is_clear(&one) && is_clear(&other) {
                break;
            }
            assert!(Instant::now() < deadline, "{one:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mine = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()";
        assert_eq!(self.count(mine), 0, "nothing stays prepared");
    }
}

/// These servers, each with its shard's name.
pub fn participants<'a>(servers: &'a mut [Server]) -> Vec<Participant<'a>> {
    let parts = servers.iter_mut().zip(NAMES);
    parts
        .map(|(server, shard)| Participant { shard, server })
        .collect()
}

/// Runs it to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}
