//! From an accepted socket to a logged-in client: greeting, limits, proof, and what a PostgreSQL says at the end of it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use super::certificate::held_against;
use super::gate::{Arrival, Pass};
use super::handle::{Handle, Identity};
use super::handshake::{Arrived, Ended, Opened, greet, refuse};
use super::introduce::{NotWelcome, introduce};
use super::mode;
use super::relay::Client;
use super::replicate::{self, Replication};
use super::route::Routing;
use super::route::named_shard;
use super::worker::{Accepted, Common, Counted, Worker};
use crate::fault::{Fault, Severity};
use crate::metrics::Limit;
use crate::net::buffer::{Inbox, Outbox};
use crate::net::socket;
use crate::net::stream::{Socket, Stream};
use crate::pool::{Pool, Reads};
use crate::protocol::auth::{Secret, messages};
use crate::protocol::session::Session;
use crate::protocol::session::ours;
use crate::protocol::session::reported::IN_HOT_STANDBY;
use crate::protocol::session::settings::{Settings, Shared};
use crate::protocol::startup::Startup;
use crate::protocol::{reply, sqlstate};
use crate::server::address::{Servers, Target};
use crate::snapshot::Snapshot;

/// Serves one connection from its first byte to its last.
pub async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    worker.logging_in.set(worker.logging_in.get() + 1);
    // The login is large and short: boxed, it is gone while the client idles.
    let login = Box::pin(log_in(&worker, accepted));
    let client = tokio::select! {
        biased;
        client = login => client,
        () = stopped(&worker) => None,
    };
    worker.logging_in.set(worker.logging_in.get() - 1);
    match client {
        Some((LoggedIn::Client(client), _stay)) => client.run().await,
        Some((LoggedIn::Replication(replication), _stay)) => replication.run().await,
        None => {}
    }
}

/// Returns when logins have had their time after an order to stop.
async fn stopped(worker: &Worker) {
    worker.ending.notified().await;
    tokio::time::sleep(LAST_LOGINS).await;
}

/// How long logins may go on when pgshunt stops: a client that says nothing does not keep it from ending.
const LAST_LOGINS: Duration = Duration::from_secs(1);

/// A client that has proved who it is.
enum LoggedIn {
    Client(Box<Client>),
    Replication(Box<Replication>),
}

/// The places a client takes while it is here.
struct Stay {
    _counted: Counted,
    _arrival: Arrival,
    _passes: Vec<Pass>,
}

async fn log_in(worker: &Rc<Worker>, accepted: Accepted) -> Option<(LoggedIn, Stay)> {
    let snapshot = worker.common.snapshot.load_full();
    let patiently = log_in_patiently(worker, &snapshot, accepted);
    let limit = snapshot.limits.client_login_timeout;
    if limit.is_zero() {
        return patiently.await;
    }
    match tokio::time::timeout(limit, patiently).await {
        Ok(client) => client,
        Err(_) => {
            worker.common.gate.meets(Limit::ClientLoginTimeout);
            tracing::info!("a client took longer than client_login_timeout to log in");
            None
        }
    }
}

