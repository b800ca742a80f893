//! From an accepted socket to a logged-in client: greeting, limits, proof, and what a PostgreSQL says at the end of it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use super::handle::{Handle, Identity};
use super::handshake::{Arrived, Ended, Opened, greet, refuse};
use super::introduce::{NotWelcome, introduce};
use super::relay::Client;
use super::replicate::{self, Replication};
use super::worker::{Accepted, Counted, Worker};
use crate::fault::{Fault, Severity};
use crate::net::buffer::{Inbox, Outbox};
use crate::net::socket;
use crate::net::stream::{Socket, Stream};
use crate::pool::settings::Mode;
use crate::pool::{Key, Pool};
use crate::protocol::auth::messages;
use crate::protocol::session::Session;
use crate::protocol::session::pin::Pin;
use crate::protocol::session::settings::{Settings, Shared};
use crate::protocol::startup::Startup;
use crate::protocol::{reply, sqlstate};
use crate::server::address::Target;
use crate::snapshot::Snapshot;

/// Serves one connection from its first byte to its last.
pub async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    worker.logging_in.set(worker.logging_in.get() + 1);
    // The login is large and short: boxed, it is gone while the client idles.
    let client = Box::pin(log_in(&worker, accepted)).await;
    worker.logging_in.set(worker.logging_in.get() - 1);
    match client {
        Some((LoggedIn::Client(client), _counted)) => client.run().await,
        Some((LoggedIn::Replication(replication), _counted)) => replication.run().await,
        None => {}
    }
}

/// A client that has proved who it is.
enum LoggedIn {
    Client(Box<Client>),
    Replication(Box<Replication>),
}

async fn log_in(worker: &Rc<Worker>, accepted: Accepted) -> Option<(LoggedIn, Counted)> {
    let snapshot = worker.common.snapshot.load_full();
    let limit = snapshot.limits.client_login_timeout;
    let within = tokio::time::timeout(limit, log_in_patiently(worker, &snapshot, accepted));
    match within.await {
        Ok(client) => client,
        Err(_) => {
            tracing::info!("a client took longer than client_login_timeout to log in");
            None
        }
    }
}

async fn log_in_patiently(
    worker: &Rc<Worker>,
    snapshot: &Arc<Snapshot>,
    accepted: Accepted,
) -> Option<(LoggedIn, Counted)> {
    let (socket, peer) = adopt(accepted)?;
    let tls = worker.common.tls.load_full();
    let arrived = match greet(socket, &tls).await {
        Opened::Client(arrived) => *arrived,
        Opened::Cancel { pid, secret } => {
            worker.pass_cancel(pid, secret);
            return None;
        }
        Opened::Refused(fault) => {
            tracing::info!(?peer, %fault, "a connection was refused");
            return None;
        }
        Opened::Gone(_) => return None,
    };
    let user = arrived.startup.user.clone();
    match admit(worker, snapshot, arrived, peer).await {
        Ok(client) => Some(client),
        Err(Ended::Refused(fault)) => {
            tracing::info!(?peer, user, %fault, "a login was refused");
            None
        }
        Err(Ended::Gone(_)) => None,
    }
}

/// Makes an accepted socket one of this thread's.
pub fn adopt(accepted: Accepted) -> Option<(Socket, Option<SocketAddr>)> {
    let adopted = match accepted {
        Accepted::Tcp(tcp, peer) => TcpStream::from_std(tcp).and_then(|tcp| {
            socket::tune(&tcp, &socket::Settings::default())?;
            Ok((Socket::Tcp(tcp), Some(peer)))
        }),
        Accepted::Unix(unix) => UnixStream::from_std(unix).map(|unix| (Socket::Unix(unix), None)),
    };
    adopted
        .inspect_err(|error| tracing::warn!(%error, "a connection could not be taken over"))
        .ok()
}

