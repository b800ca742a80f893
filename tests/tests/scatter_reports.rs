//! The reports a business asks for, on four shards and on one PostgreSQL with all rows: BMOS's own and the 22 queries of TPC-H on
//! tables of many tenants. Each for one tenant and over all tenants: all are answered, and alike.

use std::collections::BTreeMap;

use pgshunt_tests::sharded::Sharded;
use pgshunt_tests::ways::{Way, frames, messages, refusal, seen};
use pgshunt_tests::{Database, Door, Proxy, Wire, cluster};

/// A report: its name, its text. `[t]` becomes ` AND t.tenant_id = …` for one tenant, and nothing for all.
type Report = (&'static str, &'static str);

/// One database, and its rows on four shards.
struct Stage {
    whole: Database,
    sharded: Sharded,
    proxy: Proxy,
}

impl Stage {
    /// Runs the same texts everywhere, then takes from each shard what belongs on the others.
    fn new(fill: &[&str], tables: &[&str], rules: &str) -> Stage {
        let (whole, sharded) = (cluster::database(), Sharded::databases(4));
        let fill = |door: &Door, number: Option<usize>| {
            fill.iter().for_each(|text| drop(door.psql(text)));
            let Some(number) = number else { return };
            let keep = |table: &&str| {
                format!(
                    "DELETE FROM {table} WHERE NOT satisfies_hash_partition('placed'::regclass, 4, {number}, tenant_id);"
                )
            };
            let kept: String = tables.iter().map(keep).collect();
            let key = key_type(rules);
            door.psql(&format!(
                "CREATE TABLE placed (k {key}) PARTITION BY HASH (k); {kept} DROP TABLE placed"
            ));
        };
        std::thread::scope(|threads| {
            threads.spawn(|| fill(&whole.door(), None));
            for number in 0..4 {
                let door = sharded.shard(number);
                threads.spawn(move || fill(&door, Some(number)));
            }
        });
        let proxy = sharded.config(rules).start();
        Stage {
            whole,
            sharded,
            proxy,
        }
    }

    fn wires(&self) -> (Wire, Wire) {
        (
            self.whole.door().wire(),
            self.proxy.door(&self.sharded.first).wire(),
        )
    }

    /// Every report for each of these tenants, and over all.
    #[track_caller]
    fn compare(&self, name: &str, reports: &[Report], tenants: &[&str]) {
        let (mut direct, mut through) = self.wires();
        let (mut wrong, mut answered) = (Vec::new(), 0);
        let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (report, text) in reports {
            let of_tenants = tenants
                .iter()
                .map(|tenant| (Some(*tenant), put(text, Some(tenant))));
            for (tenant, sql) in of_tenants.chain([(None, put(text, None))]) {
                for way in Way::ALL {
                    let messages = messages(way, &sql);
                    let got = frames(&mut through, &messages);
                    match (refusal(&got), tenant) {
                        (Some(why), Some(tenant)) => {
                            wrong.push(format!("{report} of tenant {tenant}: refused: {why}"))
                        }
                        (Some(why), None) if way == Way::Simple => {
                            refused.entry(why).or_default().push(report)
                        }
                        (Some(_), None) => {}
                        (None, _) => {
                            let expected = frames(&mut direct, &messages);
                            match seen(&got, true) == seen(&expected, true) {
                                true => answered += 1,
                                false => wrong.push(format!(
                                    "{report} {way:?} {tenant:?}\n  {sql}\n  expected {expected:?}\n  got      {got:?}"
                                )),
                            }
                        }
                    }
                }
            }
        }
        let count: usize = refused.values().map(Vec::len).sum();
        println!(
            "{name}: {answered} answers the same; over all tenants {count} of {} refused: {refused:#?}",
            reports.len()
        );
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        assert_eq!(count, 0, "{name}: refused: {refused:#?}");
    }
}

fn key_type(rules: &str) -> &str {
    if rules.contains("\"uuid\"") {
        "uuid"
    } else {
        "bigint"
    }
}