async fn log_in_patiently(
    worker: &Rc<Worker>,
    snapshot: &Arc<Snapshot>,
    accepted: Accepted,
) -> Option<(LoggedIn, Stay)> {
    let (socket, peer) = adopt(accepted, &snapshot.limits.tcp)?;
    let address = peer.map(|peer| peer.ip());
    let gate = &worker.common.gate;
    let mut arrival = gate.arrives(address, &snapshot.limits)?;
    let turn = gate.begins_login(&snapshot.limits).await;
    let tls = worker.common.tls.load_full();
    let mut arrived = match greet(socket, &tls).await {
        Opened::Client(arrived) => *arrived,
        Opened::Cancel { pid, secret } => {
            if gate.may_cancel(address, &snapshot.limits, Instant::now()) {
                worker.pass_cancel(pid, secret);
            }
            return None;
        }
        Opened::Refused(fault) => {
            tracing::info!(?peer, %fault, "a connection was refused");
            return None;
        }
        Opened::Gone(_) => return None,
    };
    let user = arrived.startup.user.clone();
    let admitted = match arrival.refused.take() {
        Some(fault) => {
            gate.meets(Limit::MaxClientConnPerAddress);
            Err(refuse(&mut arrived.stream, fault).await)
        }
        None => admit(worker, snapshot, arrived, (peer, turn)).await,
    };
    match admitted {
        Ok((client, counted, passes)) => {
            let stay = Stay {
                _counted: counted,
                _arrival: arrival,
                _passes: passes,
            };
            Some((client, stay))
        }
        Err(Ended::Refused(fault)) => {
            tracing::info!(?peer, user, %fault, "a login was refused");
            None
        }
        Err(Ended::Gone(_)) => None,
    }
}

/// Makes an accepted socket one of this thread's.
pub fn adopt(accepted: Accepted, settings: &socket::Settings) -> Option<(Socket, Option<SocketAddr>)> {
    let adopted = match accepted {
        Accepted::Tcp(tcp, peer) => TcpStream::from_std(tcp).and_then(|tcp| {
            socket::tune(&tcp, settings)?;
            Ok((Socket::Tcp(tcp), Some(peer)))
        }),
        Accepted::Unix(unix) => UnixStream::from_std(unix).map(|unix| (Socket::Unix(unix), None)),
    };
    adopted
        .inspect_err(|error| tracing::warn!(%error, "a connection could not be taken over"))
        .ok()
}

/// From a name to a client: its proof, its places, its server's greeting.
async fn admit(
    worker: &Rc<Worker>,
    snapshot: &Arc<Snapshot>,
    mut arrived: Arrived,
    (peer, turn): (Option<SocketAddr>, Pass),
) -> Result<(LoggedIn, Counted, Vec<Pass>), Ended> {
    let common = &worker.common;
    let counted = match before_the_proof(worker, snapshot, &arrived.startup) {
        Ok(counted) => counted,
        Err(fault) => return Err(refuse(&mut arrived.stream, fault).await),
    };
    let named = (arrived.startup.database.clone(), arrived.startup.user.clone());
    let (database, user) = (&named.0, &named.1);
    let secret = prove(common, snapshot, &mut arrived, (database, user)).await?;
    // From here on it may have to wait for a server, which is nobody else's fault.
    drop(turn);
    // Only whoever has proved to be somebody learns which databases there are.
    if snapshot.database(database).is_none() {
        return Err(refuse(&mut arrived.stream, no_such_database(database)).await);
    }
    let disabled = common.switches.load().refusal(database, snapshot);
    if let Some(fault) = disabled {
        return Err(refuse(&mut arrived.stream, fault).await);
    }
    let passes = match common.gate.admits(snapshot, database, user) {
        Ok(passes) => passes,
        Err(fault) => return Err(refuse(&mut arrived.stream, fault).await),
    };
    if replicate::is_asked_for(&arrived.startup) {
        if common.switches.load().is_paused(database, snapshot) {
            return Err(refuse(&mut arrived.stream, paused(database)).await);
        }
        let targets = match replicated(worker, snapshot, &arrived.startup) {
            Ok(targets) => targets,
            Err(fault) => return Err(refuse(&mut arrived.stream, fault).await),
        };
        let replication = replicate::begin(worker, arrived, &targets, &secret).await?;
        return Ok((LoggedIn::Replication(Box::new(replication)), counted, passes));
    }
    let Some(pool) = worker.first_pool(database, user) else {
        return Err(refuse(&mut arrived.stream, no_such_database(database)).await);
    };
    pool.know(secret);
    let mut startup = startup_settings(&arrived.startup);
    if let Err(fault) = fits_database(&mut startup, &pool.reads()) {
        return Err(refuse(&mut arrived.stream, fault).await);
    }
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
    mode::follow(&mut session, pool.mode());
    let client = welcome(worker, snapshot, arrived, (peer, pool), session).await;
    client
        .map(|client| (LoggedIn::Client(Box::new(client)), counted, passes))
        .map_err(|error| Ended::Gone(Some(error)))
}

