//! Every section and every key there is. `raw` refuses what is not here, and `deploy/pgshunt.toml` shows what is.

/// The keys of one section.
pub(super) struct Keys {
    /// The section as a person would name it.
    pub section: &'static str,
    /// What may stand in it.
    pub known: &'static [&'static str],
    /// What the documentation names and this version does not do.
    pub not_yet: &'static [&'static str],
}

/// The name of what is outside of every section.
pub(super) const WHOLE_FILE: &str = "the file";

pub(super) const ROOT: Keys = Keys {
    section: WHOLE_FILE,
    known: &[
        "threads", "listen", "tls", "limits", "pool", "database", "auth", "console", "log", "redis",
    ],
    not_yet: &["clickhouse"],
};

pub(super) const REDIS: Keys = Keys {
    section: "[redis]",
    known: &[
        "url",
        "password_file",
        "secret_file",
        "sentinel_user",
        "sentinel_password_file",
        "timeout",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
    ],
    not_yet: &[],
};

/// The file of rules.
pub(super) const RULES: Keys = Keys {
    section: WHOLE_FILE,
    known: &["split", "sharding", "cache"],
    not_yet: &["analytics", "limits", "hints"],
};

pub(super) const CACHE: Keys = Keys {
    section: "[cache]",
    known: &[
        "max_bytes",
        "max_entry_bytes",
        "tenant_share",
        "elsewhere",
        "max_delay",
        "tenant_column",
        "tenant_columns",
        "class",
        "warm",
    ],
    not_yet: &[],
};

pub(super) const CACHE_CLASS: Keys = Keys {
    section: "[[cache.class]]",
    known: &["name", "tables", "ttl", "stale", "refresh_ahead", "statements"],
    not_yet: &[],
};

pub(super) const CACHE_WARM: Keys = Keys {
    section: "[[cache.warm]]",
    known: &["role", "password_file", "tenants", "settings"],
    not_yet: &[],
};

pub(super) const SPLIT: Keys = Keys {
    section: "[split]",
    known: &[
        "reads",
        "consistency",
        "max_staleness",
        "catchup_wait",
        "safe_functions",
        "volatile_functions",
    ],
    not_yet: &[],
};

pub(super) const SHARDING: Keys = Keys {
    section: "[sharding]",
    known: &[
        "column",
        "type",
        "function",
        "modulus",
        "remainders",
        "list",
        "range",
        "others",
        "catalog",
        "tenants",
        "reference",
        "columns",
        "home",
        "functions",
        "no_key",
        "guard",
    ],
    not_yet: &[],
};

pub(super) const LISTEN: Keys = Keys {
    section: "[listen]",
    known: &["clients", "admin", "http"],
    not_yet: &[],
};

pub(super) const TLS: Keys = Keys {
    section: "[tls]",
    known: &["mode", "certificate", "key", "client_ca"],
    not_yet: &[],
};

pub(super) const LIMITS: Keys = Keys {
    section: "[limits]",
    known: &[
        "max_client_conn",
        "max_client_conn_per_address",
        "max_user_client_connections",
        "max_db_client_connections",
        "max_db_connections",
        "max_user_connections",
        "max_logins",
        "max_cancels_per_address",
        "client_login_timeout",
        "max_packet_size",
        "tcp_keepalive",
        "tcp_keepidle",
        "tcp_keepintvl",
        "tcp_keepcnt",
        "tcp_user_timeout",
        "listen_backlog",
        "dns_max_ttl",
        "dns_nxdomain_ttl",
        "autodb_idle_timeout",
        "pool_idle_timeout",
        "shutdown_timeout",
    ],
    not_yet: &[],
};

pub(super) const POOL: Keys = Keys {
    section: "[pool]",
    known: &[
        "mode",
        "size",
        "min_size",
        "reserve_pool_size",
        "reserve_pool_timeout",
        "queue_size",
        "query_wait_timeout",
        "query_wait_notify",
        "server_idle_timeout",
        "server_lifetime",
        "server_connect_timeout",
        "server_login_retry",
        "server_check_delay",
        "server_fast_close",
        "connect_parallel",
        "max_prepared_statements",
        "query_timeout",
        "client_idle_timeout",
        "idle_transaction_timeout",
        "transaction_timeout",
        "cancel_wait_timeout",
        "shard_timeout",
        "merge_memory",
    ],
    not_yet: &[],
};

pub(super) const DATABASE: Keys = Keys {
    section: "[[database]]",
    known: &[
        "name",
        "rules",
        "control",
        "control_password_file",
        "max_client_conn",
        "max_db_connections",
        "pool",
        "server_tls",
        "shard",
        "coordinator",
        "user",
    ],
    not_yet: &[],
};

