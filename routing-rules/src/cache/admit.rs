//! May the answer to a text be kept, and if not, why?

use std::collections::BTreeMap;
use std::fmt;

use super::Catalog;
use super::relations::{Calls, Name};
use super::rules::Rules;
use super::tenants::{self, Owned};
use super::text::{self, is, tokens};
use crate::lexer::Token;
use crate::{Access, Lex, Why, access};

/// A text whose answer may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The class it belongs to, by its place in the rules.
    pub class: usize,
    /// Every table of which any row may be in the answer.
    pub reads: Vec<Name>,
    /// Tables of which some tenants' rows may be.
    pub owned: Vec<Owned>,
    /// All texts of its shape are admitted alike, unless a constant of theirs [says a time](says_a_time).
    pub by_shape: bool,
}

/// Why an answer is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCached {
    /// It is not proven to only read.
    Writes(Why),
    /// It is no single query.
    NotAQuery,
    /// Its answer depends on the moment it is asked: CURRENT_DATE, `'today'`, TABLESAMPLE, `ctid`.
    Moment(Box<str>),
    /// A function whose answer depends on more than its arguments and the session's settings.
    Function(Box<str>),
    /// A relation whose rows are not the same for everybody, or whose changes nobody hears of.
    Relation(Box<str>, &'static str),
    /// No class takes statements that read this relation.
    NoClass(Box<str>),
    /// It reads no relation.
    NoRelation,
    /// A name beyond ASCII: what it is called in the catalog depends on the client's encoding.
    Name,
}

impl NotCached {
    /// Its kind, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            NotCached::Writes(_) => "not proven to only read",
            NotCached::NotAQuery => "not a single query",
            NotCached::Moment(_) => "depends on the moment",
            NotCached::Function(_) => "function not IMMUTABLE",
            NotCached::Relation(..) => "relation",
            NotCached::NoClass(_) => "no class",
            NotCached::NoRelation => "no relation",
            NotCached::Name => "name beyond ASCII",
        }
    }
}

impl fmt::Display for NotCached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotCached::Writes(why) => write!(f, "{why}"),
            NotCached::NotAQuery => f.write_str("it is no single query"),
            NotCached::Moment(what) => write!(f, "{what} depends on the moment it is asked"),
            NotCached::Function(name) => write!(f, "function {name} may answer differently each time"),
            NotCached::Relation(name, why) => write!(f, "{name}: {why}"),
            NotCached::NoClass(name) => write!(f, "no class takes {name}"),
            NotCached::NoRelation => f.write_str("it reads no table"),
            NotCached::Name => f.write_str("a name in it has letters beyond ASCII"),
        }
    }
}

/// May the answer to this text be kept?
///
/// # Errors
///
/// Why not.
pub fn admit(text: &[u8], lex: Lex, catalog: &Catalog, rules: &Rules) -> Result<Admitted, NotCached> {
    let tokens = tokens(text, lex).ok_or(NotCached::Writes(Why::Unclear))?;
    is_one_query(&tokens)?;
    if let Access::Write(why) = access(text, lex, Some(&catalog.names)) {
        return Err(NotCached::Writes(why));
    }
    let mut named = BTreeMap::new();
    for (at, token) in tokens.iter().enumerate() {
        if let Token::Text(constant) | Token::Body(constant) = token
            && let Some(word) = says_a_time(constant)
        {
            return Err(NotCached::Moment(format!("'{word}'").into()));
        }
        let Some(name) = text::name(token) else { continue };
        of_the_moment(token, &name)?;
        if let Some((name, relation)) = catalog.relations.relation(&name) {
            if let Some(why) = relation.refused {
                return Err(NotCached::Relation(lossy(name), why));
            }
            named.insert(name, relation);
        } else if !name.is_ascii() {
            return Err(NotCached::Name);
        }
        function(&tokens, at, &name, catalog)?;
    }
    if named.is_empty() {
        return Err(NotCached::NoRelation);
    }
    let class = class(named.keys().copied(), rules)?;
    let told = tenants::read(text, lex, catalog, &named);
    Ok(Admitted {
        class,
        reads: told.all,
        owned: told.some,
        by_shape: told.by_shape,
    })
}

