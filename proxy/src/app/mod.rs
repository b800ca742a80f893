//! The composition root: reads nothing, decides nothing; builds every part, lets them run, and ends them in order.

pub mod accept;
pub mod build;
pub mod caching;
pub mod coordinating;
pub mod log;
pub mod names;
pub mod notify;
pub mod recovery;
pub mod reload;
pub mod topology;
pub mod warming;
pub mod watch;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::command::Patience;
use crate::admin::console::Console;
use crate::admin::http::Site;
use crate::admin::lookout::Lookout;
use crate::client::credentials;
use crate::client::worker::{Common, Order, Worker};
use crate::net::tls::TlsFault;
use crate::snapshot::{Endpoint, Snapshot};
use log::Log;
use reload::Reloader;

/// Where the configuration came from, and can be read again.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file; it is read again when it changes, and on SIGHUP.
    File {
        /// The file.
        path: PathBuf,
        /// Does the command line say how many threads there are?
        has_threads: bool,
    },
    /// The command line; only certificates are read again.
    Dsn,
}

/// Why pgshunt could not start.
#[derive(Debug)]
pub enum StartFault {
    /// An address could not be listened at.
    Listen(String, io::Error),
    /// A certificate or key could not be used.
    Tls(TlsFault),
    /// A thread or runtime could not be made.
    System(io::Error),
}

impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartFault::Listen(address, error) => write!(f, "cannot listen at {address}: {error}"),
            StartFault::Tls(fault) => write!(f, "{fault}"),
            StartFault::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartFault {}

/// Serves until told to stop: SIGTERM and SIGINT let running transactions end, a second one does not wait.
pub fn serve(snapshot: Snapshot, source: Source, log: Log) -> Result<(), StartFault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartFault::System)?;
    let parts = build::build(snapshot)?;
    let local = tokio::task::LocalSet::new();
    let result = local.block_on(&runtime, oversee(parts, source, log));
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn oversee(parts: build::Parts, source: Source, log: Log) -> Result<(), StartFault> {
    let build::Parts {
        common,
        doors,
        questions,
    } = parts;
    let reloader = Reloader::new(common.clone(), source, log).map_err(StartFault::System)?;
    let (lookout, wishes) = Lookout::new(common.clone());
    let mut shutdowns = wishes.shutdowns;
    // The clients' doors open last: who can come in finds everything else there.
    open_for_operators(&lookout).await?;
    let listeners = accept::listen(&common).await?;
    let mut workers = Vec::new();
    let (ended, mut all_ended) = mpsc::channel::<()>(1);
    for (index, orders) in doors.into_iter().enumerate() {
        workers.push(start_worker(index, common.clone(), orders, ended.clone())?);
    }
    drop(ended);
    tokio::task::spawn_local(credentials::serve(questions));
    tokio::task::spawn_local(lookout.clone().keep_samples());
    tokio::task::spawn_local(reloader.serve(wishes.changes));
    tokio::task::spawn_local(topology::serve(common.clone()));
    tokio::task::spawn_local(recovery::serve(common.clone()));
    tokio::task::spawn_local(names::serve(common.clone()));
    tokio::task::spawn_local(caching::serve(common.clone()));
    tokio::task::spawn_local(coordinating::serve(common.clone()));
    tokio::task::spawn_local(warming::serve(common.clone()));
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::task::spawn_local(accept::accept(listener, common.clone())))
        .collect();
    let mut terminate = signal(SignalKind::terminate()).map_err(StartFault::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartFault::System)?;
    notify::tell(notify::State::Ready);
    let patience = tokio::select! {
        _ = terminate.recv() => Patience::Transactions,
        _ = interrupt.recv() => Patience::Transactions,
        Some(patience) = shutdowns.recv() => patience,
    };
    notify::tell(notify::State::Stopping);
    lookout.stops();
    accepting.iter().for_each(|task| task.abort());
    let limit = begin_to_stop(&common, patience);
    tokio::select! {
        _ = all_ended.recv() => {}
        _ = tokio::time::sleep(limit) => tracing::info!("not waiting any longer"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        Some(_) = shutdowns.recv() => {}
    }
    tell(&common, || Order::Kill);
    let _ = tokio::time::timeout(Duration::from_secs(2), all_ended.recv()).await;
    accept::remove_sockets(&common);
    tracing::info!("stopped");
    Ok(())
}

/// Opens the doors of the console and of HTTP.
async fn open_for_operators(lookout: &Rc<Lookout>) -> Result<(), StartFault> {
    let snapshot = lookout.common.snapshot.load_full();
    let (listen, backlog) = (&snapshot.listen, snapshot.limits.listen_backlog);
    if let Some(endpoint) = &listen.admin {
        let listener = accept::open(endpoint, backlog).await?;
        tracing::info!(address = %endpoint, "console");
        let console = Console::new(lookout.clone());
        tokio::task::spawn_local(accept::accept_console(listener, console));
    }
    if let Some(address) = listen.http {
        let listener = accept::open(&Endpoint::Tcp(address), backlog).await?;
        tracing::info!(%address, "HTTP");
        tokio::task::spawn_local(accept::accept_http(listener, Site::new(lookout.clone())));
    }
    Ok(())
}

/// Tells the workers to stop, and says how long they may take.
fn begin_to_stop(common: &Common, patience: Patience) -> Duration {
    tracing::info!(waits_for = ?patience, "stopping");
    match patience {
        Patience::None => Duration::ZERO,
        Patience::Transactions => {
            tell(common, || Order::Stop);
            common.snapshot.load().limits.shutdown_timeout
        }
        Patience::Clients => {
            tell(common, || Order::Drain);
            Duration::MAX
        }
    }
}

fn tell(common: &Common, order: impl Fn() -> Order) {
    common.doors.iter().for_each(|door| {
        let _ = door.send(order());
    });
}

fn start_worker(
    index: usize,
    common: Arc<Common>,
    orders: mpsc::UnboundedReceiver<Order>,
    ended: mpsc::Sender<()>,
) -> Result<std::thread::JoinHandle<()>, StartFault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartFault::System)?;
    let work = move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, Worker::new(index, common).work(orders));
        drop(ended);
    };
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(work)
        .map_err(StartFault::System)
}
