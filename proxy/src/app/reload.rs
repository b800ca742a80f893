//! Follows the configuration while pgshunt runs: when its files change, on SIGHUP, and when the console asks. All of it
//! is taken over, or nothing.

use std::cmp::Ordering;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::log::Log;
use super::watch::Watch;
use super::{Source, StartFault, build, notify};
use crate::admin::lookout::Change;
use crate::client::worker::{Common, Order};
use crate::config::{self, Mistake};
use crate::fault::Fault;
use crate::net::tls::FromClient;
use crate::protocol::sqlstate;
use crate::server::address::Target;
use crate::snapshot::{Database, LogSettings, Snapshot};

/// Mistakes the console is shown; the log has them all.
const MISTAKES_SHOWN: usize = 5;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads the configuration again.
pub struct Reloader {
    common: Arc<Common>,
    source: Source,
    log: Log,
    /// The configuration pgshunt started with.
    started: Arc<Snapshot>,
    hangup: Signal,
    watch: Watch,
}

/// Why a configuration was not taken over.
enum Refusal {
    /// It is wrong.
    Mistakes(Vec<Mistake>),
    /// A file it names can't be used.
    Unusable(StartFault),
}

/// A configuration whose files have been read: nothing can go wrong any more.
struct Ready {
    snapshot: Snapshot,
    tls: FromClient,
    targets: build::Targets,
    coordinators: build::Coordinators,
}

impl Reloader {
    /// Of what pgshunt has just started with.
    pub fn new(common: Arc<Common>, source: Source, log: Log) -> io::Result<Self> {
        let mut reloader = Reloader {
            started: common.snapshot.load_full(),
            common,
            source,
            log,
            hangup: signal(SignalKind::hangup())?,
            watch: Watch::default(),
        };
        reloader.watch.reads(reloader.files());
        Ok(reloader)
    }

    /// Reloads whenever it is asked to, for ever.
    pub async fn serve(mut self, mut changes: mpsc::UnboundedReceiver<Change>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Cancel safe: all three keep what has come until it is taken.
            tokio::select! {
                _ = self.hangup.recv() => {
                    let _ = self.reload("SIGHUP").await;
                }
                change = changes.recv() => match change {
                    Some(Change::Reload(answer)) => {
                        let _ = answer.send(self.reload("the console").await);
                    }
                    Some(Change::Set { key, value, answer }) => {
                        let _ = answer.send(self.set(&key, &value).await);
                    }
                    None => return,
                },
                _ = look.tick() => if self.watch.has_changed() {
                    let _ = self.reload("a changed file").await;
                },
            }
        }
    }

    /// Takes over what the files say now, and says what of it has to wait for a restart.
    async fn reload(&mut self, asked_by: &'static str) -> Result<Vec<String>, Fault> {
        notify::tell(notify::State::Reloading);
        self.watch.reads(self.files());
        let before = self.common.coordinators.load_full();
        let taken = match self
            .read()
            .and_then(|(snapshot, later)| Ok((ready(snapshot, &before)?, later)))
        {
            Ok((ready, later)) => {
                self.take_over(ready).await;
                tracing::info!(asked_by, "configuration reloaded");
                let later = later
                    .iter()
                    .map(|key| format!("{key} has changed: pgshunt follows after a restart only"));
                let later: Vec<_> = later.collect();
                later.iter().for_each(|what| tracing::warn!("{what}"));
                Ok(later)
            }
            Err(refusal) => {
                refusal.log(asked_by);
                Err(refusal.told())
            }
        };
        notify::tell(notify::State::Ready);
        taken
    }

    /// The files the configuration is made of.
    fn files(&self) -> Vec<PathBuf> {
        match &self.source {
            Source::File { path, .. } => config::files(path),
            Source::Dsn => {
                let shards = self
                    .started
                    .databases
                    .iter()
                    .flat_map(|database| &database.shards);
                let files = shards.flat_map(|shard| [&shard.tls.ca, &shard.tls.certificate, &shard.tls.key]);
                files.flatten().cloned().collect()
            }
        }
    }

    /// Changes one value until the next reload.
    async fn set(&self, key: &str, value: &str) -> Result<(), Fault> {
        let now = self.common.snapshot.load_full();
        let snapshot = config::set(&now, key, value).map_err(|mistakes| {
            let shown: Vec<_> = mistakes.iter().map(|mistake| mistake.what.clone()).collect();
            let fault = Fault::error(sqlstate::INVALID_PARAMETER, shown.join("; "));
            match mistakes.into_iter().find_map(|mistake| mistake.hint) {
                Some(hint) => fault.hint(hint),
                None => fault,
            }
        })?;
        let mut targets = build::Targets::clone(&self.common.targets.load());
        for (name, shards) in &mut targets {
            if let Some(database) = snapshot.database(name) {
                let connect_timeout = database.pool.server_connect_timeout;
                for target in shards.iter_mut().flat_map(|servers| &mut servers.targets) {
                    *target = Arc::new(Target {
                        connect_timeout,
                        tcp: snapshot.limits.tcp,
                        ..(**target).clone()
                    });
                }
            }
        }
        let tls = FromClient::clone(&self.common.tls.load());
        self.take_over(Ready {
            snapshot,
            tls,
            targets,
            coordinators: build::Coordinators::clone(&self.common.coordinators.load()),
        })
        .await;
        Ok(())
    }

    /// What is configured now, and what of it can't be followed while pgshunt runs.
    fn read(&self) -> Result<(Snapshot, Vec<&'static str>), Refusal> {
        let (path, has_threads) = match &self.source {
            Source::File { path, has_threads } => (path, *has_threads),
            Source::Dsn => return Ok(((*self.started).clone(), Vec::new())),
        };
        let read = config::load(path).map_err(Refusal::Mistakes)?;
        let now = self.common.snapshot.load();
        older_catalogs(&now, &read)?;
        let changed = [
            ("threads", read.threads != now.threads && !has_threads),
            ("clients in [listen]", read.listen.clients != now.listen.clients),
            ("admin in [listen]", read.listen.admin != now.listen.admin),
            ("http in [listen]", read.listen.http != now.listen.http),
            ("format in [log]", read.log.format != now.log.format),
        ];
        let later = changed.into_iter().filter_map(|(key, is)| is.then_some(key));
        let snapshot = Snapshot {
            listen: now.listen.clone(),
            log: LogSettings {
                format: now.log.format,
                ..read.log
            },
            threads: now.threads,
            ..read
        };
        Ok((snapshot, later.collect()))
    }

    async fn take_over(&self, ready: Ready) {
        // INVARIANT: the snapshot comes last; whoever finds a database in it finds its targets and its cluster.
        let before = self.common.clusters.load();
        let clusters = build::clusters(&ready.snapshot, &ready.targets, &before);
        self.common.clusters.store(Arc::new(clusters));
        self.common.coordinators.store(Arc::new(ready.coordinators));
        self.common.targets.store(Arc::new(ready.targets));
        self.common.tls.store(Arc::new(ready.tls));
        self.log.follow(&ready.snapshot.log);
        self.common.snapshot.store(Arc::new(ready.snapshot));
        let tell = |door: &mpsc::UnboundedSender<Order>| {
            let (answer, told) = oneshot::channel();
            let _ = door.send(Order::Reload(answer));
            told
        };
        let followed: Vec<_> = self.common.doors.iter().map(tell).collect();
        for told in followed {
            // A worker that has ended has nothing to follow.
            let _ = told.await;
        }
    }
}

