//! `deploy/pgshunt.toml` shows every option there is, and nothing else, with the defaults the code has.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::super::keys::{self, Keys};
use super::*;
use crate::pool::settings::Settings;
use crate::snapshot::{Limits, LogSettings};

const EXAMPLE: &str = include_str!("../../../../deploy/pgshunt.toml");

/// The example with every option switched on: `#key = …` and `#[section]`, but not `# prose`.
fn all_switched_on() -> String {
    let switched = |line: &str| match line.strip_prefix('#') {
        Some(option) if !option.starts_with(' ') && !option.is_empty() => format!("{option}\n"),
        Some(_) | None => format!("{line}\n"),
    };
    EXAMPLE.lines().map(switched).collect()
}

#[test]
fn the_example_has_no_mistakes_as_it_is() {
    if let Err(mistakes) = read(EXAMPLE) {
        panic!("{}", shown(&mistakes));
    }
}

#[test]
fn every_option_of_the_example_works_and_shows_its_default() {
    let folder = Folder::new("example");
    for name in [
        "server.crt",
        "server.key",
        "client-ca.crt",
        "server-ca.crt",
        "pgshunt.crt",
        "pgshunt.key",
        "control.password",
        "reader.password",
        "batch.password",
    ] {
        folder.write(name, "secret\n", 0o600);
    }
    folder.write("redis.password", "secret\n", 0o600);
    folder.write("sentinel.password", "secret\n", 0o600);
    folder.write("redis.secret", &"0123456789abcdef".repeat(4), 0o600);
    let rules = "[sharding]\ncolumn = \"tenant_id\"\ntype = \"uuid\"\n";
    folder.write("rules/app.toml", rules, 0o600);
    let text = all_switched_on().replace("/etc/pgshunt/", "");
    let file = folder.write("pgshunt.toml", &text, 0o644);
    let snapshot = load(&file).unwrap_or_else(|mistakes| panic!("{}", shown(&mistakes)));
    assert_eq!(snapshot.databases[0].pool, Settings::default());
    assert_eq!(snapshot.limits, Limits::default());
    assert_eq!(snapshot.log, LogSettings::default());
    assert_eq!(snapshot.listen.clients, check::default_listen().clients);
}

#[test]
fn the_example_shows_every_key_and_only_those() {
    let text = all_switched_on();
    let document = DeTable::parse(&text).expect("the example is TOML");
    let mut shown = BTreeSet::new();
    keys_of(document.get_ref(), &keys::ROOT, &mut shown);
    let mut known = BTreeSet::new();
    for (section, keys) in sections() {
        known.extend(keys.known.iter().map(|key| format!("{section}{key}")));
    }
    // A narrower pool takes any of the keys of the wide one; it need not show them all.
    for narrower in ["[[database]] pool.", "[[database.user]] pool."] {
        shown.retain(|key| !key.starts_with(narrower));
    }
    assert_eq!(known, shown);
}

fn sections() -> [(String, &'static Keys); 15] {
    [
        &keys::ROOT,
        &keys::LISTEN,
        &keys::TLS,
        &keys::LIMITS,
        &keys::POOL,
        &keys::DATABASE,
        &keys::SERVER_TLS,
        &keys::SHARD,
        &keys::COORDINATOR,
        &keys::USER,
        &keys::AUTH,
        &keys::AUTH_USER,
        &keys::CONSOLE,
        &keys::LOG,
        &keys::REDIS,
    ]
    .map(|keys| (format!("{} ", keys.section), keys))
}

fn keys_of(table: &DeTable, within: &Keys, shown: &mut BTreeSet<String>) {
    for (key, value) in table.iter() {
        let key = key.get_ref().as_ref();
        shown.insert(format!("{} {key}", within.section));
        let inner = match key {
            "listen" => &keys::LISTEN,
            "tls" => &keys::TLS,
            "limits" => &keys::LIMITS,
            "pool" => &keys::POOL,
            "database" => &keys::DATABASE,
            "server_tls" => &keys::SERVER_TLS,
            "shard" => &keys::SHARD,
            "coordinator" => &keys::COORDINATOR,
            "user" if within.section == keys::AUTH.section => &keys::AUTH_USER,
            "user" => &keys::USER,
            "auth" => &keys::AUTH,
            "console" => &keys::CONSOLE,
            "log" => &keys::LOG,
            "redis" => &keys::REDIS,
            _ => continue,
        };
        match value.get_ref() {
            DeValue::Table(table) => keys_of(table, inner, shown),
            DeValue::Array(list) => {
                let tables = list.iter().filter_map(|item| item.get_ref().as_table());
                tables.for_each(|table| keys_of(table, inner, shown));
            }
            _ => panic!("{key} is a section"),
        }
    }
}
