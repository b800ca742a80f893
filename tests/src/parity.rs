//! Statements made up, for what several shards must answer as one PostgreSQL does; and the rows they are about.

use std::collections::HashMap;

/// The tables, and rows that are the same wherever this is run.
pub const FILL: &str = "CREATE TABLE orders (id int, tenant_id bigint, kind int, amount numeric, small smallint, ratio float8, \
    note text, day date, ok bool);\
    CREATE TABLE items (id int, tenant_id bigint, order_id int, qty bigint);\
    CREATE TABLE kinds (kind int, name text);\
    SELECT setseed(0.5);\
    INSERT INTO orders SELECT n, 1 + n % 11, CASE WHEN n % 7 > 0 THEN n % 5 END, CASE WHEN n % 13 > 0 THEN \
        round((random() * 1000)::numeric, n % 4) END, n % 30 - 15, (n % 16) / 8.0, CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN \
        'Ab' || n % 3 ELSE 'a ' || chr(97 + n % 5) END, date '2024-01-01' + n % 90, n % 3 = 0 FROM generate_series(1, 300) n;\
    INSERT INTO items SELECT n, 1 + n % 11, n % 300, n::bigint * 1000000007 FROM generate_series(1, 500) n;\
    INSERT INTO kinds SELECT n, 'kind ' || n FROM generate_series(0, 5) n;";

/// Of those rows, all but the ones of hash remainder `number` of 4 go.
pub fn keep(number: usize) -> String {
    let keep = |table: &str| {
        format!(
            "DELETE FROM {table} WHERE NOT satisfies_hash_partition('placed'::regclass, 4, {number}, tenant_id);"
        )
    };
    format!(
        "CREATE TABLE placed (k bigint) PARTITION BY HASH (k); {} {} DROP TABLE placed;",
        keep("orders"),
        keep("items")
    )
}

/// The rules they are placed by.
pub const RULES: &str = "[sharding]\ncolumn = \"tenant_id\"\ntype = \"bigint\"\nfunction = \"hash\"\nmodulus = 4\n\
    remainders = [\"s0\", \"s1\", \"s2\", \"s3\"]\nreference = [\"kinds\"]\n";

