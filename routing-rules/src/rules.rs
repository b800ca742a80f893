//! What the user wants: how reads are split, how fresh they must be, and what is known better than by the catalog.

use std::fmt;
use std::time::Duration;

use crate::names::{Kind, Names};

/// The rules of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Where proven reads go.
    pub reads: Reads,
    /// What a read may miss, unless the session says otherwise.
    pub consistency: Consistency,
    /// No read is older than this, whatever its consistency.
    pub max_staleness: Duration,
    /// How long a read may wait for a replica to have what its session wrote, before it goes to the primary.
    pub catchup_wait: Duration,
    /// Functions the user vouches for, or warns of: the name as the catalog has it, and whether it is safe on a replica.
    pub functions: Vec<(String, bool)>,
}

/// Where proven reads go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// To replicas that are fresh enough.
    Replica,
    /// To the primary, as everything else.
    Primary,
}

/// What a read may miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Nothing the session has written or seen.
    Session,
    /// Whatever the replica misses, within `max_staleness`.
    Eventual,
    /// What was committed within this time.
    Bounded(Duration),
    /// Nothing: reads go to the primary.
    Strong,
}

impl Rules {
    /// Puts what the user says of functions over what the catalog says.
    pub fn correct(&self, names: &mut Names) {
        for (name, is_safe) in &self.functions {
            let kind = match is_safe {
                true => Kind::SafeFunction,
                false => Kind::VolatileFunction,
            };
            names.add(kind, name.as_bytes());
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            reads: Reads::Replica,
            consistency: Consistency::Session,
            max_staleness: Duration::from_secs(10),
            catchup_wait: Duration::from_millis(5),
            functions: Vec::new(),
        }
    }
}

impl Consistency {
    /// Reads `session`, `eventual`, `strong` or `bounded:500ms` (also `s`, `min`, `h`; a bare number is milliseconds).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        match text.as_str() {
            "session" => Some(Consistency::Session),
            "eventual" => Some(Consistency::Eventual),
            "strong" => Some(Consistency::Strong),
            _ => span(text.strip_prefix("bounded:")?.trim()).map(Consistency::Bounded),
        }
    }
}

/// A span of at most a year.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let span = Duration::from_millis(number.checked_mul(millis)?);
    (span <= Duration::from_secs(365 * 24 * 3600)).then_some(span)
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Consistency::Session => f.write_str("session"),
            Consistency::Eventual => f.write_str("eventual"),
            Consistency::Bounded(bound) => write!(f, "bounded:{}ms", bound.as_millis()),
            Consistency::Strong => f.write_str("strong"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consistencies_are_read_as_they_are_written() {
        let bounded = |millis| Consistency::Bounded(Duration::from_millis(millis));
        for (text, meant) in [
            ("session", Some(Consistency::Session)),
            (" Strong ", Some(Consistency::Strong)),
            ("eventual", Some(Consistency::Eventual)),
            ("bounded:500ms", Some(bounded(500))),
            ("bounded: 2 s", Some(bounded(2000))),
            ("bounded:1min", Some(bounded(60_000))),
            ("bounded:7", Some(bounded(7))),
            ("bounded:", None),
            ("bounded:-1s", None),
            ("bounded:1 fortnight", None),
            ("bounded:99999999999999999999h", None),
            ("", None),
        ] {
            assert_eq!(Consistency::parse(text), meant, "{text}");
        }
        assert_eq!(Consistency::parse(&bounded(500).to_string()), Some(bounded(500)));
    }
}
