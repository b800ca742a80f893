//! What `/metrics` publishes: each metric's name, kind, meaning and value, table by table.

use super::{Histogram, PoolRow, Totals};

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One metric of `/metrics`: a number of `T`.
pub struct Metric<T> {
    /// Its whole name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it means, in one line.
    pub help: &'static str,
    /// Its value.
    pub value: fn(&T) -> f64,
}

/// A histogram of `/metrics`.
pub struct Times {
    /// Its whole name.
    pub name: &'static str,
    /// What it means, in one line.
    pub help: &'static str,
    /// Where it is.
    pub of: fn(&Totals) -> &Histogram,
}

/// The labels of every metric of a pool. Their values come from logins that succeeded, so their number is that of
/// databases and roles.
pub const POOL_LABELS: [&str; 2] = ["database", "user"];

macro_rules! metrics {
    ($of:ty: $($kind:ident $name:literal $help:literal $value:expr;)*) => {
        &[$(Metric::<$of> { name: $name, kind: Kind::$kind, help: $help, value: $value }),*]
    };
}

/// What is measured of every pool, with [`POOL_LABELS`].
pub static OF_POOL: &[Metric<PoolRow>] = metrics! { PoolRow:
    Gauge "pgshunt_clients_active" "Clients that are idle or have a server." |p| p.cl_active as f64;
    Gauge "pgshunt_clients_waiting" "Clients that wait for a server." |p| p.cl_waiting as f64;
    Gauge "pgshunt_client_wait_seconds_max" "How long the client that waits longest has waited." |p| p.maxwait.as_secs_f64();
    Gauge "pgshunt_servers_active" "Server connections lent to clients." |p| p.sv_active as f64;
    Gauge "pgshunt_servers_idle" "Server connections that are free." |p| p.sv_idle as f64;
    Gauge "pgshunt_servers_tested" "Server connections being reset or asked for a login." |p| p.sv_tested as f64;
    Gauge "pgshunt_servers_login" "Server connections being made." |p| p.sv_login as f64;
    Gauge "pgshunt_servers_being_canceled" "Server connections kept back until a cancel request has ended." |p| p.sv_being_canceled as f64;
    Gauge "pgshunt_pool_size" "The most server connections of the pool." |p| p.pool_size as f64;
    Counter "pgshunt_logins_total" "Clients that have logged in." |p| p.totals.client_login_count as f64;
    Counter "pgshunt_server_assignments_total" "Times a server connection was lent." |p| p.totals.server_assignment_count as f64;
    Counter "pgshunt_transactions_total" "Transactions, and statements outside of one." |p| p.totals.xact_count as f64;
    Counter "pgshunt_pinned_transactions_total" "Transactions on a server connection that its client keeps." |p| p.totals.pinned_xact_count as f64;
    Counter "pgshunt_queries_total" "Simple queries and Syncs." |p| p.totals.query_count as f64;
    Counter "pgshunt_received_bytes_total" "Bytes from clients." |p| p.totals.bytes_received as f64;
    Counter "pgshunt_sent_bytes_total" "Bytes to clients." |p| p.totals.bytes_sent as f64;
    Counter "pgshunt_client_parses_total" "Parse messages from clients." |p| p.totals.client_parse_count as f64;
    Counter "pgshunt_server_parses_total" "Parse messages to servers." |p| p.totals.server_parse_count as f64;
    Counter "pgshunt_binds_total" "Bind messages." |p| p.totals.bind_count as f64;
    Counter "pgshunt_probes_total" "Questions to a server about the state a session left in it." |p| p.totals.probe_count as f64;
    Counter "pgshunt_faults_total" "Errors that pgshunt itself answered." |p| p.totals.fault_count as f64;
    Counter "pgshunt_cancels_total" "Cancel requests passed on." |p| p.totals.cancel_count as f64;
    Counter "pgshunt_server_connects_total" "Server connections made." |p| p.totals.server_connect_count as f64;
    Counter "pgshunt_server_connect_failures_total" "Server connections that could not be made." |p| p.totals.server_connect_failure_count as f64;
};

/// The times of every pool, with [`POOL_LABELS`].
pub static TIMES: [Times; 3] = [
    Times {
        name: "pgshunt_wait_seconds",
        help: "How long clients waited for a server connection.",
        of: |totals| &totals.wait_time,
    },
    Times {
        name: "pgshunt_query_seconds",
        help: "How long queries took, from their first byte to ReadyForQuery.",
        of: |totals| &totals.query_time,
    },
    Times {
        name: "pgshunt_transaction_seconds",
        help: "How long transactions held their server connection.",
        of: |totals| &totals.xact_time,
    },
];

/// What the whole process says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// When it started, in seconds since 1970.
    pub start_s: f64,
    /// Connections, logged in or not.
    pub connections: usize,
    /// `max_client_conn`.
    pub connections_max: usize,
    /// Clients logging in.
    pub login_clients: u64,
    /// Cancel requests being passed on.
    pub cancels: usize,
    /// Worker threads.
    pub workers: usize,
    /// Worker threads that did not answer in time.
    pub workers_silent: usize,
    /// Is it about to stop?
    pub is_stopping: bool,
    /// Memory in use.
    pub resident_bytes: u64,
    /// The most memory it ever had in use.
    pub resident_bytes_max: u64,
    /// Processor time used.
    pub cpu_s: f64,
    /// Open files and sockets.
    pub open_fds: u64,
}