/// A statement made up.
pub fn statement(seed: &mut u64) -> String {
    let mut pick = |list: &[&str]| -> String {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        list[(*seed >> 33) as usize % list.len()].to_owned()
    };
    let from = pick(&[
        "orders o",
        "orders o",
        "orders o join items i on i.tenant_id = o.tenant_id and i.order_id = o.id",
        "orders o left join items i using (tenant_id)",
        "orders o join kinds k on k.kind = o.kind",
        "(select * from orders where amount > 100) o",
        "orders o left join kinds k on k.kind = o.kind",
        "kinds k left join orders o on k.kind = o.kind",
        "orders o join items i on i.order_id = o.id",
    ]);
    let filter = pick(&[
        "true",
        "o.amount > 200",
        "o.tenant_id = 3",
        "o.tenant_id in (2, 5, 9)",
        "o.tenant_id = 1 or o.tenant_id = 4",
        "o.note like 'a%'",
        "o.tenant_id = 3 or o.id < 40",
        "exists (select 1 from items x where x.tenant_id = o.tenant_id and x.qty > 400000000000)",
        "o.id in (select order_id from items)",
        "o.tenant_id in (select tenant_id from items where id < 9)",
        "o.ok is not true",
        "o.tenant_id = any ('{1,2,3}')",
        "not o.tenant_id = 2",
        "o.tenant_id = 1 and o.tenant_id = 2",
    ]);
    let kinds = [
        "plain", "plain", "group", "group", "whole", "distinct", "key", "windows", "once", "rows", "within",
    ];
    match pick(&kinds).as_str() {
        kind @ ("windows" | "once" | "rows" | "within") => {
            crate::parity_beyond::statement(kind, &from, &filter, &mut pick)
        }
        "plain" => {
            let order = pick(&[
                "o.id",
                "o.amount desc, o.id",
                "o.kind nulls first, o.id",
                "o.day, o.id desc",
                "o.note collate \"C\", o.id",
                "2, 1",
            ]);
            let cut = pick(&[
                "",
                " limit 7",
                " limit 5 offset 3",
                " offset 12",
                " fetch first 6 rows only",
                " offset 2 rows fetch next 3 row only",
            ]);
            format!("select o.id, o.tenant_id, o.note from {from} where {filter} order by {order}{cut}")
        }
        "group" => {
            let by = pick(&[
                "o.kind",
                "o.note",
                "o.day",
                "o.ok",
                "o.kind, o.note",
                "date_trunc('month', o.day)",
                "o.small % 4",
                "o.amount",
            ]);
            let calls = pick(&[
                "count(*)",
                "sum(o.amount), avg(o.amount)",
                "sum(o.small), avg(o.small), min(o.note)",
                "max(o.amount) - min(o.amount) as spread",
                "round(avg(o.id), 3), count(o.note)",
                "bool_and(o.ok), bool_or(o.ok)",
                "count(*) filter (where o.ok)",
                "count(distinct o.note)",
                "coalesce(sum(o.amount), 0)::int",
                "sum(o.ratio)",
                "avg(o.ratio)",
                "variance(o.amount), stddev(o.small)",
                "stddev_pop(o.id) filter (where o.ok), var_samp(o.small)",
                "round(stddev_samp(o.amount), 2), var_pop(o.amount / 3)",
                "stddev(o.ratio)",
            ]);
            let having = pick(&[
                "",
                "",
                " having count(*) > 3",
                " having sum(o.amount) > 1000 or avg(o.small) < 0",
            ]);
            // A total order: what is equal in all keys may come in any order from PostgreSQL too.
            let also = if by.contains("o.note") && by.contains("o.kind") {
                ", 2"
            } else {
                ""
            };
            let order = pick(&[
                "",
                " order by 1{}",
                " order by 1 desc nulls last{} limit 4",
                " order by count(*), 1{} limit 5",
            ]);
            let order = order.replace("{}", also);
            format!("select {by}, {calls} from {from} where {filter} group by {by}{having}{order}")
        }
        "whole" => {
            let calls = pick(&[
                "count(*), sum(o.amount), avg(o.id)",
                "min(o.note), max(o.day)",
                "sum(o.small) + count(*)",
                "avg(o.amount)",
                "every(o.ok)",
                "stddev(o.amount), variance(o.amount), stddev_pop(o.small), var_pop(o.id), var_samp(o.amount * 1000000)",
                "stddev(o.small - o.small), stddev_samp(o.amount / 7)",
            ]);
            format!("select {calls} from {from} where {filter}")
        }
        "distinct" => {
            let what = pick(&["o.note", "o.kind, o.ok", "o.tenant_id", "o.amount / 100 as a"]);
            let also = if what.contains("o.ok") { ", 2" } else { "" };
            let order = pick(&["", " order by 1{}", " order by 1 desc{} limit 3"]).replace("{}", also);
            format!("select distinct {what} from {from} where {filter}{order}")
        }
        _ => {
            let calls = pick(&[
                "count(distinct o.note)",
                "array_agg(o.id order by o.id)",
                "sum(sum(o.small)) over (partition by o.tenant_id)",
            ]);
            let order = pick(&["", " order by o.tenant_id desc", " order by 1 limit 3"]);
            format!("select o.tenant_id, {calls} from {from} where {filter} group by o.tenant_id{order}")
        }
    }
}

