//! What a text changes, so that answers that read it are old.

use std::collections::BTreeSet;

use super::Catalog;
use super::relations::Name;
use super::tenants::{self, Owned};
use super::text::{self, is, is_harmless_call, tokens};
use crate::calls::{DEPTH_MAX, Place, Seen};
use crate::lexer::Token;
use crate::words::WORDS;
use crate::{Lex, access};

/// What running a text does to what may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What it changes.
    pub touches: Touches,
    /// Tables of which it changes some tenants' rows, beside those.
    pub owned: Vec<Owned>,
    /// It changes the schema, rights or settings of roles, or could.
    pub defines: bool,
    /// It may end a transaction.
    pub ends: bool,
    /// All texts of its shape do the same.
    pub by_shape: bool,
}

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touches {
    /// Nothing anybody can read.
    Nothing,
    /// Rows of these tables, at most.
    Tables(Vec<Name>),
    /// Nobody knows what: a function, a schema, rights.
    Anything,
}

impl Effect {
    /// Of a query that only reads.
    pub const NOTHING: Effect = Effect {
        touches: Touches::Nothing,
        owned: Vec::new(),
        defines: false,
        ends: false,
        by_shape: true,
    };
    /// Of what can't be looked into.
    pub const UNKNOWN: Effect = Effect {
        touches: Touches::Anything,
        owned: Vec::new(),
        // What it may have defined is found in the catalog soon.
        defines: false,
        ends: true,
        by_shape: true,
    };
}

/// What a text changes; without a catalog nobody knows.
pub fn effect(text: &[u8], lex: Lex, catalog: Option<&Catalog>) -> Effect {
    let Some(tokens) = tokens(text, lex) else {
        return Effect::UNKNOWN;
    };
    let is_end = |token: &Token<'_>| *token == Token::Mark(b';');
    let mut statements = tokens.split(is_end).filter(|statement| !statement.is_empty());
    let (first, second) = (statements.next(), statements.next());
    let ends = second.is_some() || first.is_some_and(ends);
    let all: Vec<_> = first.into_iter().chain(second).chain(statements).collect();
    let defines = all.iter().any(|statement| defines(statement));
    let mut changed = BTreeSet::new();
    for statement in all {
        let touches = match words(statement, catalog) {
            Touches::Anything if is_proven_read(statement) && is_read(text, lex, catalog) => Touches::Nothing,
            touches => touches,
        };
        match touches {
            Touches::Nothing => {}
            Touches::Tables(names) => changed.extend(names),
            Touches::Anything => {
                return Effect {
                    touches: Touches::Anything,
                    owned: Vec::new(),
                    defines,
                    ends,
                    by_shape: true,
                };
            }
        }
    }
    let nothing = Effect {
        defines,
        ends,
        ..Effect::NOTHING
    };
    if changed.is_empty() {
        return nothing;
    }
    let told = tenants::written(text, lex, catalog, changed);
    Effect {
        touches: Touches::Tables(told.all),
        owned: told.some,
        by_shape: told.by_shape,
        ..nothing
    }
}

