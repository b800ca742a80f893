//! SQL parsed: a text is cut into pieces as PostgreSQL cuts it, and sqlparser builds its tree from these pieces. The
//! parser sees no constant's value, so that a tree holds for all texts of the same shape; every place in a tree is the
//! number of a piece.

mod forms;
mod pieces;
mod tokens;

use std::fmt;
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{Query, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, TokenWithSpan};

pub use pieces::{Kind, Literal, Pieces, Room, cut, cut_in};

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is not UTF-8.
    Encoding,
    /// It is longer than this, in pieces or bytes.
    TooLong,
    /// A quote or comment has no end, or something in it means different things to different versions.
    Lexical(&'static str),
    /// The parser does not know it: what it says, without any value.
    Syntax(Box<str>),
}

impl Unread {
    /// May it be a mistake that PostgreSQL would tell of?
    pub fn may_be_mistake(&self) -> bool {
        match self {
            Unread::Lexical(_) | Unread::Syntax(_) => true,
            Unread::Encoding | Unread::TooLong => false,
        }
    }
}

/// The tree of one statement, that stands in these pieces.
pub fn parse(pieces: &Pieces<'_>, range: Range<usize>) -> Result<Statement, Unread> {
    let first = statements(tokens::tokens(pieces, range.clone())?);
    let parsed = first.or_else(|error| {
        let told = tokens::tokens(pieces, range)
            .ok()
            .as_deref()
            .and_then(forms::known);
        told.and_then(|told| statements(told).ok()).ok_or(error)
    });
    let mut statements = parsed.map_err(|error| Unread::Syntax(error.to_string().into()))?;
    match (statements.pop(), statements.pop()) {
        (Some(statement), None) => Ok(statement),
        (_, _) => Err(Unread::Syntax("it is no single statement".into())),
    }
}

fn statements(tokens: Vec<TokenWithSpan>) -> Result<Vec<Statement>, ParserError> {
    Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(tokens)
        .parse_statements()
}

/// The piece a place in the tree stands for; `None` for a node without a place.
pub fn piece(span: Span) -> Option<usize> {
    (span.start.column as usize).checked_sub(1)
}

/// A query's place in a tree that stays where it is: what tells it from all others there.
pub fn address(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

/// What came of a visit: what it broke at is the mistake.
pub fn outcome<B>(visited: ControlFlow<B>) -> Result<(), B> {
    match visited {
        ControlFlow::Break(why) => Err(why),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// How deep expressions and queries may be nested.
const DEPTH_MAX: usize = 50;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Encoding => f.write_str("its text is not UTF-8"),
            Unread::TooLong => f.write_str("it is too long or too deeply nested to look through"),
            Unread::Lexical(what) => f.write_str(what),
            Unread::Syntax(what) => write!(f, "it could not be parsed: {what}"),
        }
    }
}
