//! `pgshunt tenant set` and `unset`: a tenant's entry in the catalog changes, if none of its rows are lost by that.

use std::path::PathBuf;
use std::process::ExitCode;

use routing_rules::{Key, Sharding, Source};

use super::{Change, keyed, quoted, runtime, sharded};
use crate::catalog::file::{Entries, Lock};
use crate::cli::refuse;
use crate::cli::shards::{Reached, reach};
use crate::config;
use crate::snapshot::{Database, Snapshot};

/// Sets the tenant's entry, or takes it away.
pub(super) fn run(change: &Change, shard: Option<&str>) -> ExitCode {
    // The file's name is in the configuration, and what it says must not change between our look and our change.
    let locked = match config::load(&change.of.config) {
        Ok(snapshot) => catalog(&snapshot, change).and_then(|file| lock(&file)),
        Err(mistakes) => return refuse(&mistakes),
    };
    let told = locked.and_then(|lock| match config::load(&change.of.config) {
        Ok(snapshot) => in_place(&snapshot, &lock, change, shard),
        Err(mistakes) => Err(mistakes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")),
    });
    match told {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn catalog(snapshot: &Snapshot, change: &Change) -> Result<PathBuf, String> {
    let (database, sharding) = sharded(snapshot, &change.of)?;
    match &sharding.catalog {
        Some(catalog) => Ok(catalog.file.clone()),
        None => Err(format!(
            "the rules of database \"{}\" name no file for this\n  hint: add catalog = \"FILE\" to [sharding]",
            database.name
        )),
    }
}

fn lock(file: &std::path::Path) -> Result<Lock, String> {
    Lock::of(file).map_err(|error| format!("{}: cannot be changed: {error}", file.display()))
}

fn in_place(
    snapshot: &Snapshot,
    lock: &Lock,
    change: &Change,
    shard: Option<&str>,
) -> Result<String, String> {
    let (database, sharding) = sharded(snapshot, &change.of)?;
    let catalog = sharding
        .catalog
        .as_ref()
        .ok_or("the configuration has just changed: try again")?;
    let tenant = change.tenant.as_str();
    let key = sharding.key_type.read_text(tenant);
    let key = key.map_err(|_| format!("\"{tenant}\" is no {}", sharding.key_type.word()))?;
    let before = sharding.placement.entries.get(&key);
    if before.is_some_and(|entry| entry.source == Source::Rules) {
        return Err(format!(
            "tenant {tenant} has an entry in [sharding.tenants] of the rules: change it there"
        ));
    }
    let known = || sharding.shards.join(", ");
    if let Some(unknown) = shard.filter(|shard| !sharding.shards.iter().any(|known| **known == **shard)) {
        return Err(format!(
            "there is no shard \"{unknown}\": the database has {}",
            known()
        ));
    }
    if before.map(|entry| &*entry.shard) == shard {
        return Ok(match shard {
            Some(shard) => format!("tenant {tenant} has an entry on {shard} already: nothing was changed"),
            None => format!("tenant {tenant} has no entry: nothing was changed"),
        });
    }
    // Without an entry it goes where the function says, if that says anything.
    let to = shard.or_else(|| sharding.placement.function.shard(&key).ok());
    if !change.force {
        no_rows_elsewhere(snapshot, (database, sharding), &key, to)?;
    }
    let mut entries = Entries {
        epoch: catalog.epoch + 1,
        tenants: sharding
            .placement
            .catalog()
            .into_iter()
            .map(|(key, shard)| (key.clone(), shard.into()))
            .collect(),
    };
    match shard {
        Some(shard) => entries.tenants.insert(key, shard.into()),
        None => entries.tenants.remove(&key),
    };
    let file = catalog.file.display();
    lock.replace(&entries)
        .map_err(|error| format!("{file}: cannot be changed: {error}"))?;
    let place = match (shard, to) {
        (Some(shard), _) => format!("is on {shard}"),
        (None, Some(to)) => format!("is on {to} like all others"),
        (None, None) => "has no shard".to_owned(),
    };
    Ok(format!(
        "tenant {tenant} {place} from epoch {} of {file} on",
        entries.epoch
    ))
}

/// Looks for rows of the tenant on every shard but this one.
fn no_rows_elsewhere(
    snapshot: &Snapshot,
    (database, sharding): (&Database, &Sharding),
    key: &Key,
    to: Option<&str>,
) -> Result<(), String> {
    let unlooked = "nobody has looked whether the tenant has rows elsewhere";
    let force = "--force sets the entry all the same";
    let Some(control) = &database.control else {
        let name = &database.name;
        return Err(format!(
            "{unlooked}: database \"{name}\" has no control role\n  hint: {force}"
        ));
    };
    let runtime = runtime().ok_or("nothing was changed")?;
    let others = database
        .shards
        .iter()
        .filter(|shard| Some(shard.name.as_str()) != to);
    let mut found = Vec::new();
    for shard in others {
        let looked = runtime.block_on(async {
            let mut reached = reach(snapshot, database, shard, control).await?;
            tables_with(sharding, &mut reached, key).await
        });
        match looked {
            Ok(tables) => found.extend(
                tables
                    .into_iter()
                    .map(|table| format!("{table} on {}", shard.name)),
            ),
            Err(why) => {
                return Err(format!(
                    "{unlooked}: shard {}: {why}\n  hint: {force}",
                    shard.name
                ));
            }
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "tenant {key} has rows in {}: they would not be found any more, so nothing was changed\n  hint: an entry is for \
             a tenant without rows; {force}",
            found.join(", ")
        )),
    }
}

/// The tables of one shard in which the tenant has a row.
async fn tables_with(sharding: &Sharding, reached: &mut Reached, key: &Key) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let key = key.to_string();
    for (schema, name, column) in keyed(sharding, &reached.tables) {
        let table = format!("{}.{}", quoted(&schema), quoted(&name));
        let question = format!(
            "SELECT EXISTS (SELECT FROM {table} WHERE {} = $1)",
            quoted(&column)
        );
        let rows = reached.asker.ask(&question, &[Some(&key)]).await;
        let rows = rows.map_err(|fault| format!("{table}: {fault}"))?;
        if rows.first().and_then(|row| row.first()?.as_deref()) != Some(b"f") {
            found.push(format!("{schema}.{name}"));
        }
    }
    Ok(found)
}
