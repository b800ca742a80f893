//! Places one execution of a statement: its values are read, its tables' keys intersected, and their shards collected.

use std::collections::BTreeSet;

use super::reason::Reason;
use super::slot::{Slot, Values};
use super::{Bound, InsertRows, Kind, Reading};
use crate::place::{Key, Placement};
use crate::scatter::Plan;
use crate::sharding::{NoKey, Sharding};

/// Which shards a statement is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shards {
    /// The session's home, or any: what it reads is not sharded.
    Any,
    /// The session's home, for what each shard has of its own.
    Home,
    /// This one.
    One(Box<str>),
    /// These, in order of their names; two or more.
    Some(Vec<Box<str>>),
    /// All.
    All,
}

impl Reading {
    /// Places an execution. `tenant` is `pgshunt.tenant`: it decides what has no key.
    ///
    /// [`Shards::Some`] and [`Shards::All`] say where rows are, not that they can be put together: for that ask
    /// [`Reading::spread`].
    pub fn shards(
        &self,
        sharding: &Sharding,
        values: &Values<'_>,
        tenant: Option<&Key>,
    ) -> Result<Shards, Reason> {
        let home = match tenant {
            Some(key) => Some(sharding.placement.shard(key)?),
            None => None,
        };
        if let Some(reason) = &self.refused {
            return match home {
                Some(shard) if is_for_tenant(reason) => Ok(Shards::One(shard.into())),
                Some(_) | None => Err(reason.clone()),
            };
        }
        if self.kind == Kind::Everywhere {
            return Ok(Shards::All);
        }
        let mut shards: BTreeSet<&str> = self.homes.iter().map(|home| &**home).collect();
        if let Some(function) = &self.opaque {
            shards.insert(home.ok_or_else(|| Reason::Function(function.clone()))?);
        }
        self.check_arrays(sharding, values)?;
        let mut is_all = false;
        for bound in &self.bounds {
            match (keys(bound, sharding, values)?, home) {
                (Some(keys), _) => {
                    for key in &keys {
                        shards.insert(placed(&sharding.placement, key)?);
                    }
                }
                (None, Some(home)) => {
                    shards.insert(home);
                }
                (None, None) if sharding.no_key == NoKey::Refuse && self.kind != Kind::CopyIn => {
                    return Err(Reason::NoKey(bound.table.clone()));
                }
                (None, None) => is_all = true,
            }
        }
        if self.writes_reference {
            return Ok(Shards::All);
        }
        let mut shards = shards.into_iter();
        let shards = match (is_all, shards.next(), shards.next()) {
            (true, _, _) => Shards::All,
            (false, Some(one), Some(two)) => {
                Shards::Some([one, two].into_iter().chain(shards).map(Into::into).collect())
            }
            (false, Some(one), None) => Shards::One(one.into()),
            (false, None, _) if self.has_local || self.kind == Kind::Session => Shards::Home,
            (false, None, _) => Shards::Any,
        };
        match (&shards, &self.homes[..]) {
            (Shards::Some(several), [home, ..]) => {
                let other = several.iter().find(|shard| *shard != home).unwrap_or(home);
                Err(Reason::Homes(home.clone(), other.clone()))
            }
            (Shards::All, [home, ..]) => Err(Reason::Homes(home.clone(), "every other".into())),
            _ => Ok(shards),
        }
    }

    /// As [`Reading::shards`], and refuses what several shards can't answer together. What is left goes to them by
    /// [`Reading::plan`]; without one as it is, its answers put together in any order, or its rows split by [`Reading::rows`].
    pub fn spread(
        &self,
        sharding: &Sharding,
        values: &Values<'_>,
        tenant: Option<&Key>,
    ) -> Result<Shards, Reason> {
        let shards = self.shards(sharding, values, tenant)?;
        let is_several = matches!(shards, Shards::Some(_) | Shards::All) && sharding.shards.len() > 1;
        let operator = match (&self.plan, &self.whole) {
            (Some(Ok(_)), _) => None,
            (Some(Err(operator)), _) | (None, Some(operator)) => Some(operator),
            (None, None) => None,
        };
        match operator {
            Some(operator) if is_several && self.rows.is_none() && self.kind != Kind::Everywhere => {
                Err(Reason::Operator(operator.clone()))
            }
            Some(_) | None => Ok(shards),
        }
    }

