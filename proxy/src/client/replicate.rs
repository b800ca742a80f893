//! Replication connections, physical and logical: logged in like any other, then passed through whole, byte by byte, on a
//! server connection of their own that no pool ever sees.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::sync::Notify;

use super::handshake::{Arrived, Ended, refuse};
use super::switches::means;
use super::worker::{Common, Worker};
use crate::fault::{Fault, Severity};
use crate::net::buffer::BUFFER;
use crate::net::stream::Stream;
use crate::protocol::auth::{Secret, messages, same_secret};
use crate::protocol::reply;
use crate::protocol::startup::Startup;
use crate::server;
use crate::server::address::Target;
use crate::server::connect::{ConnectFault, LoggedIn, connect};
use crate::server::held::CancelPoint;
use crate::snapshot::Snapshot;

/// A client and the server it has for itself.
pub struct Replication {
    client: Stream,
    server: Stream,
    listed: Arc<Listed>,
    worker: Rc<Worker>,
}

/// What all workers know of a replication connection.
pub struct Listed {
    /// The database as its client names it.
    database: String,
    /// How to cancel on its server.
    cancel: CancelPoint,
    /// Told when it must end.
    end: Notify,
}

/// Does the client ask for the replication protocol? PostgreSQL takes a boolean or `database`.
pub fn is_asked_for(startup: &Startup) -> bool {
    let asked = startup.param(b"replication").map(<[u8]>::to_ascii_lowercase);
    asked.is_some_and(|asked| !matches!(&asked[..], b"false" | b"off" | b"no" | b"0"))
}

/// Connects a client that has proved who it is, and tells it what its server says of itself.
pub async fn begin(
    worker: &Rc<Worker>,
    mut arrived: Arrived,
    targets: &[Arc<Target>],
    secret: &Secret,
) -> Result<Replication, Ended> {
    let (target, server) = match reach(&arrived.startup, targets, secret).await {
        Ok(reached) => reached,
        Err(fault) => {
            let fault = Fault {
                severity: Severity::Fatal,
                ..fault.for_client()
            };
            return Err(refuse(&mut arrived.stream, fault).await);
        }
    };
    let LoggedIn {
        stream: mut upstream,
        pid,
        cancel_secret,
        parameters,
        rest,
    } = server;
    let mut out = Vec::new();
    for (name, value) in &parameters {
        reply::parameter_status(&mut out, name, value);
    }
    messages::backend_key_data(&mut out, pid, &cancel_secret);
    reply::ready_for_query(&mut out, b'I');
    out.extend_from_slice(&rest);
    let (mut client, startup, ahead) = arrived.into_parts();
    let database = startup.database;
    let gone = |error| Ended::Gone(Some(error));
    client.write_all(&out).await.map_err(gone)?;
    client.flush().await.map_err(gone)?;
    upstream.write_all(&ahead).await.map_err(gone)?;
    upstream.flush().await.map_err(gone)?;
    let cancel = CancelPoint {
        target,
        pid,
        secret: cancel_secret,
        on_their_way: AtomicU32::new(0),
        hail: None,
    };
    let listed = Arc::new(Listed {
        database,
        cancel,
        end: Notify::new(),
    });
    worker.common.replicating().push(listed.clone());
    Ok(Replication {
        client,
        server: upstream,
        listed,
        worker: worker.clone(),
    })
}

/// The first server that is no standby; if all are, the first that lets the client in.
async fn reach(
    startup: &Startup,
    targets: &[Arc<Target>],
    secret: &Secret,
) -> Result<(Arc<Target>, LoggedIn), ConnectFault> {
    let params: Vec<_> = startup.settings.iter().chain(&startup.params).cloned().collect();
    let (mut standby, mut failure) = (None, None);
    for target in targets {
        let target = Arc::new(Target {
            dbname: startup.database.clone(),
            ..(**target).clone()
        });
        match connect(&target, &startup.user, secret, &params).await {
            Ok(server) => {
                let reports =
                    |(name, value): &(Vec<u8>, Vec<u8>)| name == b"in_hot_standby" && value == b"on";
                if !server.parameters.iter().any(reports) {
                    return Ok((target, server));
                }
                standby.get_or_insert((target, server));
            }
            Err(fault) => failure = Some(fault),
        }
    }
    match (standby, failure) {
        (Some(standby), _) => Ok(standby),
        (None, Some(failure)) => Err(failure),
        (None, None) => Err(ConnectFault::Unreachable(std::io::ErrorKind::NotFound.into())),
    }
}

impl Replication {
    /// Passes bytes both ways until one side ends, or pgshunt does.
    pub async fn run(mut self) {
        let worker = self.worker.clone();
        worker.replications.set(worker.replications.get() + 1);
        let both = copy_bidirectional_with_sizes(&mut self.client, &mut self.server, BUFFER, BUFFER);
        // Whichever ends first ends both: nothing is kept of either.
        tokio::select! {
            _ = both => {}
            () = worker.ending.notified() => {}
            () = self.listed.end.notified() => {}
        }
        worker.replications.set(worker.replications.get() - 1);
        let mut replicating = worker.common.replicating();
        replicating.retain(|each| !Arc::ptr_eq(each, &self.listed));
    }
}

/// Ends the replication connections of a database (`None`: of all), whichever worker has them.
pub fn end_all(common: &Common, database: Option<&str>, snapshot: &Snapshot) {
    let replicating = common.replicating();
    let meant = replicating
        .iter()
        .filter(|each| database.is_none_or(|said| means(said, &each.database, snapshot)));
    meant.for_each(|each| each.end.notify_one());
}

/// Cancels what a replication connection is doing, if it was given this key.
pub fn cancel(worker: &Worker, pid: i32, secret: &[u8]) -> bool {
    let found = worker
        .common
        .replicating()
        .iter()
        .find(|each| each.cancel.pid == pid && same_secret(&each.cancel.secret, secret))
        .cloned();
    let Some(listed) = found else { return false };
    tokio::task::spawn_local(async move {
        let point = &listed.cancel;
        if let Err(error) = server::cancel::cancel(&point.target, point.pid, &point.secret, PATIENCE).await {
            tracing::warn!(address = %point.target.address, %error, "a cancel request could not be passed on");
        }
    });
    true
}

/// The longest a cancel request may take.
const PATIENCE: Duration = Duration::from_secs(10);
