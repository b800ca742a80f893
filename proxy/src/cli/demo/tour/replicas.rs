//! Reads on replicas, writes on the primary, and what happens when either dies. On a shard of its own, for the servers do
//! die.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::cluster::Stop;
use super::super::spare::Spare;
use super::super::stage::DATABASE;
use super::super::wire::Client;
use super::{Promise, Subject, await_it, ensure, grouped};

pub(super) const SUBJECT: Subject = Subject {
    title: "Reads on replicas",
    promises: &[
        Promise {
            words: "A write goes to the primary and a read to a replica, and the session can ask why",
            show: |stage| split(stage.spare()?),
        },
        Promise {
            words: "A session reads what it has written, however far behind the replicas are",
            show: |stage| own_writes(stage.spare()?),
        },
        Promise {
            words: "A replica is killed: reads go on without one error",
            show: |stage| replica_killed(stage.spare()?),
        },
        Promise {
            words: "The primary is killed and a replica promoted: a write waits for it, and goes on there",
            show: |stage| failover(stage.spare()?),
        },
        Promise {
            words: "The old primary comes back, and nobody writes to it",
            show: |stage| fenced(stage.spare()?),
        },
    ],
};

const WRITE: &str = "UPDATE tenant_config SET version = version + 1 \
    WHERE tenant_id = '00000000-0000-4000-8000-000000000001' AND config_key = 'locale' RETURNING version";

const READ: &str = "SELECT version FROM tenant_config \
    WHERE tenant_id = '00000000-0000-4000-8000-000000000001' AND config_key = 'locale'";

/// Clients that read while a replica dies.
const READERS: usize = 8;

/// Answers they get before and after it.
const READS: u64 = 500;

/// How long anything may take that takes a moment.
const PATIENT: Duration = Duration::from_secs(15);

/// What SHOW pgshunt.last_route says.
struct Last {
    target: String,
    port: u16,
    because: String,
}

fn last(client: &mut Client) -> Result<Last, Failure> {
    let rows = client.query("SHOW pgshunt.last_route")?.rows;
    let row = rows.first().map(Vec::as_slice);
    let Some([target, _, server, _, _, because]) = row else {
        return Err(Failure(format!("SHOW pgshunt.last_route: {rows:?}")));
    };
    let port = server.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Ok(Last {
        target: target.clone(),
        port: port.unwrap_or_default(),
        because: because.clone(),
    })
}

/// Reads until a replica does it; which one, and what was read.
fn read_on_replica(client: &mut Client) -> Result<(Last, String), Failure> {
    let (found, _) = await_it("a read on a replica", PATIENT, || {
        let version = client.value(READ)?;
        let last = last(client)?;
        Ok((last.target == "replica").then_some((last, version)))
    })?;
    Ok(found)
}

fn split(spare: &mut Spare) -> Result<String, Failure> {
    let mut client = spare.client()?;
    // Until pgshunt has looked into the catalog, everything goes to the primary.
    read_on_replica(&mut client)?;
    client.query(WRITE)?;
    let wrote = last(&mut client)?;
    let is_there = wrote.target == "primary" && wrote.port == spare.primary.port();
    ensure(is_there, || {
        format!("the write went to {} {}", wrote.target, wrote.port)
    })?;
    let (read, _) = read_on_replica(&mut client)?;
    let is_there = spare.replicas.iter().any(|node| node.port() == read.port);
    ensure(is_there, || format!("the read went to {}", read.port))?;
    Ok(format!(
        "write: {}, {}\nread: {}, {}",
        wrote.target, wrote.because, read.target, read.because
    ))
}

fn own_writes(spare: &mut Spare) -> Result<String, Failure> {
    const ROUNDS: usize = 50;
    let (mut client, mut other) = (spare.client()?, spare.client()?);
    let mut by_replica = 0;
    for round in 0..ROUNDS {
        let (wrote, read) = (client.value(WRITE)?, client.value(READ)?);
        ensure(wrote == read, || {
            format!("round {round}: wrote {wrote}, read {read}")
        })?;
        by_replica += usize::from(last(&mut client)?.target == "replica");
    }
    let (_, before) = read_on_replica(&mut other)?;
    replay(spare, "pause")?;
    let seen = read_while_paused(&mut client, &mut other);
    replay(spare, "resume")?;
    let (wrote, theirs) = seen?;
    let (_, caught_up) = read_on_replica(&mut client)?;
    ensure(caught_up == wrote, || {
        format!("a replica gave {caught_up} instead of {wrote}")
    })?;
    Ok(format!(
        "{ROUNDS} times its own, {by_replica} of them from a replica. With replay paused at {before} it wrote and read \
         {wrote},\nwhile somebody else was given {theirs} by a replica; with replay resumed a replica gave it {caught_up}"
    ))
}

/// What one session wrote and reads back from the primary, and what another is given by a replica that lacks it.
fn read_while_paused(client: &mut Client, other: &mut Client) -> Result<(String, String), Failure> {
    let (wrote, read) = (client.value(WRITE)?, client.value(READ)?);
    let own = last(client)?.target;
    ensure(wrote == read && own == "primary", || {
        format!("wrote {wrote}, read {read} from a {own}")
    })?;
    let theirs = other.value(READ)?;
    let place = last(other)?.target;
    ensure(theirs != wrote && place == "replica", || {
        format!("the other session was given {theirs} by a {place}")
    })?;
    Ok((wrote, theirs))
}

fn replay(spare: &Spare, what: &str) -> Result<(), Failure> {
    for replica in &spare.replicas {
        replica.psql("postgres", &format!("SELECT pg_wal_replay_{what}()"))?;
    }
    Ok(())
}

