//! Two shards of the tour's own: copies of the demo's primary, each left with the tenants that belong there, and a pgshunt in
//! front that knows where that is.

use std::fs;

use super::Failure;
use super::cluster::{Node, Plan, Scratch};
use super::proxy::{self, Proxy};
use super::stage::{APPLICATION, DATABASE, FEW, POOL, TOURIST, door};
use super::wire::Client;

/// What runs. Fields are in the order in which they stop.
pub struct Shards {
    /// pgshunt.
    pub proxy: Proxy,
    /// The shards, `s0` and `s1`.
    pub nodes: [Node; 2],
}

impl Shards {
    /// Copies a running primary twice, takes from each what belongs on the other, and puts pgshunt in front.
    pub fn build(original: &Node, scratch: &Scratch) -> Result<Shards, Failure> {
        let nodes = [shard(original, 0)?, shard(original, 1)?];
        let folder = scratch.path().join("sharded-pgshunt");
        fs::create_dir(&folder)?;
        let plan = proxy::Plan {
            shards: &[&[nodes[0].port()], &[nodes[1].port()]],
            control_password: original.password(),
            size: POOL,
            small: (TOURIST, FEW),
        };
        let proxy = Proxy::start(&folder, &plan, |port| door(port, APPLICATION))?;
        Ok(Shards { proxy, nodes })
    }

    /// A client of its pgshunt.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&door(self.proxy.clients, APPLICATION))?)
    }

    /// Straight to one shard.
    pub fn direct(&self, number: usize) -> Result<Client, Failure> {
        Ok(Client::connect(&door(self.nodes[number].port(), APPLICATION))?)
    }
}

fn shard(original: &Node, number: usize) -> Result<Node, Failure> {
    let plan = Plan {
        name: &format!("shard-{number}"),
        ..Plan::default()
    };
    let node = original.replica(&plan)?;
    node.promote()?;
    // PostgreSQL's own partition function says which tenants belong here: pgshunt asks the same one.
    let keep = |table: &str| {
        format!(
            "DELETE FROM {table} WHERE NOT satisfies_hash_partition('placed'::regclass, 2, {number}, tenant_id);"
        )
    };
    let tables = [
        "fact_order",
        "dim_customer",
        "tenant_config",
        "mv_monthly_summary",
    ]
    .map(keep);
    let sql = format!(
        "CREATE TABLE placed (tenant_id uuid) PARTITION BY HASH (tenant_id); {} DROP TABLE placed",
        tables.concat()
    );
    node.psql(DATABASE, &sql)?;
    Ok(node)
}
