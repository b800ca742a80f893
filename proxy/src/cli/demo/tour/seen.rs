//! What an operator sees.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::super::Failure;
use super::super::stage::{APPLICATION, OPERATOR, Stage, TOURIST};
use super::super::wire::{Client, Door, PATIENCE};
use super::{Promise, Subject, ensure};

pub(super) const SUBJECT: Subject = Subject {
    title: "Seen from outside",
    promises: &[
        Promise {
            words: "The console shows the pools",
            show: console,
        },
        Promise {
            words: "The console says which client keeps its server, and why",
            show: pins,
        },
        Promise {
            words: "A role that is no operator does not get into the console",
            show: strangers,
        },
        Promise {
            words: "/readyz and /metrics answer",
            show: http,
        },
    ],
};

fn console(stage: &mut Stage) -> Result<String, Failure> {
    let mut console = Client::connect(&door(stage, OPERATOR))?;
    let pools = console.query("SHOW POOLS")?;
    let of_the_application = |row: &&Vec<String>| row.get(1).is_some_and(|user| user == APPLICATION);
    let pool = pools.rows.iter().find(of_the_application);
    let pool = pool.ok_or_else(|| Failure(format!("no pool of {APPLICATION}: {:?}", pools.rows)))?;
    let version = console.value("SHOW VERSION")?;
    Ok(format!("{version}; SHOW POOLS: {}", pool.join(" ")))
}

fn pins(stage: &mut Stage) -> Result<String, Failure> {
    let mut client = stage.client(TOURIST)?;
    client.query("CREATE TEMP TABLE mine (n int); SELECT pg_advisory_lock(1)")?;
    // Answered behind the probe that finds the table and the lock.
    client.query("SELECT 1")?;
    let mut console = Client::connect(&door(stage, OPERATOR))?;
    let all = console.query("SHOW PINS")?.rows;
    let rows: Vec<String> = all.iter().map(|row| row.join(" ")).collect();
    let mine: Vec<&String> = rows.iter().filter(|row| row.contains(TOURIST)).collect();
    for reason in ["temporary tables", "session advisory locks"] {
        ensure(mine.iter().any(|row| row.contains(reason)), || {
            format!("SHOW PINS does not say {reason:?}: {rows:?}")
        })?;
    }
    Ok("SHOW PINS: temporary tables, session advisory locks".into())
}

fn strangers(stage: &mut Stage) -> Result<String, Failure> {
    match Client::connect(&door(stage, APPLICATION)) {
        Ok(_) => Err(Failure(format!("{APPLICATION} was let in"))),
        Err(refusal) if refusal.code().is_some() => Ok(refusal.to_string()),
        Err(lost) => Err(lost.into()),
    }
}

fn door(stage: &Stage, user: &str) -> Door {
    Door {
        port: stage.proxy.admin,
        database: "pgshunt".into(),
        ..stage.through(user)
    }
}

fn http(stage: &mut Stage) -> Result<String, Failure> {
    let ready = fetch(stage.proxy.http, "/readyz")?;
    ensure(ready.starts_with("HTTP/1.1 200"), || format!("/readyz: {ready}"))?;
    let metrics = fetch(stage.proxy.http, "/metrics")?;
    ensure(metrics.starts_with("HTTP/1.1 200"), || {
        format!("/metrics: {metrics}")
    })?;
    let samples = metrics
        .lines()
        .filter(|line| line.starts_with("pgshunt_"))
        .count();
    ensure(samples > 0, || "no sample in /metrics".into())?;
    Ok(format!("ready; {samples} samples in /metrics"))
}

fn fetch(port: u16, path: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