fn is_one_query(tokens: &[Token<'_>]) -> Result<(), NotCached> {
    let end = tokens
        .iter()
        .rposition(|token| *token != Token::Mark(b';'))
        .map_or(0, |last| last + 1);
    let is_one = !tokens[..end].contains(&Token::Mark(b';'));
    let first = tokens.iter().find(|token| **token != Token::Mark(b'('));
    let is_query = ["select", "with", "values", "table"]
        .iter()
        .any(|word| is(first, word));
    (is_one && is_query).then_some(()).ok_or(NotCached::NotAQuery)
}

/// The class all these relations are in; the first one wins.
fn class<'n>(mut named: impl Iterator<Item = &'n Name> + Clone, rules: &Rules) -> Result<usize, NotCached> {
    let takes_all = |class: &super::Class| named.clone().all(|name| class.takes(name));
    if let Some(class) = rules.classes.iter().position(takes_all) {
        return Ok(class);
    }
    let is_in_none = |name: &&Name| !rules.classes.iter().any(|class| class.takes(name));
    let name = named.clone().find(is_in_none).or_else(|| named.next());
    Err(NotCached::NoClass(
        name.map(|name| lossy(name)).unwrap_or_default(),
    ))
}

fn of_the_moment(token: &Token<'_>, name: &[u8]) -> Result<(), NotCached> {
    let is_in = |words: &[&str]| words.iter().any(|word| word.as_bytes() == name);
    match token {
        Token::Word(_) if is_in(&KEYWORDS) => Err(NotCached::Moment(lossy(name))),
        _ if is_in(&SYSTEM_COLUMNS) => Err(NotCached::Moment(lossy(name))),
        _ => Ok(()),
    }
}

/// Keywords whose value is that of a moment or a connection.
const KEYWORDS: [&str; 7] = [
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "system_user",
    "tablesample",
];

/// Columns that change without a write.
const SYSTEM_COLUMNS: [&str; 5] = ["ctid", "xmin", "xmax", "cmin", "cmax"];

/// A function called, or named as `(row).function`.
fn function(tokens: &[Token<'_>], at: usize, name: &[u8], catalog: &Catalog) -> Result<(), NotCached> {
    let before = |places: usize| at.checked_sub(places).and_then(|at| tokens.get(at));
    let is_call = tokens.get(at + 1) == Some(&Token::Mark(b'('));
    let is_attribute = before(1) == Some(&Token::Mark(b'.')) && before(2) == Some(&Token::Mark(b')'));
    match catalog.relations.calls(name) {
        // `a.f` may call a function of the database, whatever `a` is.
        Some(Calls::Own) => Err(NotCached::Function(lossy(name))),
        Some(Calls::Builtin) if is_call || is_attribute => Err(NotCached::Function(lossy(name))),
        Some(Calls::Builtin | Calls::ByKey) | None => Ok(()),
    }
}

/// The word in a value that PostgreSQL would read as a moment, were it read as a time: `now`, `today`, …
pub fn says_a_time(value: &[u8]) -> Option<&'static str> {
    if value.len() > TIME_BYTES_MAX {
        return None;
    }
    let mut words = value.split(|byte| !byte.is_ascii_alphabetic());
    words.find_map(|word| {
        let is = |moment: &&&str| word.eq_ignore_ascii_case(moment.as_bytes());
        MOMENTS.iter().find(is).copied()
    })
}

/// The constants of `datetktbl` that stand for the moment they are read at.
const MOMENTS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// No text that is longer is read as a time (`MAXDATELEN` is 128).
const TIME_BYTES_MAX: usize = 256;

fn lossy(name: &[u8]) -> Box<str> {
    String::from_utf8_lossy(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_say_a_time() {
        assert_eq!(says_a_time(b"Now"), Some("now"));
        assert_eq!(says_a_time(b"  today 10:00"), Some("today"));
        assert_eq!(says_a_time(b"today10"), Some("today"));
        assert_eq!(says_a_time(b"knowledge"), None);
        assert_eq!(says_a_time(&[b' '; 300]), None);
    }
}
