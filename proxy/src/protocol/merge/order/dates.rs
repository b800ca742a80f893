//! Dates and timestamps in ISO style, as instants: days and microseconds since some day, an offset taken off.

use super::Misread;

/// An instant that compares.
pub fn instant(value: &[u8]) -> Result<i64, Misread> {
    match value {
        b"infinity" => return Ok(i64::MAX),
        b"-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let mut rest = Rest(value);
    let year = rest.number(1, 7)?;
    rest.mark(b'-')?;
    let month = rest.number(2, 2)?;
    rest.mark(b'-')?;
    let day = rest.number(2, 2)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(Misread);
    }
    let mut micros = 0;
    if rest.0.first() == Some(&b' ') && rest.0.get(1).is_some_and(u8::is_ascii_digit) {
        rest.mark(b' ')?;
        micros = rest.time()?;
        micros -= rest.offset()?;
    }
    let year = match rest.0 {
        b"" => year,
        b" BC" => 1 - year,
        _ => return Err(Misread),
    };
    Ok(days(year, month, day) * DAY + micros)
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 3600 * SECOND;

/// Days of the proleptic Gregorian calendar, from some day on.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that a leap day is a year's last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn mark(&mut self, mark: u8) -> Result<(), Misread> {
        match self.0 {
            [first, rest @ ..] if *first == mark => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(Misread),
        }
    }

    /// A number of so many digits.
    fn number(&mut self, min: usize, max: usize) -> Result<i64, Misread> {
        let count = self
            .0
            .iter()
            .take(max)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if count < min {
            return Err(Misread);
        }
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(digits
            .iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    /// `HH:MM:SS` and a fraction, in microseconds.
    fn time(&mut self) -> Result<i64, Misread> {
        let hours = self.number(2, 2)?;
        self.mark(b':')?;
        let minutes = self.number(2, 2)?;
        self.mark(b':')?;
        let seconds = self.number(2, 2)?;
        let mut micros = 0;
        if self.0.first() == Some(&b'.') {
            self.mark(b'.')?;
            let before = self.0.len();
            micros = self.number(1, 6)?;
            for _ in before - self.0.len()..6 {
                micros *= 10;
            }
        }
        Ok(((hours * 60 + minutes) * 60 + seconds) * SECOND + micros)
    }

    /// `+HH`, `-HH:MM` or `+HH:MM:SS`, in microseconds; nothing is 0.
    fn offset(&mut self) -> Result<i64, Misread> {
        let sign = match self.0.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Ok(0),
        };
        self.0 = &self.0[1..];
        let mut seconds = self.number(2, 2)? * 3600;
        for unit in [60, 1] {
            if self.0.first() == Some(&b':') {
                self.mark(b':')?;
                seconds += self.number(2, 2)? * unit;
            }
        }
        Ok(sign * seconds * SECOND)
    }
}
