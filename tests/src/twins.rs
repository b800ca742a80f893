//! Four shards behind pgshunt, and one PostgreSQL with all their rows: both must look the same.

use crate::parity::{FILL, RULES, is_sorted, keep};
use crate::sharded::Sharded;
use crate::ways::{Way, frames, messages, seen};
use crate::{Database, Proxy, Wire, cluster};

/// Four shards behind pgshunt, and one database with all their rows.
pub struct Twins {
    /// All rows.
    pub whole: Database,
    /// A part of them each.
    pub sharded: Sharded,
    /// In front of the shards.
    pub proxy: Proxy,
}

impl Default for Twins {
    fn default() -> Twins {
        Twins::new()
    }
}

impl Twins {
    /// The tables of [`crate::parity`].
    pub fn new() -> Twins {
        Twins::with("", "")
    }

    /// With a line of `[pool]`, and more to be run on the whole and on the shards.
    pub fn with(pool: &str, more: &str) -> Twins {
        Twins::of(&format!("{FILL}{more}"), keep, RULES, pool)
    }

    /// With tables that `fill` makes, of whose rows `keep` leaves those of a shard, by these rules and with a line of `[pool]`.
    pub fn of(fill: &str, keep: impl Fn(usize) -> String, rules: &str, pool: &str) -> Twins {
        let (whole, sharded) = (cluster::database(), Sharded::databases(4));
        whole.door().psql(fill);
        for number in 0..4 {
            let shard = sharded.shard(number);
            shard.psql(fill);
            shard.psql(&keep(number));
        }
        let proxy = sharded.config(rules).pool(pool).start();
        Twins {
            whole,
            sharded,
            proxy,
        }
    }

    /// A client of each.
    pub fn wires(&self) -> (Wire, Wire) {
        (
            self.whole.door().wire(),
            self.proxy.door(&self.sharded.first).wire(),
        )
    }

    /// A table with a column of each type.
    pub fn typed(&self) {
        self.whole.door().psql(TYPED);
        for number in 0..4 {
            let keep = KEEP_TYPED.replace("current_setting('app.number')::int", &number.to_string());
            self.sharded.shard(number).psql(&format!("{TYPED}{keep}"));
        }
    }
}

/// One of these, by both protocols and in text and binary, must look the same through both doors.
#[track_caller]
pub fn assert_same(twins: &Twins, texts: &[&str]) {
    let (mut direct, mut through) = twins.wires();
    for text in texts {
        for way in Way::ALL {
            let messages = messages(way, text);
            let is_sorted = is_sorted(&text.to_ascii_lowercase());
            let expected = seen(&frames(&mut direct, &messages), is_sorted);
            let got = seen(&frames(&mut through, &messages), is_sorted);
            assert_eq!(
                expected, got,
                "{way:?} {text}; left: PostgreSQL itself, right: four shards"
            );
        }
    }
}

const TYPED: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');\
    CREATE TABLE typed (id int, tenant_id bigint, t text, c char(6), v varchar, n numeric, f real, d double precision, s smallint, \
        b bigint, o oid, bo bool, da date, ts timestamp, tz timestamptz, ti time, i interval, u uuid, by bytea, j jsonb, ip inet, \
        m mood, a int[], na name, bi bit(4));\
    INSERT INTO typed SELECT k, k % 11, CASE WHEN k % 5 > 0 THEN chr(65 + k % 50) || k END, chr(97 + k % 7), 'v' || k % 13, \
        CASE k % 9 WHEN 0 THEN 'NaN' WHEN 1 THEN NULL ELSE (k - 40) * 1.25 END, (k - 30) / 3.0, CASE k % 17 WHEN 0 THEN 'Infinity' \
        ELSE (k - 50) / 7.0 END, k - 60, (k - 60)::bigint * 3000000000, (4294967200 + k % 90)::bigint::oid, CASE k % 3 WHEN 0 THEN true \
        WHEN 1 THEN false END, CASE k % 19 WHEN 0 THEN 'infinity' WHEN 1 THEN '0044-03-15 BC' ELSE date '1999-12-20' + k END, \
        timestamp '2024-02-28 23:59:59.5' + k * interval '1 hour 1 microsecond', timestamptz '2024-10-26 20:00+00' + k * interval \
        '17 min', time '00:00' + k * interval '13 min', k % 40 * interval '1 day' - k * interval '5 hours', \
        md5(k::text)::uuid, decode(md5(k::text), 'hex'), jsonb_build_object('k', k % 20), ('10.0.' || k % 7 || '.' || k)::inet, \
        (ARRAY['sad', 'ok', 'happy'])[1 + k % 3]::mood, ARRAY[k % 6, k], 'n' || k % 21, (k % 16)::bit(4) FROM generate_series(1, 120) k;";

const KEEP_TYPED: &str = "CREATE TABLE placed (k bigint) PARTITION BY HASH (k);\
    DELETE FROM typed WHERE NOT satisfies_hash_partition('placed'::regclass, 4, current_setting('app.number')::int, tenant_id);\
    DROP TABLE placed;";
