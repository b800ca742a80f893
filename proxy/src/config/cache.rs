//! `[cache]` of a file of rules: what answers are kept, and how long.

use std::collections::HashMap;
use std::time::Duration;

use routing_rules::Named;
use routing_rules::cache::{Class, Columns, Elsewhere, Rules};

use super::files;
use super::keys;
use super::mistake::Wrong;
use super::raw::Section;
use crate::snapshot::Warm;

/// The rules of a cache; `None` if no class is named: nothing is kept then.
pub(super) fn cache(section: &Section) -> Option<Rules> {
    let default = Rules::default();
    let classes: Vec<Class> = section
        .sections("class", &keys::CACHE_CLASS)
        .iter()
        .map(class)
        .collect();
    for (at, one) in classes.iter().enumerate() {
        if classes[..at].iter().any(|other| other.name == one.name) {
            section.wrong(Wrong::new(format!(
                "two classes of [cache] have the name \"{}\"",
                one.name
            )));
        }
    }
    let bytes = section.count("max_bytes", BYTES_MIN..=BYTES_MAX);
    let max_bytes = bytes.unwrap_or(default.max_bytes);
    let rules = Rules {
        max_bytes,
        max_entry_bytes: section
            .count("max_entry_bytes", 1024..=max_bytes / 4)
            .unwrap_or(default.max_entry_bytes.min(max_bytes / 4)),
        tenant_share: section
            .count("tenant_share", 1..=100)
            .unwrap_or(default.tenant_share),
        elsewhere: section
            .word(
                "elsewhere",
                &[("follow", Elsewhere::Follow), ("ttl", Elsewhere::Ttl)],
            )
            .unwrap_or(default.elsewhere),
        max_delay: time(section, "max_delay", DELAY_MIN).unwrap_or(default.max_delay),
        tenants: columns(section),
        classes,
    };
    (!rules.classes.is_empty()).then_some(rules)
}

/// Where it stands whose a row is.
fn columns(section: &Section) -> Option<Columns> {
    let others = section.texts("tenant_columns").unwrap_or_default();
    let column = section.name("tenant_column");
    if column.is_none()
        && let Some(at) = section.place("tenant_columns")
    {
        let wrong = Wrong::new("needs tenant_column beside it");
        section.wrong_value(
            "tenant_columns",
            at,
            wrong.hint("write tenant_column = \"tenant_id\""),
        );
    }
    let mut columns = Columns {
        column: column?.value.into(),
        others: HashMap::new(),
    };
    for text in others {
        match text.value.rsplit_once('.') {
            Some((table, column)) => drop(columns.others.insert(Named::parse(table), column.into())),
            None => {
                let wrong = Wrong::new(format!("\"{}\" names no column of a table", text.value));
                section.wrong_value("tenant_columns", text.at, wrong.hint("write \"tenants.id\""));
            }
        }
    }
    Some(columns)
}

fn class(section: &Section) -> Class {
    let missing = |key: &str| {
        let wrong = Wrong::new(format!("[[cache.class]] has no {key}"));
        section.wrong(wrong.hint("write name = \"…\", tables = [\"…\"] and ttl = \"1min\""));
    };
    for key in ["name", "tables", "ttl"] {
        if section.place(key).is_none() {
            missing(key);
        }
    }
    if section.is_empty_list("tables") {
        let at = section.place("tables").unwrap_or(section.at);
        section.wrong_value(
            "tables",
            at,
            Wrong::new("is empty: no statement would belong to it"),
        );
    }
    let ttl = time(section, "ttl", Duration::from_millis(1)).unwrap_or(Duration::from_secs(60));
    let refresh_ahead = section.time("refresh_ahead").unwrap_or_default();
    if refresh_ahead >= ttl {
        let at = section.place("refresh_ahead").unwrap_or(section.at);
        section.wrong_value("refresh_ahead", at, Wrong::new("must be shorter than ttl"));
    }
    let texts = |key| {
        let written = section.texts(key).unwrap_or_default();
        written.into_iter().map(|text| text.value.to_owned()).collect()
    };
    Class {
        name: section
            .name("name")
            .map(|text| text.value.to_owned())
            .unwrap_or_default(),
        tables: texts("tables"),
        ttl,
        stale: section.time("stale").unwrap_or_default(),
        refresh_ahead,
        statements: texts("statements"),
    }
}

/// For whom answers are fetched in advance.
pub(super) fn warm(section: &Section) -> Vec<Warm> {
    let sections = section.sections("warm", &keys::CACHE_WARM);
    if !sections.is_empty() && section.place("class").is_none() {
        section.wrong(Wrong::new(
            "[[cache.warm]] needs a [[cache.class]] with statements",
        ));
    }
    sections.iter().filter_map(warm_one).collect()
}

fn warm_one(section: &Section) -> Option<Warm> {
    if section.place("role").is_none() {
        let wrong = Wrong::new("[[cache.warm]] has no role");
        section.wrong(wrong.hint("write role = \"…\": an answer is kept for whoever has fetched it"));
    }
    let password = section.path("password_file").and_then(|path| {
        let secret = files::secret(&path.value);
        secret
            .map_err(|wrong| section.wrong_value("password_file", path.at, wrong))
            .ok()
    });
    let mut settings = Vec::new();
    for text in section.texts("settings").unwrap_or_default() {
        match text.value.split_once('=').filter(|(name, _)| !name.is_empty()) {
            Some((name, value)) => settings.push((name.to_owned(), value.to_owned())),
            None => {
                let wrong = Wrong::new(format!("\"{}\" sets nothing", text.value));
                section.wrong_value("settings", text.at, wrong.hint("write \"TimeZone=UTC\""));
            }
        }
    }
    let tenants = section.texts("tenants").unwrap_or_default();
    Some(Warm {
        role: section.name("role")?.value.to_owned(),
        password,
        tenants: tenants.into_iter().map(|text| text.value.to_owned()).collect(),
        settings,
    })
}

/// A span of time that is at least so long.
fn time(section: &Section, key: &str, least: Duration) -> Option<Duration> {
    let time = section.time(key)?;
    if time < least {
        let at = section.place(key).unwrap_or(section.at);
        let what = format!("must be at least {} ms", least.as_millis());
        section.wrong_value(key, at, Wrong::new(what));
        return None;
    }
    Some(time)
}

/// Smaller caches keep nothing.
const BYTES_MIN: usize = 64 * 1024;
/// 1 TiB.
const BYTES_MAX: usize = 1 << 40;
/// Less is not heard in time by anybody.
const DELAY_MIN: Duration = Duration::from_millis(100);