/// Refuses a catalog that is older than the one in force: what has been placed since would be looked for elsewhere.
fn older_catalogs(now: &Snapshot, read: &Snapshot) -> Result<(), Refusal> {
    let mistake = |database: &Database| {
        let mut known = now.databases.iter();
        let known = known
            .find(|known| known.name == database.name)?
            .sharding
            .as_ref()?;
        let new = database.sharding.as_ref()?;
        let (before, after) = (known.catalog.as_ref()?, new.catalog.as_ref()?);
        let what = match after.epoch.cmp(&before.epoch) {
            _ if after.file != before.file => return None,
            Ordering::Greater => return None,
            Ordering::Equal if new.placement.catalog() == known.placement.catalog() => return None,
            Ordering::Equal => format!("has changed, and its epoch is {} as before", after.epoch),
            Ordering::Less => format!(
                "is of epoch {}, and that of epoch {} is in force",
                after.epoch, before.epoch
            ),
        };
        Some(Mistake {
            file: after.file.clone(),
            line: None,
            what,
            hint: Some("the epoch grows with every change: `pgshunt tenant set` sees to it".into()),
        })
    };
    match read.databases.iter().filter_map(mistake).collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        mistakes => Err(Refusal::Mistakes(mistakes)),
    }
}

fn ready(snapshot: Snapshot, before: &build::Coordinators) -> Result<Ready, Refusal> {
    Ok(Ready {
        tls: build::from_client(&snapshot).map_err(Refusal::Unusable)?,
        targets: build::targets(&snapshot).map_err(Refusal::Unusable)?,
        coordinators: build::coordinators(&snapshot, before).map_err(Refusal::Unusable)?,
        snapshot,
    })
}

impl Refusal {
    fn log(&self, asked_by: &str) {
        tracing::error!(asked_by, "the configuration is wrong: nothing was changed");
        match self {
            Refusal::Mistakes(mistakes) => mistakes
                .iter()
                .for_each(|mistake| tracing::error!("{}", one_line(mistake))),
            Refusal::Unusable(fault) => tracing::error!("{fault}"),
        }
    }

    fn told(&self) -> Fault {
        let because = |first: String| {
            Fault::error(
                sqlstate::CONFIG_FILE_ERROR,
                format!("nothing was changed: {first}"),
            )
        };
        match self {
            Refusal::Mistakes(mistakes) => {
                let mut shown = mistakes.iter().take(MISTAKES_SHOWN).map(one_line);
                let fault = because(shown.next().unwrap_or_default());
                let more: Vec<_> = shown.collect();
                match more.is_empty() {
                    true => fault,
                    false => fault.detail(more.join("\n")),
                }
            }
            Refusal::Unusable(fault) => because(fault.to_string()),
        }
    }
}

fn one_line(mistake: &Mistake) -> String {
    mistake.to_string().replace("\n  hint: ", " (") + if mistake.hint.is_some() { ")" } else { "" }
}
