//! What FETCH and MOVE ask for, and the steps that takes. The steps are PostgreSQL's own (`DoPortalRunFetch` of `pquery.c`), so what
//! may not go back fails where it does there. Nothing is fetched here.

/// What FETCH or MOVE asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// So many rows; [`ALL`]: to the end.
    Forward(u64),
    /// So many rows back; [`ALL`]: to the beginning.
    Backward(u64),
    /// The row of this number; one below 0 is counted from the end.
    Absolute(i32),
    /// The row so far from here.
    Relative(i32),
}

/// As many as there are.
pub(super) const ALL: u64 = u64::MAX;

/// Where a cursor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    /// The number of its row, from 1; at the end, of the last one.
    pub at: u64,
    /// Before the first row.
    pub is_at_start: bool,
    /// Behind the last row. Of no rows, both are true.
    pub is_at_end: bool,
}

/// One step. What it `gives`, if it does, is what the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Before the first row.
    Rewind,
    /// Over so many rows.
    Forward { count: u64, gives: bool },
    /// Back over so many rows.
    Backward { count: u64, gives: bool },
    /// So many rows are counted, and none is given.
    Count(u64),
}

impl Stand {
    /// Before the first row.
    pub(super) const START: Stand = Stand {
        at: 0,
        is_at_start: true,
        is_at_end: false,
    };

    /// Is there a row it stands on?
    fn is_on_row(self) -> bool {
        !self.is_at_start && !self.is_at_end
    }

    /// So many rows were come to, of `count` that were wanted.
    pub(super) fn went_on(&mut self, rows: u64, count: u64) {
        self.is_at_start &= rows == 0;
        self.is_at_end |= rows < count;
        self.at += rows;
    }

    /// How many rows there are to go back over, of `count` that are wanted.
    pub(super) fn behind(self, count: u64) -> u64 {
        let on = self.at + u64::from(self.is_at_end);
        match self.is_at_start {
            true => 0,
            false => on.saturating_sub(1).min(count),
        }
    }

    /// So many rows were gone back over, of `count` that were wanted.
    pub(super) fn went_back(&mut self, rows: u64, count: u64) {
        if self.is_at_start {
            return;
        }
        if rows > 0 && self.is_at_end {
            self.is_at_end = false;
            self.at += 1;
        }
        self.at -= rows;
        if rows < count {
            (self.at, self.is_at_start) = (0, true);
        }
    }
}

