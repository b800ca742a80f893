//! Expressions and conditions over the tables of a FROM.

use super::kinds::Kind;
use super::schema::{Schema, TENANTS, Table};
use crate::differential::chance::Chance;

/// A table in a FROM, by its alias.
#[derive(Clone, Copy, Debug)]
pub struct Source<'s> {
    /// The alias.
    pub alias: &'s str,
    /// The table.
    pub table: &'s Table,
}

/// What terms are made of.
pub struct Terms<'s, 'c> {
    /// The schema.
    pub schema: &'s Schema,
    /// What decides.
    pub chance: &'c mut Chance,
    /// What the FROM names.
    pub sources: Vec<Source<'s>>,
    /// Values of parameters; `None`: the statement has none.
    pub values: Option<Vec<String>>,
}

impl<'s> Terms<'s, '_> {
    /// Any of the sources.
    pub fn source(&mut self) -> Source<'s> {
        let place = self.chance.below(self.sources.len());
        self.sources[place]
    }

    /// A column, and what it holds.
    pub fn column(&mut self) -> (String, Kind) {
        let source = self.source();
        match self.chance.below(8) {
            0 => (format!("{}.id", source.alias), Kind::Int),
            1 => (format!("{}.parent", source.alias), Kind::Int),
            _ => self.own_column(source),
        }
    }

    fn own_column(&mut self, source: Source<'_>) -> (String, Kind) {
        let place = self.chance.below(source.table.columns.len());
        let column = &source.table.columns[place];
        (format!("{}.{}", source.alias, column.name), column.kind)
    }

    /// A column that can be added up.
    pub fn number(&mut self) -> (String, Kind) {
        for _ in 0..8 {
            let (column, kind) = self.column();
            if kind.adds() {
                return (column, kind);
            }
        }
        (format!("{}.id", self.sources[0].alias), Kind::Int)
    }

    /// An expression.
    pub fn expression(&mut self) -> String {
        let (column, kind) = self.column();
        let constant = kind.constant(self.chance);
        match (self.chance.below(9), kind) {
            (0, _) => format!("coalesce({column}, {constant})"),
            (1, _) => {
                let condition = self.condition(1);
                format!("CASE WHEN {condition} THEN {column} ELSE {constant} END")
            }
            (2, _) => format!("nullif({column}, {constant})"),
            (3, _) if kind.has_least() => format!("greatest({column}, {constant})"),
            (4, Kind::Int | Kind::Small | Kind::Numeric | Kind::Big | Kind::Float) => self
                .chance
                .pick(&["abs(#)", "# * 2", "- #", "# + 1", "(# - 3)"])
                .replace('#', &column),
            (4, Kind::Text | Kind::Varchar) => self
                .chance
                .pick(&["upper(#)", "# || '!'", "length(#)", "left(#, 1)", "# = 'a'"])
                .replace('#', &column),
            (4, Kind::Date | Kind::Stamp) => self
                .chance
                .pick(&[
                    "date_trunc('month', #)",
                    "extract(dow from #)",
                    "# + interval '1 day'",
                ])
                .replace('#', &column),
            (4, Kind::StampTz) => self
                .chance
                .pick(&["(# AT TIME ZONE 'UTC')", "# - interval '1 hour'"])
                .replace('#', &column),
            (4, Kind::Json) => self
                .chance
                .pick(&["#->>'k'", "(#->'k')::int", "#->'t'"])
                .replace('#', &column),
            (4, Kind::Ints) => self
                .chance
                .pick(&["#[1]", "array_length(#, 1)", "# || 1"])
                .replace('#', &column),
            (4, Kind::Bool) => format!("NOT {column}"),
            (5, _) => format!("{column} IS NULL"),
            (_, _) => column,
        }
    }

    /// A condition; the deeper, the simpler.
    pub fn condition(&mut self, depth: usize) -> String {
        let kinds = if depth > 2 { 6 } else { 10 };
        match self.chance.below(kinds) {
            0 | 1 => self.comparison(),
            2 => {
                let (column, kind) = self.column();
                let (one, other) = (kind.constant(self.chance), kind.constant(self.chance));
                let form = self
                    .chance
                    .pick(&["BETWEEN {} AND {}", "IN ({}, {})", "NOT IN ({}, {})"]);
                format!(
                    "{column} {}",
                    form.replacen("{}", &one, 1).replacen("{}", &other, 1)
                )
            }
            3 => {
                let (column, _) = self.column();
                format!("{column} IS {}NULL", self.chance.pick(&["", "NOT "]))
            }
            4 => self.of_tenants(),
            5 => self.pattern(),
            6 => format!("NOT ({})", self.condition(depth + 1)),
            7 => format!("({} OR {})", self.condition(depth + 1), self.condition(depth + 1)),
            8 => format!(
                "({} AND {})",
                self.condition(depth + 1),
                self.condition(depth + 1)
            ),
            _ => self.within(depth),
        }
    }

    fn comparison(&mut self) -> String {
        let (column, kind) = self.column();
        let constant = kind.constant(self.chance);
        let operator = match kind {
            Kind::Json => self.chance.pick(&["=", "<>", "@>"]),
            Kind::Bool => self.chance.pick(&["=", "<>", "IS DISTINCT FROM"]),
            _ => self
                .chance
                .pick(&["=", "<>", "<", ">=", ">", "<=", "IS DISTINCT FROM"]),
        };
        format!("{column} {operator} {constant}")
    }

    fn pattern(&mut self) -> String {
        let (column, kind) = self.column();
        match kind.is_text() {
            true => format!(
                "{column} {} '{}'",
                self.chance.pick(&["LIKE", "NOT LIKE", "ILIKE", "~"]),
                self.chance.pick(&["a%", "%b", "_", "Ab"])
            ),
            false => format!("{column} IS NOT DISTINCT FROM {column}"),
        }
    }

    /// A tenant's key, as a constant or a parameter.
    fn tenant(&mut self) -> String {
        let number = 1 + self.chance.below(TENANTS + 1);
        let is_parameter = self.chance.one_in(2);
        let value = self.schema.tenant_value(number);
        match &mut self.values {
            Some(values) if is_parameter => {
                values.push(value);
                format!("${}", values.len())
            }
            Some(_) | None => self.schema.tenant(number),
        }
    }

    /// Whose rows they are.
    pub fn of_tenants(&mut self) -> String {
        let keyed: Vec<Source<'_>> = self
            .sources
            .iter()
            .filter(|source| !source.table.key.is_empty())
            .copied()
            .collect();
        if keyed.is_empty() {
            return "true".into();
        }
        let source = keyed[self.chance.below(keyed.len())];
        let key = format!("{}.{}", source.alias, source.table.key);
        let (one, other) = (self.tenant(), self.tenant());
        match self.chance.below(7) {
            0 | 1 => format!("{key} = {one}"),
            2 => format!("{key} IN ({one}, {other})"),
            3 => format!("{one} = {key}"),
            4 => format!("({key} = {one} OR {key} = {other})"),
            5 => format!(
                "{key} = ANY (ARRAY[{one}, {other}]::{}[])",
                self.schema.key_type()
            ),
            _ => format!("{key} <> {one}"),
        }
    }

    /// A condition with a query within.
    fn within(&mut self, depth: usize) -> String {
        let source = self.source();
        let (outer, table) = (source.alias, source.table);
        if table.key.is_empty() {
            return self.comparison();
        }
        let [parent, child, whole] = &self.schema.tables;
        let other = if std::ptr::eq(table, parent) {
            child
        } else {
            parent
        };
        let inner = Source {
            alias: "q",
            table: other,
        };
        let tie = format!("q.{} = {outer}.{}", other.key, table.key);
        let before = std::mem::replace(&mut self.sources, vec![inner]);
        let condition = self.condition(depth + 2);
        let (number, _) = self.own_column(inner);
        self.sources = before;
        match self.chance.below(7) {
            0 | 1 => format!(
                "EXISTS (SELECT 1 FROM {} q WHERE {tie} AND {condition})",
                other.name
            ),
            2 => format!(
                "NOT EXISTS (SELECT FROM {} AS q WHERE {tie} AND q.parent = {outer}.id)",
                other.name
            ),
            3 => format!(
                "{outer}.id IN (SELECT q.parent FROM {} q WHERE {tie})",
                other.name
            ),
            4 => format!(
                "{outer}.id > (SELECT avg(q.id) / 2 FROM {} q WHERE {tie} AND {number} IS NOT NULL)",
                other.name
            ),
            5 => format!(
                "{outer}.parent IN (SELECT w.id FROM {} w WHERE w.id < 5)",
                whole.name
            ),
            _ => format!(
                "{outer}.{} IN (SELECT q.{} FROM {} q WHERE {condition})",
                table.key, other.key, other.name
            ),
        }
    }
}
