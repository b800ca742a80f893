//! What a session has set or made follows its client, and reaches no other. The clients here have so few servers that
//! each of them is served by all.

use std::time::Duration;

use super::super::Failure;
use super::super::stage::{FEW, Stage, TOURIST};
use super::super::wire::Client;
use super::{Promise, Subject, ensure};

pub(super) const SUBJECT: Subject = Subject {
    title: "Each session is its client's own",
    promises: &[
        Promise {
            words: "SET, set_config, search_path and settings made inside DO follow the client",
            show: settings,
        },
        Promise {
            words: "A SET is rolled back with its transaction or savepoint",
            show: rolled_back,
        },
        Promise {
            words: "SET ROLE follows the client, and gives nobody else its rights",
            show: roles,
        },
        Promise {
            words: "Temporary tables keep their server, for as long as they are there",
            show: temporary_tables,
        },
        Promise {
            words: "Cursors WITH HOLD and SQL PREPARE keep their server too",
            show: cursors_and_prepare,
        },
        Promise {
            words: "Advisory locks are held by their client alone",
            show: advisory_locks,
        },
        Promise {
            words: "LISTEN hears what other clients NOTIFY",
            show: notifications,
        },
        Promise {
            words: "Prepared statements of one name, another text for each client",
            show: prepared,
        },
    ],
};

/// Clients that share [`FEW`] servers.
const CLIENTS: usize = 8;

fn clients(stage: &Stage) -> Result<Vec<Client>, Failure> {
    (0..CLIENTS).map(|_| stage.client(TOURIST)).collect()
}

/// Every client looks at once, several times; so many looks were right.
fn look(clients: &mut [Client], sql: &str, expected: impl Fn(usize) -> String) -> Result<usize, Failure> {
    let mut looks = 0;
    for _ in 0..5 {
        for client in clients.iter_mut() {
            client.ask(sql)?;
        }
        for (i, client) in clients.iter_mut().enumerate() {
            let answer = client.answer()?;
            if let Some(error) = answer.error {
                return Err(Failure(error.to_string()));
            }
            let seen = answer.rows.last().map(|row| row.join("|")).unwrap_or_default();
            let expected = expected(i);
            ensure(seen == expected, || {
                format!("client {i} saw {seen:?} instead of {expected:?}")
            })?;
            looks += 1;
        }
    }
    Ok(looks)
}

fn settings(stage: &mut Stage) -> Result<String, Failure> {
    let mut clients = clients(stage)?;
    for (i, client) in clients.iter_mut().enumerate() {
        client.query(&format!("SET work_mem = '{}kB'", 1000 + i))?;
        client.query(&format!("SELECT set_config('app.name', 'client {i}', false)"))?;
        client.query(&format!("SET search_path = schema_{i}, public"))?;
        client.query(&format!(
            "DO $$ BEGIN PERFORM set_config('TimeZone', 'Etc/GMT+{i}', false); END $$"
        ))?;
    }
    let sql = "SELECT current_setting('work_mem'), current_setting('app.name'), current_setting('search_path'), \
               current_setting('TimeZone')";
    let looks = look(&mut clients, sql, |i| {
        format!("{}kB|client {i}|schema_{i}, public|Etc/GMT+{i}", 1000 + i)
    })?;
    let fresh = stage
        .client(TOURIST)?
        .value("SELECT current_setting('work_mem')")?;
    ensure(!fresh.starts_with("100"), || {
        format!("a new client inherited {fresh}")
    })?;
    Ok(format!(
        "{CLIENTS} clients on {FEW} servers: {looks} looks at 4 settings each, none strange; a new client has the defaults"
    ))
}

fn rolled_back(stage: &mut Stage) -> Result<String, Failure> {
    let mut clients = clients(stage)?;
    for (i, client) in clients.iter_mut().enumerate() {
        client.query(&format!("SET statement_timeout = '{}s'", 100 + i))?;
        client.query("BEGIN")?;
        client.query("SET statement_timeout = '1s'")?;
        client.query("SAVEPOINT a")?;
        client.query("SET statement_timeout = '2s'")?;
        client.query("ROLLBACK TO a")?;
        let inside = client.value("SHOW statement_timeout")?;
        ensure(inside == "1s", || format!("after ROLLBACK TO it was {inside}"))?;
        client.query("ROLLBACK")?;
    }
    let spelled = |i: usize| format!("{}s", 100 + i);
    let looks = look(&mut clients, "SHOW statement_timeout", spelled)?;
    Ok(format!(
        "{looks} looks, each at the value from before the transaction"
    ))
}

fn roles(stage: &mut Stage) -> Result<String, Failure> {
    let mut clients = clients(stage)?;
    let role = |i: usize| ["bmos_app", "bmos_report"][i % 2];
    for (i, client) in clients.iter_mut().enumerate() {
        client.query(&format!("SET ROLE {}", role(i)))?;
    }
    let sql = "SELECT current_user, has_table_privilege('fact_order', 'INSERT')";
    let looks = look(&mut clients, sql, |i| {
        format!("{}|{}", role(i), if i % 2 == 0 { "t" } else { "f" })
    })?;
    let fresh = stage.client(TOURIST)?.value("SELECT current_user")?;
    ensure(fresh == TOURIST, || format!("a new client acted as {fresh}"))?;
    Ok(format!(
        "{looks} looks at role and rights; a new client acts as itself"
    ))
}

