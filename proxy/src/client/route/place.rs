//! Where one statement belongs on a sharded database: its reading, its values and the session's tenant brought together.

use std::sync::Arc;

use routing_rules::{
    Guard, Key, Lex, NotAKey, Parameter, Reading, Rewritten, ShardReason, Sharding, Shards, TextKind, Values,
    rewrite,
};

use super::meeting;
use super::readings::{Read, Remembered};
use super::refusals::refusal;
use crate::catalog::Found;
use crate::fault::Fault;
use crate::protocol::sqlstate;

/// Where a statement belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Wherever the session is.
    Anywhere,
    /// On this shard.
    Shard(Box<str>),
    /// On several: their names (empty: all), and whether their answers together can be the answer.
    Several(Vec<Box<str>>),
    /// Where the rows of all shards are, if anywhere.
    Beyond(ShardReason),
    /// Nowhere.
    Refused(Fault),
}

/// Why a statement went to its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::client) enum Placed {
    /// There is one shard, or nobody looked.
    #[default]
    Unsaid,
    /// Nothing in it belongs to a shard.
    Home,
    /// A lock or a notification that all sessions must meet at.
    Meeting,
    /// Its keys.
    Keys,
    /// A table that is on one shard.
    HomeTable,
    /// The session's tenant.
    Tenant,
    /// `pgshunt.target`.
    Target,
}

impl Placed {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Placed::Unsaid => "",
            Placed::Home => "nothing in it belongs to a shard",
            Placed::Meeting => {
                "locks and notifications of all sessions meet on the first shard, or their tenant's"
            }
            Placed::Keys => "its keys are all of this shard",
            Placed::HomeTable => "a table of it is on this shard only",
            Placed::Tenant => "pgshunt.tenant says where",
            Placed::Target => "pgshunt.target names the shard",
        }
    }

    /// Why a reading that was placed on one shard was.
    pub fn by(reading: &Reading) -> Placed {
        match reading.bounds.iter().any(|bound| bound.ties.is_empty()) || reading.bounds.is_empty() {
            true if !reading.homes.is_empty() => Placed::HomeTable,
            true => Placed::Tenant,
            false => Placed::Keys,
        }
    }
}

/// What a session's tenant is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tenant {
    /// This one.
    Key(Key),
    /// What was set is no key.
    Wrong(NotAKey),
}

/// What a statement is placed with.
pub(super) struct Ground<'a> {
    pub sharding: &'a Arc<Sharding>,
    pub found: &'a Found,
    pub readings: &'a Remembered,
    pub tenant: Option<&'a Tenant>,
    /// The first shard.
    pub first: Option<&'a str>,
    /// `pgshunt.target` says where.
    pub is_targeted: bool,
    /// There is a coordinator.
    pub has_coordinator: bool,
}

impl Tenant {
    /// What a value of `pgshunt.tenant` means; `None`: no tenant.
    pub fn of(value: &[u8], sharding: &Sharding) -> Option<Tenant> {
        if value.is_empty() {
            return None;
        }
        let key_type = sharding.key_type;
        let text = std::str::from_utf8(value).map_err(|_| NotAKey::Unreadable(key_type));
        Some(match text.and_then(|text| key_type.read_text(text)) {
            Ok(key) => Tenant::Key(key),
            Err(not) => Tenant::Wrong(not),
        })
    }
}