pub(super) const SERVER_TLS: Keys = Keys {
    section: "[database.server_tls]",
    known: &["sslmode", "sslrootcert", "sslcert", "sslkey"],
    not_yet: &[],
};

pub(super) const SHARD: Keys = Keys {
    section: "[[database.shard]]",
    known: &[
        "name",
        "servers",
        "weights",
        "dbname",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
    ],
    not_yet: &[],
};

pub(super) const COORDINATOR: Keys = Keys {
    section: "[[database.coordinator]]",
    known: &[
        "name",
        "kind",
        "servers",
        "dbname",
        "reader",
        "reader_password_file",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
    ],
    not_yet: &[],
};

pub(super) const USER: Keys = Keys {
    section: "[[database.user]]",
    known: &[
        "name",
        "pool",
        "tenant",
        "max_client_conn",
        "max_user_client_connections",
        "max_user_connections",
    ],
    not_yet: &[],
};

pub(super) const AUTH: Keys = Keys {
    section: "[auth]",
    known: &["mode", "auth_query", "user"],
    not_yet: &[],
};

pub(super) const AUTH_USER: Keys = Keys {
    section: "[[auth.user]]",
    known: &["name", "verifier", "password_file", "cert"],
    not_yet: &[],
};

pub(super) const CONSOLE: Keys = Keys {
    section: "[console]",
    known: &["admins", "watchers"],
    not_yet: &[],
};

pub(super) const LOG: Keys = Keys {
    section: "[log]",
    known: &["format", "level"],
    not_yet: &[],
};

const SECTIONS: [&Keys; 13] = [
    &LISTEN,
    &TLS,
    &LIMITS,
    &POOL,
    &DATABASE,
    &SERVER_TLS,
    &SHARD,
    &COORDINATOR,
    &USER,
    &AUTH,
    &AUTH_USER,
    &CONSOLE,
    &LOG,
];

/// The section a misplaced key belongs in, if there is exactly one.
pub(super) fn home_of(key: &str) -> Option<&'static str> {
    let mut homes = SECTIONS.iter().filter(|keys| keys.known.contains(&key));
    match (homes.next(), homes.next()) {
        (Some(keys), None) => Some(keys.section),
        (None | Some(_), _) => None,
    }
}

/// The key that is meant where another name will do as well: PgBouncer's, or one of earlier versions.
pub(super) fn meant(section: &str, key: &str) -> Option<&'static str> {
    let is_it = |(place, other, _): &&(&str, &str, &str)| *place == section && *other == key;
    ALSO.iter().find(is_it).map(|(_, _, ours)| *ours)
}

/// The other name of a key.
pub(super) fn other(section: &str, key: &str) -> impl Iterator<Item = &'static str> {
    let found = ALSO
        .iter()
        .filter(move |(place, _, ours)| *place == section && *ours == key);
    found.map(|(_, other, _)| *other)
}

/// Section, other name, our name.
const ALSO: [(&str, &str, &str); 8] = [
    ("[pool]", "pool_mode", "mode"),
    ("[pool]", "default_pool_size", "size"),
    ("[pool]", "pool_size", "size"),
    ("[pool]", "min_pool_size", "min_size"),
    ("[pool]", "reserve_pool", "reserve_pool_size"),
    (
        "[limits]",
        "max_client_conn_per_user",
        "max_user_client_connections",
    ),
    (
        "[limits]",
        "max_client_conn_per_database",
        "max_db_client_connections",
    ),
    ("[[database]]", "max_db_client_connections", "max_client_conn"),
];

/// What PgBouncer calls something we call by another name.
pub(super) fn from_pgbouncer(key: &str) -> Option<&'static str> {
    PGBOUNCER
        .iter()
        .find(|(theirs, _)| *theirs == key)
        .map(|(_, ours)| *ours)
}

const PGBOUNCER: [(&str, &str); 15] = [
    ("pool_mode", "mode in [pool]"),
    ("default_pool_size", "size in [pool]"),
    ("pool_size", "size in [pool]"),
    ("min_pool_size", "min_size in [pool]"),
    ("reserve_pool", "reserve_pool_size in [pool]"),
    ("listen_addr", "clients in [listen], with the port"),
    ("listen_port", "clients in [listen], with the address"),
    ("unix_socket_dir", "clients in [listen], as \"unix:/directory\""),
    ("auth_type", "mode in [auth]"),
    ("auth_file", "[[auth.user]]"),
    ("auth_user", "control in [[database]]"),
    ("admin_users", "admins in [console]"),
    ("stats_users", "watchers in [console]"),
    ("client_tls_sslmode", "mode in [tls]"),
    ("server_tls_sslmode", "sslmode in [database.server_tls]"),
];