fn temporary_tables(stage: &mut Stage) -> Result<String, Failure> {
    let mut owners: Vec<Client> = clients(stage)?.into_iter().take(FEW).collect();
    for (i, client) in owners.iter_mut().enumerate() {
        client.query(&format!("CREATE TEMP TABLE mine AS SELECT {i} AS owner"))?;
    }
    // Every server has an owner now, so this one has to wait for one.
    let mut third = stage.client(TOURIST)?;
    third.ask("SELECT to_regclass('mine') IS NULL")?;
    let looks = look(&mut owners, "SELECT owner FROM mine", |i| i.to_string())?;
    owners[0].query("DROP TABLE mine")?;
    let answer = third.answer()?;
    let sees_none = answer.rows.first().is_some_and(|row| row == &["t"]);
    ensure(sees_none, || format!("another client saw {:?}", answer.rows))?;
    owners[1].query("DISCARD TEMP")?;
    Ok(format!(
        "{looks} looks at {FEW} tables of one name; a third client waited, was served after the DROP, saw none"
    ))
}

fn cursors_and_prepare(stage: &mut Stage) -> Result<String, Failure> {
    let mut owners: Vec<Client> = clients(stage)?.into_iter().take(FEW).collect();
    for (i, client) in owners.iter_mut().enumerate() {
        client.query(&format!(
            "DECLARE c CURSOR WITH HOLD FOR SELECT {i} * 100 + n FROM generate_series(1, 9) AS n"
        ))?;
        client.query(&format!("PREPARE p AS SELECT 'statement {i}'"))?;
    }
    for (i, client) in owners.iter_mut().enumerate() {
        let seen = [
            client.value("FETCH c")?,
            client.value("FETCH c")?,
            client.value("EXECUTE p")?,
        ];
        let expected = [
            (i * 100 + 1).to_string(),
            (i * 100 + 2).to_string(),
            format!("statement {i}"),
        ];
        ensure(seen == expected, || format!("client {i} saw {seen:?}"))?;
        client.query("CLOSE c; DEALLOCATE p")?;
    }
    let one = stage.client(TOURIST)?.value("SELECT 1")?;
    ensure(one == "1", || format!("afterwards SELECT 1 gave {one}"))?;
    Ok(format!(
        "{FEW} clients with a cursor and a statement of one name each; given back after CLOSE and DEALLOCATE"
    ))
}

fn advisory_locks(stage: &mut Stage) -> Result<String, Failure> {
    let (mut a, mut b) = (stage.client(TOURIST)?, stage.client(TOURIST)?);
    let lock = "SELECT pg_try_advisory_lock(42)";
    let first = a.value(lock)?;
    let meanwhile = b.value(lock)?;
    a.query("SELECT pg_advisory_unlock(42)")?;
    let afterwards = b.value(lock)?;
    let unlocked = b.value("SELECT pg_advisory_unlock(42)")?;
    let seen = [first, meanwhile, afterwards, unlocked].join(" ");
    ensure(seen == "t f t t", || format!("the tries gave {seen}"))?;
    Ok("taken by one, refused to the other, given after the unlock".into())
}

fn notifications(stage: &mut Stage) -> Result<String, Failure> {
    let (mut listener, mut sender) = (stage.client(TOURIST)?, stage.client(TOURIST)?);
    listener.query("LISTEN orders")?;
    let began = std::time::Instant::now();
    sender.query("NOTIFY orders, 'number 7'")?;
    let heard = listener.notification(Duration::from_secs(5))?;
    let took = began.elapsed();
    let expected = Some(("orders".to_owned(), "number 7".to_owned()));
    ensure(heard == expected, || format!("heard {heard:?}"))?;
    let stray = sender.notification(Duration::from_millis(20))?;
    ensure(stray.is_none(), || format!("the sender heard {stray:?}"))?;
    listener.query("UNLISTEN *")?;
    Ok(format!("heard {took:.1?} after it was sent, without asking"))
}

fn prepared(stage: &mut Stage) -> Result<String, Failure> {
    let mut clients = clients(stage)?;
    for (i, client) in clients.iter_mut().enumerate() {
        client.prepare("mine", &format!("SELECT $1::int + {i}"))?;
    }
    let mut executed = 0;
    for round in 0..20 {
        for (i, client) in clients.iter_mut().enumerate() {
            let answer = client.execute("mine", &[&round.to_string()])?;
            let seen = answer.rows.first().map(|row| row.join("|")).unwrap_or_default();
            let expected = (round + i).to_string();
            ensure(seen == expected, || {
                format!("client {i} got {seen} instead of {expected}")
            })?;
            executed += 1;
        }
    }
    let again = clients[0].prepare("mine", "SELECT 1");
    let code = again.err().and_then(|fault| fault.code()).unwrap_or_default();
    ensure(code == "42P05", || {
        format!("preparing the same name twice gave {code:?}")
    })?;
    Ok(format!(
        "{CLIENTS} clients, {FEW} servers, {executed} executions; a name used twice is 42P05, as on PostgreSQL"
    ))
}
