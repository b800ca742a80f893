//! Spans of time as people write them: `500ms`, `30s`, `10min`, `1h`, `7d`; a plain number is seconds.

use std::time::Duration;

use super::mistake::Wrong;

/// Reads a span of time; at most a year, so that adding it to a clock cannot overflow.
pub(super) fn parse(written: &str) -> Result<Duration, Wrong> {
    let written = written.trim();
    let digits_end = written
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(written.len());
    let (number, unit) = written.split_at(digits_end);
    let unit = unit.trim_start();
    let number: f64 = number.parse().map_err(|_| not_a_span(written))?;
    match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, seconds)) => from_seconds(number * seconds),
        None if unit == "m" => Err(not_a_span(written).hint(format!("write \"{number}min\""))),
        None => Err(not_a_span(written)),
    }
}

/// A number without a unit.
pub(super) fn from_seconds(seconds: f64) -> Result<Duration, Wrong> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span <= SPAN_MAX => Ok(span),
        Ok(_) => {
            Err(Wrong::new("is longer than a year").hint("0 means \"no limit\" where a limit may be lifted"))
        }
        Err(_) => Err(Wrong::new("must not be negative")),
    }
}

fn not_a_span(written: &str) -> Wrong {
    Wrong::new(format!("is not a span of time: \"{written}\""))
        .hint("write for example \"500ms\", \"30s\", \"10min\", \"1h\" or \"7d\"; a plain number is seconds")
}

const SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

const UNITS: [(&str, f64); 7] = [
    ("", 1.0),
    ("us", 0.000_001),
    ("ms", 0.001),
    ("s", 1.0),
    ("min", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (written, meant) in [
            ("30s", Some(Duration::from_secs(30))),
            ("500ms", Some(Duration::from_millis(500))),
            ("10min", Some(Duration::from_secs(600))),
            ("1h", Some(Duration::from_secs(3600))),
            ("1.5h", Some(Duration::from_secs(5400))),
            ("7d", Some(Duration::from_secs(7 * 86_400))),
            ("250us", Some(Duration::from_micros(250))),
            ("15", Some(Duration::from_secs(15))),
            (" 15 s ", Some(Duration::from_secs(15))),
            ("0", Some(Duration::ZERO)),
            ("5m", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("10 minutes", None),
            ("366d", None),
            ("99999999999999999999999999h", None),
            ("1é", None),
        ] {
            assert_eq!(parse(written).ok(), meant, "{written}");
        }
    }

    #[test]
    fn minutes_are_not_metres() {
        let wrong = parse("5m").expect_err("m is no unit");
        assert_eq!(wrong.hint.as_deref(), Some("write \"5min\""));
    }
}
