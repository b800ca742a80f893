//! The replica: there, streaming, and told from the primary.

use std::time::Duration;

use super::super::Failure;
use super::super::stage::{APPLICATION, Stage};
use super::{Promise, Subject, await_it, ensure};

pub(super) const SUBJECT: Subject = Subject {
    title: "Primary and replica",
    promises: &[
        Promise {
            words: "The replica streams and replays what is written through pgshunt",
            show: replays,
        },
        Promise {
            words: "pgshunt tells the primary from the replica: no statement fails for being read-only",
            show: told_apart,
        },
    ],
};

fn replays(stage: &mut Stage) -> Result<String, Failure> {
    let mut observer = stage.superuser(&stage.primary)?;
    let state = observer.value("SELECT state FROM pg_stat_replication")?;
    ensure(state == "streaming", || {
        format!("pg_stat_replication says {state:?}")
    })?;
    let mut replica = stage.superuser(&stage.replica)?;
    let recovering = replica.value("SELECT pg_is_in_recovery()")?;
    ensure(recovering == "t", || "the replica is no replica".into())?;
    let mut client = stage.client(APPLICATION)?;
    client.query(
        "UPDATE tenant_config SET config_value = config_value || '{\"seen\": true}' \
         WHERE tenant_id = '00000000-0000-4000-8000-000000000007' AND config_key = 'features'",
    )?;
    let look = "SELECT config_value->'seen' FROM tenant_config \
                WHERE tenant_id = '00000000-0000-4000-8000-000000000007' AND config_key = 'features'";
    let (_, took) = await_it("the replica has it", Duration::from_secs(10), || {
        Ok((replica.value(look)? == "true").then_some(()))
    })?;
    let place = replica.value("SELECT pg_last_wal_replay_lsn()")?;
    Ok(format!(
        "streaming; the write was there after {took:.1?}, replayed up to {place}"
    ))
}

fn told_apart(stage: &mut Stage) -> Result<String, Failure> {
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = stage.client(APPLICATION)?;
        client.query("BEGIN")?;
        let recovering = client.value("SELECT pg_is_in_recovery()")?;
        ensure(recovering == "f", || "a client met the replica".into())?;
        client.query("UPDATE tenant_config SET updated_at = now() WHERE false")?;
        client.query("COMMIT")?;
        clients.push(client);
    }
    Ok(format!(
        "{} writing transactions, all on 127.0.0.1:{}",
        clients.len(),
        stage.primary.port()
    ))
}
