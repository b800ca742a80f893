//! `pgshunt check` on coordinators: can they be reached, and do they have the shards' tables as the shards do?

use routing_rules::{Role, Tables};

use super::counted;
use super::shards::reach;
use crate::catalog::coordinator::{Compared, Unfit};
use crate::catalog::definitions::{self, Definitions};
use crate::snapshot::{Control, Coordinator, Database, Snapshot};

/// Looks at each database's coordinator and says what differs; how much does.
pub(super) async fn report(snapshot: &Snapshot) -> usize {
    let mut wrong = 0;
    for database in &snapshot.databases {
        let (Some(coordinator), Some(control)) = (&database.coordinator, &database.control) else {
            continue;
        };
        let name = &coordinator.shard.name;
        match compare(snapshot, database, coordinator, control).await {
            Ok((compared, tables)) => wrong += tell(database, name, &compared, &tables),
            Err(why) => {
                wrong += 1;
                println!("coordinator {name}: not looked at: {why}");
            }
        }
    }
    wrong
}

fn tell(database: &Database, name: &str, compared: &Compared, tables: &Tables) -> usize {
    let (mut fit, mut wrong) = (0, 0);
    for (schema, table, unfit) in compared.iter() {
        let Some(unfit) = unfit else {
            fit += 1;
            continue;
        };
        let known = tables.named(table).iter().find(|known| &*known.schema == schema);
        let is_placed = database
            .sharding
            .as_ref()
            .is_some_and(|sharding| sharding.role(Some(schema), table, known) != Role::Unknown);
        match unfit {
            // What it is missing may be no table of the rules; what differs among shards was said of them.
            Unfit::Missing if !is_placed => continue,
            Unfit::Missing | Unfit::Unlike | Unfit::Types => wrong += 1,
            Unfit::Mixed | Unfit::RowSecurity => {}
        }
        println!("coordinator {name}: {schema}.{table} {}", unfit.words());
    }
    println!("coordinator {name}: {} as on the shards", counted(fit, "table"));
    wrong
}

async fn compare(
    snapshot: &Snapshot,
    database: &Database,
    coordinator: &Coordinator,
    control: &Control,
) -> Result<(Compared, Tables), String> {
    let mut tables = Tables::default();
    let mut shards: Vec<Definitions> = Vec::new();
    for shard in &database.shards {
        let told = |why: String| format!("shard {}: {why}", shard.name);
        let mut reached = reach(snapshot, database, shard, control).await.map_err(told)?;
        shards.push(definitions::ask(&mut reached.asker).await.map_err(told)?);
        tables = reached.tables;
    }
    let mut there = reach(snapshot, database, &coordinator.shard, control).await?;
    let there = definitions::ask(&mut there.asker).await?;
    Ok((Compared::new(&shards, &there), tables))
}
