//! Reads on replicas, everything else on the primary, and one's own writes read back.

use pgshunt::cli::demo::cluster::{Node, Plan};
use pgshunt_tests::cluster::Cluster;
use pgshunt_tests::{Config, Database, Proxy, Wire, cluster, until};

/// A primary, its replicas, and a database.
struct Shard {
    database: Database,
    replicas: Vec<Node>,
    primary: Node,
}

impl Shard {
    #[track_caller]
    fn with(replicas: &[&[(&str, &str)]]) -> Shard {
        let primary = cluster::private(&Plan {
            name: "primary",
            ..Plan::default()
        });
        let replica = |(at, settings): (usize, &&[(&str, &str)])| {
            let name = format!("replica{at}");
            let plan = Plan {
                name: &name,
                settings,
                ..Plan::default()
            };
            cluster::replica(&primary, &plan)
        };
        let replicas = replicas.iter().enumerate().map(replica).collect();
        Shard {
            database: Cluster::of(&primary).database(),
            replicas,
            primary,
        }
    }

    fn config(&self) -> Config {
        Config::new(&self.database).replicas(&self.replicas)
    }
}

/// The port of the server a statement runs on, by a read that any server answers.
const WHERE: &str = "SELECT current_setting('port')";

/// Waits until reads are served by a replica.
#[track_caller]
fn replicas_serve(proxy: &Proxy, shard: &Shard) {
    let mut wire = proxy.door(&shard.database).wire();
    let primary = shard.primary.port().to_string();
    until("a replica to serve reads", || wire.value(WHERE) != primary);
}

#[test]
fn reads_go_to_a_replica_and_writes_to_the_primary() {
    let shard = Shard::with(&[&[]]);
    let proxy = shard.config().rules("[split]\ncatchup_wait = \"10ms\"\n").start();
    let mut wire: Wire = proxy.door(&shard.database).wire();
    wire.run("CREATE TABLE t (x int)");
    replicas_serve(&proxy, &shard);
    for round in 0..100 {
        wire.run(&format!("INSERT INTO t VALUES ({round})"));
        assert_eq!(wire.value("SELECT max(x) FROM t"), round.to_string());
    }
    let replica = shard.replicas[0].port().to_string();
    until("a read on the replica", || wire.value(WHERE) == replica);
    wire.run("BEGIN");
    assert_eq!(wire.value(WHERE), shard.primary.port().to_string());
    wire.run("COMMIT");
    until("a read on the replica", || {
        wire.run("BEGIN READ ONLY");
        let at = wire.value(WHERE);
        wire.run("COMMIT");
        at == replica
    });
}