/// The text for one tenant, or for all.
fn put(text: &str, tenant: Option<&str>) -> String {
    let mut out = String::new();
    for (at, part) in text.split(['[', ']']).enumerate() {
        match (at % 2, tenant) {
            (0, _) => out.push_str(part),
            (_, Some(tenant)) => out.push_str(&format!(" AND {part}.tenant_id = {tenant}")),
            (_, None) => {}
        }
    }
    out
}

const BMOS: [Report; 12] = [
    (
        "monthly summary",
        "SELECT m.month, sum(m.order_count), sum(m.amount), sum(m.margin) FROM mv_monthly_summary m WHERE true[m] GROUP BY 1 ORDER BY 1",
    ),
    (
        "monthly summary from orders",
        "SELECT date_trunc('month', o.order_date)::date AS month, count(*), sum(o.quantity), sum(o.amount), sum(o.amount - o.cost), \
         round(avg(o.amount), 2) FROM fact_order o WHERE o.status <> 'cancelled'[o] GROUP BY 1 ORDER BY 1",
    ),
    (
        "customers of a month",
        "SELECT date_trunc('month', o.order_date)::date AS month, count(DISTINCT o.customer_id) FROM fact_order o \
         WHERE o.status <> 'cancelled'[o] GROUP BY 1 ORDER BY 1",
    ),
    (
        "top customers",
        "SELECT c.tenant_id, c.code, c.name, sum(o.amount) AS revenue FROM fact_order o JOIN dim_customer c \
         ON c.tenant_id = o.tenant_id AND c.customer_id = o.customer_id WHERE o.status <> 'cancelled'[o] \
         GROUP BY c.tenant_id, c.customer_id, c.code, c.name ORDER BY revenue DESC, c.tenant_id, c.code LIMIT 10",
    ),
    (
        "top customers of each tenant",
        "SELECT * FROM (SELECT o.tenant_id, o.customer_id, sum(o.amount) AS revenue, rank() OVER (PARTITION BY o.tenant_id \
         ORDER BY sum(o.amount) DESC) AS place FROM fact_order o WHERE o.status = 'paid'[o] GROUP BY o.tenant_id, o.customer_id) r \
         WHERE place <= 3 ORDER BY tenant_id, place, customer_id",
    ),
    (
        "month over month",
        "WITH m AS (SELECT s.tenant_id, s.month, s.amount FROM mv_monthly_summary s WHERE true[s]) SELECT tenant_id, month, amount, \
         amount - lag(amount) OVER w AS change, round(100 * amount / NULLIF(lag(amount) OVER w, 0) - 100, 1) AS percent FROM m \
         WINDOW w AS (PARTITION BY tenant_id ORDER BY month) ORDER BY tenant_id, month",
    ),
    (
        "month over month of all together",
        "WITH m AS (SELECT s.month, sum(s.amount) AS amount FROM mv_monthly_summary s WHERE true[s] GROUP BY 1) SELECT month, amount, \
         amount - lag(amount) OVER (ORDER BY month) AS change FROM m ORDER BY month",
    ),
    (
        "regions and segments",
        "SELECT c.region, c.segment, count(*), sum(o.amount), avg(o.quantity) FROM fact_order o JOIN dim_customer c \
         USING (tenant_id, customer_id) WHERE o.order_date >= '2026-01-01'[o] GROUP BY 1, 2 HAVING count(*) > 3 ORDER BY 1, 2",
    ),
    (
        "customers without an order",
        "SELECT c.tenant_id, c.code FROM dim_customer c WHERE NOT EXISTS (SELECT FROM fact_order o WHERE o.tenant_id = c.tenant_id AND \
         o.customer_id = c.customer_id AND o.order_date >= '2026-06-01')[c] ORDER BY 1, 2 LIMIT 50",
    ),
    (
        "ranking of managers",
        "SELECT e.manager_name, avg(e.score), max(e.revenue) FROM manager_evaluation e WHERE e.month >= '2026-01-01'[e] \
         GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10",
    ),
    (
        "share of channels",
        "SELECT o.channel, sum(o.amount), round(100.0 * sum(o.amount) / sum(sum(o.amount)) OVER (), 2) FROM fact_order o \
         WHERE true[o] GROUP BY 1 ORDER BY 1",
    ),
    (
        "configuration",
        "SELECT f.config_key, f.config_value, f.version FROM tenant_config f WHERE f.config_key = 'locale'[f] ORDER BY f.tenant_id",
    ),
];

