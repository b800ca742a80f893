//! The tour: every promise that holds so far, shown with real clients. A promise is an entry in a list; later ones are
//! appended to the list of their subject.

pub(super) mod cached;
mod pooled;
mod replicas;
mod seen;
mod sessions;
mod sharded;
mod statements;
mod streams;
mod trouble;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::interrupt::Interrupt;
use super::stage::Stage;
use super::{Ended, Failure};

/// Something pgshunt promises, and how that is shown.
struct Promise {
    /// The promise.
    words: &'static str,
    /// Shows it: the evidence, or what broke the promise.
    show: fn(&mut Stage) -> Result<String, Failure>,
}

/// A subject and its promises.
struct Subject {
    title: &'static str,
    promises: &'static [Promise],
}

/// In the order in which they are shown.
const TOUR: [Subject; 9] = [
    pooled::SUBJECT,
    sessions::SUBJECT,
    statements::SUBJECT,
    streams::SUBJECT,
    trouble::SUBJECT,
    replicas::SUBJECT,
    sharded::SUBJECT,
    cached::SUBJECT,
    seen::SUBJECT,
];

/// Shows every promise; well only if all hold.
pub(super) fn take(stage: &mut Stage, interrupt: &Interrupt) -> Result<ExitCode, Ended> {
    let began = Instant::now();
    let marks = Marks::new();
    let (mut kept, mut broken) = (0, 0);
    for subject in &TOUR {
        println!("\n{}", subject.title);
        for promise in subject.promises {
            let shown = (promise.show)(stage);
            if interrupt.is_raised() {
                println!("  interrupted");
                return Err(Ended::Interrupted);
            }
            let (mark, said) = match shown {
                Ok(evidence) => (&marks.kept, evidence),
                Err(failure) => (&marks.broken, failure.to_string()),
            };
            match std::ptr::eq(mark, &marks.kept) {
                true => kept += 1,
                false => broken += 1,
            }
            println!(
                "  {mark} {}\n      {}",
                promise.words,
                said.replace('\n', "\n      ")
            );
            let _ = io::stdout().flush();
        }
    }
    let (total, spent) = (kept + broken, began.elapsed());
    println!("\n{kept} of {total} promises kept, in {spent:.0?}");
    if broken > 0 {
        println!("\nThe end of pgshunt's log:\n{}", stage.proxy.log_tail(30));
        if let Some(spare) = &stage.spare {
            println!("\nThat of the spare shard's:\n{}", spare.proxy.log_tail(30));
        }
        if let Some(shards) = &stage.shards {
            println!("\nThat of the two shards':\n{}", shards.proxy.log_tail(30));
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

struct Marks {
    kept: String,
    broken: String,
}

impl Marks {
    fn new() -> Marks {
        let coloured = io::stdout().is_terminal();
        let mark = |colour: u8, mark: &str| match coloured {
            true => format!("\x1b[{colour}m{mark}\x1b[0m"),
            false => mark.to_owned(),
        };
        Marks {
            kept: mark(32, "✓"),
            broken: mark(31, "✗"),
        }
    }
}

/// Breaks the promise unless this holds.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    match holds {
        true => Ok(()),
        false => Err(Failure(otherwise())),
    }
}

/// Looks again and again until there is something to see; how long that took comes with it.
fn await_it<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<(T, Duration), Failure> {
    let began = Instant::now();
    loop {
        if let Some(seen) = look()? {
            return Ok((seen, began.elapsed()));
        }
        if began.elapsed() >= patience {
            return Err(Failure(format!("{what}: not within {patience:?}")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `12345678` as `12,345,678`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn every_promise_has_its_own_words() {
        let mut words: Vec<_> = TOUR.iter().flat_map(|s| s.promises).map(|p| p.words).collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
