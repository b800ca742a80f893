//! Looks at all shards and their coordinator, has its tables made what they are to be, and compares.

use routing_rules::{Sharding, Tables};

use super::coordinator::Compared;
use super::defaults::{self, Defaults};
use super::definitions::{self, Definitions};
use super::rights::{self, Rights};
use super::shares::shares;
use super::tables;
use super::unite::{ReadAs, Site, Wanted, is_begun, unite};
use crate::server::ask::Asker;

/// What the shards have.
pub struct Looked {
    definitions: Vec<Definitions>,
    rights: Vec<Rights>,
    tables: Tables,
    /// Of the first one.
    defaults: Defaults,
}

/// How a coordinator is brought up to date.
pub struct Ways<'a> {
    /// The shards, as the coordinator is to reach them.
    pub sites: Vec<Site>,
    /// As whom it reads them.
    pub reads_as: ReadAs<'a>,
    /// The rules.
    pub sharding: &'a Sharding,
}

/// Looks at the shards, in order: names and connections.
///
/// # Errors
///
/// Why one gave no answer.
pub async fn look(shards: &mut [(String, Asker)]) -> Result<Looked, String> {
    let mut looked = Looked {
        definitions: Vec::new(),
        rights: Vec::new(),
        tables: Tables::default(),
        defaults: Defaults::default(),
    };
    for (place, (name, asker)) in shards.iter_mut().enumerate() {
        let told = |why: String| format!("shard {name}: {why}");
        looked
            .definitions
            .push(definitions::ask(asker).await.map_err(told)?);
        looked.rights.push(rights::ask(asker).await.map_err(told)?);
        if place == 0 {
            looked.tables = tables::ask(asker).await.map_err(told)?;
            looked.defaults = defaults::ask(asker).await.map_err(told)?;
        }
    }
    Ok(looked)
}

impl Looked {
    /// Has the coordinator's tables made as they are to be; what was done, a line each. `None`: nobody has asked for that yet,
    /// which `is_first` does.
    ///
    /// # Errors
    ///
    /// What could not be done, and why.
    pub async fn unite(
        &self,
        there: &mut Asker,
        ways: Ways<'_>,
        is_first: bool,
    ) -> Result<Option<Vec<String>>, String> {
        if !is_first && !is_begun(there).await? {
            return Ok(None);
        }
        if is_first {
            let there = definitions::ask(there).await?;
            self.sorts_alike(&there)?;
        }
        let (shares, left_out) = shares(ways.sharding, &self.tables, &self.definitions, &self.rights);
        let own = defaults::ask(there).await?;
        let wanted = Wanted {
            sites: ways.sites,
            logs_in_anew: is_first,
            reads_as: ways.reads_as,
            types: self
                .definitions
                .first()
                .map_or_else(Vec::new, |first| first.types.clone()),
            shares,
            left_out,
            settings: self.defaults.copies(&own),
        };
        unite(there, &wanted).await.map(Some)
    }

    /// Holds the coordinator's tables against the shards'.
    ///
    /// # Errors
    ///
    /// Why there was no answer, or why no answer of it could be right.
    pub async fn compare(&self, there: &mut Asker) -> Result<Compared, String> {
        let own = defaults::ask(there).await?;
        if let Some(difference) = self.defaults.difference(&own) {
            return Err(format!("its sessions begin with other settings: {difference}"));
        }
        let there = definitions::ask(there).await?;
        self.sorts_alike(&there)?;
        Ok(Compared::new(&self.definitions, &there))
    }

    /// The tables of the first shard.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    fn sorts_alike(&self, there: &Definitions) -> Result<(), String> {
        match self.definitions.iter().find(|shard| !shard.sorts_like(there)) {
            None => Ok(()),
            Some(shard) => Err(format!(
                "it sorts text otherwise than the shards: {} there, {} on a shard",
                there.locale(),
                shard.locale()
            )),
        }
    }
}
