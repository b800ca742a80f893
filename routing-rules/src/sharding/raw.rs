//! The `[sharding]` section as it was written, and its check. What was wrong is said all at once.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::{Catalog, Guard, Named, NoKey, Sharding, WrongSharding};
use crate::place::{Entry, Function, Key, KeyType, Placement, Shard, Source};

/// The section as TOML has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSharding {
    /// The column that holds the tenant's key.
    pub column: String,
    /// Its type: `uuid`, `bigint`, `integer`, `smallint`, `text`, `varchar`, `char`.
    #[serde(rename = "type")]
    pub key_type: String,
    /// `hash`, `list` or `range`.
    pub function: Option<String>,
    /// `hash`: how many remainders. Never to change once rows are placed.
    pub modulus: Option<u32>,
    /// `hash`: the shard of remainder 0, 1, … One for each remainder.
    pub remainders: Option<Vec<String>>,
    /// `list`: the keys of each shard.
    pub list: BTreeMap<String, Vec<String>>,
    /// `range`: where each shard ends, in order; the end is not part of it.
    pub range: Vec<RawBound>,
    /// `list` and `range`: the shard of all other keys.
    pub others: Option<String>,
    /// A file of tenants with a shard of their own, which commands change. Whoever reads these rules reads it too.
    pub catalog: Option<String>,
    /// Tenants with a shard of their own.
    pub tenants: BTreeMap<String, String>,
    /// Tables whole on every shard.
    pub reference: Vec<String>,
    /// Tables whose key has another name.
    pub columns: BTreeMap<String, String>,
    /// Tables on one shard.
    pub home: BTreeMap<String, String>,
    /// Functions that read no table, or the tenant's own rows only.
    pub functions: Vec<String>,
    /// `scatter` or `refuse`.
    pub no_key: Option<String>,
    /// `off`, `enforce` or `rewrite`.
    pub guard: Option<String>,
}

/// One bound of `range`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawBound {
    /// The first key that is not on this shard any more.
    pub below: String,
    /// The shard.
    pub shard: String,
}

impl RawSharding {
    /// What it means on a database with these shards, or all that is wrong.
    pub fn check(&self, shards: &[&str]) -> Result<Sharding, Vec<WrongSharding>> {
        let mut check = Check {
            shards,
            wrong: Vec::new(),
        };
        if self.column.is_empty() {
            check.wrong(
                "column",
                "is missing",
                "name the column that holds the tenant's key, as tenant_id",
            );
        }
        let key_type = check.key_type(&self.key_type);
        let placement = Placement {
            function: self.function(key_type, &mut check),
            entries: self.entries(key_type, &mut check),
        };
        let named = |names: &[String]| names.iter().map(|name| Named::parse(name)).collect();
        let sharding = Sharding {
            column: self.column.as_str().into(),
            key_type,
            placement,
            catalog: self.catalog.as_ref().map(|file| Catalog {
                file: file.into(),
                epoch: 0,
            }),
            shards: shards.iter().map(|&shard| shard.into()).collect(),
            columns: pairs(&self.columns, |_, column| column.into()),
            reference: named(&self.reference),
            home: pairs(&self.home, |table, shard| {
                check.shard(&format!("home.{table}"), shard)
            }),
            functions: named(&self.functions),
            no_key: match self.no_key.as_deref() {
                None | Some("scatter") => NoKey::Scatter,
                Some("refuse") => NoKey::Refuse,
                Some(other) => {
                    check.wrong("no_key", &format!("is \"{other}\""), "\"scatter\" or \"refuse\"");
                    NoKey::Refuse
                }
            },
            guard: match self.guard.as_deref() {
                None | Some("off") => Guard::Off,
                Some("enforce") => Guard::Enforce,
                Some("rewrite") => Guard::Rewrite,
                Some(other) => {
                    check.wrong(
                        "guard",
                        &format!("is \"{other}\""),
                        "\"off\", \"enforce\" or \"rewrite\"",
                    );
                    Guard::Enforce
                }
            },
        };
        for table in self.twice() {
            check.wrong(
                &table,
                "has more than one role",
                "keep it in one of columns, reference and home",
            );
        }
        match check.wrong.is_empty() {
            true => Ok(sharding),
            false => Err(check.wrong),
        }
    }

