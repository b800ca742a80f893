//! `[sharding]` of a file of rules: read as one value, checked by `routing_rules`, each mistake put where it was written.

use std::collections::hash_map::Entry::{Occupied, Vacant};

use routing_rules::{Entry, RawSharding, Sharding, Source, WrongSharding};
use serde::Deserialize;
use toml::de::{DeValue, ValueDeserializer};

use super::files;
use super::keys;
use super::mistake::{Mistake, Wrong};
use super::raw::Section;
use crate::catalog::file::Entries;

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
        Ok(sharding) => with_catalog(&section, sharding, shards),
        Err(wrongs) => {
            for wrong in wrongs {
                note(&section, value.get_ref(), &wrong);
            }
            None
        }
    }
}

/// With the entries of the file it names, if it names one.
fn with_catalog(section: &Section, mut sharding: Sharding, shards: &[&str]) -> Option<Sharding> {
    let Some(catalog) = &mut sharding.catalog else {
        return Some(sharding);
    };
    let path = section.path("catalog")?;
    if let Err(wrong) = files::readable(&path.value) {
        let hint = "a new one holds two lines: epoch = 0, entries = 0";
        section.wrong_value("catalog", path.at, wrong.hint(hint));
        return None;
    }
    let mistake = |line, what, hint| Mistake {
        file: path.value.clone(),
        line,
        what,
        hint,
    };
    let entries = match Entries::read(&path.value, sharding.key_type, shards) {
        Ok(entries) => entries,
        Err(wrongs) => {
            let mistakes = wrongs.into_iter();
            let mistakes =
                mistakes.map(|wrong| mistake(wrong.line, wrong.what, wrong.hint.map(str::to_owned)));
            section.findings().elsewhere(mistakes.collect());
            return None;
        }
    };
    catalog.file = path.value.clone();
    catalog.epoch = entries.epoch;
    let mut twice = Vec::new();
    for (key, shard) in entries.tenants {
        let entry = Entry {
            shard,
            source: Source::Catalog,
        };
        match sharding.placement.entries.entry(key) {
            Vacant(vacant) => drop(vacant.insert(entry)),
            Occupied(other) => {
                let rules = section.findings().file().display();
                let what = format!("tenant {} has an entry in {rules} too", other.key());
                twice.push(mistake(None, what, Some("keep one of them".into())));
            }
        }
    }
    let is_sound = twice.is_empty();
    section.findings().elsewhere(twice);
    is_sound.then_some(sharding)
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
