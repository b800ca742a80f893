//! PgBouncer's options, and what becomes of each.

/// What becomes of an option of `[pgbouncer]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A number or a number of seconds, in this section under this name.
    Value(&'static str, &'static str),
    /// A word or a path, in this section under this name.
    Text(&'static str, &'static str),
    /// Read by `mod.rs` together with others.
    Together,
    /// There is nothing to carry over, because …
    Needless(&'static str),
    /// pgshunt can't do that.
    Missing(&'static str),
}

/// What becomes of an option, if PgBouncer has one of that name.
pub(super) fn fate(key: &str) -> Option<Fate> {
    OPTIONS
        .iter()
        .find(|(name, _)| *name == key)
        .map(|(_, fate)| *fate)
}

use Fate::{Missing, Needless, Text, Together, Value};

const LOG: Fate = Needless("the log goes to stderr; [log] sets format and level");
const STATS: Fate = Needless("SHOW STATS and /metrics have the numbers at any time");
const KERNEL: Fate = Needless("sockets are set up by pgshunt itself");
const DNS: Fate = Needless("names are looked up by the system, anew after dns_max_ttl");
const RESET: Fate = Needless("mode auto asks a server what a session left in it instead of resetting it");
const CIPHERS: Fate = Missing("TLS 1.2 and 1.3 with rustls's ciphers, always");
const UNIX: Fate = Missing("the socket may be used by everybody who may enter its directory");

/// All options of PgBouncer 1.25.
const OPTIONS: &[(&str, Fate)] = &[
    ("listen_addr", Together),
    ("listen_port", Together),
    ("unix_socket_dir", Together),
    ("auth_type", Together),
    ("auth_file", Together),
    ("auth_user", Together),
    ("auth_query", Together),
    ("auth_dbname", Together),
    ("admin_users", Together),
    ("stats_users", Together),
    ("pool_mode", Together),
    ("max_prepared_statements", Together),
    ("max_packet_size", Together),
    ("server_tls_sslmode", Together),
    ("server_tls_ca_file", Together),
    ("server_tls_cert_file", Together),
    ("server_tls_key_file", Together),
    ("client_tls_sslmode", Text("tls", "mode")),
    ("client_tls_cert_file", Text("tls", "certificate")),
    ("client_tls_key_file", Text("tls", "key")),
    ("client_tls_ca_file", Text("tls", "client_ca")),
    ("max_client_conn", Value("limits", "max_client_conn")),
    ("max_db_connections", Value("limits", "max_db_connections")),
    (
        "max_db_client_connections",
        Value("limits", "max_db_client_connections"),
    ),
    (
        "max_user_client_connections",
        Value("limits", "max_user_client_connections"),
    ),
    ("client_login_timeout", Value("limits", "client_login_timeout")),
    ("default_pool_size", Value("pool", "size")),
    ("min_pool_size", Value("pool", "min_size")),
    ("query_wait_timeout", Value("pool", "query_wait_timeout")),
    ("server_idle_timeout", Value("pool", "server_idle_timeout")),
    ("server_lifetime", Value("pool", "server_lifetime")),
    ("server_connect_timeout", Value("pool", "server_connect_timeout")),
    ("server_login_retry", Value("pool", "server_login_retry")),
    ("server_check_delay", Value("pool", "server_check_delay")),
    ("query_timeout", Value("pool", "query_timeout")),
    ("client_idle_timeout", Value("pool", "client_idle_timeout")),
    (
        "idle_transaction_timeout",
        Value("pool", "idle_transaction_timeout"),
    ),
    ("transaction_timeout", Value("pool", "transaction_timeout")),
    ("cancel_wait_timeout", Value("pool", "cancel_wait_timeout")),
    ("reserve_pool_size", Value("pool", "reserve_pool_size")),
    ("reserve_pool_timeout", Value("pool", "reserve_pool_timeout")),
    ("query_wait_notify", Value("pool", "query_wait_notify")),
    ("max_user_connections", Value("limits", "max_user_connections")),
    ("server_reset_query", RESET),
    ("server_reset_query_always", RESET),
    (
        "server_check_query",
        Needless("a server that was idle is probed by pgshunt itself"),
    ),
    ("server_fast_close", Value("pool", "server_fast_close")),
    (
        "server_round_robin",
        Missing("the server used last is lent first"),
    ),
    (
        "ignore_startup_parameters",
        Needless("every startup parameter is a setting, and is taken"),
    ),
    (
        "track_extra_parameters",
        Needless("in mode auto all settings follow the client"),
    ),
    (
        "application_name_add_host",
        Missing("the client's address is in SHOW CLIENTS"),
    ),
    (
        "login_notify_message",
        Missing("nothing is said to clients that PostgreSQL would not say"),
    ),
    (
        "conffile",
        Needless("pgshunt serve -c names the file; RELOAD reads it again"),
    ),
    ("disable_pqexec", Missing("simple queries are always taken")),
    (
        "auth_hba_file",
        Missing("roles are checked alike wherever they come from"),
    ),
    ("auth_ident_file", Missing("write cert = \"…\" in [[auth.user]]")),
    ("auth_ldap_options", Missing("LDAP is not spoken")),
    (
        "scram_iterations",
        Needless("verifiers are PostgreSQL's or made with 4096 iterations"),
    ),
    ("unix_socket_mode", UNIX),
    ("unix_socket_group", UNIX),
    ("client_tls_protocols", CIPHERS),
    ("client_tls_ciphers", CIPHERS),
    ("client_tls13_ciphers", CIPHERS),
    ("client_tls_ecdhcurve", CIPHERS),
    ("client_tls_dheparams", CIPHERS),
    ("server_tls_protocols", CIPHERS),
    ("server_tls_ciphers", CIPHERS),
    ("server_tls13_ciphers", CIPHERS),
    ("logfile", LOG),
    ("syslog", LOG),
    ("syslog_ident", LOG),
    ("syslog_facility", LOG),
    ("verbose", LOG),
    ("log_connections", LOG),
    ("log_disconnections", LOG),
    ("log_pooler_errors", LOG),
    ("log_stats", STATS),
    ("stats_period", STATS),
    (
        "pidfile",
        Needless("systemd or a container runtime watches the process"),
    ),
    ("user", Needless("start pgshunt as the user it shall be")),
    ("job_name", Needless("it is for Windows")),
    ("service_name", Needless("it is for Windows")),
    (
        "peer_id",
        Missing("cancel requests must reach the process that has the client"),
    ),
    (
        "so_reuseport",
        Needless("one process uses all processors: threads"),
    ),
    ("autodb_idle_timeout", Value("limits", "autodb_idle_timeout")),
    ("pool_idle_timeout", Value("limits", "pool_idle_timeout")),
    (
        "suspend_timeout",
        Needless("there is no SUSPEND; shutdown_timeout bounds how long a shutdown waits"),
    ),
    ("dns_max_ttl", Value("limits", "dns_max_ttl")),
    ("dns_nxdomain_ttl", Value("limits", "dns_nxdomain_ttl")),
    (
        "dns_zone_check_period",
        Needless("no zone is asked for its serial: every name is looked up again after dns_max_ttl"),
    ),
    ("resolv_conf", DNS),
    ("pkt_buf", KERNEL),
    ("listen_backlog", Value("limits", "listen_backlog")),
    ("sbuf_loopcnt", KERNEL),
    ("tcp_defer_accept", KERNEL),
    ("tcp_socket_buffer", KERNEL),
    ("tcp_keepalive", Value("limits", "tcp_keepalive")),
    ("tcp_keepcnt", Value("limits", "tcp_keepcnt")),
    ("tcp_keepidle", Value("limits", "tcp_keepidle")),
    ("tcp_keepintvl", Value("limits", "tcp_keepintvl")),
    ("tcp_user_timeout", Together),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every limit and every timeout of PgBouncer 1.25 is here under its name or under ours, but for what limits
    /// something that pgshunt does not have.
    #[test]
    fn limits_and_timeouts_are_carried_over() {
        let needless = |(name, fate): &&(&str, Fate)| {
            let is_limit = [
                "max_",
                "timeout",
                "_size",
                "lifetime",
                "retry",
                "delay",
                "keep",
                "ttl",
                "period",
                "backlog",
                "wait_notify",
                "pkt_buf",
                "loopcnt",
                "fast_close",
            ]
            .iter()
            .any(|part| name.contains(part));
            is_limit && *name != "stats_period" && matches!(fate, Needless(_) | Missing(_))
        };
        let left: Vec<_> = OPTIONS.iter().filter(needless).map(|(name, _)| *name).collect();
        assert_eq!(
            left,
            [
                "suspend_timeout",
                "dns_zone_check_period",
                "pkt_buf",
                "sbuf_loopcnt"
            ]
        );
    }

    #[test]
    fn no_option_stands_twice() {
        let mut names: Vec<_> = OPTIONS.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), OPTIONS.len());
    }
}
