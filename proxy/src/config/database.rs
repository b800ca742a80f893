//! `[[database]]`: its shards, its roles, the role pgshunt itself uses there.

use std::path::PathBuf;
use std::sync::Arc;

use routing_rules::Sharding;

use super::Environment;
use super::address;
use super::coordinator::coordinator;
use super::dsn::Dsn;
use super::files;
use super::keys;
use super::mistake::Wrong;
use super::pool::{self, CLIENTS_MAX, SERVERS_MAX};
use super::raw::{Section, Written};
use super::role::role;
use super::rules::Said;
use super::tls;
use crate::pool::settings::Settings;
use crate::server::address::{Address, ServerTls};
use crate::snapshot::{Control, Database, Limits, Shard, User, Warm};

/// What a database takes over from the rest of the file.
pub(super) struct Inherited<'a> {
    pub pool: &'a Settings,
    pub limits: &'a Limits,
    pub environment: &'a Environment,
    /// Is a server asked, as the control role, for what each client is checked against?
    pub asks_servers: bool,
}

/// All databases; at least one, names unique.
pub(super) fn databases(root: &Section, from: &Inherited) -> Vec<Database> {
    let sections = root.sections("database", &keys::DATABASE);
    if sections.is_empty() && root.place("database").is_none() {
        let wrong = Wrong::new("there is no [[database]]");
        root.findings()
            .anywhere(wrong.hint("add [[database]] with a name and a [[database.shard]]"));
    }
    no_name_twice(&sections, "database");
    sections.iter().map(|section| database(section, from)).collect()
}

fn database(section: &Section, from: &Inherited) -> Database {
    let name = required_name(section).to_owned();
    let pool = match section.section("pool", &keys::POOL) {
        Some(narrower) => pool::narrowed(from.pool, &narrower),
        None => from.pool.clone(),
    };
    let wide = wide_tls(section);
    let shards = shards(section, &wide);
    if from.asks_servers && !name.is_empty() && section.place("control").is_none() {
        let wrong = Wrong::new(format!(
            "database \"{name}\" has no control role, so no client could log in"
        ));
        section.wrong(wrong.hint("add control = \"postgres://ROLE@/DBNAME\", or list users under [auth]"));
    }
    let max_client_conn = section.count("max_client_conn", 0..=CLIENTS_MAX);
    let max_db_connections = section.count("max_db_connections", 0..=SERVERS_MAX);
    let (rules, said) = rules(section, &shards).unzip();
    let said = said.unwrap_or_default();
    let sharding = said.sharding.map(Arc::new);
    fits_shards(section, &shards, sharding.as_deref());
    Database {
        control: control(section, &name, &shards, from.environment),
        users: users(section, &pool, sharding.as_deref()),
        split: said.split,
        cache: said.cache,
        warm: warm(section, &name, said.warm),
        sharding,
        rules,
        max_client_conn: max_client_conn.unwrap_or(from.limits.max_db_client_connections),
        max_db_connections: max_db_connections.unwrap_or(from.limits.max_db_connections),
        coordinator: coordinator(section, &shards, &wide).map(Arc::new),
        name,
        shards,
        pool,
    }
}

/// Several shards need rules, and a role that reads their tables' columns.
fn fits_shards(section: &Section, shards: &[Shard], sharding: Option<&Sharding>) {
    if shards.len() < 2 || section.findings().has_some() {
        return;
    }
    if section.place("rules").is_none() {
        let wrong = Wrong::new("[[database]] has several shards, and nothing says what is where");
        section.wrong(wrong.hint("add rules = \"FILE\", with [sharding] in it"));
    } else if sharding.is_none() {
        let wrong = Wrong::new("names a file without [sharding], and the database has several shards");
        let at = section.place("rules").unwrap_or(section.at);
        section.wrong_value(
            "rules",
            at,
            wrong.hint("routing-rules/rules/bmos.toml shows a [sharding]"),
        );
    }
    if section.place("control").is_none() {
        let wrong = Wrong::new("[[database]] has several shards and no control role");
        section
            .wrong(wrong.hint("add control = \"postgres://ROLE@/DBNAME\": it looks up the tables' columns"));
    }
}

