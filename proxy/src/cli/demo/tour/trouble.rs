//! Trouble ends as with PostgreSQL itself: the same words, no waiting for nothing, and work goes on when it is over.

use std::process::Command;
use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::cluster::Stop;
use super::super::programs::{psql, run};
use super::super::stage::{APPLICATION, Stage};
use super::super::wire::{Client, Door};
use super::{Promise, Subject, await_it, ensure, grouped};

pub(super) const SUBJECT: Subject = Subject {
    title: "Trouble",
    promises: &[
        Promise {
            words: "A wrong password meets PostgreSQL's own words",
            show: |stage| same_words(stage, |door| door.password = "wrong".into()),
        },
        Promise {
            words: "A role that does not exist meets the words of a wrong password",
            show: |stage| same_words(stage, |door| door.user = "nobody_at_all".into()),
        },
        Promise {
            words: "A database that does not exist meets PostgreSQL's own words",
            show: |stage| same_words(stage, |door| door.database = "nowhere".into()),
        },
        Promise {
            words: "A wrong configuration is refused whole, with line and hint",
            show: wrong_configuration,
        },
        Promise {
            words: "Ten thousand errors in a row harm nobody",
            show: errors,
        },
        Promise {
            words: "The primary stops: reads go on and a write waits; it starts: the write is done, same connections",
            show: restart,
        },
    ],
};

/// Logs in by psql, once through pgshunt and once without, and compares what psql says.
fn same_words(stage: &mut Stage, spoil: impl Fn(&mut Door)) -> Result<String, Failure> {
    let said = |mut door: Door| -> Result<String, Failure> {
        spoil(&mut door);
        let ended = psql(&stage.installation, &door, &["-c", "SELECT 1"])?;
        ensure(!ended.status.success(), || "psql was let in".into())?;
        let port = format!("port {}", door.port);
        Ok(ended.err.trim().replace(&port, "port P"))
    };
    let direct = said(stage.direct(APPLICATION))?;
    let through = said(stage.through(APPLICATION))?;
    ensure(through == direct, || {
        format!("PostgreSQL: {direct}\npgshunt:    {through}")
    })?;
    let words = direct
        .split_once("failed: ")
        .map_or(&direct[..], |(_, words)| words);
    Ok(format!("psql says, with and without pgshunt: {words}"))
}

fn wrong_configuration(stage: &mut Stage) -> Result<String, Failure> {
    let file = stage.scratch.path().join("wrong.toml");
    let right = std::fs::read_to_string(stage.scratch.path().join("pgshunt.toml"))?;
    let wrong = right.replace("[pool]\nsize = ", "[pool]\nsizes = ");
    std::fs::write(&file, &wrong)?;
    let line = 1 + wrong
        .lines()
        .take_while(|line| !line.starts_with("sizes"))
        .count();
    let mut serve = Command::new(std::env::current_exe()?);
    let said = run(serve.args(["serve", "-c"]).arg(&file))?;
    let place = format!("wrong.toml:{line}:");
    let hints = said.err.contains("hint: ");
    ensure(
        said.status.code() == Some(2) && said.err.contains(&place) && hints,
        || format!("{}: {}", said.status, said.err.trim()),
    )?;
    let words = said
        .err
        .trim()
        .replace(&*stage.scratch.path().to_string_lossy(), "…");
    Ok(format!("exit code 2: {words}"))
}

fn errors(stage: &mut Stage) -> Result<String, Failure> {
    const ERRORS: u64 = 10_000;
    let mut client = stage.client(APPLICATION)?;
    client.query("SELECT 1")?;
    let began = Instant::now();
    for _ in 0..ERRORS {
        client.ask("SELECT 1/0")?;
        let error = client.answer()?.error.and_then(|error| error.code);
        let code = error.map(|code| code.to_string()).unwrap_or_default();
        ensure(code == "22012", || format!("an error came as {code:?}"))?;
    }
    let took = began.elapsed();
    let after = client.value("SELECT 1")?;
    ensure(after == "1", || format!("afterwards SELECT 1 gave {after:?}"))?;
    Ok(format!(
        "{} times 22012 in {took:.1?}, then SELECT 1 gave 1",
        grouped(ERRORS)
    ))
}

fn restart(stage: &mut Stage) -> Result<String, Failure> {
    let mut clients: Vec<Client> = (0..20)
        .map(|_| stage.client(APPLICATION))
        .collect::<Result<_, _>>()?;
    for client in &mut clients {
        client.query("SET work_mem = '5MB'")?;
        // Answered behind the probe that follows a SET, so that no client has a server when it stops.
        client.query("SELECT 1")?;
    }
    let mut reader = stage.client(APPLICATION)?;
    let replica = stage.replica.port().to_string();
    await_it("a read on the replica", Duration::from_secs(10), || {
        Ok((reader.value(PLACE)? == replica).then_some(()))
    })?;
    stage.primary.stop(Stop::Fast)?;
    let meanwhile = reader.value(PLACE)?;
    ensure(meanwhile == replica, || {
        format!("port {meanwhile} answered a read")
    })?;
    clients[0].ask("UPDATE tenant_config SET updated_at = now() WHERE false")?;
    stage.primary.start()?;
    let began = Instant::now();
    let written = clients[0].answer()?;
    let recovery = began.elapsed();
    ensure(written.error.is_none() && written.status == b'I', || {
        format!("the write that waited: {:?}", written.error)
    })?;
    for client in &mut clients {
        let kept = client.value("SHOW work_mem")?;
        ensure(kept == "5MB", || format!("a client's work_mem became {kept}"))?;
    }
    Ok(format!(
        "the replica answered meanwhile; the write was done {recovery:.1?} after the start; {} clients and their settings \
         survived",
        clients.len()
    ))
}

/// Which server answers: a read for any.
const PLACE: &str = "SELECT current_setting('port')";
