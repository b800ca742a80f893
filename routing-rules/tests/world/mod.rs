//! The sharded database of the golden tables.

use std::collections::{BTreeMap, HashMap};

use routing_rules::{
    Column, Context, Function, Guard, Key, KeyType, Named, NoKey, Placement, Sharding, Table, TableKind,
    Tables,
};

/// Tenant 1 is on s1, 2 on s2, 3 on s3, all others on s0.
pub fn sharding() -> Sharding {
    let shard = |key: i64| (Key::Integer(key), format!("s{key}").into());
    Sharding {
        column: "tenant_id".into(),
        key_type: KeyType::Integer,
        placement: Placement {
            entries: HashMap::new(),
            function: Function::List(BTreeMap::from([shard(1), shard(2), shard(3)]), Some("s0".into())),
        },
        catalog: None,
        shards: ["s0", "s1", "s2", "s3"].map(Into::into).into(),
        columns: HashMap::from([
            (Named::parse("tenants"), "id".into()),
            (Named::parse("declared"), "owner".into()),
            (Named::parse("v_declared"), "tenant_id".into()),
        ]),
        reference: vec![Named::parse("currency")],
        home: HashMap::from([
            (Named::parse("audit_log"), "s0".into()),
            (Named::parse("s2_log"), "s2".into()),
        ]),
        functions: vec![Named::parse("slug")],
        no_key: NoKey::Scatter,
        guard: Guard::Off,
    }
}

/// Its catalog.
pub fn tables() -> Tables {
    const INT8: u32 = 20;
    const TEXT: u32 = 25;
    let mut tables = Tables::default();
    let mut add = |schema: &str, name: &str, kind: TableKind, columns: &[(&str, u32)]| {
        let columns = columns.iter().map(|&(name, type_oid)| Column {
            name: name.into(),
            type_oid,
            has_own_collation: name == "collated",
            is_generated: false,
        });
        tables.add(Table {
            schema: schema.into(),
            name: name.into(),
            kind,
            columns: columns.collect(),
        });
    };
    let table = TableKind::Table;
    add("public", "tenants", table, &[("id", INT8), ("name", TEXT)]);
    let accounts = [("id", INT8), ("tenant_id", INT8), ("name", TEXT)];
    add("public", "accounts", table, &accounts);
    let orders = [
        ("id", INT8),
        ("tenant_id", INT8),
        ("account_id", INT8),
        ("amount", INT8),
        ("note", TEXT),
    ];
    add("public", "orders", table, &orders);
    add(
        "public",
        "items",
        table,
        &[("tenant_id", INT8), ("order_id", INT8), ("qty", INT8)],
    );
    add("public", "Mixed", table, &[("tenant_id", INT8), ("Name", TEXT)]);
    add("public", "currency", table, &[("code", TEXT), ("name", TEXT)]);
    add("public", "audit_log", table, &[("id", INT8), ("note", TEXT)]);
    add("public", "s2_log", table, &[("id", INT8)]);
    add("public", "keyless", table, &[("id", INT8)]);
    add(
        "public",
        "words",
        table,
        &[("tenant_id", INT8), ("collated", TEXT), ("word", TEXT)],
    );
    add("public", "texty", table, &[("tenant_id", TEXT)]);
    add("public", "v_orders", TableKind::View, &orders);
    add("public", "v_declared", TableKind::View, &orders);
    add("a", "dup", table, &[("tenant_id", INT8)]);
    add("b", "dup", table, &[("id", INT8)]);
    tables
}

/// All that is known of it, and nothing of the session.
pub fn context<'a>(sharding: &'a Sharding, tables: &'a Tables) -> Context<'a> {
    Context {
        sharding,
        tables: Some(tables),
        search_path: None,
        temporary: &[],
    }
}