/// The file of rules, and what it says.
fn rules(section: &Section, shards: &[Shard]) -> Option<(PathBuf, Said)> {
    let path = section.path("rules")?;
    if let Err(wrong) = files::readable(&path.value) {
        section.wrong_value("rules", path.at, wrong);
        return None;
    }
    let shards: Vec<&str> = shards.iter().map(|shard| shard.name.as_str()).collect();
    match super::rules::load(&path.value, &shards) {
        Ok(rules) => Some((path.value, rules)),
        Err(mistakes) => {
            section.findings().elsewhere(mistakes);
            None
        }
    }
}

/// For whom answers are fetched in advance: by a name that clients give.
fn warm(section: &Section, name: &str, warm: Vec<Warm>) -> Vec<Warm> {
    if name == "*" && !warm.is_empty() {
        let at = section.place("rules").unwrap_or(section.at);
        let wrong = Wrong::new(
            "has [[cache.warm]], and the database \"*\" is none that answers could be fetched from",
        );
        section.wrong_value("rules", at, wrong.hint("give the database its name"));
    }
    warm
}

/// TLS towards all servers of a database, and the section that says so.
pub(super) type WideTls<'a> = (Option<Section<'a>>, ServerTls);

fn wide_tls<'a>(database: &Section<'a>) -> WideTls<'a> {
    let wide = database.section("server_tls", &keys::SERVER_TLS);
    let tls = wide.map_or_else(ServerTls::default, |wide| {
        tls::towards_servers(&ServerTls::default(), &wide)
    });
    (wide, tls)
}

fn shards(database: &Section, wide: &WideTls) -> Vec<Shard> {
    let sections = database.sections("shard", &keys::SHARD);
    if sections.is_empty() && database.place("shard").is_none() {
        let wrong = Wrong::new("[[database]] has no servers");
        database.wrong(wrong.hint("add [[database.shard]] with servers = [\"host:5432\"]"));
    }
    no_name_twice(&sections, "shard");
    let alone = sections.len() == 1;
    let shard = |section: &Section| Shard {
        name: match section.place("name") {
            None if alone => ONLY_SHARD.to_owned(),
            None | Some(_) => required_name(section).to_owned(),
        },
        servers: servers(section),
        weights: weights(section),
        dbname: section.name("dbname").map(|text| text.value.to_owned()),
        tls: shard_tls(section, wide),
    };
    sections.iter().map(shard).collect()
}

/// What does not go together is noted where the last word on it was said.
pub(super) fn shard_tls(shard: &Section, (wide, wide_tls): &WideTls) -> ServerTls {
    match tls::settled(tls::towards_servers(wide_tls, shard)) {
        Ok(settled) => settled,
        Err(wrong) => {
            let last_word = wide.as_ref().filter(|_| !tls::is_in(shard)).unwrap_or(shard);
            let what = format!("{} in {}", wrong.what, last_word.name);
            last_word.wrong(Wrong { what, ..wrong });
            ServerTls::default()
        }
    }
}

pub(super) fn servers(shard: &Section) -> Vec<Address> {
    let written = shard.texts("servers").unwrap_or_default();
    if shard.place("servers").is_none() || shard.is_empty_list("servers") {
        let wrong = Wrong::new(format!("{} has no servers", shard.name));
        shard.wrong(wrong.hint("add servers = [\"host:5432\"]"));
    }
    let mut servers = Vec::new();
    for Written { value, at } in written {
        match address::server(value) {
            Ok(server) if servers.contains(&server) => {
                shard.wrong_value("servers", at, Wrong::new(format!("names \"{value}\" twice")));
            }
            Ok(server) => servers.push(server),
            Err(wrong) => {
                let what = format!("has a mistake: {}", wrong.what);
                shard.wrong_value("servers", at, Wrong { what, ..wrong });
            }
        }
    }
    servers
}

