//! Statements made up that need more than sums of sums: windows, values that count once, rows in order, queries within queries. What
//! is equal in all keys of an order is equal in all that is shown, so that PostgreSQL leaves no order open.

/// One of such a kind, from these tables and of these rows.
pub fn statement(kind: &str, from: &str, filter: &str, pick: &mut dyn FnMut(&[&str]) -> String) -> String {
    let by = pick(&[
        "o.kind",
        "o.note",
        "o.day",
        "o.ok",
        "date_trunc('month', o.day)",
        "o.amount",
    ]);
    let body = format!("from {from} where {filter}");
    match kind {
        "windows" => windows(&by, &body, pick),
        "once" => once(&by, &body, pick),
        "rows" => rows(&body, pick),
        _ => within(&by, &body, filter, pick),
    }
}

/// Windows over groups.
fn windows(by: &str, body: &str, pick: &mut dyn FnMut(&[&str]) -> String) -> String {
    let calls = pick(&[
        "lag(sum(o.amount)) over (order by {})",
        "sum(o.amount) - lag(sum(o.amount), 1, 0) over (order by {} nulls first) as change",
        "rank() over (order by count(*) desc), count(*)",
        "row_number() over (order by count(*), {})",
        "sum(sum(o.small)) over (order by {} rows between 2 preceding and current row)",
        "round(100.0 * count(*) / sum(count(*)) over (), 2)",
        "first_value(count(*)) over w, ntile(3) over w",
        "avg(count(*)) over (order by {} range between unbounded preceding and current row)",
        "max(sum(o.amount)) over (partition by count(*) > 5)",
        "count(*) filter (where {} is not null) over (order by {})",
        "dense_rank() over (order by max(o.note))",
        "lead(avg(o.small), 2) over (w rows between unbounded preceding and unbounded following)",
        "case when lag(count(*)) over (order by {}) < count(*) then 'more' else 'less' end as trend",
    ]);
    let calls = calls.replace("{}", by);
    let window = match calls.contains("over w") || calls.contains("(w ") {
        true => format!(" window w as (order by {by})"),
        false => String::new(),
    };
    let having = pick(&["", "", " having count(*) > 3"]);
    let order = pick(&[
        "",
        " order by 1",
        " order by 2 desc, 1 limit 4",
        " order by sum(count(*)) over (order by {}), 1 offset 1",
    ]);
    let order = order.replace("{}", by);
    format!("select {by}, {calls} {body} group by {by}{having}{window}{order}")
}

/// Values that count once.
fn once(by: &str, body: &str, pick: &mut dyn FnMut(&[&str]) -> String) -> String {
    let calls = pick(&[
        "count(distinct o.note)",
        "count(distinct o.kind), count(*), sum(o.amount)",
        "sum(distinct o.small), avg(distinct o.id)",
        "count(distinct o.note) filter (where o.ok), min(o.id)",
        "count(distinct (o.kind, o.ok)), avg(o.small)",
        "array_agg(distinct o.kind)",
        "max(distinct o.day) - min(o.day) as days",
        "count(distinct o.amount), stddev(o.small)",
        "sum(distinct o.ratio), stddev(distinct o.small)",
        "count(distinct lower(o.note)) + count(distinct o.kind) as n, count(o.ok)",
    ]);
    match pick(&["groups", "groups", "all"]).as_str() {
        "groups" => {
            let having = pick(&["", "", " having count(distinct o.kind) > 1"]);
            let order = pick(&["", " order by 1", " order by 2, 1 limit 5"]);
            format!("select {by}, {calls} {body} group by {by}{having}{order}")
        }
        _ => format!("select {calls} {body}"),
    }
}

/// What needs all rows.
fn rows(body: &str, pick: &mut dyn FnMut(&[&str]) -> String) -> String {
    let what = pick(&[
        "o.id, o.note, rank() over (order by o.small, o.id)",
        "o.id, o.amount - lag(o.amount) over (order by o.id) as change",
        "o.id, sum(o.small) over (partition by o.kind order by o.day, o.id), o.kind",
        "o.id, count(*) over (partition by o.ok)",
        "distinct o.kind, max(o.small) over (partition by o.kind)",
        "distinct on (o.kind) o.kind, o.id",
        "groups string_agg(o.note, ',' order by o.note, o.id)",
        "groups array_agg(o.id order by o.id desc)",
        "groups percentile_cont(0.5) within group (order by o.small), count(*)",
        "groups mode() within group (order by o.kind), sum(o.amount)",
        "sets",
    ]);
    if let Some(calls) = what.strip_prefix("groups ") {
        return format!("select o.ok, {calls} {body} group by o.ok order by 1");
    }
    if what == "sets" {
        let sets = pick(&[
            "rollup (o.kind, o.ok)",
            "grouping sets ((o.kind), (o.ok), ())",
            "cube (o.kind, o.ok)",
        ]);
        return format!(
            "select o.kind, o.ok, count(*), sum(o.amount), grouping(o.kind, o.ok) {body} group by {sets} order by 5, 1, 2"
        );
    }
    let cut = pick(&["", " limit 9", " limit 5 offset 2"]);
    format!("select {what} {body} order by 1, 2{cut}")
}

/// Queries within a query.
fn within(by: &str, body: &str, filter: &str, pick: &mut dyn FnMut(&[&str]) -> String) -> String {
    let grouped = format!("select {by} as g, sum(o.amount) as a, count(*) as n {body} group by {by}");
    match pick(&[
        "change",
        "of groups",
        "two",
        "having",
        "join",
        "reference",
        "limited",
        "chosen",
        "either",
    ])
    .as_str()
    {
        "change" => format!(
            "with m as ({grouped}) select g, a, a - lag(a) over (order by g) as change from m order by g"
        ),
        "of groups" => format!("select avg(n), max(n), count(*) from ({grouped}) x where n > 1"),
        "two" => format!(
            "with a as (select o.kind as k, count(*) as n from orders o group by o.kind), b as (select o.kind as k, \
             sum(o.small) as s, count(distinct o.note) as d from orders o where {filter} group by o.kind) select a.k, n, s, d \
             from a left join b on a.k = b.k order by 1"
        ),
        "having" => format!(
            "select {by}, count(*), (select max(i.id) from items i) as top {body} group by {by} having count(*) > (select \
             count(*) / 100 from items i where i.qty > 0) order by 1"
        ),
        "join" => format!(
            "select x.id, y.qty from (select o.id, o.kind {body} and o.id < 60) x join (select order_id, qty from items) y on \
             y.order_id = x.id order by 1, 2"
        ),
        "reference" => "select k.name, x.n from kinds k left join (select kind, count(*) as n from orders o where o.id < 90 \
             group by kind) x on x.kind = k.kind order by 1"
            .to_owned(),
        "limited" => format!(
            "select sum(x.small), count(*) from (select o.small {body} order by o.amount desc, o.id, o.small limit 20) x"
        ),
        "chosen" => format!(
            "select o.id, o.small {body} and o.small > (select avg(i.order_id) / 40 from items i) order by 1, 2"
        ),
        _ => format!(
            "select 'groups' as what, count(*) from ({grouped}) x union all select 'kinds', count(*) from kinds order by 1"
        ),
    }
}