/// A role that is bound to a tenant begins with it, and a shard that is asked for must be there.
fn fits_database(startup: &mut Shared, reads: &Reads) -> Result<(), Fault> {
    if let Some(shard) = startup.value(b"pgshunt.target").and_then(named_shard)
        && reads.clusters.iter().all(|cluster| *cluster.name != *shard)
    {
        let text = format!("there is no shard \"{shard}\"");
        return Err(Fault::fatal(sqlstate::UNDEFINED_OBJECT, text));
    }
    let Some(tenant) = &reads.tenant else {
        return Ok(());
    };
    match startup.value(b"pgshunt.tenant") {
        Some(own) if own != tenant.as_bytes() => {
            let text = "permission denied to set parameter \"pgshunt.tenant\"";
            let fault = Fault::fatal(sqlstate::INSUFFICIENT_PRIVILEGE, text);
            return Err(fault.detail("The role is bound to one tenant."));
        }
        Some(_) => {}
        None => Arc::make_mut(startup).set(b"pgshunt.tenant", tenant.as_bytes()),
    }
    Ok(())
}

/// What can be refused whoever it is.
fn before_the_proof(worker: &Worker, snapshot: &Snapshot, startup: &Startup) -> Result<Counted, Fault> {
    let Some(counted) = Counted::new(&worker.common, snapshot.limits.max_client_conn) else {
        worker.common.gate.meets(Limit::MaxClientConn);
        return Err(Fault::fatal(
            sqlstate::TOO_MANY_CONNECTIONS,
            "no more connections allowed (max_client_conn)",
        ));
    };
    if worker.stopping.get() || worker.draining.get() {
        return Err(Fault::fatal(
            sqlstate::CANNOT_CONNECT_NOW,
            "the database system is shutting down",
        ));
    }
    match unsupported(startup).or_else(|| wrong_settings(startup)) {
        Some(fault) => Err(fault),
        None => Ok(counted),
    }
}

/// The client proves who it is; what to log in to servers with.
async fn prove(
    common: &Common,
    snapshot: &Arc<Snapshot>,
    arrived: &mut Arrived,
    (database, user): (&str, &str),
) -> Result<Secret, Ended> {
    let found = match common.look_up(snapshot, database, user).await {
        Ok(found) => found,
        Err(fault) => return Err(refuse(&mut arrived.stream, fault).await),
    };
    match arrived.authenticate(held_against(&found, arrived)).await {
        Ok(proof) => Ok(found.login.unwrap_or(proof)),
        Err(end) => {
            if matches!(&end, Ended::Refused(fault) if fault.code == sqlstate::INVALID_PASSWORD) {
                common.doubt(snapshot, database, user);
                tracing::info!(user, because = found.because, "a proof failed");
            }
            Err(end)
        }
    }
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

/// A setting of pgshunt's own with a value it can't have.
fn wrong_settings(startup: &Startup) -> Option<Fault> {
    let all = startup.settings.iter().chain(&startup.params);
    for (name, value) in all {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let value = String::from_utf8_lossy(value);
        if name == "target_session_attrs" && target(value.as_bytes()).is_none() {
            let text = format!("invalid target_session_attrs value: \"{value}\"");
            return Some(Fault::fatal(sqlstate::INVALID_PARAMETER, text));
        }
        if !name.starts_with("pgshunt.") {
            continue;
        }
        if let Some((code, text, hint)) = ours::mistake(&name, &value) {
            return Some(Fault::fatal(code, text).hint(hint));
        }
    }
    None
}

/// What `target_session_attrs`, which libpq does not send but other drivers and people may, means as a `pgshunt.target`.
fn target(attrs: &[u8]) -> Option<&'static [u8]> {
    match attrs {
        b"any" => Some(b"auto"),
        b"read-write" | b"primary" => Some(b"primary"),
        b"read-only" | b"standby" | b"prefer-standby" => Some(b"replica"),
        _ => None,
    }
}

