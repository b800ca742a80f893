//! What the words of a text tell of it where a transaction or a server's prepared statements are concerned: by its tokens
//! alone, whatever tables and functions there are.

use crate::Lex;
use crate::lexer::{Token, Tokens};
use crate::settings::is_word;

/// Does reading the text take the transaction's snapshot, as PostgreSQL does for whatever it must analyse
/// (`analyze_requires_snapshot`)?
pub fn takes_snapshot(text: &[u8], lex: Lex) -> bool {
    let mut tokens = Tokens::new(text, lex).skip_while(|token| matches!(token, Token::Mark(b'(' | b';')));
    is_one_of(tokens.next(), &ANALYSED)
}

const ANALYSED: [&[u8]; 11] = [
    b"select", b"insert", b"update", b"delete", b"merge", b"with", b"values", b"table", b"explain",
    b"declare", b"create",
];

/// May the text hold a statement that must be the first of its transaction: one that sets its isolation level, that it may
/// write, or that it is deferrable?
pub fn sets_transaction(text: &[u8], lex: Lex) -> bool {
    let (mut begins, mut sets, mut does) = (true, false, false);
    for token in Tokens::new(text, lex) {
        if begins {
            does = is_one_of(Some(token), &[b"do"]);
            sets = does || is_one_of(Some(token), &[b"set", b"begin", b"start"]);
        }
        let speaks = match token {
            Token::Word(word) | Token::Quoted(word) => {
                let front = word.get(..12).unwrap_or_default();
                front.eq_ignore_ascii_case(b"transaction_")
                    || is_one_of(Some(token), &[b"isolation", b"deferrable", b"write"])
            }
            Token::Text(_) | Token::Body(_) | Token::Coded(_) => does,
            Token::Number(_) | Token::Mark(_) | Token::Operator(_) | Token::Broken => false,
        };
        if sets && !begins && speaks {
            return true;
        }
        begins = token == Token::Mark(b';');
    }
    false
}

/// Is the text of commands alone that run nobody's code, but for what others have left to them, or of none?
pub fn runs_nothing(text: &[u8], lex: Lex) -> bool {
    let mut begins = true;
    for token in Tokens::new(text, lex) {
        let ends = token == Token::Mark(b';');
        if token == Token::Broken || begins && !ends && !is_one_of(Some(token), &IDLE) {
            return false;
        }
        begins = ends;
    }
    true
}

/// COMMIT and PREPARE TRANSACTION run deferred triggers, but those of statements that do not stand here.
const IDLE: [&[u8]; 15] = [
    b"set",
    b"reset",
    b"show",
    b"begin",
    b"start",
    b"savepoint",
    b"release",
    b"rollback",
    b"abort",
    b"commit",
    b"end",
    b"prepare",
    b"listen",
    b"unlisten",
    b"notify",
];

/// Is the text DEALLOCATE ALL or DISCARD ALL, and nothing else?
pub fn ends_all_prepared(text: &[u8], lex: Lex) -> bool {
    let mut tokens = Tokens::new(text, lex)
        .skip_while(|token| *token == Token::Mark(b';'))
        .peekable();
    let first = tokens.next();
    let is_deallocate = is_one_of(first, &[b"deallocate"]);
    if is_deallocate {
        let _noise = tokens.next_if(|token| is_word(Some(*token), b"prepare"));
    }
    (is_deallocate || is_one_of(first, &[b"discard"]))
        && is_one_of(tokens.next(), &[b"all"])
        && tokens.all(|token| token == Token::Mark(b';'))
}

/// Does the text first end the transaction it is in, whatever that was, and then go on?
pub fn ends_and_goes_on(text: &[u8], lex: Lex) -> bool {
    let mut tokens = Tokens::new(text, lex).skip_while(|token| *token == Token::Mark(b';'));
    let ends = is_one_of(tokens.next(), &[b"commit", b"end", b"rollback", b"abort"]);
    let mut next = tokens.next();
    if is_one_of(next, &[b"work", b"transaction"]) {
        next = tokens.next();
    }
    ends && next == Some(Token::Mark(b';')) && tokens.any(|token| token != Token::Mark(b';'))
}

/// The highest number of a parameter (`$3`) in the text. None: its tokens can't be told apart.
pub fn parameters(text: &[u8], lex: Lex) -> Option<usize> {
    let mut tokens = Tokens::new(text, lex).skip_while(|token| *token == Token::Mark(b';'));
    if is_one_of(tokens.next(), &[b"prepare", b"execute"]) {
        // What stands in it is the parameters of what it prepares.
        return Some(0);
    }
    let mut highest = 0;
    for token in Tokens::new(text, lex) {
        match token {
            Token::Broken => return None,
            Token::Number([b'$', digits @ ..]) => {
                highest = highest.max(std::str::from_utf8(digits).ok()?.parse().ok()?)
            }
            _ => {}
        }
    }
    Some(highest)
}

