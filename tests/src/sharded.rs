//! A sharded database of one test alone: several databases with the same tables, and pgshunt in front of them.

use pgshunt::cli::demo::cluster::{Node, Plan};

use crate::cluster::{self, Cluster, PASSWORD};
use crate::{Config, Database, Door};

/// The shards, in order: `s0`, `s1`, …
pub struct Sharded {
    /// The first of them; its owner owns all.
    pub first: Database,
    others: Vec<(Cluster, String)>,
    /// Servers that stream from the shards', if they have any, in order.
    pub replicas: Vec<Node>,
    /// Servers of their own, if they have any: those of the shards behind the first, in order.
    pub nodes: Vec<Node>,
    /// The first shard's, if it has replicas.
    pub head: Option<Node>,
}

/// The rules of most tests: tenant 1 is on s1, 2 on s2, 3 on s3, all others are on s0.
pub const RULES: &str = "[sharding]\ncolumn = \"tenant_id\"\ntype = \"bigint\"\nfunction = \"list\"\nothers = \"s0\"\n\
    reference = [\"currency\"]\n[sharding.list]\ns1 = [\"1\"]\ns2 = [\"2\"]\ns3 = [\"3\"]\n\
    [sharding.columns]\ntenants = \"id\"\n[sharding.home]\naudit_log = \"s0\"\n";

/// The tables of most tests. Each shard's rows say whose they are; `keyless` has no place.
pub const TABLES: &str = "CREATE TABLE tenants (id bigint PRIMARY KEY, name text);\
    CREATE TABLE accounts (id bigint, tenant_id bigint NOT NULL, name text, PRIMARY KEY (tenant_id, id));\
    CREATE TABLE orders (id bigint, tenant_id bigint NOT NULL, account_id bigint, amount numeric, note text,\
        PRIMARY KEY (tenant_id, id));\
    CREATE TABLE items (tenant_id bigint NOT NULL, order_id bigint, qty int);\
    CREATE TABLE currency (code text PRIMARY KEY, name text);\
    CREATE TABLE audit_log (id bigint, note text);\
    CREATE TABLE keyless (id bigint);";

impl Sharded {
    /// So many databases of the shared server.
    #[track_caller]
    pub fn databases(count: usize) -> Sharded {
        Sharded::of(&Cluster::shared(), count)
    }

    /// So many databases of this server.
    #[track_caller]
    pub fn of(cluster: &Cluster, count: usize) -> Sharded {
        let first = cluster.database();
        let others = (1..count).map(|number| {
            let name = format!("{}_s{number}", first.name);
            let superuser = first.cluster.superuser();
            superuser.psql(&format!("CREATE DATABASE {name} OWNER {}", first.name));
            (first.cluster.clone(), name)
        });
        Sharded {
            others: others.collect(),
            replicas: Vec::new(),
            nodes: Vec::new(),
            head: None,
            first,
        }
    }

    /// The first on the shared server, each other one on a server of its own, with the same verifiers.
    #[track_caller]
    pub fn servers(count: usize) -> Sharded {
        let plan = Plan::default();
        let (others, nodes, first) = Sharded::apart(cluster::database(), count, &plan);
        Sharded {
            others,
            replicas: Vec::new(),
            nodes,
            head: None,
            first,
        }
    }

    /// Each on a server of its own that can prepare transactions, with a replica that streams from it and has these settings.
    #[track_caller]
    pub fn replicated(count: usize, settings: &[(&str, &str)]) -> Sharded {
        let plan = Plan {
            settings: &[("max_prepared_transactions", "50")],
            ..Plan::default()
        };
        let head = cluster::private(&plan);
        let (others, nodes, first) = Sharded::apart(Cluster::of(&head).database(), count, &plan);
        let replica = |(at, node): (usize, &Node)| {
            let name = format!("replica{at}");
            let settings: Vec<(&str, &str)> = plan.settings.iter().chain(settings).copied().collect();
            let plan = Plan {
                name: &name,
                settings: &settings,
                ..plan
            };
            cluster::replica(node, &plan)
        };
        let replicas = std::iter::once(&head).chain(&nodes).enumerate().map(replica);
        Sharded {
            replicas: replicas.collect(),
            others,
            nodes,
            head: Some(head),
            first,
        }
    }

