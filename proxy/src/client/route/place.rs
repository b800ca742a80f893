//! Where one statement belongs on a sharded database: its reading, its values and the session's tenant brought together.

use std::sync::Arc;

use routing_rules::{
    Guard, Key, Lex, NotAKey, Parameter, Reading, Sharding, Shards, TextKind, Values, rewrite,
};

use super::readings::{Read, Remembered};
use crate::catalog::Found;
use crate::fault::Fault;
use crate::protocol::sqlstate::{self, SqlState};

/// Where a statement belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Wherever the session is.
    Anywhere,
    /// On this shard.
    Shard(Box<str>),
    /// On several: their names (empty: all), and whether their answers together can be the answer.
    Several(Vec<Box<str>>),
    /// Nowhere.
    Refused(Fault),
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
    /// `pgshunt.target` says where.
    pub is_targeted: bool,
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
            Ok(Shards::Some(shards)) => Place::Several(shards),
            Ok(Shards::All) => Place::Several(Vec::new()),
            Err(reason) => Place::Refused(self.told(&reason)),
        }
    }

    /// The text tied to the tenant, if it has to be and can be. Its parameters are looked at when they are bound.
    pub fn tied(&self, text: &[u8], lex: Lex) -> Result<Option<String>, Fault> {
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

    /// Is there certainly no table of this name?
    pub fn lacks(&self, name: &str) -> bool {
        let tables = self.found.tables.as_ref();
        tables.is_some_and(|tables| tables.named(name).is_empty())
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
    fn told(&self, reason: &routing_rules::ShardReason) -> Fault {
        match reason {
            routing_rules::ShardReason::UnknownTable(name) if self.lacks(name) => Fault::error(
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

/// Why a statement can't be placed, for its client.
pub(super) fn refusal(reason: &routing_rules::ShardReason) -> Fault {
    let code = reason.sqlstate().as_bytes().try_into();
    let code = code.map_or(sqlstate::FEATURE_NOT_SUPPORTED, SqlState);
    let fault = Fault::error(
        code,
        format!("this statement has no place on the shards: {reason}"),
    );
    match reason.hint() {
        Some(hint) => fault.hint(sentence(hint)),
        None => fault,
    }
}

/// A statement for several shards, as long as nobody puts their answers together.
pub(super) fn several(shards: &[Box<str>]) -> Fault {
    let names = match shards {
        [] => "all of them".to_owned(),
        some => some.join(", "),
    };
    Fault::error(
        sqlstate::FEATURE_NOT_SUPPORTED,
        "this statement is for several shards, and can't be answered by one",
    )
    .detail(format!("It is for {names}."))
    .hint("Tie every sharded table to one tenant by its key, set pgshunt.tenant, or name a shard: pgshunt.target = 'shard:NAME'.")
}

fn sentence(hint: &str) -> String {
    let mut chars = hint.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
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