    /// Why several shards would give their rows as they are to answer it: the operator.
    pub fn ships(&self) -> Option<&str> {
        match &self.plan {
            Some(Ok(Plan::Finish(finish))) => finish.ships.as_deref(),
            Some(_) | None => None,
        }
    }

    /// Refuses what is not tied to this tenant in each of its tables.
    pub fn guard(&self, sharding: &Sharding, values: &Values<'_>, tenant: &Key) -> Result<(), Reason> {
        if let Some(reason) = &self.refused {
            return Err(reason.clone());
        }
        if let Some(function) = &self.opaque {
            return Err(Reason::Function(function.clone()));
        }
        for bound in &self.bounds {
            let keys = keys(bound, sharding, values)?;
            if keys.is_none_or(|keys| keys.iter().any(|key| key != tenant)) {
                return Err(Reason::Guard(bound.table.clone()));
            }
        }
        match self.kind {
            Kind::Everywhere | Kind::CopyIn if !self.bounds.is_empty() => {
                Err(Reason::Guard(self.bounds[0].table.clone()))
            }
            Kind::Everywhere => Err(Reason::Statement("DDL under the tenant guard".into())),
            Kind::Session | Kind::Read | Kind::Write | Kind::CopyIn | Kind::CopyOut | Kind::Explain => Ok(()),
        }
    }

    /// Rows without a key belong nowhere, and arrays of different lengths make some.
    fn check_arrays(&self, sharding: &Sharding, values: &Values<'_>) -> Result<(), Reason> {
        match self
            .rows
            .as_ref()
            .and_then(|rows| Some((rows, rows.arrays.as_ref()?)))
        {
            Some((rows, arrays)) => {
                let count = rows.keys(sharding, values)?.len();
                Ok(arrays.check(values, count, sharding.key_type)?)
            }
            None => Ok(()),
        }
    }

    /// The shard of each row of an INSERT … VALUES or of arrays, in order; `None` if it is no such statement.
    pub fn row_shards<'s>(
        &self,
        sharding: &'s Sharding,
        values: &Values<'_>,
    ) -> Option<Result<Vec<&'s str>, Reason>> {
        let rows = self.rows.as_ref()?;
        if rows.arrays.is_some() {
            let keys = rows.keys(sharding, values);
            return Some(
                keys.and_then(|keys| keys.iter().map(|key| placed(&sharding.placement, key)).collect()),
            );
        }
        let shard = |slot: &Slot| -> Result<&'s str, Reason> {
            let keys = values.keys(slot, sharding.key_type)?;
            match &keys[..] {
                [key] => placed(&sharding.placement, key),
                _ => Err(Reason::Construct("a row with several keys")),
            }
        };
        Some(rows.slots.iter().map(shard).collect())
    }
}

impl InsertRows {
    /// The rows' keys, in order.
    pub fn keys(&self, sharding: &Sharding, values: &Values<'_>) -> Result<Vec<Key>, Reason> {
        let mut keys = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            keys.extend(values.keys(slot, sharding.key_type)?);
        }
        Ok(keys)
    }
}

/// May the session's tenant say where it runs, though nobody can see what it does?
fn is_for_tenant(reason: &Reason) -> bool {
    match reason {
        Reason::Unread(_)
        | Reason::Statement(_)
        | Reason::Function(_)
        | Reason::Construct(_)
        | Reason::View(_) => true,
        Reason::UnknownTable(_)
        | Reason::Ambiguous(_)
        | Reason::Key(_)
        | Reason::Unplaced(_)
        | Reason::KeyMissing(_)
        | Reason::KeyComputed(_)
        | Reason::KeyUpdated(_)
        | Reason::Homes(..)
        | Reason::Operator(_)
        | Reason::NoKey(_)
        | Reason::Guard(_)
        | Reason::Reference(_) => false,
    }
}

/// The keys a table is tied to; `None`: to none.
fn keys(bound: &Bound, sharding: &Sharding, values: &Values<'_>) -> Result<Option<Vec<Key>>, Reason> {
    let mut all: Option<Vec<Key>> = None;
    for tie in &bound.ties {
        let mut keys = Vec::with_capacity(tie.len());
        for slot in tie {
            keys.extend(values.keys(slot, sharding.key_type)?);
        }
        all = Some(match all {
            None => keys,
            Some(before) => before.into_iter().filter(|key| keys.contains(key)).collect(),
        });
    }
    Ok(all)
}

fn placed<'s>(placement: &'s Placement, key: &Key) -> Result<&'s str, Reason> {
    Ok(placement.shard(key)?)
}
