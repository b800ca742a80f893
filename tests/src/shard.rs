//! One shard: a primary and its replicas, private to a test.

use pgshunt::cli::demo::cluster::{Node, Plan};

use crate::cluster::{self, Cluster};
use crate::{Config, Database};

/// A primary, its replicas, and a database.
pub struct Shard {
    /// A database of its own.
    pub database: Database,
    /// The servers that stream from the primary.
    pub replicas: Vec<Node>,
    /// The server that takes writes, at first.
    pub primary: Node,
}

/// Rules by which a session that has just written waits a moment for a replica.
pub const CATCHES_UP: &str = "[split]\ncatchup_wait = \"10ms\"\n";

impl Shard {
    /// With as many replicas as there are lists of settings for them.
    #[track_caller]
    pub fn with(replicas: &[&[(&str, &str)]]) -> Shard {
        Shard::made(&[], replicas)
    }

    /// With settings for the primary too.
    #[track_caller]
    pub fn made(settings: &[(&str, &str)], replicas: &[&[(&str, &str)]]) -> Shard {
        let primary = cluster::private(&Plan {
            name: "primary",
            settings,
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

    /// pgshunt in front of all of them.
    pub fn config(&self) -> Config {
        Config::new(&self.database).replicas(&self.replicas)
    }
}
