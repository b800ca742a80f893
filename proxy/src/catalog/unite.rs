//! Makes a coordinator's tables what they are to be (`shares`): its own foreign servers, types, tables and grants, in one
//! transaction. What it has not made itself it leaves alone.

use std::collections::BTreeSet;

use super::definitions::OwnType;
use super::shares::{LeftOut, Rows, Share};
use super::united::{self, United};
use crate::server::ask::{AskFault, Asker};

/// A shard, as the coordinator is to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// What postgres_fdw passes on to libpq: host, port, dbname and more.
    pub options: Vec<(String, String)>,
}

/// As whom the coordinator reads the shards.
#[derive(Clone)]
pub struct ReadAs<'a> {
    /// The role.
    pub user: &'a str,
    /// Its password; `None`: it needs none.
    pub password: Option<&'a str>,
}

/// What is to be made.
pub struct Wanted<'a> {
    /// The shards.
    pub sites: Vec<Site>,
    /// Is each told anew as whom it is read? Else only one that was never told.
    pub logs_in_anew: bool,
    /// As whom they are read.
    pub reads_as: ReadAs<'a>,
    /// The types of the shards' tables.
    pub types: Vec<OwnType>,
    /// The tables.
    pub shares: Vec<Share>,
    /// Tables that are left out.
    pub left_out: Vec<LeftOut>,
    /// What makes its settings those of the shards.
    pub settings: Vec<String>,
}

/// Did `init` ever run there? Nothing is made where nobody has asked for it.
///
/// # Errors
///
/// Why there was no answer.
pub async fn is_begun(asker: &mut Asker) -> Result<bool, String> {
    let sql = "SELECT pg_catalog.to_regclass('pgshunt.coordinated') IS NOT NULL";
    Ok(one(asker, sql).await?.as_deref() == Some("t"))
}

/// Makes it so, all of it or nothing; what was done, a line each.
///
/// # Errors
///
/// What could not be done, and why.
pub async fn unite(asker: &mut Asker, wanted: &Wanted<'_>) -> Result<Vec<String>, String> {
    run(asker, "BEGIN").await?;
    // Who reads a table in a long transaction is not waited for; the next look tries again.
    run(asker, "SET LOCAL lock_timeout = '3s'").await?;
    // Several pgshunts may see the same change.
    run(asker, "SELECT pg_catalog.pg_advisory_xact_lock(7020115, 5)").await?;
    match unite_within(asker, wanted).await {
        Ok(lines) => {
            run(asker, "COMMIT").await?;
            Ok(lines)
        }
        Err(why) => {
            let _ = run(asker, "ROLLBACK").await;
            Err(why)
        }
    }
}

async fn unite_within(asker: &mut Asker, wanted: &Wanted<'_>) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for sql in BEGINNING {
        run(asker, sql).await?;
    }
    let before = united::ask(asker).await?;
    for site in &wanted.sites {
        server(asker, site, wanted, &before, &mut lines).await?;
    }
    types(asker, &wanted.types, &before, &mut lines).await?;
    tables(asker, wanted, &before, &mut lines).await?;
    for sql in &wanted.settings {
        run(asker, "SAVEPOINT one").await?;
        match run(asker, sql).await {
            Ok(()) => lines.push(sql.clone()),
            Err(why) => {
                run(asker, "ROLLBACK TO one").await?;
                lines.push(format!("left out {sql}: {why}"));
            }
        }
        run(asker, "RELEASE one").await?;
    }
    let left_out = wanted
        .left_out
        .iter()
        .map(|left| format!("left out {}: {}", left.name, left.why));
    lines.extend(left_out);
    Ok(lines)
}

