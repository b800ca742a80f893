//! How a pool behaves: every `[pool]` key, checked. Names and defaults are PgBouncer's where it has them.

use std::time::Duration;

/// When a client gives its server back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// After each transaction, unless the session owns something that lives in that server.
    #[default]
    Auto,
    /// When the client leaves.
    Session,
    /// After each transaction, whatever it leaves behind.
    Transaction,
    /// After each statement; transactions are refused.
    Statement,
}

impl Mode {
    /// May a server be given back with something left in it?
    pub fn is_loose(self) -> bool {
        match self {
            Mode::Auto | Mode::Session => false,
            Mode::Transaction | Mode::Statement => true,
        }
    }

    /// The word in the configuration and the console.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Session => "session",
            Mode::Transaction => "transaction",
            Mode::Statement => "statement",
        }
    }
}

/// The settings of one pool. `Duration::ZERO` and 0 mean "no limit" where the comment says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When a server goes back.
    pub mode: Mode,
    /// The most servers, over all workers (`default_pool_size`).
    pub size: usize,
    /// Servers kept even when idle (`min_pool_size`).
    pub min_size: usize,
    /// Servers above `size` for clients that have waited for `reserve_pool_timeout` (0: none).
    pub reserve_pool_size: usize,
    /// How long a client waits before a server of the reserve is connected for it (0: the reserve is not used).
    pub reserve_pool_timeout: Duration,
    /// The most clients that may wait; the next one is refused at once (0: no limit).
    pub queue_size: usize,
    /// The longest a client waits for a server (0: for ever).
    pub query_wait_timeout: Duration,
    /// A client that has waited this long for a server is told so, once, in a notice (0: never).
    pub query_wait_notify: Duration,
    /// An idle server is closed after this (0: never); ±20 % so that they don't close together.
    pub server_idle_timeout: Duration,
    /// A server is closed after this when it is next free (0: never); ±20 %.
    pub server_lifetime: Duration,
    /// Time to reach and log in to a server.
    pub server_connect_timeout: Duration,
    /// Pause after a failed connect before the next; clients that come in it hear the last error.
    pub server_login_retry: Duration,
    /// Idle servers older than this are probed before they are lent (0: never).
    pub server_check_delay: Duration,
    /// A server that is to be connected anew is taken from a client that keeps it, between transactions, and the client's
    /// session ends with it.
    pub server_fast_close: bool,
    /// Connects in progress at one time in one pool.
    pub connect_parallel: usize,
    /// Prepared statements kept on one server.
    pub max_prepared_statements: usize,
    /// The longest a query may run (0: for ever).
    pub query_timeout: Duration,
    /// The longest a client may sit idle (0: for ever).
    pub client_idle_timeout: Duration,
    /// The longest a transaction may sit idle (0: for ever).
    pub idle_transaction_timeout: Duration,
    /// The longest a transaction may last (0: for ever).
    pub transaction_timeout: Duration,
    /// The longest a cancel request may take.
    pub cancel_wait_timeout: Duration,
    /// The longest one shard may take for a statement over several (0: for ever).
    pub shard_timeout: Duration,
    /// Bytes that one statement over several shards may hold: partial results, rows that wait for their order.
    pub merge_memory: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            mode: Mode::Auto,
            size: 20,
            min_size: 0,
            reserve_pool_size: 0,
            reserve_pool_timeout: Duration::from_secs(5),
            queue_size: 10_000,
            query_wait_timeout: Duration::from_secs(120),
            query_wait_notify: Duration::from_secs(5),
            server_idle_timeout: Duration::from_secs(600),
            server_lifetime: Duration::from_secs(3600),
            server_connect_timeout: Duration::from_secs(15),
            server_login_retry: Duration::from_millis(500),
            server_check_delay: Duration::from_secs(30),
            server_fast_close: false,
            connect_parallel: 4,
            max_prepared_statements: 200,
            query_timeout: Duration::ZERO,
            client_idle_timeout: Duration::ZERO,
            idle_transaction_timeout: Duration::ZERO,
            transaction_timeout: Duration::ZERO,
            cancel_wait_timeout: Duration::from_secs(10),
            shard_timeout: Duration::ZERO,
            merge_memory: 32 << 20,
        }
    }
}