async fn admit(
    worker: &Rc<Worker>,
    snapshot: &Arc<Snapshot>,
    mut arrived: Arrived,
    peer: Option<SocketAddr>,
) -> Result<(LoggedIn, Counted), Ended> {
    let common = &worker.common;
    let Some(counted) = Counted::new(common, snapshot.limits.max_client_conn) else {
        let fault = Fault::fatal(
            sqlstate::TOO_MANY_CONNECTIONS,
            "no more connections allowed (max_client_conn)",
        );
        return Err(refuse(&mut arrived.stream, fault).await);
    };
    if worker.stopping.get() || worker.draining.get() {
        let fault = Fault::fatal(
            sqlstate::CANNOT_CONNECT_NOW,
            "the database system is shutting down",
        );
        return Err(refuse(&mut arrived.stream, fault).await);
    }
    if let Some(fault) = unsupported(&arrived.startup) {
        return Err(refuse(&mut arrived.stream, fault).await);
    }
    let key = Key {
        database: arrived.startup.database.clone(),
        user: arrived.startup.user.clone(),
    };
    // An unknown database meets the same exchange as a known one, and hears of it only afterwards.
    let target = any_target(worker, snapshot, &key.database);
    let found = match target {
        Some(target) => {
            common
                .lookup
                .find(snapshot.clone(), target, &key.database, &key.user)
                .await
        }
        None => Err(Fault::fatal(
            sqlstate::NO_SUCH_DATABASE,
            format!("database \"{}\" does not exist", key.database),
        )),
    };
    let found = match found {
        Ok(found) => found,
        Err(fault) => return Err(refuse(&mut arrived.stream, fault).await),
    };
    let proof = arrived.authenticate(found.credential).await?;
    if replicate::is_asked_for(&arrived.startup) {
        let targets = all_targets(worker, snapshot, &key.database);
        let secret = found.login.unwrap_or(proof);
        let replication = replicate::begin(worker, arrived, &targets, &secret).await?;
        return Ok((LoggedIn::Replication(Box::new(replication)), counted));
    }
    let Some(pool) = worker.pool(key.clone(), snapshot) else {
        let fault = Fault::fatal(
            sqlstate::NO_SUCH_DATABASE,
            format!("database \"{}\" does not exist", key.database),
        );
        return Err(refuse(&mut arrived.stream, fault).await);
    };
    pool.know(found.login.unwrap_or(proof));
    let startup = startup_settings(&arrived.startup);
    let (startup, reported) = match introduce(&pool, startup, &worker.buffers).await {
        Ok(known) => known,
        Err(NotWelcome::Fault(fault)) => {
            let fault = Fault {
                severity: Severity::Fatal,
                ..fault
            };
            return Err(refuse(&mut arrived.stream, fault).await);
        }
    };
    let id = common.client_ids.fetch_add(1, Ordering::Relaxed);
    let mut session = Session::new(id, startup, reported);
    if pool.plan.settings.mode == Mode::Session {
        session.pins.insert(Pin::SessionMode);
    }
    let client = welcome(worker, snapshot, arrived, (peer, pool), session).await;
    client
        .map(|client| (LoggedIn::Client(Box::new(client)), counted))
        .map_err(|error| Ended::Gone(Some(error)))
}

/// What a client may ask for at startup that this version can't give.
fn unsupported(startup: &Startup) -> Option<Fault> {
    startup.unknown_options.then(|| {
        Fault::fatal(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "pgshunt takes only -c name=value and --name=value in options",
        )
    })
}

fn any_target(worker: &Worker, snapshot: &Snapshot, database: &str) -> Option<Arc<Target>> {
    all_targets(worker, snapshot, database).into_iter().next()
}

fn all_targets(worker: &Worker, snapshot: &Snapshot, database: &str) -> Vec<Arc<Target>> {
    let targets = worker.common.targets.load();
    let found = snapshot
        .database(database)
        .and_then(|found| targets.get(&found.name));
    found.cloned().unwrap_or_default()
}

/// The settings a startup packet asks for; later ones win, as at a PostgreSQL.
fn startup_settings(startup: &Startup) -> Shared {
    let all = startup.settings.iter().chain(&startup.params);
    let settings = all.filter(|(name, _)| name != b"replication" && !name.is_empty());
    Arc::new(Settings::collect(settings.cloned()))
}

/// The last messages of a login: parameters, cancel key, ready.
async fn welcome(
    worker: &Rc<Worker>,
    snapshot: &Snapshot,
    arrived: Arrived,
    (peer, pool): (Option<SocketAddr>, Rc<Pool>),
    session: Session,
) -> std::io::Result<Client> {
    let tls = arrived
        .tls
        .as_ref()
        .map(|tls| tls.description.as_str().into())
        .unwrap_or_default();
    let (mut stream, _, rest): (Stream, Startup, Vec<u8>) = arrived.into_parts();
    let id = session.id();
    let mut secret = [0; 4];
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| std::io::Error::other("the system gives no random bytes"))?;
    let pid = worker.pid_for(id);
    let mut out = Vec::new();
    for (name, value) in session.reported.iter() {
        reply::parameter_status(&mut out, name, value);
    }
    messages::backend_key_data(&mut out, pid, &secret);
    reply::ready_for_query(&mut out, b'I');
    stream.write_all(&out).await?;
    stream.flush().await?;
    pool.totals.borrow_mut().client_login_count += 1;
    pool.clients.set(pool.clients.get() + 1);
    let application_name = session.settings.value(b"application_name").unwrap_or_default();
    let application_name = String::from_utf8_lossy(application_name).into();
    let identity = Identity {
        id,
        pid,
        secret,
        peer,
        local: stream.local_addr(),
        tls,
        application_name,
    };
    let handle = Handle::new(identity, pool);
    worker.clients.borrow_mut().insert(id, handle.clone());
    Ok(Client {
        stream,
        inbox: if rest.is_empty() {
            Inbox::default()
        } else {
            Inbox::with(rest)
        },
        outbox: Outbox::default(),
        session,
        handle,
        worker: worker.clone(),
        message_max: snapshot.limits.max_packet_size,
        lease: None,
        last_server: 0,
        ticket: None,
        grows: false,
    })
}
