//! `[sharding]` of a file of rules: read as one value, checked by `routing_rules`, each mistake put where it was written.

use routing_rules::{RawSharding, Sharding, WrongSharding};
use serde::Deserialize;
use toml::de::{DeValue, ValueDeserializer};

use super::keys;
use super::mistake::Wrong;
use super::raw::Section;

/// What the section means on a database with these shards. `None`: there is none, or it is wrong, which is noted.
pub(super) fn sharding(root: &Section, shards: &[&str]) -> Option<Sharding> {
    let section = root.section("sharding", &keys::SHARDING)?;
    let value = root.value("sharding")?;
    if section.has_unknown(&keys::SHARDING) {
        return None;
    }
    let raw = match RawSharding::deserialize(ValueDeserializer::from(value.clone())) {
        Ok(raw) => raw,
        Err(error) => {
            let at = error.span().map_or(section.at, |span| span.start);
            let what = format!("a value in [sharding] is wrong: {}", error.message());
            section.findings().at(at, Wrong::new(what));
            return None;
        }
    };
    match raw.check(shards) {
        Ok(sharding) => Some(sharding),
        Err(wrongs) => {
            for wrong in wrongs {
                note(&section, value.get_ref(), &wrong);
            }
            None
        }
    }
}

/// The key's own place, or else that of the section.
fn note(section: &Section, value: &DeValue<'_>, wrong: &WrongSharding) {
    let path = wrong.key.strip_prefix("sharding.").unwrap_or(&wrong.key);
    let at = place(value, path).unwrap_or(section.at);
    let what = format!("{path} in [sharding] {}", wrong.what);
    section
        .findings()
        .at(at, Wrong::new(what).hint(wrong.hint.clone()));
}

/// Where `list.s0` stands; a table's name may have a dot itself.
fn place(value: &DeValue<'_>, path: &str) -> Option<usize> {
    let table = value.as_table()?;
    if let Some(found) = table.get(path) {
        return Some(found.span().start);
    }
    let (first, rest) = path.split_once('.')?;
    place(table.get(first)?.get_ref(), rest)
}
