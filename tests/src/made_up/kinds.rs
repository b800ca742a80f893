//! Kinds of columns, and values of them.

use crate::differential::chance::Chance;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// integer
    Int,
    /// smallint
    Small,
    /// bigint
    Big,
    /// numeric with two digits behind the point: what is equal is written alike.
    Numeric,
    /// double precision, of which any sum is exact.
    Float,
    /// text
    Text,
    /// character varying
    Varchar,
    /// boolean
    Bool,
    /// date
    Date,
    /// timestamp
    Stamp,
    /// timestamp with time zone
    StampTz,
    /// time
    Time,
    /// interval of hours
    Interval,
    /// uuid
    Uuid,
    /// bytea
    Bytea,
    /// jsonb
    Json,
    /// inet
    Inet,
    /// integer[]
    Ints,
    /// an enumeration
    Mood,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 19] = [
        Kind::Int,
        Kind::Small,
        Kind::Big,
        Kind::Numeric,
        Kind::Float,
        Kind::Text,
        Kind::Varchar,
        Kind::Bool,
        Kind::Date,
        Kind::Stamp,
        Kind::StampTz,
        Kind::Time,
        Kind::Interval,
        Kind::Uuid,
        Kind::Bytea,
        Kind::Json,
        Kind::Inet,
        Kind::Ints,
        Kind::Mood,
    ];

    /// The type's name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Int => "int",
            Kind::Small => "smallint",
            Kind::Big => "bigint",
            Kind::Numeric => "numeric(12,2)",
            Kind::Float => "float8",
            Kind::Text => "text",
            Kind::Varchar => "varchar(12)",
            Kind::Bool => "bool",
            Kind::Date => "date",
            Kind::Stamp => "timestamp",
            Kind::StampTz => "timestamptz",
            Kind::Time => "time",
            Kind::Interval => "interval",
            Kind::Uuid => "uuid",
            Kind::Bytea => "bytea",
            Kind::Json => "jsonb",
            Kind::Inet => "inet",
            Kind::Ints => "int[]",
            Kind::Mood => "mood",
        }
    }

    /// One of its values, `h` being an expression of a whole number from 0 on.
    pub fn of(self, h: &str) -> String {
        match self {
            Kind::Int => format!("{h} % 12 - 4"),
            Kind::Small => format!("({h} % 12 - 4)::smallint"),
            Kind::Big => format!("({h} % 9 - 2)::bigint * 3000000007"),
            Kind::Numeric => format!("({h} % 2000 - 500) / 100.0"),
            Kind::Float => format!("({h} % 64 - 20) / 8.0::float8"),
            Kind::Text => {
                format!("(ARRAY['a', 'B', 'Ab', 'ab', '', 'zz top', 'Z_', 'a b', 'ä', 'é'])[1 + {h} % 10]")
            }
            Kind::Varchar => format!("'v' || {h} % 11"),
            Kind::Bool => format!("{h} % 2 = 0"),
            Kind::Date => format!("date '2024-01-20' + {h} % 40"),
            Kind::Stamp => format!("timestamp '2024-01-01' + {h} % 50 * interval '7 hours 1 microsecond'"),
            Kind::StampTz => format!("timestamptz '2024-03-30 20:00+00' + {h} % 50 * interval '17 min'"),
            Kind::Time => format!("time '00:00' + {h} % 20 * interval '71 min'"),
            Kind::Interval => format!("({h} % 30 - 5) * interval '1 hour'"),
            Kind::Uuid => format!("('00000000-0000-4000-8000-' || lpad(({h} % 9)::text, 12, '0'))::uuid"),
            Kind::Bytea => format!("decode(lpad(to_hex({h} % 9 * 29), 2, '0'), 'hex')"),
            Kind::Json => format!("jsonb_build_object('k', {h} % 5, 't', 'x')"),
            Kind::Inet => format!("('10.0.' || {h} % 5 || '.1')::inet"),
            Kind::Ints => format!("ARRAY[{h} % 4, {h} % 3]"),
            Kind::Mood => format!("(ARRAY['sad', 'ok', 'happy'])[1 + {h} % 3]::mood"),
        }
    }

    /// A constant such as its columns hold, as a program writes it.
    pub fn constant(self, chance: &mut Chance) -> String {
        let n = chance.below(30);
        match self {
            Kind::Int | Kind::Small => format!("{}", n as i64 % 12 - 4),
            Kind::Big => format!("{}", (n as i64 % 9 - 2) * 3_000_000_007),
            Kind::Numeric => chance.pick(&["1.5", "0", "-3.25", "7", "12.00", "1e1"]).into(),
            Kind::Float => chance.pick(&["0.5", "0", "-1.125", "3", "5.5::float8"]).into(),
            Kind::Text => chance
                .pick(&["'a'", "'Ab'", "''", "'zz top'", "'ä'", "'b'"])
                .into(),
            Kind::Varchar => format!("'v{}'", n % 11),
            Kind::Bool => chance.pick(&["true", "false"]).into(),
            Kind::Date => format!("date '2024-02-{:02}'", 1 + n % 28),
            Kind::Stamp => format!("timestamp '2024-01-{:02} 07:00'", 1 + n % 20),
            Kind::StampTz => format!("timestamptz '2024-03-31 {:02}:00+00'", n % 24),
            Kind::Time => format!("time '{:02}:30'", n % 24),
            Kind::Interval => format!("interval '{n} hours'"),
            Kind::Uuid => format!("'00000000-0000-4000-8000-{:012}'::uuid", n % 9),
            Kind::Bytea => format!("'\\x{:02x}'::bytea", n % 9 * 29),
            Kind::Json => format!("'{{\"k\": {}, \"t\": \"x\"}}'::jsonb", n % 5),
            Kind::Inet => format!("inet '10.0.{}.1'", n % 5),
            Kind::Ints => format!("'{{{},{}}}'::int[]", n % 4, n % 3),
            Kind::Mood => chance
                .pick(&["'sad'::mood", "'ok'::mood", "'happy'::mood"])
                .into(),
        }
    }

    /// Can its values be added up?
    pub fn adds(self) -> bool {
        use Kind::{Big, Float, Int, Interval, Numeric, Small};
        matches!(self, Int | Small | Big | Numeric | Float | Interval)
    }

    /// Has it `min` and `max`, in every version of PostgreSQL?
    pub fn has_least(self) -> bool {
        !matches!(self, Kind::Bool | Kind::Uuid | Kind::Bytea | Kind::Json)
    }

    /// Is it text?
    pub fn is_text(self) -> bool {
        matches!(self, Kind::Text | Kind::Varchar)
    }
}
