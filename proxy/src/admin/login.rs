//! Who may use the console: the exchange is a client's own, the list is the configuration's.
//!
//! A role's verifier is looked up as on the first `[[database]]`: a server further down the file can't make itself an
//! admin by having a role of that name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;

use super::cancel::{Key, Keys};
use super::command::Role;
use super::driver::SETTINGS;
use crate::client::arrive::adopt;
use crate::client::certificate::held_against;
use crate::client::credentials::Found;
use crate::client::handshake::{Arrived, Ended, Opened, greet, refuse};
use crate::client::worker::{Accepted, Common};
use crate::fault::Fault;
use crate::net::inbox::Inbox;
use crate::net::stream::Stream;
use crate::protocol::auth::messages;
use crate::protocol::{reply, sqlstate};
use crate::snapshot::{Console, Snapshot};

/// The names the console's database has. The second is for PgBouncer's tools.
const DATABASES: [&str; 2] = ["pgshunt", "pgbouncer"];

/// Somebody who has been let in.
pub struct Guest {
    /// The line.
    pub stream: Stream,
    /// What was sent ahead.
    pub inbox: Inbox,
    /// The role.
    pub user: String,
    /// The console's name as it was given.
    pub database: String,
    /// What it may do.
    pub role: Role,
    /// What it cancels with.
    pub key: Rc<Key>,
}

/// Verifiers of console roles that have been proven: what they are held against while no server can be asked, which is
/// when the console is needed most. At most as many as the configuration lists.
#[derive(Default)]
pub struct Remembered(RefCell<HashMap<String, Found>>);

/// Lets one connection in, or tells it why not. The caller bounds the time.
pub async fn log_in(
    common: &Arc<Common>,
    (remembered, keys): (&Remembered, &Keys),
    accepted: Accepted,
) -> Option<Guest> {
    let (socket, peer) = adopt(accepted, &common.snapshot.load().limits.tcp)?;
    let tls = common.tls.load_full();
    let arrived = match greet(socket, &tls).await {
        Opened::Client(arrived) => *arrived,
        Opened::Refused(fault) => {
            tracing::info!(?peer, %fault, "a connection to the console was refused");
            return None;
        }
        Opened::Cancel { secret, .. } => {
            let limits = &common.snapshot.load().limits;
            if common
                .gate
                .may_cancel(peer.map(|peer| peer.ip()), limits, Instant::now())
            {
                keys.used(&secret);
            }
            return None;
        }
        Opened::Gone(_) => return None,
    };
    let user = arrived.startup.user.clone();
    let admitted = match admit(common, remembered, arrived).await {
        Ok((arrived, role)) => welcome(arrived, role, keys)
            .await
            .map_err(|error| Ended::Gone(Some(error))),
        Err(end) => Err(end),
    };
    match admitted {
        Ok(guest) => {
            tracing::info!(?peer, user, role = ?guest.role, "console login");
            Some(guest)
        }
        Err(end) => {
            log_refusal(peer, &user, end);
            None
        }
    }
}

fn log_refusal(peer: Option<SocketAddr>, user: &str, end: Ended) {
    match end {
        Ended::Refused(fault) => tracing::info!(?peer, user, %fault, "a console login was refused"),
        Ended::Gone(_) => {}
    }
}

/// The proof, and what the role may do.
async fn admit(
    common: &Arc<Common>,
    remembered: &Remembered,
    mut arrived: Arrived,
) -> Result<(Arrived, Role), Ended> {
    let snapshot = common.snapshot.load_full();
    let user = arrived.startup.user.clone();
    let role = role_of(&snapshot.console, &user);
    let found = match find(common, &snapshot, &user).await {
        Ok(found) => found,
        Err(fault) => {
            let known = remembered.0.borrow().get(&user).cloned();
            match known.filter(|_| role.is_some()) {
                Some(found) => found,
                None => return Err(refuse(&mut arrived.stream, fault).await),
            }
        }
    };
    let credential = held_against(&found, &arrived);
    arrived.authenticate(credential).await?;
    // Only now: whoever has proved nothing does not learn who may use the console.
    let Some(role) = role else {
        let text = format!("role \"{user}\" may not use the console");
        let fault = Fault::fatal(sqlstate::INSUFFICIENT_PRIVILEGE, text)
            .hint("List it as one of admins or watchers in [console].");
        return Err(refuse(&mut arrived.stream, fault).await);
    };
    if !DATABASES.contains(&&arrived.startup.database[..]) {
        let text = format!("database \"{}\" does not exist", arrived.startup.database);
        let fault = Fault::fatal(sqlstate::NO_SUCH_DATABASE, text)
            .hint("This is the console; its database is pgshunt. Statements go to the port for clients.");
        return Err(refuse(&mut arrived.stream, fault).await);
    }
    remembered.0.borrow_mut().insert(user, found);
    Ok((arrived, role))
}

fn role_of(console: &Console, user: &str) -> Option<Role> {
    if console.admins.iter().any(|admin| admin == user) {
        return Some(Role::Admin);
    }
    let is_watcher = console.watchers.iter().any(|watcher| watcher == user);
    is_watcher.then_some(Role::Watcher)
}

async fn find(common: &Common, snapshot: &Arc<Snapshot>, user: &str) -> Result<Found, Fault> {
    let Some(first) = snapshot.databases.first() else {
        let text = "pgshunt has no database to look this role up in";
        return Err(Fault::fatal(sqlstate::INVALID_AUTHORIZATION, text));
    };
    common.look_up(snapshot, &first.name, user).await
}

async fn welcome(arrived: Arrived, role: Role, keys: &Keys) -> std::io::Result<Guest> {
    let key = keys.cut();
    let key = key.ok_or_else(|| std::io::Error::other("the system gives no random bytes"))?;
    let application_name = arrived.startup.param(b"application_name").unwrap_or_default();
    let mut out = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| setting.is_reported) {
        reply::parameter_status(&mut out, setting.name.as_bytes(), setting.value.as_bytes());
    }
    reply::parameter_status(&mut out, b"application_name", application_name);
    reply::parameter_status(
        &mut out,
        b"session_authorization",
        arrived.startup.user.as_bytes(),
    );
    messages::backend_key_data(&mut out, std::process::id() as i32, key.secret());
    reply::ready_for_query(&mut out, b'I');
    let (mut stream, startup, rest) = arrived.into_parts();
    stream.write_all(&out).await?;
    stream.flush().await?;
    Ok(Guest {
        stream,
        inbox: Inbox::from(rest),
        user: startup.user,
        database: startup.database,
        role,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_roles_and_admins_first() {
        let console = Console {
            admins: vec!["ops".into(), "both".into()],
            watchers: vec!["monitor".into(), "both".into()],
        };
        assert_eq!(role_of(&console, "ops"), Some(Role::Admin));
        assert_eq!(role_of(&console, "both"), Some(Role::Admin));
        assert_eq!(role_of(&console, "monitor"), Some(Role::Watcher));
        assert_eq!(role_of(&console, "Ops"), None);
        assert_eq!(role_of(&Console::default(), ""), None);
    }
}
