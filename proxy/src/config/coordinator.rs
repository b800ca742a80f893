//! `[[database.coordinator]]`: a PostgreSQL that answers what the shards can't answer together.

use super::database::{WideTls, required_name, servers, shard_tls};
use super::dsn;
use super::files;
use super::keys;
use super::mistake::Wrong;
use super::raw::{Section, Written};
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
    let from_file = section.path("reader_password_file").map(|path| {
        let secret = files::secret(&path.value);
        let secret = secret.map_err(|wrong| section.wrong_value("reader_password_file", path.at, wrong));
        (path.at, secret.ok())
    });
    let Some(Written { value, at }) = section.text("reader") else {
        if let Some((at, _)) = from_file {
            let wrong = Wrong::new("needs reader = \"postgres://ROLE@/\" beside it");
            section.wrong_value("reader_password_file", at, wrong);
        }
        return None;
    };
    let wrong = |wrong: Wrong| section.wrong_value("reader", at, wrong);
    let dsn = match dsn::parse(value) {
        Ok(dsn) => dsn,
        Err(wrongs) => {
            for found in wrongs {
                let what = format!("has a mistake: {}", found.what);
                wrong(Wrong { what, ..found });
            }
            return None;
        }
    };
    let Some(user) = dsn.user.clone() else {
        wrong(Wrong::new("names no role").hint("write postgres://ROLE@/"));
        return None;
    };
    if !dsn.servers.is_empty() || dsn.dbname.is_some() || dsn.speaks_of_tls() {
        let hint = "write postgres://ROLE@/: where the shards are stands in [[database.shard]]";
        wrong(Wrong::new("says more than a role and its password").hint(hint));
    }
    if dsn.password.is_some() && from_file.is_some() {
        wrong(Wrong::new("has a password, and so has reader_password_file").hint("keep one of them"));
    }
    Some(Reader {
        user,
        password: dsn.password.or(from_file.and_then(|(_, secret)| secret)),
    })
}

/// The name of a coordinator that has been given none.
const NAME: &str = "coordinator";
