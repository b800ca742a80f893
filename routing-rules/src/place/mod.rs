//! Where a tenant's rows are: explicit entries first, then a function of the key. Which key a statement has is not
//! decided here.

pub mod hash;
mod key;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

pub use key::{Format, Key, KeyType, NotAKey};

/// A shard's name.
pub type Shard = Box<str>;

/// The whole map from keys to shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Tenants with a shard of their own choice; they win.
    pub entries: HashMap<Key, Entry>,
    /// Where all others are.
    pub function: Function,
}

/// A tenant's own shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub shard: Shard,
    /// Where that is written.
    pub source: Source,
}

/// Where an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the rules, by hand.
    Rules,
    /// In the catalog, a file that commands change.
    Catalog,
}

/// How a key without an entry finds its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// By PostgreSQL's hash partition rule: the number of remainders is the modulus, which never changes.
    Hash(Vec<Shard>),
    /// By name; and where all others are, if anywhere.
    List(BTreeMap<Key, Shard>, Option<Shard>),
    /// By the bounds: the first shard whose upper bound, which is not part of it, is above the key; then the last shard.
    /// Text is compared byte by byte.
    Range(Vec<(Key, Shard)>, Option<Shard>),
}

/// A key that has no shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unplaced;

impl Placement {
    /// The shard of a key.
    pub fn shard(&self, key: &Key) -> Result<&str, Unplaced> {
        match self.entries.get(key) {
            Some(entry) => Ok(&entry.shard),
            None => self.function.shard(key),
        }
    }

    /// What the catalog says, in order of the keys.
    pub fn catalog(&self) -> BTreeMap<&Key, &str> {
        let entries = self.entries.iter();
        let own = entries.filter(|(_, entry)| entry.source == Source::Catalog);
        own.map(|(key, entry)| (key, &*entry.shard)).collect()
    }

    /// All shards that hold rows, each once, in order of their names.
    pub fn shards(&self) -> Vec<&str> {
        let mut shards: Vec<&str> = self.entries.values().map(|entry| &*entry.shard).collect();
        match &self.function {
            Function::Hash(remainders) => shards.extend(remainders.iter().map(|shard| &**shard)),
            Function::List(list, others) => shards.extend(list.values().chain(others).map(|shard| &**shard)),
            Function::Range(bounds, last) => {
                shards.extend(
                    bounds
                        .iter()
                        .map(|(_, shard)| shard)
                        .chain(last)
                        .map(|shard| &**shard),
                );
            }
        }
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}

impl Function {
    /// The shard of a key that has no entry.
    pub fn shard(&self, key: &Key) -> Result<&str, Unplaced> {
        let shard = match self {
            Function::Hash(remainders) => remainders.get(remainder(key, remainders.len())?),
            Function::List(list, others) => list.get(key).or(others.as_ref()),
            Function::Range(bounds, last) => {
                let above = bounds.partition_point(|(bound, _)| bound <= key);
                bounds.get(above).map(|(_, shard)| shard).or(last.as_ref())
            }
        };
        shard.map(|shard| &**shard).ok_or(Unplaced)
    }
}

/// What `satisfies_hash_partition(…, modulus, remainder, key)` is true for.
fn remainder(key: &Key, modulus: usize) -> Result<usize, Unplaced> {
    let hash = match key {
        Key::Uuid(bytes) => hash::of_bytes(bytes),
        Key::Integer(value) => hash::of_integer(*value),
        Key::Text(text) => hash::of_bytes(text.as_bytes()),
    };
    hash.checked_rem(modulus as u64)
        .map(|remainder| remainder as usize)
        .ok_or(Unplaced)
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key has no shard: neither an entry nor the rules' function names one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(names: &[&str]) -> Vec<Shard> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn an_entry_wins_over_the_function() {
        let placement = Placement {
            entries: HashMap::from([(
                Key::Integer(7),
                Entry {
                    shard: "own".into(),
                    source: Source::Catalog,
                },
            )]),
            function: Function::Hash(shards(&["s0"])),
        };
        assert_eq!(placement.shard(&Key::Integer(7)), Ok("own"));
        assert_eq!(placement.shard(&Key::Integer(8)), Ok("s0"));
        assert_eq!(placement.shards(), ["own", "s0"]);
    }

    #[test]
    fn ranges_end_before_their_bound() {
        let bounds = vec![(Key::Integer(10), "low".into()), (Key::Integer(20), "mid".into())];
        let mut placement = Placement {
            entries: HashMap::new(),
            function: Function::Range(bounds.clone(), Some("high".into())),
        };
        for (key, shard) in [(9, "low"), (10, "mid"), (19, "mid"), (20, "high")] {
            assert_eq!(placement.shard(&Key::Integer(key)), Ok(shard));
        }
        placement.function = Function::Range(bounds, None);
        assert_eq!(placement.shard(&Key::Integer(20)), Err(Unplaced));
    }

    #[test]
    fn who_is_not_listed_is_nowhere() {
        let list = BTreeMap::from([(Key::Text("a".into()), "s0".into())]);
        let placement = Placement {
            entries: HashMap::new(),
            function: Function::List(list, None),
        };
        assert_eq!(placement.shard(&Key::Text("a".into())), Ok("s0"));
        assert_eq!(placement.shard(&Key::Text("b".into())), Err(Unplaced));
        let empty = Placement {
            entries: HashMap::new(),
            function: Function::Hash(Vec::new()),
        };
        assert_eq!(empty.shard(&Key::Integer(1)), Err(Unplaced));
    }
}