    /// The shards behind the first, each on a server of its own with the same verifiers.
    #[track_caller]
    fn apart(
        first: Database,
        count: usize,
        plan: &Plan<'_>,
    ) -> (Vec<(Cluster, String)>, Vec<Node>, Database) {
        let verifiers = first.cluster.superuser().psql(
            "SELECT string_agg(format('CREATE ROLE %I LOGIN PASSWORD %L;', rolname, rolpassword), '') FROM pg_authid \
             WHERE rolname LIKE 't\\_%'",
        );
        let own = first.cluster.superuser().psql(
            "SELECT format('ALTER ROLE postgres PASSWORD %L', rolpassword) FROM pg_authid WHERE rolname = 'postgres'",
        );
        let nodes: Vec<Node> = (1..count).map(|_| cluster::private(plan)).collect();
        let shard = |node: &Node| {
            let cluster = Cluster::of(node);
            let superuser = cluster.superuser();
            superuser.psql(&verifiers);
            superuser.psql(&own);
            superuser.psql(&format!("CREATE DATABASE {0} OWNER {0}", first.name));
            (cluster, first.name.clone())
        };
        (nodes.iter().map(shard).collect(), nodes, first)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// The way into one shard without pgshunt, as the owner.
    pub fn shard(&self, number: usize) -> Door {
        match number.checked_sub(1) {
            None => self.first.door(),
            Some(at) => {
                let (cluster, name) = &self.others[at];
                Door {
                    user: self.first.name.clone(),
                    database: name.clone(),
                    ..cluster.superuser()
                }
            }
        }
    }

    /// Runs something on every shard, without pgshunt.
    #[track_caller]
    pub fn on_all(&self, sql: &str) {
        (0..self.count()).for_each(|number| drop(self.shard(number).psql(sql)));
    }

    /// Has `pgshunt setup` make in each of them what commits on several shards need.
    #[track_caller]
    pub fn set_up(self) -> Sharded {
        let mut setup = crate::proxy::pgshunt();
        setup.arg("setup").env("PGPASSWORD", PASSWORD);
        for number in 0..self.count() {
            let door = self.shard(number);
            setup.args([
                "--to",
                &format!("postgres://postgres@127.0.0.1:{}/{}", door.port, door.database),
            ]);
        }
        let made = setup
            .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD)
            .output()
            .expect("pgshunt");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self
    }

    /// Its tables, and two orders for each of tenants 1 to 5 on the shard where they belong by [`RULES`].
    #[track_caller]
    pub fn filled(self) -> Sharded {
        self.on_all(TABLES);
        self.on_all("INSERT INTO currency VALUES ('EUR', 'Euro'), ('USD', 'Dollar')");
        for tenant in 1..=5 {
            let shard = self.shard(if tenant <= 3 && tenant < self.count() {
                tenant
            } else {
                0
            });
            shard.psql(&format!(
                "INSERT INTO tenants VALUES ({tenant}, 'tenant {tenant}');\
                 INSERT INTO accounts SELECT n, {tenant}, 'account ' || n FROM generate_series(1, 2) n;\
                 INSERT INTO orders SELECT n, {tenant}, n, n * 10, 'of {tenant}' FROM generate_series(1, 2) n;\
                 INSERT INTO items SELECT {tenant}, n, n FROM generate_series(1, 2) n"
            ));
        }
        self
    }

    /// pgshunt in front of all of them, with these rules.
    pub fn config(&self, rules: &str) -> Config {
        let config = Config::new(&self.first).shard("name = \"s0\"").rules(rules);
        let config = config.replicas(self.replicas.first());
        let shard = |config: Config, (at, (cluster, name)): (usize, &(Cluster, String))| {
            let replica = self.replicas.get(at + 1);
            let replica = replica.map_or(String::new(), |node| format!(", \"127.0.0.1:{}\"", node.port()));
            config.section(&format!(
                "[[database.shard]]\nname = \"s{}\"\nservers = [\"127.0.0.1:{}\"{replica}]\ndbname = \"{name}\"\n",
                at + 1,
                cluster.port
            ))
        };
        self.others.iter().enumerate().fold(config, shard)
    }
}

impl Drop for Sharded {
    fn drop(&mut self) {
        for (cluster, name) in self.others.iter().filter(|_| self.nodes.is_empty()) {
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            cluster.superuser().psql_output(&drop);
        }
    }
}