    fn function(&self, key_type: KeyType, check: &mut Check<'_>) -> Function {
        let others = self.others.as_ref().map(|shard| check.shard("others", shard));
        match self.function.as_deref() {
            None | Some("hash") => Function::Hash(self.remainders(check)),
            Some("list") => {
                let mut list = BTreeMap::new();
                for (shard, keys) in &self.list {
                    let shard = check.shard(&format!("list.{shard}"), shard);
                    for text in keys {
                        if let Some(key) = check.key(&format!("list.{shard}"), key_type, text)
                            && list.insert(key, shard.clone()).is_some()
                        {
                            check.wrong(
                                &format!("list.{shard}"),
                                &format!("{text} is listed twice"),
                                "list it once",
                            );
                        }
                    }
                }
                Function::List(list, others)
            }
            Some("range") => {
                let mut bounds: Vec<(Key, Shard)> = Vec::new();
                for bound in &self.range {
                    let shard = check.shard("range", &bound.shard);
                    let Some(key) = check.key("range", key_type, &bound.below) else {
                        continue;
                    };
                    if bounds.last().is_some_and(|(last, _)| *last >= key) {
                        check.wrong(
                            "range",
                            &format!("{} is not above the bound before", bound.below),
                            "write bounds in order",
                        );
                    }
                    bounds.push((key, shard));
                }
                Function::Range(bounds, others)
            }
            Some(other) => {
                check.wrong(
                    "function",
                    &format!("is \"{other}\""),
                    "\"hash\", \"list\" or \"range\"",
                );
                Function::Hash(Vec::new())
            }
        }
    }

    /// The shard of each remainder. Without a list, the shards in their order are it: so it is when a database is sharded first.
    fn remainders(&self, check: &mut Check<'_>) -> Vec<Shard> {
        let listed = match &self.remainders {
            Some(listed) => listed
                .iter()
                .map(|shard| check.shard("remainders", shard))
                .collect(),
            None => check
                .shards
                .iter()
                .map(|&shard| shard.into())
                .collect::<Vec<Shard>>(),
        };
        let modulus = self.modulus.map_or(listed.len(), |modulus| modulus as usize);
        if modulus != listed.len() || modulus == 0 {
            check.wrong(
                "modulus",
                &format!("is {modulus}, and {} remainders have a shard", listed.len()),
                "write remainders = [\"s0\", \"s1\", …]: one shard for each remainder, by name",
            );
        }
        listed
    }

    fn entries(&self, key_type: KeyType, check: &mut Check<'_>) -> HashMap<Key, Entry> {
        let mut entries = HashMap::new();
        for (tenant, shard) in &self.tenants {
            let shard = check.shard(&format!("tenants.{tenant}"), shard);
            if let Some(key) = check.key("tenants", key_type, tenant) {
                let entry = Entry {
                    shard,
                    source: Source::Rules,
                };
                if entries.insert(key, entry).is_some() {
                    check.wrong(
                        "tenants",
                        &format!("{tenant} has two entries"),
                        "write it once, as PostgreSQL would",
                    );
                }
            }
        }
        entries
    }

    /// Tables named in more than one list.
    fn twice(&self) -> Vec<String> {
        let mut all: Vec<&String> = self
            .columns
            .keys()
            .chain(&self.reference)
            .chain(self.home.keys())
            .collect();
        all.sort_unstable();
        let mut twice: Vec<String> = all
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0].clone())
            .collect();
        twice.dedup();
        twice
    }
}

fn pairs(
    map: &BTreeMap<String, String>,
    mut value: impl FnMut(&str, &str) -> Box<str>,
) -> HashMap<Named, Box<str>> {
    map.iter()
        .map(|(name, text)| (Named::parse(name), value(name, text)))
        .collect()
}

/// Collects what is wrong.
struct Check<'a> {
    shards: &'a [&'a str],
    wrong: Vec<WrongSharding>,
}