/// The result cache of one database, or one class of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRow {
    /// Statements answered from it.
    pub hits: u64,
    /// Answers found in Redis.
    pub shared: u64,
    /// Statements looked for and not found.
    pub misses: u64,
    /// Answers kept.
    pub fills: u64,
    /// Answers found old because of a change.
    pub invalidated: u64,
}

/// What is measured of each class of a result cache.
pub static OF_CACHE: &[Metric<CacheRow>] = metrics! { CacheRow:
    Counter "pgshunt_cache_hits_total" "Statements answered from the result cache." |c| c.hits as f64;
    Counter "pgshunt_cache_redis_hits_total" "Answers that were found in Redis." |c| c.shared as f64;
    Counter "pgshunt_cache_misses_total" "Statements looked for in the result cache and not found." |c| c.misses as f64;
    Counter "pgshunt_cache_fills_total" "Answers kept." |c| c.fills as f64;
    Counter "pgshunt_cache_invalidated_total" "Answers found old because a table was changed." |c| c.invalidated as f64;
};

/// The labels of [`OF_CACHE`].
pub const CACHE_LABELS: [&str; 2] = ["database", "class"];

/// One shard of one database, over all roles.
#[derive(Clone, Debug, Default)]
pub struct ShardRow {
    /// Is it known that no server of it takes writes?
    pub is_down: bool,
    /// Replicas that can be read.
    pub replicas: u64,
    /// Its pools together.
    pub pool: PoolRow,
}

/// The labels of [`OF_SHARD`]. Shards are named in the configuration.
pub const SHARD_LABELS: [&str; 2] = ["database", "shard"];

/// What is measured of each shard, with [`SHARD_LABELS`].
pub static OF_SHARD: &[Metric<ShardRow>] = metrics! { ShardRow:
    Gauge "pgshunt_shard_down" "1 while no server of the shard takes writes." |s| f64::from(s.is_down);
    Gauge "pgshunt_shard_replicas" "Replicas of the shard that can be read." |s| s.replicas as f64;
    Gauge "pgshunt_shard_servers_active" "Server connections to the shard lent to clients." |s| s.pool.sv_active as f64;
    Gauge "pgshunt_shard_servers_idle" "Server connections to the shard that are free." |s| s.pool.sv_idle as f64;
    Gauge "pgshunt_shard_servers_login" "Server connections to the shard being made." |s| s.pool.sv_login as f64;
    Gauge "pgshunt_shard_clients_waiting" "Clients that wait for a server connection to the shard." |s| s.pool.waiting as f64;
    Gauge "pgshunt_shard_client_wait_seconds_max" "How long the client that waits longest for the shard has waited." |s| s.pool.maxwait.as_secs_f64();
    Counter "pgshunt_shard_server_assignments_total" "Times a server connection to the shard was lent." |s| s.pool.totals.server_assignment_count as f64;
    Counter "pgshunt_shard_server_connects_total" "Server connections to the shard made." |s| s.pool.totals.server_connect_count as f64;
    Counter "pgshunt_shard_server_connect_failures_total" "Server connections to the shard that could not be made." |s| s.pool.totals.server_connect_failure_count as f64;
};

/// The time clients waited for a shard, with [`SHARD_LABELS`].
pub static SHARD_WAIT: Times = Times {
    name: "pgshunt_shard_wait_seconds",
    help: "How long clients waited for a server connection to the shard.",
    of: |totals| &totals.wait_time,
};

/// What is measured of the process, without labels.
pub static OF_PROCESS: &[Metric<Process>] = metrics! { Process:
    Gauge "pgshunt_connections" "Client connections, logged in or not." |p| p.connections as f64;
    Gauge "pgshunt_connections_max" "The most client connections (max_client_conn)." |p| p.connections_max as f64;
    Gauge "pgshunt_clients_login" "Clients that log in at this moment." |p| p.login_clients as f64;
    Gauge "pgshunt_cancels_active" "Cancel requests being passed on at this moment." |p| p.cancels as f64;
    Gauge "pgshunt_workers" "Worker threads." |p| p.workers as f64;
    Gauge "pgshunt_workers_silent" "Worker threads that did not answer in time: their numbers are missing." |p| p.workers_silent as f64;
    Gauge "pgshunt_stopping" "1 while pgshunt waits for its last clients." |p| f64::from(p.is_stopping);
    Gauge "process_start_time_seconds" "Start time of the process since unix epoch in seconds." |p| p.start_s;
    Gauge "process_resident_memory_bytes" "Resident memory size in bytes." |p| p.resident_bytes as f64;
    Gauge "process_open_fds" "Number of open file descriptors." |p| p.open_fds as f64;
    Counter "process_cpu_seconds_total" "Total user and system CPU time spent in seconds." |p| p.cpu_s;
};
