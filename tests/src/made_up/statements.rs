//! Statements over a schema.

use super::kinds::Kind;
use super::schema::{Schema, TENANTS};
use super::terms::{Source, Terms};
use crate::differential::chance::Chance;

/// A statement, and how its answer compares.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its text.
    pub text: String,
    /// The values of its parameters.
    pub values: Vec<String>,
    /// The order of its rows belongs to the answer.
    pub is_sorted: bool,
    /// It writes.
    pub writes: bool,
}

/// A statement made up; with parameters, if it may have some.
pub fn asked(schema: &Schema, chance: &mut Chance, may_bind: bool) -> Asked {
    let mut terms = Terms {
        schema,
        chance,
        sources: Vec::new(),
        values: may_bind.then(Vec::new),
    };
    let kind = terms.chance.below(12);
    let (text, is_sorted) = match kind {
        0 => (writing(&mut terms), false),
        1..=3 => rows(&mut terms),
        4..=6 => groups(&mut terms),
        7 => (sums(&mut terms), false),
        8 => distinct(&mut terms),
        9 => together(&mut terms),
        10 => windows(&mut terms),
        _ => summed_up(&mut terms),
    };
    Asked {
        text,
        values: terms.values.unwrap_or_default(),
        is_sorted,
        writes: kind == 0,
    }
}

/// WITH, FROM and WHERE; `sources` are set.
fn body(terms: &mut Terms<'_, '_>) -> (String, String) {
    let schema = terms.schema;
    let [parent, child, whole] = &schema.tables;
    let x = Source {
        alias: "x",
        table: parent,
    };
    let y = Source {
        alias: "y",
        table: child,
    };
    let z = Source {
        alias: "z",
        table: whole,
    };
    let (pk, ck) = (&parent.key, &child.key);
    let on = format!("y.{ck} = x.{pk} AND y.parent = x.id");
    let (p, c, w) = (&parent.name, &child.name, &whole.name);
    let (from, sources) = match terms.chance.below(12) {
        0..=2 => (format!("{p} x"), vec![x]),
        3 => (format!("{c} AS y"), vec![y]),
        4 => (format!("{p} x JOIN {c} y ON {on}"), vec![x, y]),
        5 => (format!("{p} x LEFT JOIN {c} y ON {on}"), vec![x, y]),
        6 => (format!("{c} y LEFT JOIN {p} x ON {on}"), vec![x, y]),
        7 => (format!("{p} x JOIN {w} z ON z.id = x.parent % 6"), vec![x, z]),
        8 => (format!("{c} y LEFT JOIN {w} z ON z.id = y.id % 9"), vec![y, z]),
        9 if pk == ck => (format!("{p} x JOIN {c} y USING ({pk}, parent)"), vec![x, y]),
        9 => (format!("{p} x, {c} y"), vec![x, y]),
        10 => {
            terms.sources = vec![x];
            let within = terms.condition(1);
            (format!("(SELECT * FROM {p} x WHERE {within}) AS x"), vec![x])
        }
        _ => {
            terms.sources = vec![y];
            let within = terms.condition(1);
            let with = format!("WITH y AS (SELECT * FROM {c} y WHERE {within}) ");
            terms.sources = vec![y];
            let condition = terms.condition(0);
            return (with, format!("FROM y WHERE {condition}"));
        }
    };
    terms.sources = sources;
    let condition = match terms.chance.below(5) {
        0 => terms.of_tenants(),
        1 => "true".to_owned(),
        2 => format!("{} AND {}", terms.of_tenants(), terms.condition(1)),
        _ => terms.condition(0),
    };
    let tie = if from.contains(", ") && !from.contains("USING") {
        format!("{on} AND ")
    } else {
        String::new()
    };
    (String::new(), format!("FROM {from} WHERE {tie}{condition}"))
}

/// What makes the order of rows a total one.
fn ids(terms: &Terms<'_, '_>) -> String {
    let ids: Vec<String> = terms
        .sources
        .iter()
        .map(|source| format!("{}.id", source.alias))
        .collect();
    ids.join(", ")
}

fn cut(terms: &mut Terms<'_, '_>) -> &'static str {
    terms.chance.pick(&[
        "",
        "",
        "",
        " LIMIT 7",
        " LIMIT 5 OFFSET 3",
        " OFFSET 12",
        " FETCH FIRST 6 ROWS ONLY",
        " LIMIT 0",
        " LIMIT ALL",
    ])
}

fn direction(terms: &mut Terms<'_, '_>) -> &'static str {
    terms
        .chance
        .pick(&["", "", " DESC", " ASC", " NULLS FIRST", " DESC NULLS LAST"])
}

fn list(terms: &mut Terms<'_, '_>, most: usize) -> Vec<String> {
    let count = 1 + terms.chance.below(most);
    (0..count).map(|_| terms.expression()).collect()
}

