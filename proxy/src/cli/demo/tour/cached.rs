//! Answers that are kept: cold, warm, and old by a write from either side.

use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::stage::{APPLICATION, Stage};
use super::super::wire::Client;
use super::{Promise, Subject, await_it, ensure};

pub(super) const SUBJECT: Subject = Subject {
    title: "Answers that are kept",
    promises: &[
        Promise {
            words: "A report asked again is answered from memory",
            show: warm,
        },
        Promise {
            words: "A write through pgshunt is in the next answer, whoever asks",
            show: written_through,
        },
        Promise {
            words: "A write past pgshunt is heard of from the primary's stream",
            show: written_past,
        },
    ],
};

/// The table whose answers the demo's rules keep.
pub const TABLE: &str = "tour_report";

const REPORT: &str = "SELECT date_trunc('month', day)::date, product, count(*), sum(amount) \
                      FROM tour_report GROUP BY 1, 2 ORDER BY 1, 2";

const COUNT: &str = "SELECT count(*) FROM tour_report";

fn warm(stage: &mut Stage) -> Result<String, Failure> {
    const WARM: u32 = 100;
    let mut superuser = stage.superuser(&stage.primary)?;
    superuser.query("ALTER ROLE pgshunt REPLICATION")?;
    superuser.query(
        "CREATE TABLE tour_report AS SELECT date '2024-01-01' + n % 700 AS day, n % 20 AS product, n % 997 AS amount \
         FROM generate_series(1, 200000) AS n",
    )?;
    superuser.query("GRANT SELECT, INSERT ON tour_report TO bmos_app")?;
    let mut client = reader(stage)?;
    let began = Instant::now();
    let rows = client.query(REPORT)?.rows;
    let cold = began.elapsed();
    is_kept(&mut client, REPORT)?;
    let began = Instant::now();
    for _ in 0..WARM {
        let again = client.query(REPORT)?.rows;
        ensure(again == rows, || "another answer from memory".into())?;
    }
    let warm = began.elapsed() / WARM;
    let said = client.query("SHOW pgshunt.last_route")?.rows;
    let said = said.first().map(|row| row.join("|")).unwrap_or_default();
    ensure(said.starts_with("cache|"), || {
        format!("the last one was answered by {said}")
    })?;
    Ok(format!(
        "cold {cold:.1?}, warm {warm:.1?} for {} rows of 200,000; SHOW pgshunt.last_route: {said}",
        rows.len()
    ))
}

/// A client that did not make the table, and so may be given a replica's older view of it, unless it says so.
fn reader(stage: &mut Stage) -> Result<Client, Failure> {
    let mut client = stage.client(APPLICATION)?;
    client.query("SET pgshunt.target = 'primary'")?;
    Ok(client)
}

/// Asks until the answer comes from the cache.
fn is_kept(client: &mut Client, sql: &str) -> Result<(), Failure> {
    await_it("an answer from the cache", Duration::from_secs(20), || {
        client.query(sql)?;
        let route = client.query("SHOW pgshunt.last_route")?.rows;
        let cache = route.first().and_then(|row| row.get(4));
        Ok((cache.map(String::as_str) == Some("hit")).then_some(()))
    })?;
    Ok(())
}

fn written_through(stage: &mut Stage) -> Result<String, Failure> {
    const WRITES: u64 = 20;
    let (mut reader, mut writer) = (reader(stage)?, stage.client(APPLICATION)?);
    for _ in 0..WRITES {
        is_kept(&mut reader, COUNT)?;
        let before: u64 = reader.value(COUNT)?.parse()?;
        writer.query("INSERT INTO tour_report VALUES ('2025-12-31', 1, 1)")?;
        let after: u64 = reader.value(COUNT)?.parse()?;
        ensure(after == before + 1, || {
            format!("{before} and one more gave {after}")
        })?;
    }
    Ok(format!(
        "{WRITES} writes by one client, each in the other's next count"
    ))
}

fn written_past(stage: &mut Stage) -> Result<String, Failure> {
    let mut reader = reader(stage)?;
    is_kept(&mut reader, COUNT)?;
    let before: u64 = reader.value(COUNT)?.parse()?;
    let mut superuser = stage.superuser(&stage.primary)?;
    superuser.query("INSERT INTO tour_report VALUES ('2025-12-31', 1, 1)")?;
    let (_, took) = await_it("the write from elsewhere", Duration::from_secs(10), || {
        let after: u64 = reader.value(COUNT)?.parse()?;
        Ok((after == before + 1).then_some(()))
    })?;
    ensure(took < Duration::from_secs(2), || format!("it took {took:.1?}"))?;
    Ok(format!("in the next answer {took:.1?} after it was done"))
}