/// Is the statement one that changes more than rows? What a function, DO or CALL may do is not seen.
fn defines(statement: &[Token<'_>]) -> bool {
    let first = statement.iter().find(|token| **token != Token::Mark(b'('));
    let is_first = |words: &str| words.split_ascii_whitespace().any(|word| is(first, word));
    let mut pairs = statement.windows(2);
    let is_into = |pair: &[Token<'_>]| {
        is(pair.get(1), "into") && !is(pair.first(), "insert") && !is(pair.first(), "merge")
    };
    let makes_table = is_first("select with") && pairs.any(is_into);
    !is_first(HARMLESS) && !is_first(SCANNED) && !is_first("do call execute") || makes_table
}

/// May the statement end the transaction it is in?
fn ends(statement: &[Token<'_>]) -> bool {
    let first = statement.first();
    ![
        "select",
        "insert",
        "update",
        "delete",
        "with",
        "values",
        "table",
        "fetch",
        "set",
        "savepoint",
        "copy",
    ]
    .iter()
    .any(|word| is(first, word))
}

/// Could [`access`] say of it that it reads?
fn is_proven_read(statement: &[Token<'_>]) -> bool {
    let first = statement.iter().find(|token| **token != Token::Mark(b'('));
    ["select", "with", "values", "table"]
        .iter()
        .any(|word| is(first, word))
}

fn is_read(text: &[u8], lex: Lex, catalog: Option<&Catalog>) -> bool {
    access(text, lex, catalog.map(|catalog| &catalog.names)).is_read()
}

fn words(statement: &[Token<'_>], catalog: Option<&Catalog>) -> Touches {
    let first = statement.iter().find(|token| **token != Token::Mark(b'('));
    let is_first = |words: &str| words.split_ascii_whitespace().any(|word| is(first, word));
    let second = statement.get(1);
    if is_first("commit rollback") && is(second, "prepared")
        || is_first("prepare") && is(second, "transaction")
    {
        return Touches::Anything;
    }
    if is_first(HARMLESS) {
        return Touches::Nothing;
    }
    if !is_first(SCANNED) {
        return Touches::Anything;
    }
    match catalog {
        Some(catalog) => scan(statement, catalog),
        None => Touches::Anything,
    }
}

/// Statements that change no rows, no schema and no rights.
const HARMLESS: &str = "
begin start commit end rollback abort savepoint release set reset show discard listen unlisten notify deallocate close
fetch move checkpoint lock prepare vacuum analyze analyse
";

/// Statements whose words say what they change.
const SCANNED: &str = "
select values with table insert update delete merge copy truncate refresh declare explain
";

fn scan(statement: &[Token<'_>], catalog: &Catalog) -> Touches {
    if catalog.names.volatile_implicit_operator().is_some() {
        return Touches::Anything;
    }
    let (mut writes, mut names) = (false, BTreeSet::new());
    let mut place = Place::new();
    place.copy = is(statement.first(), "copy");
    for (at, token) in statement.iter().enumerate() {
        if !calls_known(&mut place, *token, catalog) {
            return Touches::Anything;
        }
        if let Token::Operator(run) = token
            && catalog.names.is_volatile_operator(run)
        {
            return Touches::Anything;
        }
        let Some(name) = text::name(token) else { continue };
        let before = at.checked_sub(1).and_then(|at| statement.get(at));
        if is(Some(token), "into") && !is(before, "insert") && !is(before, "merge") {
            // SELECT INTO makes a table.
            return Touches::Anything;
        }
        if let Some((_, relation)) = catalog.relations.relation(&name) {
            if relation.writes_anything {
                names.insert(None);
            }
            names.extend(relation.writes.iter().cloned().map(Some));
        } else if !name.is_ascii() {
            // What it is called in the catalog depends on the client's encoding.
            names.insert(None);
        }
        // Named, it may be called: `row.function`.
        if catalog.names.look_up(&name).is_safe_function == Some(false) {
            return Touches::Anything;
        }
        writes |= WRITES.iter().any(|word| is(Some(token), word)) && !locks(token, before);
    }
    match (writes, names.contains(&None)) {
        (false, _) => Touches::Nothing,
        (true, true) => Touches::Anything,
        (true, false) => Touches::Tables(names.into_iter().flatten().collect()),
    }
}

/// Takes in a token; false if it opens the parenthesis of a function that may write.
fn calls_known<'a>(place: &mut Place<'a>, token: Token<'a>, catalog: &Catalog) -> bool {
    match token {
        Token::Word(text) => place.word(text, WORDS.folded(text)),
        Token::Quoted(text) => place.quoted(text, &WORDS),
        Token::Mark(b'(') => {
            let is_known = place.function().is_none_or(|function| {
                let name = match function.is_quoted {
                    true => function.name.to_vec(),
                    false => function.name.to_ascii_lowercase(),
                };
                let is_safe = catalog.names.look_up(&name).is_safe_function == Some(true);
                is_safe || function.may_be_builtin && is_harmless_call(&name)
            });
            if !is_known || place.depth + 1 >= DEPTH_MAX {
                return false;
            }
            place.open();
        }
        Token::Mark(b')') => place.close(),
        Token::Mark(mark) => place.mark(mark),
        Token::Number(_) | Token::Text(_) | Token::Body(_) | Token::Coded(_) => place.other(Seen::Constant),
        Token::Operator(_) | Token::Broken => place.other(Seen::Other),
    }
    true
}

/// FOR UPDATE, FOR NO KEY UPDATE.
fn locks(token: &Token<'_>, before: Option<&Token<'_>>) -> bool {
    is(Some(token), "update") && (is(before, "for") || is(before, "key"))
}

/// Words without which no row is written.
const WRITES: [&str; 7] = [
    "insert", "update", "delete", "merge", "copy", "truncate", "refresh",
];
