//! Where a statement belongs on a sharded database, without any server: what only the catalog knows is assumed, and said.

use routing_rules::{
    Column, Context, Guard, Key, Lex, Reading, ShardReason, Sharding, Shards, Table, TableKind, Tables, Use,
    Values, cut, rewrite,
};

/// What was found out.
pub(super) struct Offline {
    /// The one shard; `None`: any, or several.
    pub shard: Option<String>,
    /// Several, with commas.
    pub shards: Option<String>,
    /// Why.
    pub because: String,
    /// Why several would give their rows as they are.
    pub ships: Option<String>,
    /// What was assumed.
    pub notes: Vec<String>,
}

/// Why a text has no place on the shards.
#[derive(Debug)]
pub(super) enum Nowhere {
    /// It needs the rows of all of them in one place.
    Beyond(String),
    /// Because of this.
    Refused(String),
}

impl From<String> for Nowhere {
    fn from(why: String) -> Nowhere {
        Nowhere::Refused(why)
    }
}

/// Tables that are assumed to be keyed, at most.
const ASSUMED_MAX: usize = 64;

/// Places a text; `Err` says why it has no place.
pub(super) fn place(sharding: &Sharding, sql: &str, tenant: Option<&str>) -> Result<Offline, Nowhere> {
    let tenant = match tenant.map(|text| sharding.key_type.read_text(text)) {
        None => None,
        Some(Ok(key)) => Some(key),
        Some(Err(_)) => return Err(format!("the tenant is no {}", sharding.key_type.word()).into()),
    };
    let lex = Lex::default();
    let pieces = cut(sql.as_bytes(), lex).map_err(|unread| unread.to_string())?;
    let mut tables = Tables::default();
    let mut notes = Vec::new();
    let reading = loop {
        let context = context(sharding, &tables);
        let reading = Reading::new(&pieces, &context);
        match &reading.refused {
            Some(ShardReason::UnknownTable(name))
                if notes.len() < ASSUMED_MAX && tables.named(name).is_empty() =>
            {
                notes.push(format!(
                    "{name} is taken to have column {}; pgshunt asks the catalog",
                    sharding.column
                ));
                tables.add(assumed(sharding, name));
            }
            _ => break reading,
        }
    };
    let is_blind = reading.bounds.iter().any(|bound| {
        let behind = bound.piece.map_or("(", |at| pieces.text(at + 1));
        bound.used == Use::Insert && behind != "(" && !notes.is_empty() && reading.copy_key.is_none()
    });
    if is_blind {
        let why = "an INSERT without a list of columns: only the catalog knows where the key stands";
        return Err(why.to_owned().into());
    }
    let values = Values {
        pieces: &pieces,
        parameters: &[],
        only_keys: &reading.only_keys,
    };
    if let Some(tenant) = &tenant {
        guarded(sharding, &reading, &values, lex, &tables, tenant)?;
    }
    let told = |reason: ShardReason| match reading
        .bounds
        .iter()
        .flat_map(|bound| &bound.ties)
        .flatten()
        .any(is_bound)
    {
        true => Nowhere::Refused("what is bound to it says which shard".to_owned()),
        false if reason.is_for_coordinator() => Nowhere::Beyond(reason.to_string()),
        false => Nowhere::Refused(reason.to_string()),
    };
    let shards = reading.spread(sharding, &values, tenant.as_ref()).map_err(told)?;
    let because = match (&shards, reading.bounds.iter().all(|bound| !bound.ties.is_empty())) {
        (Shards::Any | Shards::Home, _) => "nothing in it belongs to a shard",
        (Shards::One(_), true) if !reading.bounds.is_empty() => "its keys are all of this shard",
        (Shards::One(_), _) if !reading.homes.is_empty() => "a table of it is on this shard only",
        (Shards::One(_), _) => "pgshunt.tenant says where",
        (Shards::Some(_), _) => "its keys are of these shards",
        (Shards::All, _) => "rows of all shards matter",
    };
    let all = || sharding.shards.join(", ");
    let is_several = matches!(shards, Shards::Some(_) | Shards::All);
    let ships = reading.ships().filter(|_| is_several);
    let ships = ships.map(|operator| ShardReason::Operator(operator.into()).to_string());
    let (shard, shards) = match shards {
        Shards::Any | Shards::Home => (None, None),
        Shards::One(shard) => (Some(shard.into()), None),
        Shards::Some(shards) => (None, Some(shards.join(", "))),
        Shards::All => (None, Some(all())),
    };
    Ok(Offline {
        shard,
        shards,
        because: because.to_owned(),
        ships,
        notes,
    })
}

fn guarded(
    sharding: &Sharding,
    reading: &Reading,
    values: &Values<'_>,
    lex: Lex,
    tables: &Tables,
    tenant: &Key,
) -> Result<(), String> {
    let told = match sharding.guard {
        Guard::Off => Ok(()),
        Guard::Enforce => reading.guard(sharding, values, tenant),
        Guard::Rewrite => rewrite(reading, values, lex, &context(sharding, tables), tenant).map(drop),
    };
    told.map_err(|reason| reason.to_string())
}

fn context<'a>(sharding: &'a Sharding, tables: &'a Tables) -> Context<'a> {
    Context {
        sharding,
        tables: Some(tables),
        search_path: None,
        temporary: &[],
    }
}

/// A table of which nothing is known but that it has the key.
fn assumed(sharding: &Sharding, name: &str) -> Table {
    use routing_rules::KeyType;
    let type_oid = match sharding.key_type {
        KeyType::Uuid => 2950,
        KeyType::Integer => 20,
        KeyType::Text => 25,
        KeyType::Char => 1042,
    };
    Table {
        schema: "public".into(),
        name: name.into(),
        kind: TableKind::Table,
        columns: vec![Column {
            name: sharding.column.clone(),
            type_oid,
            has_own_collation: false,
            is_generated: false,
        }],
    }
}

fn is_bound(slot: &routing_rules::Slot) -> bool {
    matches!(
        slot,
        routing_rules::Slot::Parameter(_) | routing_rules::Slot::ParameterArray(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing_rules::RawSharding;

    #[test]
    fn what_the_catalog_knows_is_assumed_and_said() {
        let text =
            "column = 'tenant_id'\ntype = 'bigint'\nfunction = 'list'\nothers = 's0'\n[list]\ns1 = ['1']";
        let raw: RawSharding = toml::from_str(text).expect("a section");
        let sharding = raw.check(&["s0", "s1"]).expect("right");
        let one = place(&sharding, "SELECT * FROM orders WHERE tenant_id = 1", None).expect("placed");
        assert_eq!((one.shard.as_deref(), one.notes.len()), (Some("s1"), 1));
        let all = place(&sharding, "SELECT * FROM orders", None).expect("placed");
        assert_eq!(all.shards.as_deref(), Some("s0, s1"));
        let own = place(&sharding, "SELECT * FROM orders", Some("1")).expect("placed");
        assert_eq!(own.shard.as_deref(), Some("s1"));
        for refused in [
            "INSERT INTO orders VALUES (1, 2)",
            "SELECT * FROM orders WHERE tenant_id = $1",
            "CALL f()",
        ] {
            assert!(place(&sharding, refused, None).is_err(), "{refused}");
        }
    }
}