/// Is the text of a kind that returns no rows, whatever is in the database?
pub fn returns_nothing(text: &[u8], lex: Lex) -> bool {
    let mut tokens = Tokens::new(text, lex).skip_while(|token| *token == Token::Mark(b';'));
    let first = tokens.next();
    match first {
        None => true,
        _ if is_one_of(first, &WRITES) => {
            tokens.all(|token| token != Token::Broken && !is_one_of(Some(token), &[b"returning"]))
        }
        _ => is_one_of(first, &COMMANDS),
    }
}

const WRITES: [&[u8]; 3] = [b"insert", b"update", b"delete"];
const COMMANDS: [&[u8]; 25] = [
    b"set",
    b"reset",
    b"begin",
    b"start",
    b"commit",
    b"end",
    b"rollback",
    b"abort",
    b"savepoint",
    b"release",
    b"discard",
    b"deallocate",
    b"prepare",
    b"listen",
    b"unlisten",
    b"notify",
    b"lock",
    b"create",
    b"drop",
    b"alter",
    b"truncate",
    b"do",
    b"copy",
    b"close",
    b"declare",
];

fn is_one_of(token: Option<Token<'_>>, words: &[&[u8]]) -> bool {
    words.iter().any(|word| is_word(token, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_analysed_takes_a_snapshot() {
        for (text, takes) in [
            ("SELECT 1", true),
            (" /* SET */ ((select 1))", true),
            ("with a as (select 1) table a", true),
            ("EXPLAIN SELECT 1", true),
            ("SET work_mem = 1", false),
            ("BEGIN", false),
            ("", false),
        ] {
            assert_eq!(takes_snapshot(text.as_bytes(), Lex::default()), takes, "{text}");
        }
    }

    #[test]
    fn what_ends_a_transaction_and_goes_on() {
        for (text, goes_on) in [
            ("COMMIT; EXECUTE a", true),
            (" ; abort work ;; SELECT 1;", true),
            ("END TRANSACTION; SELECT 1", true),
            ("COMMIT", false),
            ("ROLLBACK;;", false),
            ("ROLLBACK TO one; EXECUTE a", false),
            ("COMMIT AND CHAIN; EXECUTE a", false),
            ("COMMIT PREPARED 'x'; EXECUTE a", false),
            ("SELECT 1; COMMIT; EXECUTE a", false),
        ] {
            assert_eq!(
                ends_and_goes_on(text.as_bytes(), Lex::default()),
                goes_on,
                "{text}"
            );
        }
    }

    #[test]
    fn what_must_be_first_is_known_by_its_words() {
        for (text, sets) in [
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", true),
            ("show x; set transaction read write", true),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ", true),
            ("SET transaction_isolation = serializable", true),
            ("SET LOCAL \"transaction_isolation\" TO 'serializable'", true),
            ("START TRANSACTION NOT DEFERRABLE", true),
            ("BEGIN", false),
            ("SELECT 'SET TRANSACTION ISOLATION LEVEL'", false),
            ("SET work_mem = 4", false),
        ] {
            assert_eq!(sets_transaction(text.as_bytes(), Lex::default()), sets, "{text}");
        }
    }

    #[test]
    fn commands_that_run_nobodys_code() {
        for (text, nothing) in [
            ("SET work_mem = 1", true),
            (" -- nothing", true),
            ("", true),
            ("BEGIN; SAVEPOINT a;; SET x = 'insert'", true),
            ("BEGIN; INSERT INTO t VALUES (1)", false),
            ("COMMIT", true),
            ("END; PREPARE TRANSACTION 'x'", true),
            ("SET x = 'open", false),
        ] {
            assert_eq!(runs_nothing(text.as_bytes(), Lex::default()), nothing, "{text}");
        }
    }

    #[test]
    fn plain_forms_end_all_prepared_statements() {
        for (text, ends) in [
            ("DEALLOCATE ALL", true),
            (";deallocate prepare all;", true),
            ("discard /* */ all", true),
            ("DEALLOCATE \"all\"", false),
            ("DISCARD PLANS", false),
            ("DISCARD ALL; SELECT 1", false),
            ("", false),
        ] {
            assert_eq!(ends_all_prepared(text.as_bytes(), Lex::default()), ends, "{text}");
        }
    }

    #[test]
    fn commands_return_nothing() {
        for (text, nothing) in [
            ("SET a = 1", true),
            ("", true),
            ("-- nothing", true),
            ("INSERT INTO t VALUES ($1)", true),
            ("insert into t values (1) returning a", false),
            ("SELECT 1", false),
            ("SHOW a", false),
            ("CALL p()", false),
            ("EXECUTE a", false),
        ] {
            assert_eq!(
                returns_nothing(text.as_bytes(), Lex::default()),
                nothing,
                "{text}"
            );
        }
    }

    #[test]
    fn parameters_are_counted_outside_of_quotes() {
        for (text, count) in [
            ("SELECT $1, $2", Some(2)),
            ("SELECT '$3', $$ $4 $$, \"$5\", $2::int -- $6", Some(2)),
            ("SELECT 1", Some(0)),
            ("PREPARE q (int) AS SELECT $1 + 1", Some(0)),
            ("SELECT 'no end", None),
        ] {
            assert_eq!(parameters(text.as_bytes(), Lex::default()), count, "{text}");
        }
    }
}