fn no_such_database(name: &str) -> Fault {
    Fault::fatal(
        sqlstate::NO_SUCH_DATABASE,
        format!("database \"{name}\" does not exist"),
    )
}

/// Replication connections wait for no server of a pool, so for no RESUME either.
fn paused(name: &str) -> Fault {
    Fault::fatal(
        sqlstate::CANNOT_CONNECT_NOW,
        format!("database \"{name}\" is paused"),
    )
}

/// The servers a replication connection may be made to: of one shard, since each has a WAL of its own.
fn replicated(worker: &Worker, snapshot: &Snapshot, startup: &Startup) -> Result<Vec<Arc<Target>>, Fault> {
    let targets = worker.common.targets.load();
    let found = snapshot
        .database(&startup.database)
        .and_then(|found| targets.get(&found.name));
    let shards = found.map_or(&[][..], |shards| shards);
    let settings = startup_settings(startup);
    let wanted = settings.value(b"pgshunt.target").unwrap_or_default();
    let is_wanted = |servers: &&Servers| wanted.strip_prefix(b"shard:") == Some(servers.shard.as_bytes());
    match (shards, shards.iter().find(is_wanted)) {
        (_, Some(servers)) | ([servers], None) => Ok(servers.targets.clone()),
        (_, None) => Err(Fault::fatal(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "a replication connection is one shard's, and this database has several",
        )
        .hint("Name it in the connection's options: -c pgshunt.target=shard:NAME")),
    }
}

/// The settings a startup packet asks for; later ones win, as at a PostgreSQL.
fn startup_settings(startup: &Startup) -> Shared {
    let all = startup.settings.iter().chain(&startup.params);
    let settings = all.filter(|(name, _)| name != b"replication" && !name.is_empty());
    let settings = settings.map(|(name, value)| match target(value) {
        Some(target) if name.eq_ignore_ascii_case(b"target_session_attrs") => {
            (b"pgshunt.target".to_vec(), target.to_vec())
        }
        _ => (name.clone(), value.clone()),
    });
    Arc::new(Settings::collect(settings))
}

/// The last messages of a login: parameters, cancel key, ready.
async fn welcome(
    worker: &Rc<Worker>,
    snapshot: &Snapshot,
    arrived: Arrived,
    (peer, pool): (Option<SocketAddr>, Rc<Pool>),
    mut session: Session,
) -> std::io::Result<Client> {
    let tls = arrived
        .tls
        .as_ref()
        .map(|tls| tls.description.as_str().into())
        .unwrap_or_default();
    let mut secret = vec![0; arrived.startup.cancel_secret_bytes()].into_boxed_slice();
    let (mut stream, _, rest): (Stream, Startup, Vec<u8>) = arrived.into_parts();
    let id = session.id();
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| std::io::Error::other("the system gives no random bytes"))?;
    let pid = worker.pid_for(id);
    session.pid = pid;
    let mut out = Vec::new();
    let reads_replicas = session.settings.value(b"pgshunt.target") == Some(b"replica");
    for (name, value) in session.reported.iter() {
        // Who asked for a replica is told that it has one: libpq looks for that (target_session_attrs).
        let value: &[u8] = match reads_replicas && name == IN_HOT_STANDBY {
            true => b"on",
            false => value,
        };
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
    let mode = pool.mode();
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
        mode,
        handle,
        worker: worker.clone(),
        message_max: snapshot.limits.max_packet_size,
        lease: None,
        last_server: 0,
        ticket: None,
        grows: false,
        routing: Routing::default(),
    })
}