fn rows(terms: &mut Terms<'_, '_>) -> (String, bool) {
    let (with, body) = body(terms);
    let shown = match terms.chance.below(6) {
        0 => "*".to_owned(),
        1 => format!("{}.*", terms.source().alias),
        _ => list(terms, 4).join(", "),
    };
    if terms.chance.one_in(4) {
        return (format!("{with}SELECT {shown} {body}"), false);
    }
    let (key, how) = (terms.expression(), direction(terms));
    let ids = ids(terms);
    let order = match terms.chance.below(3) {
        0 => ids,
        1 => format!("{key}{how}, {ids}"),
        _ => {
            let (other, otherwise) = (terms.expression(), direction(terms));
            format!("{key}{how}, {other}{otherwise}, {ids}")
        }
    };
    let cut = cut(terms);
    (format!("{with}SELECT {shown} {body} ORDER BY {order}{cut}"), true)
}

/// An aggregate whose answer no order of rows changes.
fn aggregate(terms: &mut Terms<'_, '_>) -> String {
    let (column, kind) = terms.column();
    let (number, number_kind) = terms.number();
    let call = match terms.chance.below(14) {
        0 | 1 => "count(*)".to_owned(),
        2 => format!("count({column})"),
        3 => format!("count(DISTINCT {column})"),
        4 | 5 => format!("sum({number})"),
        6 => format!("avg({number})"),
        7 | 8 if kind.has_least() => format!("{}({column})", terms.chance.pick(&["min", "max"])),
        // In binary an array names its elements' type, which has another number in each database if users made it.
        9 if kind != Kind::Mood => format!("array_agg({column} ORDER BY {column})"),
        10 => format!("bool_and({column} IS NOT NULL)"),
        11 => format!("string_agg({column}::text, ',' ORDER BY {column}::text)"),
        12 if number_kind != Kind::Interval => format!("round(avg({number})::numeric, 3)"),
        13 => format!("sum(DISTINCT {number})"),
        _ => format!("count(*) + count({column})"),
    };
    match terms.chance.below(5) {
        0 if !call.contains("(round") && !call.starts_with("round") && !call.contains(" + ") => {
            let condition = terms.condition(2);
            format!("{call} FILTER (WHERE {condition})")
        }
        _ => call,
    }
}

fn groups(terms: &mut Terms<'_, '_>) -> (String, bool) {
    let (with, body) = body(terms);
    let mut keys = list(terms, 2);
    let keyed: Vec<String> = terms
        .sources
        .iter()
        .filter(|source| !source.table.key.is_empty())
        .map(|source| format!("{}.{}", source.alias, source.table.key))
        .collect();
    if terms.chance.one_in(3) && !keyed.is_empty() {
        keys.push(keyed[0].clone());
    }
    let calls: Vec<String> = (0..1 + terms.chance.below(3)).map(|_| aggregate(terms)).collect();
    let having = match terms.chance.below(4) {
        0 => format!(" HAVING {} IS NOT NULL", aggregate(terms)),
        1 => " HAVING count(*) > 2".to_owned(),
        _ => String::new(),
    };
    let by = keys.join(", ");
    let text = format!(
        "{with}SELECT {by}, {} {body} GROUP BY {by}{having}",
        calls.join(", ")
    );
    let places: Vec<String> = (1..=keys.len())
        .map(|place| format!("{place}{}", direction(terms)))
        .collect();
    match terms.chance.below(3) {
        0 => (text, false),
        1 => (
            format!("{text} ORDER BY {}{}", places.join(", "), cut(terms)),
            true,
        ),
        _ => {
            let (first, how) = (aggregate(terms), direction(terms));
            (
                format!(
                    "{text} ORDER BY {first}{how}, {}{}",
                    places.join(", "),
                    cut(terms)
                ),
                true,
            )
        }
    }
}

fn sums(terms: &mut Terms<'_, '_>) -> String {
    let (with, body) = body(terms);
    let calls: Vec<String> = (0..1 + terms.chance.below(4)).map(|_| aggregate(terms)).collect();
    format!("{with}SELECT {} {body}", calls.join(", "))
}

fn distinct(terms: &mut Terms<'_, '_>) -> (String, bool) {
    let (with, body) = body(terms);
    let shown = list(terms, 3);
    let places: Vec<String> = (1..=shown.len())
        .map(|place| format!("{place}{}", direction(terms)))
        .collect();
    let text = format!("{with}SELECT DISTINCT {} {body}", shown.join(", "));
    match terms.chance.one_in(3) {
        true => (text, false),
        false => (
            format!("{text} ORDER BY {}{}", places.join(", "), cut(terms)),
            true,
        ),
    }
}

