//! What is counted: the rows every worker can give of itself, in PgBouncer's words. The one place for names.
//!
//! A worker counts in plain fields of its own; nothing here is shared while statements run. The console and
//! `/metrics` ask each worker for a [`Census`] and add them up.

mod published;
mod routes;

use std::time::{Duration, SystemTime};

pub use published::*;
pub use routes::Routes;

/// Upper bounds of the time histograms, in seconds; one more bucket counts what is above the last.
pub const BUCKETS_S: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Durations counted by size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell into each bucket (not cumulative); the last is above every bound.
    pub buckets: [u64; BUCKETS_S.len() + 1],
    /// Their sum.
    pub sum: Duration,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS_S
            .iter()
            .position(|&bound| seconds <= bound)
            .unwrap_or(BUCKETS_S.len());
        self.buckets[bucket] += 1;
        self.sum += took;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }
}

/// A limit on clients that somebody met; `client::gate` counts how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Clients in all.
    MaxClientConn,
    /// Clients from one address.
    MaxClientConnPerAddress,
    /// Clients of one role, over all databases.
    MaxUserClientConnections,
    /// Clients of one role in one database.
    MaxClientConnOfUser,
    /// Clients of one database.
    MaxDbClientConnections,
    /// Logins at one time: one had to wait.
    MaxLogins,
    /// Cancel requests from one address in one second.
    MaxCancelsPerAddress,
    /// Time to log in.
    ClientLoginTimeout,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Limit; 8] = [
        Limit::MaxClientConn,
        Limit::MaxClientConnPerAddress,
        Limit::MaxUserClientConnections,
        Limit::MaxClientConnOfUser,
        Limit::MaxDbClientConnections,
        Limit::MaxLogins,
        Limit::MaxCancelsPerAddress,
        Limit::ClientLoginTimeout,
    ];

    /// The key in `[limits]`, which is the label too.
    pub fn word(self) -> &'static str {
        match self {
            Limit::MaxClientConn => "max_client_conn",
            Limit::MaxClientConnPerAddress => "max_client_conn_per_address",
            Limit::MaxUserClientConnections => "max_user_client_connections",
            Limit::MaxClientConnOfUser => "max_client_conn_of_user",
            Limit::MaxDbClientConnections => "max_db_client_connections",
            Limit::MaxLogins => "max_logins",
            Limit::MaxCancelsPerAddress => "max_cancels_per_address",
            Limit::ClientLoginTimeout => "client_login_timeout",
        }
    }
}

/// Running totals of one pool (PgBouncer's SHOW STATS).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Times a server was lent.
    pub server_assignment_count: u64,
    /// Transactions (or single statements) ended.
    pub xact_count: u64,
    /// Queries: simple ones and Syncs.
    pub query_count: u64,
    /// Bytes from clients.
    pub bytes_received: u64,
    /// Bytes to clients.
    pub bytes_sent: u64,
    /// Parse messages by clients.
    pub client_parse_count: u64,
    /// Parse messages sent to servers.
    pub server_parse_count: u64,
    /// Bind messages.
    pub bind_count: u64,
    /// Successful logins.
    pub client_login_count: u64,
    /// Time transactions held a server.
    pub xact_time: Histogram,
    /// Time queries took, from their first byte to ReadyForQuery.
    pub query_time: Histogram,
    /// Time clients waited for a server.
    pub wait_time: Histogram,
    /// Errors pgshunt itself answered.
    pub fault_count: u64,
    /// Probes for session state.
    pub probe_count: u64,
    /// Transactions that ran on a pinned server.
    pub pinned_xact_count: u64,
    /// Servers connected.
    pub server_connect_count: u64,
    /// Server connects that failed.
    pub server_connect_failure_count: u64,
    /// Cancel requests passed on.
    pub cancel_count: u64,
    /// Statements a replica could not do that were run again at the primary.
    pub retry_count: u64,
    /// Where statements went.
    pub routes: Routes,
}

