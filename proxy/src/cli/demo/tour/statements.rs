//! Statements arrive whole and their answers too: pipelines, COPY, large values, cancel.

use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::programs::psql;
use super::super::stage::{APPLICATION, Stage, TOURIST};
use super::super::wire::{bind_and_execute, parse, sync};
use super::{Promise, Subject, await_it, ensure, grouped};

pub(super) const SUBJECT: Subject = Subject {
    title: "Statements",
    promises: &[
        Promise {
            words: "A pipeline is answered in order, an error in it stops no other part",
            show: pipeline,
        },
        Promise {
            words: "COPY goes out and in",
            show: copy,
        },
        Promise {
            words: "Clients may come by Unix socket",
            show: unix_socket,
        },
        Promise {
            words: "A value of 50 MB passes both ways, and the way out is a stream",
            show: large_value,
        },
        Promise {
            words: "Ctrl-C in a long query cancels that query and no other",
            show: cancel,
        },
        Promise {
            words: "A client that vanishes in a query leaves nothing running",
            show: vanished,
        },
    ],
};

fn pipeline(stage: &mut Stage) -> Result<String, Failure> {
    const PARTS: usize = 200;
    let mut client = stage.client(APPLICATION)?;
    let mut out = Vec::new();
    for i in 0..PARTS {
        parse(&mut out, "", "SELECT 100 / $1::int");
        bind_and_execute(&mut out, "", &[&i.to_string()]);
        sync(&mut out);
    }
    client.send(&out)?;
    for i in 0..PARTS {
        let answer = client.answer()?;
        let seen = match &answer.error {
            Some(error) => error.message.clone(),
            None => answer.rows.first().map(|row| row.join("|")).unwrap_or_default(),
        };
        let expected = 100_usize
            .checked_div(i)
            .map_or("division by zero".into(), |n| n.to_string());
        ensure(seen == expected, || format!("part {i} gave {seen:?}"))?;
    }
    Ok(format!(
        "{PARTS} parts in one write, the first of them an error, all answered in turn"
    ))
}

fn copy(stage: &mut Stage) -> Result<String, Failure> {
    let file = stage.scratch.path().join("orders.copy");
    let file = file.to_string_lossy();
    let source = "FROM fact_order WHERE tenant_id = '00000000-0000-4000-8000-000000000002'";
    let script = [
        &format!("\\copy (SELECT * {source}) TO '{file}'")[..],
        "CREATE TEMP TABLE copied (LIKE fact_order)",
        &format!("\\copy copied FROM '{file}'"),
        &format!(
            "SELECT count(*), count(*) = (SELECT count(*) FROM copied), \
             sum(hashtextextended(fact_order::text, 0)) = (SELECT sum(hashtextextended(copied::text, 0)) FROM copied) \
             {source}"
        ),
    ];
    let arguments: Vec<&str> = script.iter().flat_map(|line| ["-c", *line]).collect();
    let ended = psql(&stage.installation, &stage.through(APPLICATION), &arguments)?;
    ensure(ended.status.success(), || ended.err.trim().to_owned())?;
    let said = ended.out.lines().last().unwrap_or_default();
    let rows = said.strip_suffix("|t|t").and_then(|count| count.parse().ok());
    let rows = rows.ok_or_else(|| Failure(format!("out and in differ: {said}")))?;
    Ok(format!(
        "{} rows to a file and back into a temporary table by psql, equal by count and digest",
        grouped(rows)
    ))
}

fn unix_socket(stage: &mut Stage) -> Result<String, Failure> {
    let folder = stage.scratch.path().to_string_lossy();
    let arguments = ["-h", &folder, "-c", "SELECT count(*) FROM tenant_config"];
    let ended = psql(&stage.installation, &stage.through(APPLICATION), &arguments)?;
    ensure(ended.status.success(), || ended.err.trim().to_owned())?;
    let rows = ended.out.trim().lines().last().unwrap_or_default();
    ensure(rows == "600", || format!("psql said {}", ended.out.trim()))?;
    Ok(format!("psql -h {folder}: {rows} rows counted"))
}