/// UNION and its kin.
fn together(terms: &mut Terms<'_, '_>) -> (String, bool) {
    let [parent, child, _] = &terms.schema.tables;
    let mut half = |table, alias| {
        terms.sources = vec![Source { alias, table }];
        let key = &table.key;
        let condition = match terms.chance.one_in(2) {
            true => terms.of_tenants(),
            false => terms.condition(1),
        };
        let column = terms.chance.pick(&["id", "parent"]);
        format!(
            "SELECT {alias}.{key} AS k, {alias}.{column} AS n FROM {} {alias} WHERE {condition}",
            table.name
        )
    };
    let (one, other) = (half(parent, "x"), half(child, "y"));
    let operator = terms.chance.pick(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT"]);
    let text = format!("{one} {operator} {other}");
    match terms.chance.below(3) {
        0 => (text, false),
        1 => (
            format!("{text} ORDER BY n{}, k{}", direction(terms), cut(terms)),
            true,
        ),
        _ => (
            format!(
                "SELECT k, count(*), sum(n) FROM ({text}) AS u GROUP BY k ORDER BY k{}",
                cut(terms)
            ),
            true,
        ),
    }
}

fn windows(terms: &mut Terms<'_, '_>) -> (String, bool) {
    let (with, body) = body(terms);
    let ids = ids(terms);
    let (number, _) = terms.number();
    let (key, how) = (terms.expression(), direction(terms));
    let call = terms.chance.pick(&[
        "row_number()",
        "rank()",
        "sum(#)",
        "lag(#)",
        "count(*)",
        "first_value(#)",
        "ntile(3)",
        "max(#)",
    ]);
    let call = call.replace('#', &number);
    let keyed: Option<String> = terms
        .sources
        .iter()
        .find(|source| !source.table.key.is_empty())
        .map(|source| format!("{}.{}", source.alias, source.table.key));
    let partition = match (terms.chance.below(3), keyed) {
        (0, Some(key)) => format!("PARTITION BY {key} "),
        (1, _) => format!("PARTITION BY {} ", terms.expression()),
        (_, _) => String::new(),
    };
    let text = format!(
        "{with}SELECT {ids}, {call} OVER ({partition}ORDER BY {key}{how}, {ids}) {body} ORDER BY {ids}"
    );
    (format!("{text}{}", cut(terms)), true)
}

/// Sums of each tenant's sums.
fn summed_up(terms: &mut Terms<'_, '_>) -> (String, bool) {
    let table = &terms.schema.tables[terms.chance.below(2)];
    terms.sources = vec![Source { alias: "x", table }];
    let condition = terms.condition(1);
    let (call, key) = (aggregate(terms), &table.key);
    let inner = format!(
        "SELECT x.{key} AS k, {call} AS v, count(*) AS n FROM {} x WHERE {condition} GROUP BY x.{key}",
        table.name
    );
    match terms.chance.below(4) {
        0 => (
            format!("SELECT count(*), sum(n), max(n) FROM ({inner}) AS s"),
            false,
        ),
        1 => (
            format!(
                "SELECT k, n FROM ({inner}) AS s WHERE n > 3 ORDER BY n DESC, k{}",
                cut(terms)
            ),
            true,
        ),
        2 => (
            format!("WITH s AS ({inner}) SELECT n, count(*) FROM s GROUP BY n ORDER BY 1"),
            true,
        ),
        _ => (
            format!("SELECT k, v FROM ({inner}) AS s ORDER BY k{}", direction(terms)),
            true,
        ),
    }
}

fn writing(terms: &mut Terms<'_, '_>) -> String {
    let table = &terms.schema.tables[terms.chance.below(2)];
    let (name, key) = (&table.name, &table.key);
    let column = &table.columns[terms.chance.below(table.columns.len())];
    terms.sources = vec![Source { alias: "x", table }];
    let back = terms.chance.pick(&["", "", " RETURNING id", " RETURNING *"]);
    match terms.chance.below(4) {
        0 => {
            let condition = terms.condition(0);
            let back = back
                .replace("RETURNING id", "RETURNING x.id")
                .replace("RETURNING *", "RETURNING x.*");
            format!(
                "UPDATE {name} AS x SET {} = {} WHERE {condition}{back}",
                column.name,
                column.kind.constant(terms.chance)
            )
        }
        1 => {
            let condition = terms.condition(0);
            let back = back
                .replace("RETURNING id", "RETURNING x.id")
                .replace("RETURNING *", "RETURNING x.*");
            format!("DELETE FROM {name} x WHERE {condition}{back}")
        }
        2 => {
            let rows: Vec<String> = (0..1 + terms.chance.below(4))
                .map(|row| {
                    let tenant = terms.schema.tenant(1 + terms.chance.below(TENANTS));
                    format!(
                        "({}, {tenant}, {})",
                        900 + row,
                        column.kind.constant(terms.chance)
                    )
                })
                .collect();
            format!(
                "INSERT INTO {name} (id, {key}, {}) VALUES {}{back}",
                column.name,
                rows.join(", ")
            )
        }
        _ => {
            let condition = terms.condition(1);
            format!(
                "INSERT INTO {name} (id, {key}, {0}) SELECT x.id + 1000, x.{key}, x.{0} FROM {name} x WHERE {condition}{back}",
                column.name
            )
        }
    }
}
