//! What an operator sees.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::super::Failure;
use super::super::stage::{APPLICATION, OPERATOR, Stage};
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
            words: "/readyz and /metrics answer",
            show: http,
        },
    ],
};

fn console(stage: &mut Stage) -> Result<String, Failure> {
    let door = Door {
        port: stage.proxy.admin,
        database: "pgshunt".into(),
        ..stage.through(OPERATOR)
    };
    let mut console = Client::connect(&door)?;
    let pools = console.query("SHOW POOLS")?;
    let of_the_application = |row: &&Vec<String>| row.get(1).is_some_and(|user| user == APPLICATION);
    let pool = pools.rows.iter().find(of_the_application);
    let pool = pool.ok_or_else(|| Failure(format!("no pool of {APPLICATION}: {:?}", pools.rows)))?;
    let version = console.value("SHOW VERSION")?;
    Ok(format!("{version}; SHOW POOLS: {}", pool.join(" ")))
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