impl Check<'_> {
    fn wrong(&mut self, key: &str, what: &str, hint: &str) {
        self.wrong.push(WrongSharding {
            key: format!("sharding.{key}"),
            what: what.to_owned(),
            hint: hint.to_owned(),
        });
    }

    fn shard(&mut self, key: &str, name: &str) -> Shard {
        if !self.shards.contains(&name) {
            let known = self.shards.join(", ");
            self.wrong(
                key,
                &format!("there is no shard \"{name}\""),
                &format!("the database has {known}"),
            );
        }
        name.into()
    }

    fn key(&mut self, key: &str, key_type: KeyType, text: &str) -> Option<Key> {
        let read = key_type.read_text(text).ok();
        if read.is_none() {
            self.wrong(
                key,
                &format!("\"{text}\" is no {}", key_type.word()),
                "write it as PostgreSQL would",
            );
        }
        read
    }

    fn key_type(&mut self, name: &str) -> KeyType {
        KeyType::named(name).unwrap_or_else(|| {
            let what = match name {
                "" => "is missing".to_owned(),
                "numeric" => "is \"numeric\", whose equal values look different".to_owned(),
                other => format!("is \"{other}\""),
            };
            self.wrong(
                "type",
                &what,
                "uuid, bigint, integer, smallint, text, varchar or char",
            );
            KeyType::Text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    fn read(toml: &str) -> Result<Sharding, Vec<WrongSharding>> {
        let raw: RawSharding = toml::from_str(toml).expect("the section's keys");
        raw.check(&["s0", "s1"])
    }

    #[test]
    fn a_short_section_is_enough() {
        let sharding = read("column = 'tenant_id'\ntype = 'uuid'").expect("right");
        assert_eq!(
            sharding.placement.function,
            Function::Hash(vec!["s0".into(), "s1".into()])
        );
        assert_eq!((sharding.no_key, sharding.guard), (NoKey::Scatter, Guard::Off));
    }

    #[test]
    fn everything_can_be_said() {
        let text = "
            column = 'tenant_id'
            type = 'bigint'
            function = 'hash'
            modulus = 4
            remainders = ['s0', 's1', 's0', 's1']
            reference = ['dim_currency']
            functions = ['app.slug']
            no_key = 'refuse'
            guard = 'enforce'
            [columns]
            tenants = 'id'
            [home]
            audit_log = 's0'
            [tenants]
            7 = 's1'";
        let sharding = read(text).expect("right");
        assert_eq!(sharding.role(None, "tenants", None), Role::Keyed("id"));
        assert_eq!(sharding.role(Some("x"), "dim_currency", None), Role::Reference);
        assert_eq!(sharding.role(None, "audit_log", None), Role::Home("s0"));
        assert_eq!(sharding.role(None, "fact", None), Role::Unknown);
        assert_eq!(sharding.placement.shard(&Key::Integer(7)), Ok("s1"));
    }

    #[test]
    fn lists_and_ranges() {
        let list = "column='t'\ntype='text'\nfunction='list'\nothers='s1'\n[list]\ns0=['a','b']";
        let placement = read(list).expect("right").placement;
        assert_eq!(placement.shard(&Key::Text("a".into())), Ok("s0"));
        assert_eq!(placement.shard(&Key::Text("z".into())), Ok("s1"));
        let range =
            "column='t'\ntype='bigint'\nfunction='range'\nothers='s1'\n[[range]]\nbelow='100'\nshard='s0'";
        let placement = read(range).expect("right").placement;
        assert_eq!(placement.shard(&Key::Integer(99)), Ok("s0"));
        assert_eq!(placement.shard(&Key::Integer(100)), Ok("s1"));
    }

    #[test]
    fn what_is_wrong_is_said_all_at_once_with_key_and_hint() {
        let text = "type='numeric'\nmodulus=4\nguard='on'\nreference=['a']\nhome={a='s9'}\ntenants={x='s0'}";
        let wrong = read(text).expect_err("wrong");
        let keys: Vec<&str> = wrong.iter().map(|wrong| wrong.key.as_str()).collect();
        for key in ["column", "type", "modulus", "guard", "home.a", "a"] {
            assert!(
                keys.contains(&format!("sharding.{key}").as_str()),
                "{key} in {keys:?}"
            );
        }
        assert!(wrong.iter().all(|wrong| !wrong.hint.is_empty()));
    }
}
