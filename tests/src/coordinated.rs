//! Four shards, one database with all their rows, and a coordinator over the shards.

use std::path::Path;

use crate::cluster::{self, PASSWORD};
use crate::parity::{FILL, RULES, keep};
use crate::sharded::Sharded;
use crate::{Config, Database};

/// All of them.
pub struct Coordinated {
    /// All rows.
    pub whole: Database,
    /// A part of them each.
    pub sharded: Sharded,
    /// The shards' tables as its own.
    pub coordinator: Database,
}

impl Coordinated {
    /// The tables of [`crate::parity`], and a coordinator that has none yet.
    #[track_caller]
    pub fn bare() -> Coordinated {
        let (whole, sharded) = (cluster::database(), Sharded::databases(4).set_up());
        whole.door().psql(FILL);
        for number in 0..4 {
            let shard = sharded.shard(number);
            shard.psql(FILL);
            shard.psql(&keep(number));
        }
        Coordinated {
            whole,
            sharded,
            coordinator: cluster::database(),
        }
    }

    /// Its coordinator made by hand.
    #[track_caller]
    pub fn by_hand() -> Coordinated {
        let world = Coordinated::bare();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres/coordinator.sql");
        let door = world.coordinator.superuser();
        let made = door
            .program("psql")
            .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(file)
            .output()
            .expect("psql");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for number in 0..world.sharded.count() {
            let shard = world.sharded.shard(number);
            door.psql(&format!(
                "SELECT pgshunt.add_shard('s{number}', '127.0.0.1', {}, '{}', '{}', '{PASSWORD}', '{}')",
                shard.port, shard.database, shard.user, shard.user
            ));
        }
        world.unite();
        world
    }

    /// Brings a coordinator that was made by hand up to date.
    #[track_caller]
    pub fn unite(&self) {
        self.coordinator
            .superuser()
            .psql("SELECT * FROM pgshunt.unite('tenant_id', '{s0,s1,s2,s3}', true, reference => '{kinds}')");
    }

    /// pgshunt in front of all of them.
    pub fn config(&self) -> Config {
        self.config_with("")
    }

    /// The same, with more in `[sharding]`.
    pub fn config_with(&self, more: &str) -> Config {
        self.config_at(self.coordinator.cluster.port, more)
    }

    /// The same, the coordinator being at another port.
    pub fn config_at(&self, port: u16, more: &str) -> Config {
        self.sharded.config(&format!("{RULES}{more}")).section(&format!(
            "[[database.coordinator]]\nname = \"all\"\nservers = [\"127.0.0.1:{}\"]\ndbname = \"{}\"\n",
            port, self.coordinator.name
        ))
    }
}
