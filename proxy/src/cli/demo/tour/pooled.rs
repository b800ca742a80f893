//! Many clients, few servers: pgbench through a small pool, by each protocol.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::super::Failure;
use super::super::programs::pgbench;
use super::super::stage::{APPLICATION, FEW, POOL, Stage, TOURIST};
use super::super::wire::Client;
use super::{Promise, Subject, ensure, grouped};

pub(super) const SUBJECT: Subject = Subject {
    title: "Many clients, few servers",
    promises: &[
        Promise {
            words: "400 idle clients hold no server and little memory",
            show: idle,
        },
        Promise {
            words: "64 clients read by the simple protocol on at most 10 servers of the replica",
            show: |stage| reads(stage, "simple"),
        },
        Promise {
            words: "64 clients read by the extended protocol on at most 10 servers of the replica",
            show: |stage| reads(stage, "extended"),
        },
        Promise {
            words: "64 clients read with prepared statements on at most 10 servers of the replica",
            show: |stage| reads(stage, "prepared"),
        },
        Promise {
            words: "32 clients write in transactions, and not one is lost or done twice",
            show: writes,
        },
        Promise {
            words: "Clients that have only said BEGIN hold no server",
            show: only_begun,
        },
    ],
};

const READ: &str = "\
\\set tenant random(1, 100)
\\set customer random(1, 10)
SELECT order_id, amount, status FROM fact_order
WHERE tenant_id = ('00000000-0000-4000-8000-' || lpad(:tenant::text, 12, '0'))::uuid AND customer_id = :customer
  AND order_date >= '2026-12-01' ORDER BY order_date LIMIT 10;
";

const WRITE: &str = "\
\\set tenant random(1, 100)
\\set amount random(100, 100000)
BEGIN;
UPDATE tenant_config SET version = version + 1, updated_at = now()
WHERE tenant_id = ('00000000-0000-4000-8000-' || lpad(:tenant::text, 12, '0'))::uuid AND config_key = 'locale';
SELECT config_value FROM tenant_config
WHERE tenant_id = ('00000000-0000-4000-8000-' || lpad(:tenant::text, 12, '0'))::uuid;
INSERT INTO fact_order (tenant_id, order_date, customer_id, category, channel, quantity, amount, cost, note)
VALUES (('00000000-0000-4000-8000-' || lpad(:tenant::text, 12, '0'))::uuid, '2026-12-31', 1, 'service', 'online', 1,
        :amount / 100.0, :amount / 200.0, 'tour');
END;
";

fn reads(stage: &mut Stage, protocol: &str) -> Result<String, Failure> {
    let script = script(stage, "read.sql", READ)?;
    let watch = Watch::start(stage, APPLICATION)?;
    let arguments = ["-M", protocol, "-c", "64", "-j", "2", "-t", "100", "-f", &script];
    let figures = pgbench(&stage.installation, &stage.through(APPLICATION), &arguments)?;
    let most = watch.end()?;
    ensure(figures.transactions == 6400, || {
        format!("{} of 6,400 were done", figures.transactions)
    })?;
    let (primary, replica) = (most[0], most[1]);
    ensure(primary <= POOL && (1..=POOL).contains(&replica), || {
        format!("{primary} servers of the primary and {replica} of the replica were in use")
    })?;
    Ok(format!(
        "6,400 queries, no error, {:.0} a second, {replica} servers of the replica at most",
        figures.tps
    ))
}

