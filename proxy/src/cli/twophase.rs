//! What transactions that write on several shards need on each of them: made by `pgshunt setup`, looked for by `pgshunt check`.

use crate::app::recovery;
use crate::server::ask::Asker;
use crate::snapshot::Snapshot;
use crate::twophase::door::Door;

/// The same file an operator can run by hand.
const SCRIPT: &str = include_str!("../../../deploy/postgres/twophase.sql");

/// The statements of [`SCRIPT`], as one, in turn with other setups.
pub(super) fn script() -> String {
    // A dollar quote of its own, as the file has some within.
    const TURN: &str = "LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE";
    format!("DO $all$\nBEGIN\n{TURN};\nEXECUTE $twophase$\n{SCRIPT}\n$twophase$;\nEND\n$all$")
}

/// Makes it in one shard's database; what the operator should know.
pub(super) async fn set_up(asker: &mut Asker) -> Result<Vec<String>, String> {
    let made = asker.ask(&script(), &[]).await;
    made.map_err(|fault| fault.to_string())?;
    let mut said = vec!["table pgshunt.decision, function pgshunt.decide, role pgshunt_recovery".to_owned()];
    if !can_prepare(asker).await? {
        said.push(OFF.to_owned());
    }
    Ok(said)
}

const OFF: &str = "max_prepared_transactions is 0: transactions that write on several shards are refused; \
    set it to at least max_connections and restart";

async fn can_prepare(asker: &mut Asker) -> Result<bool, String> {
    let most = one(
        asker,
        "SELECT pg_catalog.current_setting('max_prepared_transactions')",
    )
    .await?;
    Ok(most != "0")
}

async fn one(asker: &mut Asker, sql: &str) -> Result<String, String> {
    let rows = asker.ask(sql, &[]).await.map_err(|fault| fault.to_string())?;
    let value = rows.into_iter().next().and_then(|row| row.into_iter().next()?);
    Ok(value
        .map(|value| String::from_utf8_lossy(&value).into_owned())
        .unwrap_or_default())
}

const IS_SET_UP: &str = "\
SELECT CASE WHEN pg_catalog.to_regprocedure('pgshunt.decide(text, text[])') IS NULL \
THEN false ELSE pg_catalog.has_table_privilege('pgshunt.decision', 'SELECT, INSERT, DELETE') END";

/// Roles that may log in here and whose prepared transactions the control role could not end.
const OUT_OF_REACH: &str = "\
SELECT pg_catalog.string_agg(rolname, ', ' ORDER BY rolname) FROM pg_catalog.pg_roles \
WHERE rolcanlogin AND NOT rolsuper AND NOT rolreplication AND rolname <> current_user \
AND pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CONNECT') \
AND NOT pg_catalog.pg_has_role(current_user, oid, 'MEMBER')";

/// Looks at every database with several shards, a line for each finding; how many findings keep it from working.
pub(super) async fn report(snapshot: &Snapshot) -> usize {
    let mut wrong = 0;
    for (name, doors) in recovery::doors(snapshot) {
        match doors {
            Err(why) => println!("two-phase {name}: not looked at: {why}"),
            Ok(doors) => {
                for door in &doors {
                    wrong += report_shard(&name, door).await;
                }
            }
        }
    }
    wrong
}

async fn report_shard(database: &str, door: &Door) -> usize {
    let place = format!("two-phase {database}/{}", door.shard);
    match look(door).await {
        Err(why) => {
            println!("{place}: not looked at: {why}");
            0
        }
        Ok(wrong) if wrong.is_empty() => {
            println!("{place}: transactions may span this shard");
            0
        }
        Ok(wrong) => {
            wrong.iter().for_each(|line| println!("{place}: {line}"));
            wrong.len()
        }
    }
}

async fn look(door: &Door) -> Result<Vec<String>, String> {
    let mut asker = door.open().await?;
    let mut wrong = Vec::new();
    if !can_prepare(&mut asker).await? {
        wrong.push(OFF.to_owned());
    }
    if one(&mut asker, IS_SET_UP).await? != "t" {
        wrong
            .push("pgshunt.decide is not there: `pgshunt setup` with each shard as --to makes it".to_owned());
    }
    let roles = one(&mut asker, OUT_OF_REACH).await?;
    if !roles.is_empty() {
        wrong.push(format!(
            "role {} may not end what these roles prepared: {roles}; `pgshunt setup` again, or GRANT them to pgshunt_recovery",
            door.user
        ));
    }
    Ok(wrong)
}