#[test]
fn reports_of_bmos() {
    let deploy = |name: &str| {
        let path = format!("{}/../deploy/postgres/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a file")
    };
    // Rights are for roles that only the sample has; some of its orders are enough, and their foreign key makes DELETE slow.
    let is_right = |line: &&str| line.starts_with("GRANT") || line.starts_with("ALTER DEFAULT");
    let schema: String = deploy("schema.sql")
        .lines()
        .filter(|line| !is_right(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let key = ",\n    FOREIGN KEY (tenant_id, customer_id) REFERENCES dim_customer";
    assert!(schema.contains(key), "the foreign key of orders");
    let schema = schema.replace(key, "");
    // Fewer months have a partition of their own.
    let schema = schema.replace("'2025-01-01', '2026-12-01'", "'2025-01-01', '2025-04-01'");
    let sample = deploy("sample.sql").replace("38555.0", "1500.0");
    let tables = [
        "fact_order",
        "dim_customer",
        "tenant_config",
        "manager_evaluation",
        "model_parameters_storage",
        "mv_monthly_summary",
    ];
    let rules = "[sharding]\ncolumn = \"tenant_id\"\ntype = \"uuid\"\nmodulus = 4\n";
    let stage = Stage::new(&[&schema, &sample], &tables, rules);
    let tenant = |number: usize| format!("'00000000-0000-4000-8000-{number:012}'");
    let tenants: Vec<String> = [1, 2, 17].map(tenant).into();
    let tenants: Vec<&str> = tenants.iter().map(String::as_str).collect();
    stage.compare("BMOS", &BMOS, &tenants);
}

const TPCH: &str = "CREATE TABLE region (r_key int PRIMARY KEY, r_name text);\
    CREATE TABLE nation (n_key int PRIMARY KEY, n_name text, r_key int);\
    CREATE TABLE part (tenant_id bigint, p_key int, p_name text, p_brand text, p_type text, p_size int, p_container text, PRIMARY KEY (tenant_id, p_key));\
    CREATE TABLE supplier (tenant_id bigint, s_key int, s_name text, n_key int, s_balance numeric(12,2), s_comment text, PRIMARY KEY (tenant_id, s_key));\
    CREATE TABLE partsupp (tenant_id bigint, p_key int, s_key int, ps_qty int, ps_cost numeric(12,2), PRIMARY KEY (tenant_id, p_key, s_key));\
    CREATE TABLE customer (tenant_id bigint, c_key int, c_name text, n_key int, c_phone text, c_balance numeric(12,2), c_segment text, PRIMARY KEY (tenant_id, c_key));\
    CREATE TABLE orders (tenant_id bigint, o_key int, c_key int, o_status char(1), o_total numeric(12,2), o_date date, o_priority text, o_comment text, PRIMARY KEY (tenant_id, o_key));\
    CREATE TABLE lineitem (tenant_id bigint, o_key int, l_line int, p_key int, s_key int, l_qty numeric(12,2), l_price numeric(12,2), l_discount numeric(4,2), \
        l_tax numeric(4,2), l_flag char(1), l_status char(1), l_ship date, l_commit date, l_receipt date, l_mode text, PRIMARY KEY (tenant_id, o_key, l_line));\
    INSERT INTO region SELECT n, (ARRAY['AFRICA','AMERICA','ASIA','EUROPE'])[n] FROM generate_series(1, 4) n;\
    INSERT INTO nation SELECT n, 'NATION ' || n, 1 + n % 4 FROM generate_series(1, 12) n;\
    INSERT INTO part SELECT t, p, (ARRAY['green','blue','forest','red'])[1 + (p + t) % 4] || ' part ' || p, 'Brand#' || p % 5, \
        (ARRAY['PROMO','STANDARD','ECONOMY'])[1 + p % 3] || ' ' || (ARRAY['BRASS','TIN'])[1 + p % 2], 1 + p % 10, (ARRAY['SM BOX','LG CASE'])[1 + p / 2 % 2] \
        FROM generate_series(1, 9) t, generate_series(1, 20) p;\
    INSERT INTO supplier SELECT t, s, 'Supplier ' || s, 1 + (s + t) % 12, (s * 37 + t) % 500, CASE WHEN s % 4 = 0 THEN 'Customer Complaints' END \
        FROM generate_series(1, 9) t, generate_series(1, 8) s;\
    INSERT INTO partsupp SELECT t, p, 1 + (p + i) % 8, (p * i * 13 + t) % 90, (p * 7 + i * 3 + t) % 50 + 0.25 FROM generate_series(1, 9) t, generate_series(1, 20) p, generate_series(0, 2) i;\
    INSERT INTO customer SELECT t, c, 'Customer ' || c, 1 + (c * t) % 12, (10 + c % 9) || '-' || c, (c * 91 + t * 7) % 900 - 100, \
        (ARRAY['BUILDING','MACHINERY','AUTOMOBILE'])[1 + c % 3] FROM generate_series(1, 9) t, generate_series(1, 24) c;\
    INSERT INTO orders SELECT t, o, 1 + o * 7 % 20, (ARRAY['F','O','P'])[1 + o % 3], (o * 731 + t * 17) % 5000 + 0.5, date '1994-01-01' + (o * 29 + t) % 1000, \
        (1 + o % 5) || '-PRIORITY', CASE WHEN o % 6 = 0 THEN 'special requests' ELSE 'plain' END FROM generate_series(1, 9) t, generate_series(1, 80) o;\
    INSERT INTO lineitem SELECT t, o, l, p, 1 + (p + l) % 8, 1 + (o * l + t) % 50, (o * 131 + l * 17 + t) % 900 + 0.75, (o + l) % 11 / 100.0, (o + t) % 9 / 100.0, \
        (ARRAY['A','N','R'])[1 + (o + l) % 3], (ARRAY['F','O'])[1 + o % 2], day + l, day + l * 3, day + 2 + (o * l) % 12, (ARRAY['MAIL','SHIP','AIR'])[1 + (o + l) % 3] \
        FROM (SELECT t, o, l, 1 + (o * 3 + l * 7) % 20 AS p, date '1994-01-01' + (o * 29 + t) % 1000 AS day FROM generate_series(1, 9) t, \
        generate_series(1, 80) o, generate_series(1, 4) l) x";

/// The 22 queries, with the tenant in every join.
const QUERIES: [Report; 22] = [
    (
        "Q1",
        "SELECT l_flag, l_status, sum(l_qty), sum(l_price), sum(l_price * (1 - l_discount)), sum(l_price * (1 - l_discount) * (1 + l_tax)), \
         avg(l_qty), avg(l_price), avg(l_discount), count(*) FROM lineitem l WHERE l_ship <= date '1996-09-01'[l] GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    (
        "Q2",
        "SELECT s.tenant_id, s_balance, s_name, n_name, p.p_key FROM part p JOIN partsupp ps ON ps.tenant_id = p.tenant_id AND ps.p_key = p.p_key \
         JOIN supplier s ON s.tenant_id = ps.tenant_id AND s.s_key = ps.s_key JOIN nation n ON n.n_key = s.n_key JOIN region r ON r.r_key = n.r_key \
         WHERE p_type LIKE '%BRASS' AND r_name = 'EUROPE'[p] AND ps_cost = (SELECT min(i.ps_cost) FROM partsupp i WHERE i.tenant_id = p.tenant_id AND \
         i.p_key = p.p_key) ORDER BY s_balance DESC, n_name, s_name, p.p_key, s.tenant_id LIMIT 20",
    ),
    (
        "Q3",
        "SELECT o.tenant_id, o.o_key, sum(l_price * (1 - l_discount)) AS revenue, o_date FROM customer c JOIN orders o ON o.tenant_id = c.tenant_id \
         AND o.c_key = c.c_key JOIN lineitem l ON l.tenant_id = o.tenant_id AND l.o_key = o.o_key WHERE c_segment = 'BUILDING' AND \
         o_date < date '1995-06-01' AND l_ship > date '1995-01-01'[c] GROUP BY o.tenant_id, o.o_key, o_date ORDER BY revenue DESC, o_date, o.o_key, o.tenant_id LIMIT 10",
    ),
    (
        "Q4",
        "SELECT o_priority, count(*) FROM orders o WHERE o_date >= date '1994-03-01' AND o_date < date '1995-03-01'[o] AND EXISTS (SELECT FROM lineitem l \
         WHERE l.tenant_id = o.tenant_id AND l.o_key = o.o_key AND l_commit < l_receipt) GROUP BY 1 ORDER BY 1",
    ),
    (
        "Q5",
        "SELECT n_name, sum(l_price * (1 - l_discount)) AS revenue FROM customer c JOIN orders o ON o.tenant_id = c.tenant_id AND o.c_key = c.c_key \
         JOIN lineitem l ON l.tenant_id = o.tenant_id AND l.o_key = o.o_key JOIN supplier s ON s.tenant_id = l.tenant_id AND s.s_key = l.s_key \
         JOIN nation n ON n.n_key = s.n_key JOIN region r ON r.r_key = n.r_key WHERE r_name = 'ASIA'[c] GROUP BY n_name ORDER BY revenue DESC, n_name",
    ),
    (
        "Q6",
        "SELECT sum(l_price * l_discount) FROM lineitem l WHERE l_ship >= date '1994-01-01' AND l_ship < date '1996-01-01' AND l_discount BETWEEN 0.03 AND 0.07 AND l_qty < 24[l]",
    ),
    (
        "Q7",
        "SELECT supp, cust, year, sum(volume) FROM (SELECT n1.n_name AS supp, n2.n_name AS cust, extract(year FROM l_ship) AS year, \
         l_price * (1 - l_discount) AS volume FROM supplier s JOIN lineitem l ON l.tenant_id = s.tenant_id AND l.s_key = s.s_key JOIN orders o ON \
         o.tenant_id = l.tenant_id AND o.o_key = l.o_key JOIN customer c ON c.tenant_id = o.tenant_id AND c.c_key = o.c_key JOIN nation n1 ON \
         n1.n_key = s.n_key JOIN nation n2 ON n2.n_key = c.n_key WHERE n1.n_key < n2.n_key[s]) shipping GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    ),
    (
        "Q8",
        "SELECT year, sum(CASE WHEN nation = 'NATION 3' THEN volume ELSE 0 END) / sum(volume) FROM (SELECT extract(year FROM o_date) AS year, \
         l_price * (1 - l_discount) AS volume, n_name AS nation FROM part p JOIN lineitem l ON l.tenant_id = p.tenant_id AND l.p_key = p.p_key JOIN \
         supplier s ON s.tenant_id = l.tenant_id AND s.s_key = l.s_key JOIN orders o ON o.tenant_id = l.tenant_id AND o.o_key = l.o_key JOIN nation n ON \
         n.n_key = s.n_key WHERE p_type LIKE 'ECONOMY%'[p]) x GROUP BY year ORDER BY year",
    ),
    (
        "Q9",
        "SELECT nation, year, sum(profit) FROM (SELECT n_name AS nation, extract(year FROM o_date) AS year, l_price * (1 - l_discount) - ps_cost * l_qty \
         AS profit FROM part p JOIN lineitem l ON l.tenant_id = p.tenant_id AND l.p_key = p.p_key JOIN supplier s ON s.tenant_id = l.tenant_id AND \
         s.s_key = l.s_key JOIN partsupp ps ON ps.tenant_id = l.tenant_id AND ps.s_key = l.s_key AND ps.p_key = l.p_key JOIN orders o ON \
         o.tenant_id = l.tenant_id AND o.o_key = l.o_key JOIN nation n ON n.n_key = s.n_key WHERE p_name LIKE '%green%'[p]) x GROUP BY 1, 2 ORDER BY 1, 2 DESC",
    ),
    (
        "Q10",
        "SELECT c.tenant_id, c.c_key, c_name, sum(l_price * (1 - l_discount)) AS revenue, c_balance, n_name FROM customer c JOIN orders o ON \
         o.tenant_id = c.tenant_id AND o.c_key = c.c_key JOIN lineitem l ON l.tenant_id = o.tenant_id AND l.o_key = o.o_key JOIN nation n ON \
         n.n_key = c.n_key WHERE l_flag = 'R'[c] GROUP BY c.tenant_id, c.c_key, c_name, c_balance, n_name ORDER BY revenue DESC, c.tenant_id, c.c_key LIMIT 20",
    ),
    (
        "Q11",
        "SELECT ps.tenant_id, ps.p_key, sum(ps_cost * ps_qty) AS value FROM partsupp ps WHERE true[ps] GROUP BY 1, 2 HAVING sum(ps_cost * ps_qty) > \
         (SELECT sum(i.ps_cost * i.ps_qty) * 0.01 FROM partsupp i WHERE true[i]) ORDER BY value DESC, 1, 2 LIMIT 30",
    ),
    (
        "Q12",
        "SELECT l_mode, sum(CASE WHEN o_priority IN ('1-PRIORITY', '2-PRIORITY') THEN 1 ELSE 0 END), sum(CASE WHEN o_priority NOT IN ('1-PRIORITY', \
         '2-PRIORITY') THEN 1 ELSE 0 END) FROM orders o JOIN lineitem l ON l.tenant_id = o.tenant_id AND l.o_key = o.o_key WHERE l_mode IN ('MAIL', 'SHIP') \
         AND l_commit < l_receipt[o] GROUP BY 1 ORDER BY 1",
    ),
    (
        "Q13",
        "SELECT n, count(*) FROM (SELECT c.tenant_id, c.c_key, count(o.o_key) AS n FROM customer c LEFT JOIN orders o ON o.tenant_id = c.tenant_id AND \
         o.c_key = c.c_key AND o_comment NOT LIKE '%special%' WHERE true[c] GROUP BY c.tenant_id, c.c_key) x GROUP BY n ORDER BY 2 DESC, 1 DESC",
    ),
    (
        "Q14",
        "SELECT 100.00 * sum(CASE WHEN p_type LIKE 'PROMO%' THEN l_price * (1 - l_discount) ELSE 0 END) / sum(l_price * (1 - l_discount)) FROM \
         lineitem l JOIN part p ON p.tenant_id = l.tenant_id AND p.p_key = l.p_key WHERE l_ship >= date '1995-01-01'[l]",
    ),
    (
        "Q15",
        "WITH revenue AS (SELECT l.tenant_id, l.s_key, sum(l_price * (1 - l_discount)) AS total FROM lineitem l WHERE true[l] GROUP BY 1, 2) \
         SELECT s.tenant_id, s.s_key, s_name, total FROM supplier s JOIN revenue r ON r.tenant_id = s.tenant_id AND r.s_key = s.s_key \
         WHERE total = (SELECT max(total) FROM revenue)[s] ORDER BY 1, 2",
    ),
    (
        "Q16",
        "SELECT p_brand, p_type, p_size, count(DISTINCT ps.s_key) AS n FROM partsupp ps JOIN part p ON p.tenant_id = ps.tenant_id AND p.p_key = ps.p_key \
         WHERE p_brand <> 'Brand#4' AND p_size IN (1, 3, 5, 7) AND NOT EXISTS (SELECT FROM supplier s WHERE s.tenant_id = ps.tenant_id AND \
         s.s_key = ps.s_key AND s_comment LIKE '%Complaints%')[ps] GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3",
    ),
    (
        "Q17",
        "SELECT sum(l_price) / 7.0 FROM lineitem l JOIN part p ON p.tenant_id = l.tenant_id AND p.p_key = l.p_key WHERE p_container = 'SM BOX'[l] AND \
         l_qty < (SELECT avg(i.l_qty) FROM lineitem i WHERE i.tenant_id = p.tenant_id AND i.p_key = p.p_key)",
    ),
    (
        "Q18",
        "SELECT c.tenant_id, c_name, c.c_key, o.o_key, o_date, o_total, sum(l_qty) FROM customer c JOIN orders o ON o.tenant_id = c.tenant_id AND \
         o.c_key = c.c_key JOIN lineitem l ON l.tenant_id = o.tenant_id AND l.o_key = o.o_key WHERE (o.tenant_id, o.o_key) IN (SELECT i.tenant_id, i.o_key \
         FROM lineitem i WHERE true[i] GROUP BY 1, 2 HAVING sum(i.l_qty) > 120)[c] GROUP BY c.tenant_id, c_name, c.c_key, o.o_key, o_date, o_total \
         ORDER BY o_total DESC, o_date, c.tenant_id, o.o_key LIMIT 20",
    ),
    (
        "Q19",
        "SELECT sum(l_price * (1 - l_discount)) FROM lineitem l JOIN part p ON p.tenant_id = l.tenant_id AND p.p_key = l.p_key WHERE ((p_brand = 'Brand#1' \
         AND l_qty BETWEEN 1 AND 30) OR (p_brand = 'Brand#2' AND l_qty BETWEEN 10 AND 40)) AND l_mode IN ('AIR', 'MAIL')[l]",
    ),
    (
        "Q20",
        "SELECT s.tenant_id, s_name FROM supplier s JOIN nation n ON n.n_key = s.n_key WHERE n_name < 'NATION 6'[s] AND EXISTS (SELECT FROM partsupp ps \
         WHERE ps.tenant_id = s.tenant_id AND ps.s_key = s.s_key AND ps_qty > (SELECT 0.1 * sum(l_qty) FROM lineitem l WHERE l.tenant_id = ps.tenant_id AND \
         l.p_key = ps.p_key AND l.s_key = ps.s_key)) ORDER BY s_name, s.tenant_id",
    ),
    (
        "Q21",
        "SELECT s_name, count(*) FROM supplier s JOIN lineitem l ON l.tenant_id = s.tenant_id AND l.s_key = s.s_key JOIN orders o ON \
         o.tenant_id = l.tenant_id AND o.o_key = l.o_key WHERE o_status = 'F' AND l_receipt > l_commit[s] AND EXISTS (SELECT FROM lineitem i WHERE \
         i.tenant_id = l.tenant_id AND i.o_key = l.o_key AND i.s_key <> l.s_key) GROUP BY s_name ORDER BY 2 DESC, 1 LIMIT 100",
    ),
    (
        "Q22",
        "SELECT code, count(*), sum(c_balance) FROM (SELECT substring(c_phone FROM 1 FOR 2) AS code, c_balance FROM customer c WHERE \
         c_balance > (SELECT avg(i.c_balance) FROM customer i WHERE i.c_balance > 0[i])[c] AND NOT EXISTS (SELECT FROM orders o WHERE \
         o.tenant_id = c.tenant_id AND o.c_key = c.c_key)) x GROUP BY code ORDER BY code",
    ),
];

#[test]
fn queries_of_tpc_h() {
    let tables = ["part", "supplier", "partsupp", "customer", "orders", "lineitem"];
    let rules = "[sharding]\ncolumn = \"tenant_id\"\ntype = \"bigint\"\nmodulus = 4\nreference = [\"region\", \"nation\"]\n";
    let stage = Stage::new(&[TPCH], &tables, rules);
    stage.compare("TPC-H", &QUERIES, &["1", "4", "9"]);
}
