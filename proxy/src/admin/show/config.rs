//! SHOW CONFIG: the configuration as pgshunt understood it. Secrets are left out, not shortened.

use std::fmt::Display;
use std::time::Duration;

use crate::admin::lookout::Seen;
use crate::admin::table::{Cell, Column, Row, text};
use crate::pool::settings::Settings;
use crate::snapshot::{Auth, AuthMode, ClientTls, Credential, Database, Limits, LogFormat, Snapshot};

pub(super) const CONFIG: [Column; 4] = [text("key"), text("value"), text("default"), text("changeable")];

/// What stands for a secret.
const MASK: &str = "********";

/// What only a restart changes, by the beginning of its key; the rest RELOAD changes, and some of it SET.
const FIXED: [&str; 3] = ["threads", "listen.", "log.format"];

/// Names of the keys of a pool that PgBouncer calls something else.
type Names = [&'static str; 3];

const OURS: Names = ["size", "min_size", "mode"];
const PGBOUNCERS: Names = ["default_pool_size", "min_pool_size", "pool_mode"];

/// Keys of `[limits]` and of `[pool]` stand alone and have PgBouncer's names, as its tools know them; all others have
/// their section before them.
pub(super) fn config(seen: &Seen) -> Vec<Row> {
    let snapshot = &*seen.snapshot;
    let mut rows = Rows(Vec::new());
    limits(&mut rows, &snapshot.limits);
    pool(&mut rows, "", &snapshot.pool, &Settings::default(), &PGBOUNCERS);
    listen(&mut rows, snapshot);
    tls(&mut rows, &snapshot.tls);
    auth(&mut rows, &snapshot.auth);
    rows.add("console.admins", snapshot.console.admins.join(","), "");
    rows.add("console.watchers", snapshot.console.watchers.join(","), "");
    let format = match snapshot.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    rows.add("log.format", format, "text");
    rows.add("log.level", snapshot.log.level.word(), "info");
    for each in &snapshot.databases {
        database(&mut rows, each);
    }
    rows.0
}

struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, key: impl Into<String>, value: impl Display, default: impl Display) {
        self.push(key.into(), value, default.to_string().into());
    }

    /// A value without a default.
    fn fact(&mut self, key: String, value: impl Display) {
        self.push(key, value, Cell::Null);
    }

    fn push(&mut self, key: String, value: impl Display, default: Cell) {
        let is_fixed = FIXED.iter().any(|fixed| key.starts_with(fixed));
        let changeable = if is_fixed { "no" } else { "yes" };
        let row = vec![key.into(), value.to_string().into(), default, changeable.into()];
        self.0.push(row);
    }
}

