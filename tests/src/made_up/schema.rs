//! Tables, and rows that are the same wherever they are made.

use super::kinds::Kind;
use crate::differential::chance::Chance;

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name, as it is written in SQL.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// A table: `id` counts its rows, and those of a sharded one have a key.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name, as it is written in SQL.
    pub name: String,
    /// The column that says whose a row is, as it is written; empty in a table that is whole on each shard.
    pub key: String,
    /// All other columns but `id` and `parent`, the `id` of a row of the first table.
    pub columns: Vec<Column>,
    rows: usize,
}

/// How tenants are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Number(&'static str),
    Uuid,
    Text(&'static str),
}

/// Two sharded tables and one that is whole on each shard.
#[derive(Clone, Debug)]
pub struct Schema {
    /// The parent, its child, and the one that is whole.
    pub tables: [Table; 3],
    key: Key,
}

/// How many tenants there are, from 1 on.
pub const TENANTS: usize = 9;

impl Schema {
    /// One made up.
    pub fn made_up(chance: &mut Chance) -> Schema {
        let key = chance.pick(&[
            Key::Number("bigint"),
            Key::Number("integer"),
            Key::Number("smallint"),
            Key::Uuid,
            Key::Text("text"),
            Key::Text("varchar"),
        ]);
        let name = chance.pick(&["tenant_id", "org", "\"Tenant\""]);
        let others = [name, name, "owner"];
        let tables = [
            (chance.pick(&["orders", "\"Order\"", "fact"]), name, 150),
            (
                chance.pick(&["lines", "\"order lines\"", "b"]),
                chance.pick(&others),
                260,
            ),
            (chance.pick(&["kinds", "\"Kind\""]), "", 6),
        ];
        Schema {
            tables: tables.map(|(name, key, rows)| Table {
                name: name.into(),
                key: key.into(),
                columns: columns(chance),
                rows,
            }),
            key,
        }
    }

    /// What makes the tables and their rows.
    pub fn fill(&self) -> String {
        let mut sql = String::from("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');");
        for (salt, table) in self.tables.iter().enumerate() {
            let h =
                |place: usize| format!("(('x' || substr(md5(n || '_{salt}_{place}'), 1, 7))::bit(28)::int)");
            let mut names = vec!["id int".to_owned(), "parent int".to_owned()];
            let mut values = vec![
                "n".to_owned(),
                format!("CASE WHEN n % 8 > 0 THEN {} % 170 END", h(90)),
            ];
            if !table.key.is_empty() {
                names.push(format!("{} {} NOT NULL", table.key, self.key_type()));
                // Children are on their parent's shard; a few have none.
                let tenant = match salt {
                    0 => "1 + n % 9".to_owned(),
                    _ => format!("1 + {} % 170 % 9", h(90)),
                };
                values.push(self.key_of(&tenant));
            }
            for (place, column) in table.columns.iter().enumerate() {
                names.push(format!("{} {}", column.name, column.kind.name()));
                let value = column.kind.of(&h(place));
                values.push(match place % 3 {
                    0 => value,
                    _ => format!("CASE WHEN {} % 7 > 0 THEN {value} END", h(30 + place)),
                });
            }
            sql += &format!(
                "CREATE TABLE {0} ({1}); INSERT INTO {0} SELECT {2} FROM generate_series(1, {3}) n;",
                table.name,
                names.join(", "),
                values.join(", "),
                table.rows
            );
        }
        sql
    }

    /// Of those rows, all but the ones of hash remainder `number` of 4 go.
    pub fn keep(&self, number: usize) -> String {
        let keep = |table: &Table| {
            format!(
                "DELETE FROM {} WHERE NOT satisfies_hash_partition('placed'::regclass, 4, {number}, {});",
                table.name, table.key
            )
        };
        let kept: Vec<String> = self.tables[..2].iter().map(keep).collect();
        format!(
            "CREATE TABLE placed (k {}) PARTITION BY HASH (k); {} DROP TABLE placed;",
            self.key_type(),
            kept.join(" ")
        )
    }

    /// The rules they are placed by.
    pub fn rules(&self) -> String {
        let bare = |name: &str| name.trim_matches('"').to_owned();
        let named = |table: &Table| format!("\"{}\"", bare(&table.name));
        let [parent, child, whole] = &self.tables;
        let columns = match parent.key == child.key {
            true => String::new(),
            false => format!(
                "[sharding.columns]\n{} = \"{}\"\n",
                named(child),
                bare(&child.key)
            ),
        };
        format!(
            "[sharding]\ncolumn = \"{}\"\ntype = \"{}\"\nremainders = [\"s0\", \"s1\", \"s2\", \"s3\"]\nreference = [{}]\n{columns}",
            bare(&parent.key),
            self.key_type(),
            named(whole),
        )
    }

    /// The key of this tenant, as a constant.
    pub fn tenant(&self, number: usize) -> String {
        match self.key {
            Key::Number(_) => number.to_string(),
            Key::Uuid | Key::Text(_) => format!("'{}'", self.tenant_value(number)),
        }
    }

    /// The key of this tenant, as the text of a parameter.
    pub fn tenant_value(&self, number: usize) -> String {
        match self.key {
            Key::Number(_) => number.to_string(),
            Key::Uuid => format!("00000000-0000-4000-8000-{number:012}"),
            Key::Text(_) => format!("tenant {number}"),
        }
    }

    /// The key's type.
    pub fn key_type(&self) -> &'static str {
        match self.key {
            Key::Number(name) | Key::Text(name) => name,
            Key::Uuid => "uuid",
        }
    }

    fn key_of(&self, number: &str) -> String {
        match self.key {
            Key::Number(name) => format!("({number})::{name}"),
            Key::Uuid => format!("('00000000-0000-4000-8000-' || lpad(({number})::text, 12, '0'))::uuid"),
            Key::Text(_) => format!("'tenant ' || {number}"),
        }
    }
}

/// Four to eight, of any kind, the first of which can be added up.
fn columns(chance: &mut Chance) -> Vec<Column> {
    const NAMES: [&str; 8] = [
        "a",
        "\"Total\"",
        "c",
        "\"order\"",
        "e_",
        "\"user\"",
        "day",
        "\"x y\"",
    ];
    let count = 4 + chance.below(5);
    (0..count)
        .map(|place| Column {
            name: NAMES[place].into(),
            kind: match place {
                0 => chance.pick(&[Kind::Int, Kind::Numeric, Kind::Big, Kind::Small]),
                _ => chance.pick(&Kind::ALL),
            },
        })
        .collect()
}