/// Statements written down, for what is not made up often.
pub const WRITTEN: [&str; 19] = [
    "select id from orders where tenant_id = 1 union all select id from orders where tenant_id = 2",
    "select tenant_id from orders union select tenant_id from items order by 1",
    "with o as (select tenant_id, count(*) c from orders group by tenant_id) select sum(c), max(c) from o",
    "with a as (select * from orders where tenant_id = 1), b as (select * from orders where tenant_id = 2) select count(*) from a, b",
    "select o.id, x.qty from orders o left join lateral (select qty from items i where i.tenant_id = o.tenant_id order by qty desc limit 1) x \
     on true order by o.id limit 20",
    "select *, row_number() over (partition by tenant_id order by id) from orders order by id limit 9",
    "select id, (select count(*) from items i where i.tenant_id = o.tenant_id) from orders o order by id limit 9",
    "select kind as \"Kind\", count(*) from orders group by kind order by \"Kind\"",
    "select o.kind k, sum(amount) from orders o group by k order by k",
    "select count(*) from orders where amount is null having count(*) > 0",
    "select sum(amount) from orders where false",
    "select kind, sum(amount) from orders where false group by kind",
    "select tenant_id, tenant_id from orders except select tenant_id, order_id from items where order_id = 3 order by 1, 2",
    "select id from orders where tenant_id = 1 intersect select id from orders where tenant_id = 2",
    "select * from orders order by 1 desc fetch first 5 rows only",
    "select *, id + 1 from orders order by 10, 2 limit 5",
    "select i.*, o.note from orders o join items i on i.tenant_id = o.tenant_id and i.order_id = o.id order by 4, 1 limit 7",
    "select stddev(qty), variance(qty), stddev_pop(qty), var_pop(qty) from items",
    "select stddev(id), var_pop(id), variance(id) from orders where id = 7",
];

/// What came of statements that two ways were to answer alike.
#[derive(Default)]
pub struct Tally {
    same: usize,
    refused: HashMap<String, usize>,
    wrong: Vec<String>,
}

impl Tally {
    /// One was refused, for this reason.
    pub fn refuse(&mut self, reason: String) {
        *self.refused.entry(reason).or_default() += 1;
    }

    /// One was answered, alike or not; `told` says what was seen.
    pub fn answer(&mut self, is_same: bool, told: impl FnOnce() -> String) {
        match is_same {
            true => self.same += 1,
            false => self.wrong.push(told()),
        }
    }

    /// None was answered otherwise, and more than half of so many made up were answered.
    #[track_caller]
    pub fn judge(&self, made_up: usize) {
        let Tally { same, refused, wrong } = self;
        println!("{same} the same; refused: {refused:#?}");
        assert!(
            wrong.is_empty(),
            "{} wrong, the first ones:\n{}",
            wrong.len(),
            wrong[..wrong.len().min(6)].join("\n")
        );
        assert!(*same > made_up / 2, "only {same} were answered");
    }
}

/// A test of many statements is made in so many parts, each with tables of its own.
pub const PARTS: usize = 8;

/// The tests that are the parts of one, by a function that is told which it is.
#[macro_export]
macro_rules! eight_parts {
    ($run:path) => {
        $crate::eight_parts!($run, part_1: 0, part_2: 1, part_3: 2, part_4: 3, part_5: 4, part_6: 5, part_7: 6, part_8: 7);
    };
    ($run:path, $($name:ident: $part:expr),*) => {
        $(
            #[test]
            fn $name() {
                $run($part);
            }
        )*
    };
}

/// How many statements are made up: `PGSHUNT_PARITY` says otherwise.
pub fn statements(otherwise: usize) -> usize {
    let count = std::env::var("PGSHUNT_PARITY").ok();
    count.and_then(|count| count.parse().ok()).unwrap_or(otherwise)
}

/// Does the order of its rows belong to the answer: has it an ORDER BY outside of parentheses?
pub fn is_sorted(text: &str) -> bool {
    let mut depth = 0_usize;
    text.char_indices().any(|(at, letter)| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0 && text[at..].starts_with(" order by ")
    })
}
