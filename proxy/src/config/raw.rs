//! The file as it was written: sections, keys, kinds of values, each with its place. What they mean is not decided here.
//!
//! The TOML is walked by hand, not derived: serde stops at the first mistake, and we want all of them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::import;
use super::keys::{self, Keys};
use super::mistake::{Findings, Wrong, closest};

/// A value and the byte it starts at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<T> {
    pub value: T,
    pub at: usize,
}

/// One table of the file.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    /// As a person would name it.
    pub name: &'static str,
    /// Where it begins.
    pub at: usize,
    table: &'a DeTable<'a>,
    findings: &'a Findings<'a>,
}

impl<'a> Section<'a> {
    /// Opens a table and notes every key that does not belong there.
    pub fn open(keys: &Keys, table: &'a Spanned<DeTable<'a>>, findings: &'a Findings<'a>) -> Self {
        Section::of(keys, table.span().start, table.get_ref(), findings)
    }

    fn of(keys: &Keys, at: usize, table: &'a DeTable<'a>, findings: &'a Findings<'a>) -> Self {
        for (key, _) in table.iter() {
            if let Some(wrong) = twice(keys, key.get_ref(), table).or_else(|| misplaced(keys, key.get_ref()))
            {
                findings.at(key.span().start, wrong);
            }
        }
        let name = keys.section;
        Section {
            name,
            at,
            table,
            findings,
        }
    }

    /// The findings this section adds to.
    pub fn findings(&self) -> &'a Findings<'a> {
        self.findings
    }

    /// Notes what is wrong with the section as a whole.
    pub fn wrong(&self, wrong: Wrong) {
        self.findings.at(self.at, wrong);
    }

    /// Notes what is wrong with one key's value.
    pub fn wrong_value(&self, key: &str, at: usize, wrong: Wrong) {
        let what = format!("{key} in {} {}", self.name, wrong.what);
        self.findings.at(at, Wrong { what, ..wrong });
    }

    /// Where a key stands, if it is there.
    pub fn place(&self, key: &str) -> Option<usize> {
        self.value(key).map(|value| value.span().start)
    }

    /// A string.
    pub fn text(&self, key: &str) -> Option<Written<&'a str>> {
        let value = self.value(key)?;
        self.string(key, value)
    }

    /// A string that says something.
    pub fn name(&self, key: &str) -> Option<Written<&'a str>> {
        let text = self.text(key)?;
        if text.value.is_empty() {
            self.wrong_value(key, text.at, Wrong::new("is empty"));
            return None;
        }
        Some(text)
    }

    /// A list of strings; what is not a string is noted and left out.
    pub fn texts(&self, key: &str) -> Option<Vec<Written<&'a str>>> {
        let value = self.value(key)?;
        let Some(list) = value.get_ref().as_array() else {
            let what = format!("must be a list of strings, not {}", kind(value.get_ref()));
            self.wrong_value(
                key,
                value.span().start,
                Wrong::new(what).hint("write [\"…\", \"…\"]"),
            );
            return None;
        };
        Some(list.iter().filter_map(|item| self.string(key, item)).collect())
    }

    /// A string, if it is one; for a look ahead of the reading that notes mistakes.
    pub fn text_if_any(&self, key: &str) -> Option<Written<&'a str>> {
        let value = self.value(key)?;
        let at = value.span().start;
        value.get_ref().as_str().map(|value| Written { value, at })
    }

    /// Is it `[]`?
    pub fn is_empty_list(&self, key: &str) -> bool {
        let list = self.value(key).and_then(|value| value.get_ref().as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// A whole number within bounds.
    pub fn count(&self, key: &str, bounds: RangeInclusive<usize>) -> Option<usize> {
        let value = self.value(key)?;
        let at = value.span().start;
        let DeValue::Integer(digits) = value.get_ref() else {
            let what = format!("must be a whole number, not {}", kind(value.get_ref()));
            self.wrong_value(key, at, Wrong::new(what));
            return None;
        };
        let number = i128::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(i128::MAX);
        let count = usize::try_from(number)
            .ok()
            .filter(|count| bounds.contains(count));
        if count.is_none() {
            let what = format!("must be between {} and {}", bounds.start(), bounds.end());
            self.wrong_value(key, at, Wrong::new(what));
        }
        count
    }

    /// A list of whole numbers within bounds.
    pub fn counts(&self, key: &str, bounds: RangeInclusive<usize>) -> Option<Vec<usize>> {
        let value = self.value(key)?;
        let at = value.span().start;
        let Some(list) = value.get_ref().as_array() else {
            let what = format!("must be a list of whole numbers, not {}", kind(value.get_ref()));
            self.wrong_value(key, at, Wrong::new(what).hint("write [1, 2]"));
            return None;
        };
        let number = |item: &Spanned<DeValue>| match item.get_ref() {
            DeValue::Integer(digits) => usize::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        let counts: Option<Vec<usize>> = list.iter().map(number).collect();
        let counts = counts.filter(|counts| counts.iter().all(|count| bounds.contains(count)));
        if counts.is_none() {
            let what = format!(
                "must hold numbers between {} and {}",
                bounds.start(),
                bounds.end()
            );
            self.wrong_value(key, at, Wrong::new(what));
        }
        counts
    }

    /// A span of time: a string with a unit, or a number of seconds.
    pub fn time(&self, key: &str) -> Option<Duration> {
        let value = self.value(key)?;
        let span = match value.get_ref() {
            DeValue::String(text) => duration::parse(text),
            DeValue::Integer(digits) => duration::from_seconds(
                i64::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(i64::MAX) as f64,
            ),
            DeValue::Float(digits) => duration::from_seconds(digits.as_str().parse().unwrap_or(f64::NAN)),
            other @ (DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_)) => {
                Err(Wrong::new(format!("must be a span of time, not {}", kind(other))))
            }
        };
        span.map_err(|wrong| self.wrong_value(key, value.span().start, wrong))
            .ok()
    }

    /// A path; a relative one starts from the file's own folder.
    pub fn path(&self, key: &str) -> Option<Written<PathBuf>> {
        let text = self.name(key)?;
        let folder = self.findings.file().parent();
        let value = folder.map_or_else(|| PathBuf::from(text.value), |folder| folder.join(text.value));
        Some(Written { value, at: text.at })
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        match one_of(text.value, words) {
            Ok(meant) => Some(meant),
            Err(wrong) => {
                self.wrong_value(key, text.at, wrong);
                None
            }
        }
    }

    /// A table in this one.
    pub fn section(&self, key: &str, keys: &Keys) -> Option<Section<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::of(keys, value.span().start, table, self.findings)),
            other => {
                let wrong = Wrong::new(format!("{key} must be a section, not {}", kind(other)));
                self.findings
                    .at(value.span().start, wrong.hint(format!("write {}", keys.section)));
                None
            }
        }
    }

    /// A list of tables in this one, `[[like.this]]`.
    pub fn sections(&self, key: &str, keys: &Keys) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let at = value.span().start;
        let tables = value.get_ref().as_array().map(|list| {
            let tables = list
                .iter()
                .map(|item| (item.span().start, item.get_ref().as_table()));
            tables.collect::<Vec<_>>()
        });
        let mut sections = Vec::new();
        for (at, table) in tables.unwrap_or_else(|| vec![(at, None)]) {
            match table {
                Some(table) => sections.push(Section::of(keys, at, table, self.findings)),
                None => {
                    let wrong = Wrong::new(format!("{key} must be a list of sections"));
                    self.findings
                        .at(at, wrong.hint(format!("write {}", keys.section)));
                }
            }
        }
        sections
    }

    /// Is there a key that does not belong here?
    pub fn has_unknown(&self, keys: &Keys) -> bool {
        let mut written = self.table.iter();
        written.any(|(key, _)| !keys.known.contains(&&**key.get_ref()))
    }

    /// A value as it is.
    pub fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        let mut others = keys::other(self.name, key);
        self.table
            .get(key)
            .or_else(|| others.find_map(|other| self.table.get(other)))
    }

    fn string(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Option<Written<&'a str>> {
        let at = value.span().start;
        match value.get_ref().as_str() {
            Some(value) => Some(Written { value, at }),
            None => {
                let what = format!("must be a string, not {}", kind(value.get_ref()));
                self.wrong_value(key, at, Wrong::new(what).hint("put it in double quotes"));
                None
            }
        }
    }
}