fn large_value(stage: &mut Stage) -> Result<String, Failure> {
    const BYTES: usize = 50_000_000;
    let mut client = stage.client(APPLICATION)?;
    client.query("SELECT 1")?;
    let before = stage.proxy.memory()?;
    let began = Instant::now();
    let answer = client.query(&format!("SELECT repeat('x', {BYTES})"))?;
    let out_took = began.elapsed();
    let grown = stage.proxy.memory()?.saturating_sub(before);
    let came = answer
        .rows
        .first()
        .and_then(|row| row.first())
        .map_or(0, String::len);
    ensure(came == BYTES, || format!("{came} bytes came"))?;
    ensure(grown < BYTES as u64 / 2, || {
        format!("pgshunt grew by {} bytes", grouped(grown))
    })?;
    let value = "y".repeat(BYTES);
    let mut out = Vec::new();
    parse(&mut out, "", "SELECT length($1)");
    bind_and_execute(&mut out, "", &[&value]);
    sync(&mut out);
    let began = Instant::now();
    client.send(&out)?;
    let answer = client.answer()?;
    let in_took = began.elapsed();
    let went = answer.rows.first().map(|row| row.join("|")).unwrap_or_default();
    ensure(went == BYTES.to_string(), || {
        format!("the server got {went:?} ({:?})", answer.error)
    })?;
    Ok(format!(
        "out in {out_took:.1?} with {:.1} MB more in use afterwards, in within {in_took:.1?}",
        grown as f64 / 1e6
    ))
}

fn cancel(stage: &mut Stage) -> Result<String, Failure> {
    let (mut long, mut short) = (stage.client(TOURIST)?, stage.client(TOURIST)?);
    // They only read: a replica may run them.
    let mut observers = [stage.superuser(&stage.primary)?, stage.superuser(&stage.replica)?];
    long.ask("SELECT pg_sleep(60) /* long */")?;
    short.ask("SELECT 'slept' FROM pg_sleep(1) /* short */")?;
    let both = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(%) /* _o% */'";
    await_it("both queries run", Duration::from_secs(5), || {
        let count = format!("{both} AND usename = '{TOURIST}'");
        let mut running = 0;
        for observer in &mut observers {
            running += observer.value(&count)?.parse::<u64>()?;
        }
        Ok((running > 0).then_some(()))
    })?;
    let began = Instant::now();
    long.cancel()?;
    let answer = long.answer()?;
    let took = began.elapsed();
    let error = answer.error.map(|error| error.to_string()).unwrap_or_default();
    let expected = "ERROR 57014: canceling statement due to user request";
    ensure(error == expected, || format!("the answer was {error:?}"))?;
    let other = short.answer()?;
    let slept = other.rows.first().map(|row| row.join("|")).unwrap_or_default();
    ensure(slept == "slept", || {
        format!("another query ended with {:?}", other.error)
    })?;
    let after = long.value("SELECT 1")?;
    ensure(after == "1", || format!("afterwards SELECT 1 gave {after:?}"))?;
    Ok(format!(
        "{error:?} after {took:.1?}; another client's query slept on"
    ))
}

fn vanished(stage: &mut Stage) -> Result<String, Failure> {
    let mut client = stage.client(TOURIST)?;
    let mut observer = stage.superuser(&stage.primary)?;
    client.query("BEGIN")?;
    client.ask("SELECT pg_sleep(60) /* vanishing */")?;
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{TOURIST}' AND state <> 'idle' \
         AND query LIKE '%/* vanishing */'"
    );
    let mut count_is = |wanted: &str| {
        let count = observer.value(&count)?;
        Ok((count == wanted).then_some(()))
    };
    await_it("the query runs", Duration::from_secs(5), || count_is("1"))?;
    client.vanish();
    let (_, took) = await_it("the query ends", Duration::from_secs(5), || count_is("0"))?;
    Ok(format!(
        "its query was cancelled and its transaction rolled back within {took:.1?}"
    ))
}