impl Totals {
    /// Adds another worker's totals.
    pub fn add(&mut self, o: &Totals) {
        self.server_assignment_count += o.server_assignment_count;
        self.xact_count += o.xact_count;
        self.query_count += o.query_count;
        self.bytes_received += o.bytes_received;
        self.bytes_sent += o.bytes_sent;
        self.client_parse_count += o.client_parse_count;
        self.server_parse_count += o.server_parse_count;
        self.bind_count += o.bind_count;
        self.client_login_count += o.client_login_count;
        self.xact_time.add(&o.xact_time);
        self.query_time.add(&o.query_time);
        self.wait_time.add(&o.wait_time);
        self.fault_count += o.fault_count;
        self.probe_count += o.probe_count;
        self.pinned_xact_count += o.pinned_xact_count;
        self.server_connect_count += o.server_connect_count;
        self.server_connect_failure_count += o.server_connect_failure_count;
        self.cancel_count += o.cancel_count;
        self.retry_count += o.retry_count;
        self.routes.add(&o.routes);
    }
}

/// One pool as one worker sees it (PgBouncer's SHOW POOLS).
#[derive(Clone, Debug, Default)]
pub struct PoolRow {
    /// The database's name, as clients write it.
    pub database: String,
    /// The role; empty for all together.
    pub user: String,
    /// The shard; empty for all together.
    pub shard: String,
    /// Clients linked to a server or idle.
    pub cl_active: u64,
    /// Clients waiting for a server.
    pub cl_waiting: u64,
    /// Cancel requests being passed on.
    pub cl_active_cancel_req: u64,
    /// Cancel requests waiting.
    pub cl_waiting_cancel_req: u64,
    /// Servers lent.
    pub sv_active: u64,
    /// Servers a cancel was just sent to.
    pub sv_active_cancel: u64,
    /// Servers kept back until a cancel has ended.
    pub sv_being_canceled: u64,
    /// Servers free.
    pub sv_idle: u64,
    /// Servers free that want a check first.
    pub sv_used: u64,
    /// Servers being reset or checked.
    pub sv_tested: u64,
    /// Servers logging in.
    pub sv_login: u64,
    /// Clients that wait for one of its servers, wherever they are counted.
    pub waiting: u64,
    /// How long the oldest waiting client has waited.
    pub maxwait: Duration,
    /// `auto`, `session`, `transaction` or `statement`.
    pub pool_mode: &'static str,
    /// The most servers the pool may have, over all workers.
    pub pool_size: u64,
    /// Could no server be reached the last time, and is none connected?
    pub is_failing: bool,
    /// Its totals.
    pub totals: Totals,
}

impl PoolRow {
    /// Adds what another worker has of the same pool.
    pub fn add(&mut self, o: &PoolRow) {
        self.cl_active += o.cl_active;
        self.cl_waiting += o.cl_waiting;
        self.cl_active_cancel_req += o.cl_active_cancel_req;
        self.cl_waiting_cancel_req += o.cl_waiting_cancel_req;
        self.sv_active += o.sv_active;
        self.sv_active_cancel += o.sv_active_cancel;
        self.sv_being_canceled += o.sv_being_canceled;
        self.sv_idle += o.sv_idle;
        self.sv_used += o.sv_used;
        self.sv_tested += o.sv_tested;
        self.sv_login += o.sv_login;
        self.waiting += o.waiting;
        self.maxwait = self.maxwait.max(o.maxwait);
        self.is_failing |= o.is_failing;
        self.totals.add(&o.totals);
    }

    /// Servers of any kind, those still logging in too.
    pub fn servers(&self) -> u64 {
        self.logged_in_servers() + self.sv_login
    }

    /// Servers that have logged in.
    pub fn logged_in_servers(&self) -> u64 {
        self.sv_active
            + self.sv_active_cancel
            + self.sv_being_canceled
            + self.sv_idle
            + self.sv_used
            + self.sv_tested
    }

    /// Clients of any kind.
    pub fn clients(&self) -> u64 {
        self.cl_active + self.cl_waiting
    }
}

/// Why a client keeps its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRow {
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// The client's number.
    pub client_id: u64,
    /// The server's process id.
    pub server_pid: i32,
    /// `temporary tables`, `LISTEN` …
    pub reason: &'static str,
}