/// One of a few words, or what is wrong with the one that was written.
pub(super) fn one_of<T: Copy>(written: &str, words: &[(&'static str, T)]) -> Result<T, Wrong> {
    if let Some((_, meant)) = words.iter().find(|(word, _)| *word == written) {
        return Ok(*meant);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let wrong = Wrong::new(format!("cannot be \"{written}\""));
    Err(match closest(written, known.iter().copied()) {
        Some(word) => wrong.hint(format!("did you mean \"{word}\"?")),
        None => wrong.hint(format!("it may be {}", known.join(", "))),
    })
}

/// `a string`, `an integer`.
fn kind(value: &DeValue) -> String {
    let word = value.type_str();
    let article = if word.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {word}")
}

/// Stands a key beside another name of itself?
fn twice(keys: &Keys, key: &str, table: &DeTable<'_>) -> Option<Wrong> {
    let ours = keys::meant(keys.section, key)?;
    let others = keys::other(keys.section, ours).chain([ours]);
    let beside = others
        .filter(|other| *other != key)
        .find(|other| table.contains_key(*other))?;
    Some(Wrong::new(format!("{key} and {beside} in {} mean the same", keys.section)).hint("keep one of them"))
}

fn misplaced(keys: &Keys, key: &str) -> Option<Wrong> {
    if keys.known.contains(&key) || keys::meant(keys.section, key).is_some() {
        return None;
    }
    if keys.not_yet.contains(&key) {
        let place = match keys.section {
            keys::WHOLE_FILE => format!("[{key}]"),
            section => format!("{key} in {section}"),
        };
        return Some(Wrong::new(format!("{place} is not supported by this version")));
    }
    let wrong = Wrong::new(format!("unknown key \"{key}\" in {}", keys.section));
    Some(if let Some(ours) = keys::from_pgbouncer(key) {
        wrong.hint(format!("PgBouncer's {key} is {ours}"))
    } else if let Some(section) = keys::home_of(key) {
        wrong.hint(format!("it belongs in {section}"))
    } else if let Some(why) = import::no_meaning(key) {
        wrong.hint(format!("PgBouncer's {key} has no meaning here: {why}"))
    } else if let Some(word) = closest(key, keys.known.iter().copied()) {
        wrong.hint(format!("did you mean \"{word}\"?"))
    } else {
        wrong
    })
}