/// What everything else stands on. Made only where it is not there: the control role need not have the right to make it.
const BEGINNING: [&str; 3] = [
    "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'postgres_fdw') THEN \
     CREATE EXTENSION postgres_fdw; END IF; END $$",
    "DO $$ BEGIN IF pg_catalog.to_regnamespace('pgshunt') IS NULL THEN CREATE SCHEMA pgshunt; END IF; END $$",
    "CREATE TABLE IF NOT EXISTS pgshunt.coordinated (schema pg_catalog.text, name pg_catalog.text, making pg_catalog.text NOT NULL, \
     readers pg_catalog.text NOT NULL, PRIMARY KEY (schema, name))",
];

/// The foreign server of a shard, and as whom it is reached.
async fn server(
    asker: &mut Asker,
    site: &Site,
    wanted: &Wanted<'_>,
    before: &United,
    lines: &mut Vec<String>,
) -> Result<(), String> {
    let name = ident(&server_name(&site.name));
    let known = before
        .servers
        .iter()
        .find(|(known, _)| *known == server_name(&site.name));
    let mut options: Vec<(String, String)> = site.options.clone();
    options.extend(OWN_OPTIONS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    match known {
        None => {
            let list: Vec<String> = options.iter().map(|(name, value)| option(name, value)).collect();
            let sql = format!(
                "CREATE SERVER {name} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({})",
                list.join(", ")
            );
            run(asker, &sql).await?;
            run(asker, &format!("CREATE SCHEMA IF NOT EXISTS {name}")).await?;
            lines.push(format!("shard {}: foreign server", site.name));
        }
        Some((_, known)) => {
            let mut changes: Vec<String> = Vec::new();
            for (name, value) in &options {
                match known.iter().find(|(own, _)| own == name) {
                    None => changes.push(format!("ADD {}", option(name, value))),
                    Some((_, own)) if own != value => changes.push(format!("SET {}", option(name, value))),
                    Some(_) => {}
                }
            }
            let gone = known
                .iter()
                .filter(|(own, _)| !options.iter().any(|(name, _)| name == own));
            changes.extend(gone.map(|(own, _)| format!("DROP {}", ident(own))));
            if !changes.is_empty() {
                let sql = format!("ALTER SERVER {name} OPTIONS ({})", changes.join(", "));
                run(asker, &sql).await?;
                lines.push(format!("shard {}: its address", site.name));
            }
        }
    }
    if known.is_none() || wanted.logs_in_anew {
        // Nobody but the server's owner may read the options of a mapping for PUBLIC.
        let ReadAs { user, password } = &wanted.reads_as;
        let password = match password {
            Some(password) => option("password", password),
            None => option("password_required", "false"),
        };
        run(
            asker,
            &format!("DROP USER MAPPING IF EXISTS FOR PUBLIC SERVER {name}"),
        )
        .await?;
        let sql = format!(
            "CREATE USER MAPPING FOR PUBLIC SERVER {name} OPTIONS ({}, {password})",
            option("user", user)
        );
        run(asker, &sql).await?;
    }
    Ok(())
}

/// Read only; shards are read at the same time; a row on the way costs less than a round trip.
const OWN_OPTIONS: [(&str, &str); 3] = [
    ("updatable", "false"),
    ("async_capable", "true"),
    ("fetch_size", "10000"),
];

async fn types(
    asker: &mut Asker,
    wanted: &[OwnType],
    before: &United,
    lines: &mut Vec<String>,
) -> Result<(), String> {
    for own in wanted {
        let known = before
            .types
            .iter()
            .find(|known| (&known.schema, &known.name) == (&own.schema, &own.name));
        let name = format!("{}.{}", ident(&own.schema), ident(&own.name));
        let made = match known {
            Some(known) if known == own => continue,
            None => {
                let schema = ident(&own.schema);
                run(asker, &format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
                let body = own.body.replace('\u{1}', ", ");
                match &*own.kind {
                    "e" => vec![format!("CREATE TYPE {name} AS ENUM ({body})")],
                    "d" => vec![format!("CREATE DOMAIN {name} AS {body}")],
                    "r" => vec![format!("CREATE TYPE {name} AS RANGE (subtype = {body})")],
                    _ => vec![format!("CREATE TYPE {name} AS ({body})")],
                }
            }
            Some(known) => more_labels(&name, known, own).ok_or_else(|| {
                format!("type {name} is another one there: drop it and what uses it, and run `pgshunt coordinator init`")
            })?,
        };
        for sql in made {
            run(asker, &sql).await?;
        }
        lines.push(format!("type {}.{}", own.schema, own.name));
    }
    Ok(())
}

/// What makes one enum of another that has fewer labels in the same order.
fn more_labels(name: &str, known: &OwnType, own: &OwnType) -> Option<Vec<String>> {
    if (&*known.kind, &*own.kind) != ("e", "e") {
        return None;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (
        known.body.split('\u{1}').collect(),
        own.body.split('\u{1}').collect(),
    );
    let kept: Vec<&&str> = new.iter().filter(|label| old.contains(label)).collect();
    if kept.len() != old.len() || kept.iter().zip(&old).any(|(kept, old)| *kept != old) {
        return None;
    }
    let mut made = Vec::new();
    for (place, label) in new.iter().enumerate().filter(|(_, label)| !old.contains(label)) {
        let at = match place.checked_sub(1) {
            Some(before) => format!("AFTER {}", new[before]),
            None => format!("BEFORE {}", old[0]),
        };
        made.push(format!("ALTER TYPE {name} ADD VALUE {label} {at}"));
    }
    Some(made)
}

async fn tables(
    asker: &mut Asker,
    wanted: &Wanted<'_>,
    before: &United,
    lines: &mut Vec<String>,
) -> Result<(), String> {
    for (schema, name) in before.made.keys() {
        let is_wanted = |share: &&Share| (&share.schema, &share.name) == (schema, name);
        if !wanted.shares.iter().any(|share| is_wanted(&share)) {
            drop_table(asker, schema, name).await?;
            forget(asker, schema, name).await?;
            lines.push(format!("dropped {schema}.{name}"));
        }
    }
    for share in &wanted.shares {
        let key = (share.schema.clone(), share.name.clone());
        let readers = before.known_readers(&share.readers);
        let made = before.made.get(&key);
        let is_there = before.relations.contains(&key);
        let is_made = made.is_some_and(|made| is_there && made.making == mark(&share.making()));
        if made.is_none() && is_there {
            lines.push(format!(
                "left out {}: there is another one of that name",
                share.shown()
            ));
            continue;
        }
        if is_made && made.is_some_and(|made| made.readers == readers) {
            continue;
        }
        let old = made.map_or("", |made| made.readers.as_str());
        run(asker, "SAVEPOINT one").await?;
        match table(asker, share, is_made.then_some(old), &readers).await {
            Ok(()) if is_made => lines.push(format!("{}: who may read it", share.shown())),
            Ok(()) => lines.push(format!("{}: {}", share.shown(), share.rows.words())),
            Err(why) => {
                run(asker, "ROLLBACK TO one").await?;
                lines.push(format!("left out {}: {why}", share.shown()));
            }
        }
        run(asker, "RELEASE one").await?;
    }
    Ok(())
}

/// Makes one table, or what has changed of who may read it. `old`: who may read it now, if it need not be made.
async fn table(asker: &mut Asker, share: &Share, old: Option<&str>, readers: &str) -> Result<(), String> {
    if old.is_none() {
        drop_table(asker, &share.schema, &share.name).await?;
        for sql in make_table(share) {
            run(asker, &sql).await?;
        }
    }
    for sql in grants(share, old.unwrap_or_default(), readers) {
        run(asker, &sql).await?;
    }
    let sql = "INSERT INTO pgshunt.coordinated VALUES ($1, $2, $3, $4) ON CONFLICT (schema, name) \
               DO UPDATE SET making = EXCLUDED.making, readers = EXCLUDED.readers";
    let making = mark(&share.making());
    let values = [&*share.schema, &share.name, &making, readers].map(Some);
    asker
        .ask(sql, &values)
        .await
        .map(drop)
        .map_err(|fault| told(&fault))
}

async fn forget(asker: &mut Asker, schema: &str, name: &str) -> Result<(), String> {
    let sql = "DELETE FROM pgshunt.coordinated WHERE schema = $1 AND name = $2";
    let forgotten = asker.ask(sql, &[Some(schema), Some(name)]).await;
    forgotten.map(drop).map_err(|fault| told(&fault))
}

/// Parts first: nothing else that hangs on it is dropped.
async fn drop_table(asker: &mut Asker, schema: &str, name: &str) -> Result<(), String> {
    let sql = "SELECT pg_catalog.format('%I.%I', pn.nspname, p.relname) FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_catalog.pg_inherits i ON i.inhparent = c.oid JOIN pg_catalog.pg_class p ON p.oid = i.inhrelid \
               JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2 AND p.relkind = 'f' AND pn.nspname ~ '^pgshunt_'";
    let parts = asker.ask(sql, &[Some(schema), Some(name)]).await;
    for part in parts.map_err(|fault| told(&fault))? {
        let part = part.first().and_then(Option::as_deref).unwrap_or_default();
        let part = String::from_utf8_lossy(part);
        run(asker, &format!("DROP FOREIGN TABLE {part}")).await?;
    }
    let table = format!("{}.{}", ident(schema), ident(name));
    let sql = "SELECT c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2";
    let rows = asker.ask(sql, &[Some(schema), Some(name)]).await;
    let rows = rows.map_err(|fault| told(&fault))?;
    match rows.first().and_then(|row| row.first()?.as_deref()) {
        Some(b"f") => run(asker, &format!("DROP FOREIGN TABLE {table}")).await,
        Some(_) => run(asker, &format!("DROP TABLE {table}")).await,
        None => Ok(()),
    }
}

fn make_table(share: &Share) -> Vec<String> {
    let Share {
        schema,
        name,
        columns,
        rows,
        ..
    } = share;
    let table = format!("{}.{}", ident(schema), ident(name));
    let remote = format!(
        "OPTIONS ({}, {})",
        option("schema_name", schema),
        option("table_name", name)
    );
    let from = |shard: &str| format!("SERVER {} {remote}", ident(&server_name(shard)));
    let mut made = vec![format!("CREATE SCHEMA IF NOT EXISTS {}", ident(schema))];
    match rows {
        Rows::Whole(shard) => made.push(format!(
            "CREATE FOREIGN TABLE {table} ({columns}) {}",
            from(shard)
        )),
        Rows::Spread(shards) => {
            made.push(format!("CREATE TABLE {table} ({columns})"));
            made.extend(shards.iter().map(|shard| {
                let part = part_name(shard, schema, name);
                format!(
                    "CREATE FOREIGN TABLE {part} ({columns}) INHERITS ({table}) {}",
                    from(shard)
                )
            }));
        }
        Rows::Hashed(column, shards) => {
            let column = ident(column);
            made.push(format!(
                "CREATE TABLE {table} ({columns}) PARTITION BY HASH ({column})"
            ));
            let modulus = shards.len();
            made.extend(shards.iter().enumerate().map(|(remainder, shard)| {
                let part = part_name(shard, schema, name);
                format!(
                    "CREATE FOREIGN TABLE {part} PARTITION OF {table} FOR VALUES WITH (MODULUS {modulus}, REMAINDER \
                     {remainder}) {}",
                    from(shard)
                )
            }));
        }
    }
    made
}

/// What makes the table's readers these.
fn grants(share: &Share, old: &str, new: &str) -> Vec<String> {
    let table = format!("{}.{}", ident(&share.schema), ident(&share.name));
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (old.lines().collect(), new.lines().collect());
    let mut made = Vec::new();
    for line in old.difference(&new) {
        let (role, columns) = reader(line);
        made.push(format!("REVOKE SELECT{columns} ON {table} FROM {role}"));
    }
    for line in new.difference(&old) {
        let (role, columns) = reader(line);
        made.push(format!(
            "GRANT USAGE ON SCHEMA {} TO {role}",
            ident(&share.schema)
        ));
        made.push(format!("GRANT SELECT{columns} ON {table} TO {role}"));
    }
    made
}

/// A role, quoted, and the columns it may read, if not all.
pub(super) fn reader(line: &str) -> (&str, &str) {
    // A quoted name may hold anything; the columns begin behind its end.
    let end = match line.strip_prefix('"') {
        Some(rest) => {
            let bytes = rest.as_bytes();
            let mut at = 0;
            while at < bytes.len() {
                match (bytes[at], bytes.get(at + 1)) {
                    (b'"', Some(b'"')) => at += 2,
                    (b'"', _) => break,
                    _ => at += 1,
                }
            }
            (at + 2).min(line.len())
        }
        None => line.find(' ').unwrap_or(line.len()),
    };
    line.split_at(end)
}

/// The foreign server of a shard, and the schema of its parts.
pub(super) fn server_name(shard: &str) -> String {
    cut(&format!("pgshunt_{shard}"))
}

fn part_name(shard: &str, schema: &str, name: &str) -> String {
    let part = match schema {
        "public" => name.to_owned(),
        schema => format!("{schema}.{name}"),
    };
    format!("{}.{}", ident(&server_name(shard)), ident(&cut(&part)))
}

/// As long as PostgreSQL keeps a name, and unlike any other.
fn cut(name: &str) -> String {
    const NAME_BYTES_MAX: usize = 63;
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let mut end = NAME_BYTES_MAX - 17;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{}", &name[..end], mark(name))
}

/// What tells a text from others: FNV-1a.
fn mark(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn option(name: &str, value: &str) -> String {
    format!("{} {}", ident(name), literal(value))
}

/// What a server said, without what it was told: that may hold a password.
fn told(fault: &AskFault) -> String {
    fault.to_string()
}

async fn run(asker: &mut Asker, sql: &str) -> Result<(), String> {
    let verb: Vec<&str> = sql.split_whitespace().take(3).collect();
    let ran = asker.ask(sql, &[]).await;
    ran.map(drop)
        .map_err(|fault| format!("{}: {}", verb.join(" "), told(&fault)))
}

async fn one(asker: &mut Asker, sql: &str) -> Result<Option<String>, String> {
    let rows = asker.ask(sql, &[]).await.map_err(|fault| told(&fault))?;
    let value = rows.first().and_then(|row| row.first()?.as_deref());
    Ok(value.map(|value| String::from_utf8_lossy(value).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_a_role_and_maybe_columns() {
        assert_eq!(reader("app"), ("app", ""));
        assert_eq!(reader("app (id, \"a b\")"), ("app", " (id, \"a b\")"));
        assert_eq!(reader("\"my app\" (id)"), ("\"my app\"", " (id)"));
        assert_eq!(reader("\"a\"\" b\""), ("\"a\"\" b\"", ""));
        assert_eq!(reader("\""), ("\"", ""));
    }

    #[test]
    fn long_names_stay_apart() {
        let (one, two) = (format!("{}a", "ü".repeat(40)), format!("{}b", "ü".repeat(40)));
        assert!(cut(&one).len() <= 63 && cut(&one) != cut(&two));
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn an_enum_grows_in_its_order() {
        let own = |labels: &[&str]| OwnType {
            schema: "public".into(),
            name: "mood".into(),
            kind: "e".into(),
            body: labels.join("\u{1}").into(),
        };
        let grown = more_labels("m", &own(&["'b'", "'d'"]), &own(&["'a'", "'b'", "'c'", "'d'"]));
        assert_eq!(
            grown.expect("more"),
            [
                "ALTER TYPE m ADD VALUE 'a' BEFORE 'b'",
                "ALTER TYPE m ADD VALUE 'c' AFTER 'b'"
            ]
        );
        assert_eq!(
            more_labels("m", &own(&["'b'", "'a'"]), &own(&["'a'", "'b'"])),
            None
        );
    }
}