/// PgBouncer writes times in seconds; ours may be shorter.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn limits(rows: &mut Rows, limits: &Limits) {
    let d = Limits::default();
    let Limits {
        max_client_conn,
        max_client_conn_per_address,
        max_user_client_connections,
        max_db_client_connections,
        max_db_connections,
        max_user_connections,
        max_logins,
        max_cancels_per_address,
        client_login_timeout,
        max_packet_size,
        tcp,
        listen_backlog,
        autodb_idle_timeout,
        pool_idle_timeout,
        shutdown_timeout,
    } = limits;
    rows.add("max_client_conn", max_client_conn, d.max_client_conn);
    rows.add(
        "max_client_conn_per_address",
        max_client_conn_per_address,
        d.max_client_conn_per_address,
    );
    rows.add(
        "max_user_client_connections",
        max_user_client_connections,
        d.max_user_client_connections,
    );
    rows.add(
        "max_db_client_connections",
        max_db_client_connections,
        d.max_db_client_connections,
    );
    rows.add("max_db_connections", max_db_connections, d.max_db_connections);
    rows.add(
        "max_user_connections",
        max_user_connections,
        d.max_user_connections,
    );
    rows.add("max_logins", max_logins, d.max_logins);
    rows.add(
        "max_cancels_per_address",
        max_cancels_per_address,
        d.max_cancels_per_address,
    );
    rows.add(
        "client_login_timeout",
        seconds(*client_login_timeout),
        seconds(d.client_login_timeout),
    );
    rows.add("max_packet_size", max_packet_size, d.max_packet_size);
    rows.add(
        "tcp_keepalive",
        u8::from(tcp.keepalive),
        u8::from(d.tcp.keepalive),
    );
    let mut time = |key: &str, value, default| rows.add(key, seconds(value), seconds(default));
    time("tcp_keepidle", tcp.keepalive_idle, d.tcp.keepalive_idle);
    time("tcp_keepintvl", tcp.keepalive_interval, d.tcp.keepalive_interval);
    time("tcp_user_timeout", tcp.user_timeout, d.tcp.user_timeout);
    time("dns_max_ttl", tcp.dns_max_ttl, d.tcp.dns_max_ttl);
    time("dns_nxdomain_ttl", tcp.dns_nxdomain_ttl, d.tcp.dns_nxdomain_ttl);
    time("autodb_idle_timeout", *autodb_idle_timeout, d.autodb_idle_timeout);
    time("pool_idle_timeout", *pool_idle_timeout, d.pool_idle_timeout);
    time("shutdown_timeout", *shutdown_timeout, d.shutdown_timeout);
    rows.add("tcp_keepcnt", tcp.keepalive_count, d.tcp.keepalive_count);
    rows.add("listen_backlog", listen_backlog, d.listen_backlog);
}

fn listen(rows: &mut Rows, snapshot: &Snapshot) {
    let listen = &snapshot.listen;
    let clients: Vec<_> = listen.clients.iter().map(ToString::to_string).collect();
    let optional = |text: Option<String>| text.unwrap_or_default();
    rows.fact("threads".into(), snapshot.threads);
    rows.add("listen.clients", clients.join(","), "127.0.0.1:6432");
    rows.add(
        "listen.admin",
        optional(listen.admin.as_ref().map(ToString::to_string)),
        "",
    );
    rows.add(
        "listen.http",
        optional(listen.http.as_ref().map(ToString::to_string)),
        "",
    );
}

fn tls(rows: &mut Rows, tls: &ClientTls) {
    let file = |file: &Option<std::path::PathBuf>| {
        let shown = file.as_ref().map(|file| file.display().to_string());
        shown.unwrap_or_default()
    };
    rows.add("tls.mode", tls.mode.word(), "disable");
    rows.add("tls.certificate", file(&tls.certificate), "");
    rows.add("tls.key", file(&tls.key), "");
    rows.add("tls.client_ca", file(&tls.client_ca), "");
}

fn auth(rows: &mut Rows, auth: &Auth) {
    let mode = match auth.mode {
        AuthMode::Passthrough => "passthrough",
        AuthMode::Users => "users",
        AuthMode::Trust => "trust",
    };
    rows.add("auth.mode", mode, "passthrough");
    rows.fact("auth.auth_query".into(), &auth.auth_query);
    for user in &auth.users {
        let kind = match user.credential {
            Some(Credential::Scram(_)) => "scram-sha-256",
            Some(Credential::Md5(_)) => "md5",
            Some(Credential::Password(_)) => "password",
            None => "cert",
        };
        rows.fact(format!("auth.user.{}", user.name), format!("{kind} {MASK}"));
    }
}

