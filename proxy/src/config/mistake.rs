//! What is wrong with a configuration, and where. Collects every mistake, so that one run shows them all.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, in words a person can act on.
///
/// ```
/// # use pgshunt::config::Mistake;
/// let mistake = Mistake {
///     file: "pgshunt.toml".into(),
///     line: Some(12),
///     what: r#"unknown key "sizee" in [pool]"#.into(),
///     hint: Some(r#"did you mean "size"?"#.into()),
/// };
/// let shown = "pgshunt.toml:12: unknown key \"sizee\" in [pool]\n  hint: did you mean \"size\"?";
/// assert_eq!(mistake.to_string(), shown);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, or what stands for one (`--to`, `--listen`).
    pub file: PathBuf,
    /// The line, from 1; `None` when it is no line's fault.
    pub line: Option<usize>,
    /// What is wrong. Never holds a password.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Mistake {}

/// What is wrong with one value; whoever knows its place turns it into a [`Mistake`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub what: String,
    pub hint: Option<String>,
}

impl Wrong {
    pub fn new(what: impl Into<String>) -> Self {
        Wrong {
            what: what.into(),
            hint: None,
        }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Wrong {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// The mistakes found so far in one file. Shared by every section of it, hence the cell.
pub(super) struct Findings<'a> {
    file: &'a Path,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Findings<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        Findings {
            file,
            text,
            mistakes: RefCell::default(),
        }
    }

    /// The file that is being read; paths in it start from its folder.
    pub fn file(&self) -> &'a Path {
        self.file
    }

    /// Notes a mistake at a byte of the text.
    pub fn at(&self, byte: usize, wrong: Wrong) {
        let before = self.text.as_bytes().iter().take(byte);
        let line = 1 + before.filter(|&&b| b == b'\n').count();
        self.push(Some(line), wrong);
    }

    /// Notes a mistake of no line in particular.
    pub fn anywhere(&self, wrong: Wrong) {
        self.push(None, wrong);
    }

    /// Notes what was found in another file that this one names.
    pub fn elsewhere(&self, mistakes: Vec<Mistake>) {
        self.mistakes.borrow_mut().extend(mistakes);
    }

    /// Is anything wrong so far?
    pub fn has_some(&self) -> bool {
        !self.mistakes.borrow().is_empty()
    }

    fn push(&self, line: Option<usize>, wrong: Wrong) {
        self.mistakes.borrow_mut().push(Mistake {
            file: self.file.to_path_buf(),
            line,
            what: wrong.what,
            hint: wrong.hint,
        });
    }

    /// All mistakes, by line; those of the whole file first.
    pub fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.line);
        mistakes.dedup();
        mistakes
    }
}

/// The known word that is closest to what was written, if one is close enough to be meant.
pub(super) fn closest<'w>(written: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let allowed = (written.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|word| (distance(written, word), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, word)| word)
}

/// Letters to insert, delete, change or swap with the next one, to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(LETTERS_MAX).collect();
    let b: Vec<char> = b.chars().take(LETTERS_MAX).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j - 1] + change)
                .min(rows[i - 1][j] + 1)
                .min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Longer words than this are compared by their beginning: the table grows with the square.
const LETTERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_found_and_a_far_one_is_not() {
        let known = ["size", "min_size", "queue_size", "mode"];
        for (written, meant) in [
            ("sizee", Some("size")),
            ("sieze", Some("size")),
            ("isze", Some("size")),
            ("minsize", Some("min_size")),
            ("queue_sise", Some("queue_size")),
            ("moed", Some("mode")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn mistakes_come_by_line() {
        let findings = Findings::new(Path::new("f.toml"), "a\nb\nc");
        findings.at(4, Wrong::new("third"));
        findings.at(0, Wrong::new("first"));
        findings.anywhere(Wrong::new("whole"));
        let shown: Vec<String> = findings.into_mistakes().iter().map(Mistake::to_string).collect();
        assert_eq!(shown, ["f.toml: whole", "f.toml:1: first", "f.toml:3: third"]);
    }
}
