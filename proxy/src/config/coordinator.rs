//! `[[database.coordinator]]`: a PostgreSQL that answers what the shards can't answer together.

use super::database::{WideTls, required_name, servers, shard_tls};
use super::dsn::Dsn;
use super::keys;
use super::mistake::Wrong;
use super::raw::Section;
use super::role::role;
use crate::server::address::Address;
use crate::snapshot::{Coordinator, CoordinatorKind, Reader, Shard};

/// The coordinator of a database, if it has one.
pub(super) fn coordinator(database: &Section, shards: &[Shard], wide: &WideTls) -> Option<Coordinator> {
    let sections = database.sections("coordinator", &keys::COORDINATOR);
    let (section, more) = sections.split_first()?;
    if let Some(second) = more.first() {
        let wrong = Wrong::new("there is more than one [[database.coordinator]]");
        second.wrong(wrong.hint("keep one of them: a database has one coordinator"));
    }
    if database.name("name").is_some_and(|name| name.value == "*") {
        let wrong = Wrong::new("[[database.coordinator]] stands in the database \"*\"");
        section.wrong(wrong.hint("give the database a name: each has a coordinator of its own"));
    }
    if shards.len() < 2 {
        let wrong = Wrong::new("[[database.coordinator]] stands in a database that has no two shards");
        section.wrong(wrong.hint("take it out: one PostgreSQL needs no other to answer for it"));
    }
    let name = match section.place("name") {
        Some(_) => required_name(section),
        None => NAME,
    };
    if shards.iter().any(|shard| shard.name == name) {
        let at = section.place("name").unwrap_or(section.at);
        section.wrong_value("name", at, Wrong::new(format!("is a shard's name: \"{name}\"")));
    }
    let kind = section.word(
        "kind",
        &[
            ("postgres", CoordinatorKind::Postgres),
            ("citus", CoordinatorKind::Citus),
        ],
    );
    Some(Coordinator {
        shard: Shard {
            name: name.to_owned(),
            servers: one_server(section),
            weights: Vec::new(),
            dbname: section.name("dbname").map(|text| text.value.to_owned()),
            tls: shard_tls(section, wide),
        },
        kind: kind.unwrap_or_default(),
        reader: reader(section),
    })
}

fn one_server(section: &Section) -> Vec<Address> {
    let servers = servers(section);
    if servers.len() > 1 {
        let at = section.place("servers").unwrap_or(section.at);
        let wrong = Wrong::new("names several servers");
        section.wrong_value(
            "servers",
            at,
            wrong.hint("name one: a coordinator has no replicas that pgshunt would choose among"),
        );
    }
    servers
}

/// The role as which the coordinator reads the shards.
fn reader(section: &Section) -> Option<Reader> {
    let dsn = role(section, "reader", "postgres://ROLE@/", unfit_for_reader)?;
    Some(Reader {
        user: dsn.user?,
        password: dsn.password,
    })
}

fn unfit_for_reader(dsn: &Dsn) -> Vec<Wrong> {
    if dsn.servers.is_empty() && dsn.dbname.is_none() && !dsn.speaks_of_tls() {
        return Vec::new();
    }
    let hint = "write postgres://ROLE@/: where the shards are stands in [[database.shard]]";
    vec![Wrong::new("says more than a role and its password").hint(hint)]
}

/// The name of a coordinator that has been given none.
const NAME: &str = "coordinator";
