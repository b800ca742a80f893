//! How many may come in, at once and from where: limits before and after login, shared by all workers. Whoever is let
//! through holds a [`Pass`], and gives it back by dropping it.
//!
//! PostgreSQL's words where it has them: `InitProcess` ("too many clients"), `CheckMyDatabase` and `InitializeSessionUserId`
//! ("too many connections for …").

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::fault::Fault;
use crate::metrics::Limit;
use crate::protocol::sqlstate;
use crate::snapshot::{Limits, Snapshot};

/// Counts everybody inside.
#[derive(Debug, Default)]
pub struct Gate {
    inside: Mutex<Inside>,
    /// Somebody who was logging in has come to an end of it.
    login_ended: Notify,
    met: [AtomicU64; Limit::ALL.len()],
}

#[derive(Debug, Default)]
struct Inside {
    counts: HashMap<Whose, usize>,
    /// Cancel requests from each address since an instant.
    cancels: HashMap<IpAddr, usize>,
    cancels_since: Option<Instant>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    /// Connections from an address, logged in or not.
    Address(IpAddr),
    /// Connections that have not proved who they are yet.
    Logins,
    /// Clients of a role, over all databases.
    User(String),
    /// Clients of a role in a database where it has a limit of its own.
    UserOf(String, String),
    /// Clients of a database.
    Database(String),
}

/// A place inside, given back when dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    whose: Whose,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.gate.inside();
        if let Some(count) = inside.counts.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                inside.counts.remove(&self.whose);
            }
        }
        drop(inside);
        if self.whose == Whose::Logins {
            self.gate.login_ended.notify_one();
        }
    }
}

/// Connections above `max_client_conn_per_address` that are still heard, so that a client at its limit can cancel.
const TO_BE_HEARD: usize = 16;

/// The time [`Limits::max_cancels_per_address`] is about.
const CANCEL_WINDOW: Duration = Duration::from_secs(1);

/// A connection from an address, and whether it may do more than cancel.
#[derive(Debug)]
pub struct Arrival {
    _pass: Option<Pass>,
    /// There are too many from there: it may cancel, and hears this if it wants more.
    pub refused: Option<Fault>,
}

impl Gate {
    /// A connection has been accepted. `None`: there are so many from its address that it is not even heard.
    pub fn arrives(self: &Arc<Self>, address: Option<IpAddr>, limits: &Limits) -> Option<Arrival> {
        let (Some(address), max) = (address, limits.max_client_conn_per_address) else {
            return Some(Arrival {
                _pass: None,
                refused: None,
            });
        };
        let whose = Whose::Address(address);
        let most = if max == 0 { 0 } else { max + TO_BE_HEARD };
        let Some((pass, count)) = self.enter(whose, most) else {
            self.meets(Limit::MaxClientConnPerAddress);
            return None;
        };
        let is_refused = max > 0 && count > max;
        let refused = is_refused.then(|| {
            let text = "too many connections from this address (max_client_conn_per_address)";
            Fault::fatal(sqlstate::TOO_MANY_CONNECTIONS, text)
        });
        Some(Arrival {
            _pass: Some(pass),
            refused,
        })
    }

    /// Waits for a place among those who log in. The caller bounds the time.
    pub async fn begins_login(self: &Arc<Self>, limits: &Limits) -> Pass {
        let mut has_waited = false;
        loop {
            // Made before the look, so that no end in between is missed.
            let ended = self.login_ended.notified();
            if let Some((pass, _)) = self.enter(Whose::Logins, limits.max_logins) {
                if has_waited {
                    // One notice may have been given for two places.
                    self.login_ended.notify_one();
                }
                return pass;
            }
            if !has_waited {
                self.meets(Limit::MaxLogins);
                has_waited = true;
            }
            ended.await;
        }
    }

    /// A client has proved to be this role and wants into this database.
    ///
    /// # Errors
    /// Its role or its database has too many already.
    pub fn admits(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        database: &str,
        user: &str,
    ) -> Result<Vec<Pass>, Fault> {
        let found = snapshot.database(database);
        let own = found.and_then(|found| found.users.iter().find(|known| known.name == user));
        let own_here = own.and_then(|own| own.max_client_conn);
        // A limit of its own here is in place of the one for all roles, and beside one of its own over all databases.
        let over_all = snapshot
            .max_user_client_connections(user)
            .unwrap_or(match own_here {
                Some(_) => 0,
                None => snapshot.limits.max_user_client_connections,
            });
        let of_role = || format!("role \"{user}\"");
        let of_database = || format!("database \"{database}\"");
        let mut passes = Vec::with_capacity(3);
        let mut enter = |whose, max, limit, text: &dyn Fn() -> String| {
            let Some((pass, _)) = self.enter(whose, max) else {
                self.meets(limit);
                let text = format!("too many connections for {}", text());
                return Err(Fault::fatal(sqlstate::TOO_MANY_CONNECTIONS, text));
            };
            passes.push(pass);
            Ok(())
        };
        let whose = Whose::User(user.into());
        enter(whose, over_all, Limit::MaxUserClientConnections, &of_role)?;
        if let Some(most) = own_here {
            let whose = Whose::UserOf(database.into(), user.into());
            enter(whose, most, Limit::MaxClientConnOfUser, &of_role)?;
        }
        let (whose, most) = (
            Whose::Database(database.into()),
            found.map_or(0, |found| found.max_client_conn),
        );
        enter(whose, most, Limit::MaxDbClientConnections, &of_database)?;
        Ok(passes)
    }

    /// May one more cancel request from this address be passed on? A Unix socket's always may.
    pub fn may_cancel(&self, address: Option<IpAddr>, limits: &Limits, now: Instant) -> bool {
        let (Some(address), max) = (address, limits.max_cancels_per_address) else {
            return true;
        };
        if max == 0 {
            return true;
        }
        let mut inside = self.inside();
        let is_over = |since: Instant| now.saturating_duration_since(since) >= CANCEL_WINDOW;
        if inside.cancels_since.is_none_or(is_over) {
            inside.cancels.clear();
            inside.cancels_since = Some(now);
        }
        let count = inside.cancels.entry(address).or_default();
        *count += 1;
        let may = *count <= max;
        drop(inside);
        if !may {
            self.meets(Limit::MaxCancelsPerAddress);
        }
        may
    }

    /// Counts that somebody met a limit.
    pub fn meets(&self, limit: Limit) {
        self.met[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each limit has been met since the start.
    pub fn met(&self) -> [(Limit, u64); Limit::ALL.len()] {
        Limit::ALL.map(|limit| (limit, self.met[limit as usize].load(Ordering::Relaxed)))
    }

    /// One more, unless there are `max` already (0: no limit); and how many that makes.
    fn enter(self: &Arc<Self>, whose: Whose, max: usize) -> Option<(Pass, usize)> {
        let mut inside = self.inside();
        let count = inside.counts.get(&whose).copied().unwrap_or_default() + 1;
        if max > 0 && count > max {
            return None;
        }
        inside.counts.insert(whose.clone(), count);
        drop(inside);
        let gate = self.clone();
        Some((Pass { gate, whose }, count))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