impl Ground<'_> {
    /// Places one execution. `parameters` is empty for a simple query.
    pub fn place(&self, read: &Read<'_>, parameters: &[Parameter<'_>]) -> Place {
        let reading = &read.reading;
        let values = Values {
            pieces: &read.pieces,
            parameters,
            only_keys: &reading.only_keys,
        };
        let tenant = match self.tenant() {
            Ok(tenant) => tenant,
            Err(_) if is_of_session(reading) => None,
            Err(fault) => return Place::Refused(fault),
        };
        if let (Some(tenant), true) = (tenant, self.sharding.guard != Guard::Off)
            && let Err(reason) = reading.guard(self.sharding, &values, tenant)
        {
            return Place::Refused(refusal(&reason));
        }
        if self.is_targeted {
            return Place::Anywhere;
        }
        let spread = match reading.kind {
            // Each shard can show its plan.
            TextKind::Explain => reading.shards(self.sharding, &values, tenant),
            _ => reading.spread(self.sharding, &values, tenant),
        };
        match spread {
            Ok(Shards::Any | Shards::Home) => Place::Anywhere,
            Ok(Shards::One(shard)) => Place::Shard(shard),
            Ok(Shards::Some(_) | Shards::All) if self.sharding.shards.len() == 1 => Place::Anywhere,
            Ok(several @ (Shards::Some(_) | Shards::All)) => match (several, reading.ships()) {
                // It need not hold their rows in memory.
                (_, Some(operator)) if self.has_coordinator => {
                    Place::Beyond(ShardReason::Operator(operator.into()))
                }
                (Shards::Some(shards), _) => Place::Several(shards),
                (_, _) => Place::Several(Vec::new()),
            },
            Err(reason) if reason.is_for_coordinator() => Place::Beyond(reason),
            Err(reason) => Place::Refused(self.told(&reason)),
        }
    }

    /// The text tied to the tenant, if it has to be and can be. Its parameters are looked at when they are bound.
    pub fn tied(&self, text: &[u8], lex: Lex) -> Result<Option<Rewritten>, Fault> {
        let (Guard::Rewrite, Some(Tenant::Key(tenant))) = (self.sharding.guard, self.tenant) else {
            return Ok(None);
        };
        let read = self.readings.read(text, self.sharding, self.found, &[]);
        let read = read.map_err(|unread| refusal(&unread.into()))?;
        let (scalar, list) = (tenant.to_string(), array(tenant));
        let own = parameters_for(&read.reading, &scalar, &list);
        let values = Values {
            pieces: &read.pieces,
            parameters: &own,
            only_keys: &read.reading.only_keys,
        };
        let tables = self.found.tables.as_ref();
        let tied = self.readings.with_context(self.sharding, tables, &[], |context| {
            rewrite(&read.reading, &values, lex, context, tenant)
        });
        tied.map_err(|reason| refusal(&reason))
    }

    /// Where sessions meet: on their tenant's shard, else on the first.
    pub fn meeting(&self) -> Place {
        let tenant = match self.tenant {
            Some(Tenant::Key(key)) => Some(key),
            Some(Tenant::Wrong(_)) | None => None,
        };
        let shard = meeting::of_tenant(self.sharding, tenant).or(self.first);
        shard.map_or(Place::Anywhere, |shard| Place::Shard(shard.into()))
    }

    /// Is there certainly no table of this name?
    pub fn lacks(&self, name: &str) -> bool {
        let tables = self.found.tables.as_ref();
        tables.is_some_and(|tables| tables.named(name).is_empty())
    }

    /// Is it refused for what a shard would call a mistake, or for a table that the statements before it may make?
    pub fn may_be_mistake(&self, reason: &ShardReason) -> bool {
        match reason {
            ShardReason::Unread(unread) => unread.may_be_mistake(),
            ShardReason::UnknownTable(name) => self.lacks(name),
            ShardReason::Statement(word) => !word.contains(' '),
            _ => false,
        }
    }

    fn tenant(&self) -> Result<Option<&Key>, Fault> {
        match self.tenant {
            None => Ok(None),
            Some(Tenant::Key(key)) => Ok(Some(key)),
            Some(Tenant::Wrong(not)) => Err(Fault::error(
                sqlstate::INVALID_PARAMETER,
                format!("pgshunt.tenant is no tenant's key: {not}"),
            )
            .hint(format!(
                "It is a value of column {}, of type {}.",
                self.sharding.column,
                self.sharding.key_type.word()
            ))),
        }
    }

    /// A table that is not there is told of as a PostgreSQL does.
    fn told(&self, reason: &ShardReason) -> Fault {
        match reason {
            ShardReason::UnknownTable(name) if self.lacks(name) => Fault::error(
                sqlstate::UNDEFINED_TABLE,
                format!("relation \"{name}\" does not exist"),
            )
            .detail("As of pgshunt's last look at the database's catalog."),
            other => refusal(other),
        }
    }
}

/// Does it do nothing to tables?
pub(super) fn is_of_session(reading: &Reading) -> bool {
    reading.kind == TextKind::Session && reading.refused.is_none()
}

/// An array of one.
fn array(tenant: &Key) -> String {
    let text = tenant.to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("{{\"{text}\"}}")
}

/// Parameters that would all tie the statement to the tenant.
fn parameters_for<'a>(reading: &Reading, scalar: &'a str, list: &'a str) -> Vec<Parameter<'a>> {
    use routing_rules::{Format, Slot};
    let slots = reading.bounds.iter().flat_map(|bound| &bound.ties).flatten();
    let rows = reading.rows.iter().flat_map(|rows| &rows.slots);
    let mut own = Vec::new();
    for slot in slots.chain(rows) {
        let (number, text) = match slot {
            Slot::Parameter(number) => (*number, scalar),
            Slot::ParameterArray(number) => (*number, list),
            Slot::Null | Slot::Literal(_) | Slot::Negative(_) | Slot::LiteralArray(_) => continue,
        };
        let at = usize::from(number).saturating_sub(1);
        let parameter = |text: &'a str| Parameter {
            type_oid: 0,
            format: Format::Text,
            bytes: Some(text.as_bytes()),
        };
        if own.len() <= at {
            own.resize(at + 1, parameter(scalar));
        }
        own[at] = parameter(text);
    }
    own
}
