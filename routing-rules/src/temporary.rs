//! Does a text make temporary relations and nothing else that lasts? They concern their session alone: what the names of a
//! database mean to all others stays as it was.

use std::iter::Peekable;

use crate::Lex;
use crate::lexer::{Token, Tokens};
use crate::settings::is_word;

/// Does the text hold a CREATE TEMPORARY, and no other CREATE, ALTER or IMPORT? What it holds besides does not matter.
pub fn makes_temporary_only(text: &[u8], lex: Lex) -> bool {
    let mut tokens = Tokens::new(text, lex).peekable();
    let mut makes = false;
    let mut begins = true;
    while let Some(token) = tokens.next() {
        let is_one_of = |words: &[&[u8]]| words.iter().any(|word| is_word(Some(token), word));
        if begins && is_one_of(&[b"create"]) {
            if !is_temporary(&mut tokens) {
                return false;
            }
            makes = true;
        }
        if token == Token::Broken || begins && is_one_of(&[b"alter", b"import"]) {
            return false;
        }
        begins = token == Token::Mark(b';');
    }
    makes
}

/// What follows CREATE.
fn is_temporary(tokens: &mut Peekable<Tokens<'_>>) -> bool {
    let mut take = |word: &[u8]| tokens.next_if(|token| is_word(Some(*token), word)).is_some();
    if take(b"or") {
        let _noise = take(b"replace");
    }
    let _noise = take(b"global") || take(b"local");
    take(b"temp") || take(b"temporary")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_temporary() {
        for (text, is_temporary) in [
            ("CREATE TEMP TABLE t (x int)", true),
            ("create local temporary table t as select 1; drop table t", true),
            ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", true),
            (
                "/* CREATE */ CREATE TEMP SEQUENCE s; CREATE INDEX ON t (x)",
                false,
            ),
            ("CREATE TEMP TABLE t (x int); CREATE TABLE u (x int)", false),
            ("CREATE TEMP TABLE t (x int); ALTER VIEW v RENAME TO w", false),
            ("CREATE TABLE temp (x int)", false),
            ("CREATE TABLE pg_temp.t (x int)", false),
            ("CREATE UNLOGGED TABLE t (x int)", false),
            (
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
                false,
            ),
            ("CREATE TEMP TABLE t (x int); SELECT 'no end", false),
            ("DROP TABLE t", false),
            ("", false),
        ] {
            assert_eq!(
                makes_temporary_only(text.as_bytes(), Lex::default()),
                is_temporary,
                "{text}"
            );
        }
    }
}