fn replica_killed(spare: &mut Spare) -> Result<String, Failure> {
    let mut clients: Vec<Client> = (0..READERS).map(|_| spare.client()).collect::<Result<_, _>>()?;
    let mut observer = spare.client()?;
    // Who has written nothing may be given what a replica lacks: both have to have all.
    let version = spare.primary.psql(DATABASE, READ)?;
    await_it("both replicas to catch up", PATIENT, || {
        for replica in &spare.replicas {
            if replica.psql(DATABASE, READ)? != version {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    let (victim, _) = read_on_replica(&mut observer)?;
    let (done, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let read = |client: &mut Client| -> Result<(), Failure> {
        while !done.load(Ordering::Relaxed) {
            let seen = client.value(READ)?;
            ensure(seen == version, || {
                format!("{seen} was read instead of {version}")
            })?;
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let heir = thread::scope(|scope| {
        let readers: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| read(client)))
            .collect();
        let heir = kill_under(spare, victim.port, &answered, &mut observer);
        done.store(true, Ordering::Relaxed);
        let broke = || Failure("a reader broke".into());
        for reader in readers {
            reader.join().unwrap_or_else(|_| Err(broke()))?;
        }
        heir
    })?;
    Ok(format!(
        "{} reads by {READERS} clients, no error; 127.0.0.1:{} was killed, 127.0.0.1:{heir} reads on",
        grouped(answered.into_inner()),
        victim.port
    ))
}

/// Kills the replica while others read; the port of the one that reads on.
fn kill_under(
    spare: &mut Spare,
    victim: u16,
    answered: &AtomicU64,
    observer: &mut Client,
) -> Result<u16, Failure> {
    let more = || {
        let enough = answered.load(Ordering::Relaxed) + READS;
        let is_enough = || Ok((answered.load(Ordering::Relaxed) >= enough).then_some(()));
        await_it("more answers", PATIENT, is_enough).map(drop)
    };
    more()?;
    spare.kill_replica(victim)?;
    more()?;
    // Backends outlive a killed postmaster for as long as they are kept busy.
    let (heir, _) = await_it("a read on the other replica", PATIENT, || {
        let (read, _) = read_on_replica(observer)?;
        Ok((read.port != victim).then_some(read.port))
    })?;
    Ok(heir)
}

fn failover(spare: &mut Spare) -> Result<String, Failure> {
    let (mut idle, mut writer, mut reader) = (spare.client()?, spare.client()?, spare.client()?);
    idle.query("SET work_mem = '5MB'")?;
    idle.query("SELECT 1")?;
    let wrote: u64 = writer.value(WRITE)?.parse()?;
    // Replication is asynchronous here: what the replica has not got would be lost with the primary.
    let (read, _) = await_it("the last write on the replica", PATIENT, || {
        let (last, version) = read_on_replica(&mut reader)?;
        Ok((version == wrote.to_string()).then_some(last))
    })?;
    let heir = spare.replicas.iter().find(|node| node.port() == read.port);
    let heir = heir.ok_or_else(|| Failure(format!("no replica on port {}", read.port)))?;
    spare.primary.stop(Stop::Kill)?;
    // Its backends outlive a killed postmaster by a moment; a write that meets one of them fails, as it should.
    let old = spare.primary.port();
    await_it("the primary to be seen down", PATIENT, || {
        Ok(spare.standing(old)?.ends_with("down").then_some(()))
    })?;
    let without = reader.value(READ)?;
    ensure(without == wrote.to_string(), || {
        format!("with no primary a read gave {without} instead of {wrote}")
    })?;
    writer.ask(WRITE)?;
    heir.promote()?;
    let promoted = Instant::now();
    let answer = writer.answer()?;
    let waited = promoted.elapsed();
    let version = answer
        .rows
        .first()
        .map(|row| row.join("|"))
        .ok_or_else(|| Failure(format!("the write: {:?}", answer.error)))?;
    let place = last(&mut writer)?;
    let is_there = place.target == "primary" && place.port == heir.port();
    ensure(version == (wrote + 1).to_string() && is_there, || {
        format!("after {wrote} came {version} on {}", place.port)
    })?;
    let kept = idle.value("SHOW work_mem")?;
    ensure(kept == "5MB", || {
        format!("an idle client's work_mem became {kept}")
    })?;
    Ok(format!(
        "with no primary a read gave {without}; the write sent then was done {waited:.1?} after 127.0.0.1:{} took \
         writes,\nand gave {version}; an idle client and its settings survived",
        heir.port()
    ))
}

fn fenced(spare: &mut Spare) -> Result<String, Failure> {
    const WRITES: u64 = 20;
    spare.primary.start()?;
    let old = spare.primary.port();
    let (said, _) = await_it("the old primary to be fenced", PATIENT, || {
        let said = spare.standing(old)?;
        Ok(said.starts_with("fenced").then_some(said))
    })?;
    let mut client = spare.client()?;
    let first: u64 = client.value(WRITE)?.parse()?;
    for _ in 1..WRITES {
        let mut client = spare.client()?;
        client.query(WRITE)?;
        let place = last(&mut client)?.port;
        ensure(place != old, || "a write went to the old primary".into())?;
    }
    let after: u64 = client.value(READ)?.parse()?;
    ensure(after == first + WRITES - 1, || {
        format!("{WRITES} writes from {first} on gave {after}")
    })?;
    Ok(format!(
        "SHOW REPLICAS says {said} of 127.0.0.1:{old}; {WRITES} writes went to the new one"
    ))
}