fn database(rows: &mut Rows, database: &Database) {
    let key = |what: &str| format!("database.{}.{what}", database.name);
    for shard in &database.shards {
        let servers: Vec<_> = shard.servers.iter().map(ToString::to_string).collect();
        rows.fact(key(&format!("shard.{}.servers", shard.name)), servers.join(","));
        rows.fact(
            key(&format!("shard.{}.sslmode", shard.name)),
            shard.tls.mode.word(),
        );
    }
    if let Some(coordinator) = &database.coordinator {
        let servers: Vec<_> = coordinator
            .shard
            .servers
            .iter()
            .map(ToString::to_string)
            .collect();
        rows.fact(key("coordinator.name"), &coordinator.shard.name);
        rows.fact(key("coordinator.servers"), servers.join(","));
        rows.fact(key("coordinator.sslmode"), coordinator.shard.tls.mode.word());
        if let Some(reader) = &coordinator.reader {
            rows.fact(key("coordinator.reader"), &reader.user);
        }
    }
    if let Some(control) = &database.control {
        let password = if control.password.is_some() { MASK } else { "" };
        rows.fact(key("control.user"), &control.user);
        rows.fact(key("control.dbname"), &control.dbname);
        rows.fact(key("control.password"), password);
    }
    if let Some(rules) = &database.rules {
        rows.fact(key("rules"), rules.display());
    }
    rows.add(key("max_client_conn"), database.max_client_conn, 0);
    rows.add(key("max_db_connections"), database.max_db_connections, 0);
    pool(rows, &key("pool."), &database.pool, &Settings::default(), &OURS);
    for user in &database.users {
        let key = |what: &str| format!("database.{}.user.{}.{what}", database.name, user.name);
        if let Some(tenant) = &user.tenant {
            rows.fact(key("tenant"), tenant);
        }
        let own = [
            ("max_client_conn", user.max_client_conn),
            ("max_user_client_connections", user.max_user_client_connections),
            ("max_user_connections", user.max_user_connections),
        ];
        for (what, most) in own.into_iter().filter_map(|(what, most)| Some((what, most?))) {
            rows.fact(key(what), most);
        }
        if user.pool != database.pool {
            pool(rows, &key("pool."), &user.pool, &database.pool, &OURS);
        }
    }
}

fn pool(rows: &mut Rows, prefix: &str, settings: &Settings, wider: &Settings, names: &Names) {
    let mut number = |key: &str, value: usize, default: usize| {
        rows.add(format!("{prefix}{key}"), value, default);
    };
    let (s, d) = (settings, wider);
    let [size, min_size, mode] = names;
    number(size, s.size, d.size);
    number(min_size, s.min_size, d.min_size);
    number("reserve_pool_size", s.reserve_pool_size, d.reserve_pool_size);
    number("queue_size", s.queue_size, d.queue_size);
    number("connect_parallel", s.connect_parallel, d.connect_parallel);
    number("merge_memory", s.merge_memory, d.merge_memory);
    number(
        "max_prepared_statements",
        s.max_prepared_statements,
        d.max_prepared_statements,
    );
    number(
        "server_fast_close",
        s.server_fast_close.into(),
        d.server_fast_close.into(),
    );
    rows.add(format!("{prefix}{mode}"), s.mode.word(), d.mode.word());
    let mut time = |key: &str, value: Duration, default: Duration| {
        rows.add(format!("{prefix}{key}"), seconds(value), seconds(default));
    };
    time(
        "reserve_pool_timeout",
        s.reserve_pool_timeout,
        d.reserve_pool_timeout,
    );
    time("query_wait_timeout", s.query_wait_timeout, d.query_wait_timeout);
    time("query_wait_notify", s.query_wait_notify, d.query_wait_notify);
    time(
        "server_idle_timeout",
        s.server_idle_timeout,
        d.server_idle_timeout,
    );
    time("server_lifetime", s.server_lifetime, d.server_lifetime);
    time(
        "server_connect_timeout",
        s.server_connect_timeout,
        d.server_connect_timeout,
    );
    time("server_login_retry", s.server_login_retry, d.server_login_retry);
    time("server_check_delay", s.server_check_delay, d.server_check_delay);
    time("query_timeout", s.query_timeout, d.query_timeout);
    time(
        "client_idle_timeout",
        s.client_idle_timeout,
        d.client_idle_timeout,
    );
    time(
        "idle_transaction_timeout",
        s.idle_transaction_timeout,
        d.idle_transaction_timeout,
    );
    time(
        "transaction_timeout",
        s.transaction_timeout,
        d.transaction_timeout,
    );
    time(
        "cancel_wait_timeout",
        s.cancel_wait_timeout,
        d.cancel_wait_timeout,
    );
    time("shard_timeout", s.shard_timeout, d.shard_timeout);
}