/// How much of the reads each server takes; one number for each of them, or none.
fn weights(shard: &Section) -> Vec<usize> {
    let Some(weights) = shard.counts("weights", 1..=WEIGHT_MAX) else {
        return Vec::new();
    };
    let servers = shard.texts("servers").map_or(0, |servers| servers.len());
    if weights.len() != servers {
        let at = shard.place("weights").unwrap_or(shard.at);
        let what = format!("has {} numbers for {servers} servers", weights.len());
        shard.wrong_value(
            "weights",
            at,
            Wrong::new(what).hint("write one for each server, in their order"),
        );
    }
    weights
}

/// The largest weight: beyond it, rounding would show.
const WEIGHT_MAX: usize = 1000;

fn users(database: &Section, pool: &Settings, sharding: Option<&Sharding>) -> Vec<User> {
    let sections = database.sections("user", &keys::USER);
    no_name_twice(&sections, "user");
    let user = |section: &Section| User {
        name: required_name(section).to_owned(),
        pool: match section.section("pool", &keys::POOL) {
            Some(narrower) => pool::narrowed(pool, &narrower),
            None => pool.clone(),
        },
        tenant: tenant(section, sharding),
        max_client_conn: section.count("max_client_conn", 0..=CLIENTS_MAX),
        max_user_client_connections: section.count("max_user_client_connections", 0..=CLIENTS_MAX),
        max_user_connections: section.count("max_user_connections", 0..=SERVERS_MAX),
    };
    sections.iter().map(user).collect()
}

/// The tenant a role is bound to: a key, where the database is sharded.
fn tenant(user: &Section, sharding: Option<&Sharding>) -> Option<String> {
    let written = user.name("tenant")?;
    let key_type = sharding.map(|sharding| sharding.key_type);
    if let Some(key_type) = key_type.filter(|key_type| key_type.read_text(written.value).is_err()) {
        let what = format!("is no {}: \"{}\"", key_type.word(), written.value);
        let hint = "write a value of the column that [sharding] names";
        user.wrong_value("tenant", written.at, Wrong::new(what).hint(hint));
    }
    Some(written.value.to_owned())
}

fn control(section: &Section, name: &str, shards: &[Shard], environment: &Environment) -> Option<Control> {
    let dsn = role(section, "control", "postgres://ROLE@/DBNAME", unfit_for_control)?;
    Some(Control {
        user: dsn.user.unwrap_or_default(),
        password: dsn.password.or_else(|| environment.control_password.clone()),
        dbname: dsn.dbname.unwrap_or_else(|| control_dbname(name, shards)),
    })
}

fn unfit_for_control(dsn: &Dsn) -> Vec<Wrong> {
    let mut wrongs = Vec::new();
    if !dsn.servers.is_empty() {
        let wrong = Wrong::new("names a server, but the role is used on every server of every shard");
        wrongs.push(wrong.hint("write postgres://ROLE@/DBNAME, and servers in [[database.shard]]"));
    }
    if dsn.speaks_of_tls() {
        let wrong = Wrong::new("speaks of TLS, which is the same for every connection to a server");
        wrongs.push(wrong.hint("set sslmode in [database.server_tls] or [[database.shard]]"));
    }
    wrongs
}

/// Where the control role connects when nobody says: the database itself, or `postgres` when that is any.
fn control_dbname(name: &str, shards: &[Shard]) -> String {
    let written = shards.iter().find_map(|shard| shard.dbname.clone());
    written.unwrap_or_else(|| {
        if name == "*" {
            "postgres".into()
        } else {
            name.into()
        }
    })
}

pub(super) fn required_name<'a>(section: &Section<'a>) -> &'a str {
    if section.place("name").is_none() {
        section.wrong(Wrong::new(format!("{} has no name", section.name)).hint("add name = \"…\""));
    }
    section.name("name").map_or("", |text| text.value)
}

/// Notes every name that stands twice among sections of one kind.
pub(super) fn no_name_twice(sections: &[Section], kind: &str) {
    let mut seen: Vec<&str> = Vec::new();
    for section in sections {
        let Some(Written { value, at }) = section.text_if_any("name") else {
            continue;
        };
        if seen.contains(&value) {
            let wrong = Wrong::new(format!("there are two {kind}s named \"{value}\""));
            section.findings().at(at, wrong);
        }
        seen.push(value);
    }
}

/// The name of a shard that needs none.
pub(super) const ONLY_SHARD: &str = "s0";
