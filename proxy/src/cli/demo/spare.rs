//! A shard of the tour's own: a copy of the demo's primary that has become one, two replicas, pgshunt in front; to be
//! killed and failed over.

use std::fs;

use super::Failure;
use super::cluster::{Node, Plan, Scratch, Stop};
use super::proxy::{self, Proxy};
use super::stage::{APPLICATION, FEW, OPERATOR, POOL, TOURIST, door};
use super::wire::Client;

/// What runs. Fields are in the order in which they stop.
pub struct Spare {
    /// pgshunt.
    pub proxy: Proxy,
    /// The servers that stream from the primary at first.
    pub replicas: [Node; 2],
    /// The one that takes writes, at first.
    pub primary: Node,
}

impl Spare {
    /// Copies a running primary, twice more its copy, and puts pgshunt in front of the three.
    pub fn build(original: &Node, scratch: &Scratch) -> Result<Spare, Failure> {
        let named = |name| Plan {
            name,
            ..Plan::default()
        };
        let primary = original.replica(&named("spare-primary"))?;
        primary.promote()?;
        let replicas = [
            primary.replica(&named("spare-replica-1"))?,
            primary.replica(&named("spare-replica-2"))?,
        ];
        let folder = scratch.path().join("spare-pgshunt");
        fs::create_dir(&folder)?;
        let plan = proxy::Plan {
            shards: &[&[primary.port(), replicas[0].port(), replicas[1].port()]],
            control_password: primary.password(),
            size: POOL,
            small: (TOURIST, FEW),
        };
        let proxy = Proxy::start(&folder, &plan, |port| door(port, APPLICATION))?;
        Ok(Spare {
            proxy,
            replicas,
            primary,
        })
    }

    /// A client of its pgshunt.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&door(self.proxy.clients, APPLICATION))?)
    }

    /// What its console's SHOW REPLICAS says of the server on this port: role and state.
    pub fn standing(&self, port: u16) -> Result<String, Failure> {
        let mut console = door(self.proxy.admin, OPERATOR);
        console.database = "pgshunt".into();
        let rows = Client::connect(&console)?.query("SHOW REPLICAS")?.rows;
        let server = format!("127.0.0.1:{port}");
        let row = rows.iter().find(|row| row.get(2) == Some(&server));
        match row.map(Vec::as_slice) {
            Some([_, _, _, role, state, ..]) => Ok(format!("{role} {state}")),
            Some(_) | None => Err(Failure(format!("SHOW REPLICAS does not show {server}: {rows:?}"))),
        }
    }

    /// Kills the replica on this port.
    pub fn kill_replica(&mut self, port: u16) -> Result<(), Failure> {
        let replica = self.replicas.iter_mut().find(|node| node.port() == port);
        let replica = replica.ok_or_else(|| Failure(format!("no replica on port {port}")))?;
        Ok(replica.stop(Stop::Kill)?)
    }
}