impl Ask {
    /// Reads what stands between the verb and the cursor's name.
    pub(super) fn read(words: &[String]) -> Option<Ask> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = match &words[..] {
            [own @ .., "from" | "in"] => own,
            own => own,
        };
        let (verb, number) = match words {
            [verb, "-", number] => (Some(*verb), Some(format!("-{number}"))),
            ["-", number] => (None, Some(format!("-{number}"))),
            [verb, "+", number] => (Some(*verb), Some((*number).to_owned())),
            ["+", number] => (None, Some((*number).to_owned())),
            [number] if number.starts_with(|first: char| first.is_ascii_digit()) => {
                (None, Some((*number).to_owned()))
            }
            [verb, number] => (Some(*verb), Some((*number).to_owned())),
            [verb] => (Some(*verb), None),
            [] => (None, None),
            _ => return None,
        };
        let is_all = number.as_deref() == Some("all");
        let count = match &number {
            Some(_) if is_all => None,
            Some(number) => Some(number.parse::<i32>().ok()?),
            None => None,
        };
        let far = |count: i32| u64::from(count.unsigned_abs());
        Some(match (verb, count) {
            (None | Some("forward"), Some(count)) if count < 0 => Ask::Backward(far(count)),
            (None | Some("forward"), Some(count)) => Ask::Forward(far(count)),
            (Some("backward"), Some(count)) if count < 0 => Ask::Forward(far(count)),
            (Some("backward"), Some(count)) => Ask::Backward(far(count)),
            (Some("absolute"), Some(count)) => Ask::Absolute(count),
            (Some("relative"), Some(count)) => Ask::Relative(count),
            (Some("forward"), None) if is_all => Ask::Forward(ALL),
            (Some("backward"), None) if is_all => Ask::Backward(ALL),
            (Some(_) | None, _) if is_all => return None,
            (None | Some("next" | "forward"), None) => Ask::Forward(1),
            (Some("all"), None) => Ask::Forward(ALL),
            (Some("prior" | "backward"), None) => Ask::Backward(1),
            (Some("first"), None) => Ask::Absolute(1),
            (Some("last"), None) => Ask::Absolute(-1),
            (Some(_), _) => return None,
        })
    }

    /// The steps from there. `fetches`: it is FETCH, not MOVE.
    pub(super) fn steps(self, from: Stand, fetches: bool) -> Vec<Step> {
        let on = |count| Step::Forward { count, gives: false };
        let back = |count| Step::Backward { count, gives: false };
        let gives = Step::Forward {
            count: 1,
            gives: true,
        };
        let gives_back = Step::Backward {
            count: 1,
            gives: true,
        };
        match self {
            Ask::Forward(0) | Ask::Backward(0) | Ask::Relative(0) => match (from.is_on_row(), fetches) {
                (true, true) => vec![back(1), gives],
                (true, false) => vec![Step::Count(1)],
                (false, true) if self == Ask::Backward(0) => vec![back(0), Step::Count(0)],
                (false, _) => vec![Step::Count(0)],
            },
            Ask::Forward(count) => vec![Step::Forward { count, gives: true }],
            Ask::Backward(ALL) if !fetches => {
                let rows = from.at.saturating_sub(u64::from(from.is_on_row()));
                vec![Step::Rewind, Step::Count(rows)]
            }
            Ask::Backward(count) => vec![Step::Backward { count, gives: true }],
            Ask::Absolute(0) => vec![Step::Rewind, Step::Count(0)],
            Ask::Absolute(number) if number < 0 => {
                let further = u64::from(number.unsigned_abs()) - 1;
                let mut steps = vec![on(ALL)];
                steps.extend((further > 0).then_some(back(further)));
                steps.push(gives_back);
                steps
            }
            Ask::Absolute(number) => {
                let before = u64::from(number.unsigned_abs()) - 1;
                let here = from.at + u64::from(from.is_at_end);
                let mut steps = Vec::new();
                if before <= from.at / 2 {
                    steps.push(Step::Rewind);
                    steps.extend((before > 0).then_some(on(before)));
                } else if before < here {
                    steps.push(back(here - before));
                } else if before > here {
                    steps.push(on(before - here));
                }
                steps.push(gives);
                steps
            }
            Ask::Relative(number) => {
                let further = u64::from(number.unsigned_abs()) - 1;
                let step = if number < 0 { back(further) } else { on(further) };
                let last = if number < 0 { gives_back } else { gives };
                let mut steps = Vec::new();
                steps.extend((further > 0).then_some(step));
                steps.push(last);
                steps
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::names;
    use super::*;

    fn ask(text: &str) -> Option<Ask> {
        let words = names(text.as_bytes());
        Ask::read(words.get(1..words.len().checked_sub(1)?)?)
    }

    #[test]
    fn what_is_fetched_is_read() {
        for (text, expected) in [
            ("FETCH c", Some(Ask::Forward(1))),
            ("FETCH FROM c", Some(Ask::Forward(1))),
            ("FETCH NEXT FROM c", Some(Ask::Forward(1))),
            ("FETCH 5 IN c", Some(Ask::Forward(5))),
            ("FETCH +5 IN c", Some(Ask::Forward(5))),
            ("FETCH -5 c", Some(Ask::Backward(5))),
            ("FETCH ALL FROM c", Some(Ask::Forward(ALL))),
            ("FETCH FORWARD ALL FROM c", Some(Ask::Forward(ALL))),
            ("FETCH FORWARD 7 FROM c", Some(Ask::Forward(7))),
            ("FETCH FORWARD c", Some(Ask::Forward(1))),
            ("FETCH BACKWARD c", Some(Ask::Backward(1))),
            ("FETCH BACKWARD 0 c", Some(Ask::Backward(0))),
            ("FETCH BACKWARD ALL c", Some(Ask::Backward(ALL))),
            ("FETCH BACKWARD -2 c", Some(Ask::Forward(2))),
            ("FETCH PRIOR c", Some(Ask::Backward(1))),
            ("FETCH FIRST c", Some(Ask::Absolute(1))),
            ("FETCH LAST c", Some(Ask::Absolute(-1))),
            ("FETCH ABSOLUTE -3 c", Some(Ask::Absolute(-3))),
            ("FETCH RELATIVE 3 FROM c", Some(Ask::Relative(3))),
            ("FETCH 3000000000 FROM c", None),
            ("FETCH NEXT ALL FROM c", None),
            ("FETCH 1 2 3 FROM c", None),
            ("FETCH SIDEWAYS c", None),
        ] {
            assert_eq!(ask(text), expected, "{text}");
        }
    }

    /// A cursor over four rows does all that is asked; gives the rows it is given, how many it says they are, and where it stands.
    fn does(stand: &mut Stand, ask: Ask) -> (Vec<u64>, u64) {
        let (mut rows, mut said) = (Vec::new(), 0);
        for step in ask.steps(*stand, true) {
            let (passed, gives): (Vec<u64>, bool) = match step {
                Step::Rewind => {
                    *stand = Stand::START;
                    continue;
                }
                Step::Count(count) => {
                    said = count;
                    continue;
                }
                Step::Forward { count, gives } => {
                    let from = stand.at + 1;
                    let there = if stand.is_at_end { 0 } else { 4 - stand.at };
                    stand.went_on(there.min(count), count);
                    ((from..from + there.min(count)).collect(), gives)
                }
                Step::Backward { count, gives } => {
                    let (on, behind) = (stand.at + u64::from(stand.is_at_end), stand.behind(count));
                    stand.went_back(behind, count);
                    ((on - behind..on).rev().collect(), gives)
                }
            };
            if gives {
                said = passed.len() as u64;
                rows.extend(passed);
            }
        }
        (rows, said)
    }

    #[test]
    fn a_cursor_moves_as_postgresqls_does() {
        let mut stand = Stand::START;
        for (ask, rows, at) in [
            (Ask::Forward(2), vec![1, 2], 2),
            (Ask::Forward(0), vec![2], 2),
            (Ask::Forward(2), vec![3, 4], 4),
            (Ask::Forward(2), vec![], 4),
            (Ask::Backward(1), vec![4], 4),
            (Ask::Backward(ALL), vec![3, 2, 1], 0),
            (Ask::Absolute(3), vec![3], 3),
            (Ask::Absolute(-4), vec![1], 1),
            (Ask::Relative(-1), vec![], 0),
            (Ask::Relative(3), vec![3], 3),
            (Ask::Absolute(2), vec![2], 2),
            (Ask::Forward(ALL), vec![3, 4], 4),
            (Ask::Relative(-2), vec![3], 3),
            (Ask::Absolute(9), vec![], 4),
            (Ask::Absolute(4), vec![4], 4),
            (Ask::Absolute(0), vec![], 0),
        ] {
            let said = rows.len() as u64;
            assert_eq!((does(&mut stand, ask), stand.at), ((rows, said), at), "{ask:?}");
        }
    }

    #[test]
    fn what_goes_back_says_so() {
        let goes_back = |ask: Ask, stand: Stand, fetches: bool| {
            let steps = ask.steps(stand, fetches);
            steps
                .iter()
                .any(|step| matches!(step, Step::Backward { .. } | Step::Rewind))
        };
        let on = Stand {
            at: 2,
            is_at_start: false,
            is_at_end: false,
        };
        for (ask, fetches, expected) in [
            (Ask::Forward(1), true, false),
            (Ask::Forward(0), true, true),
            (Ask::Forward(0), false, false),
            (Ask::Absolute(3), true, false),
            (Ask::Absolute(2), true, true),
            (Ask::Absolute(-1), true, true),
            (Ask::Relative(1), true, false),
            (Ask::Backward(ALL), false, true),
        ] {
            assert_eq!(goes_back(ask, on, fetches), expected, "{ask:?}");
        }
    }
}