fn writes(stage: &mut Stage) -> Result<String, Failure> {
    let script = script(stage, "write.sql", WRITE)?;
    let mut observer = stage.superuser(&stage.primary)?;
    let mut state = || -> Result<(u64, u64), Failure> {
        let versions = observer
            .value("SELECT sum(version) FROM tenant_config")?
            .parse()?;
        let orders = observer
            .value("SELECT count(*) FROM fact_order WHERE note = 'tour'")?
            .parse()?;
        Ok((versions, orders))
    };
    let before = state()?;
    let watch = Watch::start(stage, APPLICATION)?;
    let mut done = 0;
    for protocol in ["simple", "extended", "prepared"] {
        let arguments = ["-M", protocol, "-c", "32", "-j", "2", "-t", "20", "-f", &script];
        let figures = pgbench(&stage.installation, &stage.through(APPLICATION), &arguments)?;
        done += figures.transactions;
    }
    let most = watch.end()?[0];
    let after = state()?;
    let (versions, orders) = (after.0 - before.0, after.1 - before.1);
    ensure(done == 1920 && versions == done && orders == done, || {
        format!("{done} transactions left {versions} updates and {orders} inserts")
    })?;
    ensure((1..=POOL).contains(&most), || {
        format!("{most} servers were in use")
    })?;
    Ok(format!(
        "1,920 transactions by three protocols: {versions} updates, {orders} inserts, {most} servers at most"
    ))
}

fn idle(stage: &mut Stage) -> Result<String, Failure> {
    const CLIENTS: u64 = 400;
    let visitors = visitors(stage, CLIENTS)?;
    let total = stage.proxy.memory()?;
    // What pgshunt allocates once, at the first clients, is counted as theirs: the true figure is lower.
    let each = total.saturating_sub(stage.proxy.empty) / CLIENTS;
    let mut observer = stage.superuser(&stage.primary)?;
    let servers = servers(&mut observer, APPLICATION)?;
    drop(visitors);
    ensure(servers <= POOL, || format!("{servers} servers were in use"))?;
    ensure(each <= 32 * 1024, || format!("each took {} bytes", grouped(each)))?;
    Ok(format!(
        "{CLIENTS} clients, {servers} servers, at most {:.1} KiB of pgshunt's memory for each, {:.0} MiB in all",
        each as f64 / 1024.0,
        total as f64 / 1048576.0
    ))
}

/// Clients that have asked one thing and now sit there.
fn visitors(stage: &Stage, count: u64) -> Result<Vec<Client>, Failure> {
    let visitor = || {
        let mut client = stage.client(APPLICATION)?;
        client.query("SELECT 1")?;
        Ok(client)
    };
    (0..count).map(|_| visitor()).collect()
}

fn only_begun(stage: &mut Stage) -> Result<String, Failure> {
    let mut begun = Vec::new();
    for _ in 0..10 * FEW {
        let mut client = stage.client(TOURIST)?;
        let answer = client.query("BEGIN")?;
        ensure(answer.status == b'T', || "BEGIN was not answered".into())?;
        begun.push(client);
    }
    let mut other = stage.client(TOURIST)?;
    let one = other.value("SELECT 1")?;
    ensure(one == "1", || format!("SELECT 1 gave {one}"))?;
    for client in &mut begun {
        client.query("SELECT 1")?;
        client.query("COMMIT")?;
    }
    Ok(format!(
        "{} of them on {FEW} servers, and others were served meanwhile",
        begun.len()
    ))
}

fn script(stage: &Stage, name: &str, text: &str) -> Result<String, Failure> {
    let file = stage.scratch.path().join(name);
    fs::write(&file, text)?;
    Ok(file.to_string_lossy().into_owned())
}

/// Counts a role's servers as primary and replica see them, again and again, and remembers the most of each.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<[usize; 2], Failure>>,
}

impl Watch {
    fn start(stage: &Stage, role: &'static str) -> Result<Watch, Failure> {
        let mut observers = [stage.superuser(&stage.primary)?, stage.superuser(&stage.replica)?];
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut most = [0; 2];
            while !stopped.load(Ordering::Relaxed) {
                for (most, observer) in most.iter_mut().zip(&mut observers) {
                    *most = servers(observer, role)?.max(*most);
                }
                thread::sleep(Duration::from_millis(20));
            }
            Ok(most)
        });
        Ok(Watch { stop, thread })
    }

    fn end(self) -> Result<[usize; 2], Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err(Failure("the watch broke".into())))
    }
}

/// A role's servers, as PostgreSQL sees them.
fn servers(observer: &mut Client, role: &str) -> Result<usize, Failure> {
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
    Ok(observer.value(&count)?.parse()?)
}