/// One client or one server (PgBouncer's SHOW CLIENTS and SHOW SERVERS).
#[derive(Clone, Debug)]
pub struct PeerRow {
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// `active`, `waiting`, `idle`, `login`, `used`, `tested`, `being_canceled` …
    pub state: &'static str,
    /// The peer's address (`unix` for a Unix socket).
    pub addr: String,
    /// The peer's port.
    pub port: u16,
    /// Our own address.
    pub local_addr: String,
    /// Our own port.
    pub local_port: u16,
    /// When it connected.
    pub connect_time: SystemTime,
    /// When its last query began.
    pub request_time: SystemTime,
    /// How long it has waited, if it waits.
    pub wait: Duration,
    /// Is it to be closed when free?
    pub close_needed: bool,
    /// The number of the server or client it is linked to; 0 for none.
    pub link: u64,
    /// The server's process id; 0 for a client.
    pub remote_pid: i32,
    /// TLS version and cipher, empty without TLS.
    pub tls: String,
    /// The session's application_name.
    pub application_name: String,
    /// Prepared statements it holds.
    pub prepared_statements: u64,
    /// Its own number, never reused while the process lives.
    pub id: u64,
    /// The shard of the server; empty for a client without one.
    pub shard: String,
}

/// All that one worker can say of itself at one moment.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Its pools.
    pub pools: Vec<PoolRow>,
    /// The same, by database and shard.
    pub shards: Vec<PoolRow>,
    /// Its clients.
    pub clients: Vec<PeerRow>,
    /// Its servers.
    pub servers: Vec<PeerRow>,
    /// Pinned clients.
    pub pins: Vec<PinRow>,
    /// Clients still logging in.
    pub login_clients: u64,
}

impl Census {
    /// What several workers say together: one row for each pool, everything in a fixed order.
    pub fn sum(parts: impl IntoIterator<Item = Census>) -> Census {
        let mut sum = Census::default();
        for part in parts {
            sum.pools.extend(part.pools);
            sum.shards.extend(part.shards);
            sum.clients.extend(part.clients);
            sum.servers.extend(part.servers);
            sum.pins.extend(part.pins);
            sum.login_clients += part.login_clients;
        }
        sum.pools = by_name(sum.pools);
        sum.shards = by_name(sum.shards);
        sum.clients.sort_by_key(|row| row.id);
        sum.servers.sort_by_key(|row| row.id);
        sum.pins.sort_by_key(|row| row.client_id);
        sum
    }
}

/// One row for each database, role and shard, in order of their names.
fn by_name(mut rows: Vec<PoolRow>) -> Vec<PoolRow> {
    fn name(row: &PoolRow) -> [&String; 3] {
        [&row.database, &row.user, &row.shard]
    }
    rows.sort_by(|a, b| name(a).cmp(&name(b)));
    rows.dedup_by(|other, row| {
        let is_same = name(other) == name(row);
        if is_same {
            row.add(other);
        }
        is_same
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_pool_become_one_row() {
        let part = |user: &str, idle, seconds, queries| Census {
            pools: vec![PoolRow {
                database: "app".into(),
                user: user.into(),
                sv_idle: idle,
                maxwait: Duration::from_secs(seconds),
                pool_size: 20,
                totals: Totals {
                    query_count: queries,
                    ..Totals::default()
                },
                ..PoolRow::default()
            }],
            login_clients: 1,
            ..Census::default()
        };
        let sum = Census::sum([part("bob", 1, 3, 10), part("ann", 5, 0, 1), part("bob", 2, 1, 20)]);
        let rows: Vec<_> = sum.pools.iter().map(|row| (&row.user[..], row.sv_idle)).collect();
        assert_eq!(rows, [("ann", 5), ("bob", 3)]);
        let bob = &sum.pools[1];
        assert_eq!((bob.maxwait.as_secs(), bob.totals.query_count), (3, 30));
        assert_eq!((bob.pool_size, sum.login_clients), (20, 3));
    }

    #[test]
    fn limits_have_their_numbers() {
        for (number, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, number, "{}", limit.word());
        }
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_micros(100));
        histogram.record(Duration::from_secs(31));
        assert_eq!(histogram.buckets[0], 1);
        assert_eq!(histogram.buckets[BUCKETS_S.len()], 1);
        assert_eq!(histogram.count(), 2);
    }
}
