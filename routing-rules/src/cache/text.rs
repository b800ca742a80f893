//! A text as a row of tokens with their neighbours, for those who look for names.

use std::borrow::Cow;

use super::relations::Name;
use crate::Lex;
use crate::lexer::{Token, Tokens};
use crate::words::{Call, WORDS};

/// The tokens of a text; `None` if one of them can't be read.
pub(super) fn tokens(text: &[u8], lex: Lex) -> Option<Vec<Token<'_>>> {
    let mut tokens = Tokens::new(text, lex);
    let mut read = Vec::new();
    while let Some(token) = tokens.next() {
        let is_clear = match token {
            Token::Broken => false,
            // A constant, whatever it says; but a name with escapes may be any name.
            Token::Coded(_) => !matches!(text.get(tokens.span().start), None | Some(b'u' | b'U')),
            Token::Quoted(name) => !name.contains(&b'"') && (name.len() <= NAME_BYTES_MAX || name.is_ascii()),
            _ => true,
        };
        is_clear.then_some(())?;
        read.push(token);
    }
    Some(read)
}

/// The name a token is, as the catalog would have it.
pub(super) fn name<'a>(token: &Token<'a>) -> Option<Cow<'a, [u8]>> {
    let cut = |name: &'a [u8]| &name[..name.len().min(NAME_BYTES_MAX)];
    match token {
        Token::Word(text) if text.iter().any(u8::is_ascii_uppercase) => {
            Some(cut(text).to_ascii_lowercase().into())
        }
        Token::Word(text) | Token::Quoted(text) => Some(cut(text).into()),
        _ => None,
    }
}

/// Is the token this keyword?
pub(super) fn is(token: Option<&Token<'_>>, keyword: &str) -> bool {
    matches!(token, Some(Token::Word(text)) if text.eq_ignore_ascii_case(keyword.as_bytes()))
}

/// Does a parenthesis behind this word call no function, or a builtin that writes to no table?
pub(super) fn is_harmless_call(name: &[u8]) -> bool {
    let meaning = WORDS.exact(name);
    meaning.call != Call::Unknown && !RUNS_SQL.iter().any(|runner| runner.as_bytes() == name)
}

/// Builtins that run SQL given as text.
const RUNS_SQL: [&str; 8] = [
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "ts_stat",
    "ts_rewrite",
    "dblink",
];

/// Is this body of a PL/pgSQL function one that writes to no table? Only if nothing in it could.
pub(super) fn is_quiet(body: &[u8], is_own_function: impl Fn(&[u8]) -> bool) -> bool {
    let lex = Lex {
        standard_conforming_strings: true,
    };
    let Some(tokens) = tokens(body, lex) else {
        return false;
    };
    tokens.iter().enumerate().all(|(at, token)| {
        let Some(name) = name(token) else { return true };
        let is_one_of = |words: &str| {
            words
                .split_ascii_whitespace()
                .any(|word| word.as_bytes() == &*name)
        };
        let calls = tokens.get(at + 1) == Some(&Token::Mark(b'('));
        let is_harmless = !calls || is_one_of(BEFORE_PARENTHESIS) || is_harmless_call(&name);
        is_harmless && !is_one_of(LOUD) && !is_own_function(&name)
    })
}

/// The columns of its row that this body of a PL/pgSQL trigger may set; `None`: its row may become any other.
pub(super) fn sets(body: &[u8]) -> Option<Vec<Name>> {
    let lex = Lex {
        standard_conforming_strings: true,
    };
    let tokens = tokens(body, lex)?;
    let mut columns = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let (before, after) = (
            at.checked_sub(1).and_then(|at| tokens.get(at)),
            tokens.get(at + 1),
        );
        let row = |token| ["new", "old", "null"].iter().any(|word| is(token, word));
        if is(Some(token), "return") && !row(after) {
            return None;
        }
        if name(token).is_some_and(|name| *name == *b"new") {
            match after {
                Some(Token::Mark(b'.')) => columns.push(name(tokens.get(at + 2)?)?.as_ref().into()),
                _ if is(before, "return") => {}
                _ => return None,
            }
        }
    }
    Some(columns)
}

/// Words that begin what may write.
const LOUD: &str = "
alter call cluster copy create delete do drop execute grant import insert into lock merge reassign refresh reindex
revoke security truncate update vacuum
";

/// Words of PL/pgSQL that stand before a parenthesis.
const BEFORE_PARENTHESIS: &str = "if elsif elseif return while when raise else then assert exit continue";

/// The longest name PostgreSQL keeps; it cuts what is longer.
const NAME_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trigger_sets_is_told_or_it_may_be_anything() {
        let told = |body: &str| {
            let columns = sets(body.as_bytes())?;
            let text = |name: &Name| String::from_utf8_lossy(name).into_owned();
            Some(columns.iter().map(text).collect::<Vec<_>>().join(" "))
        };
        let stamps = "BEGIN NEW.at = now(); IF NEW.\"By\" IS NULL THEN RETURN OLD; END IF; RETURN NEW; END";
        assert_eq!(told(stamps).as_deref(), Some("at By"));
        assert_eq!(told("BEGIN RETURN NULL; END").as_deref(), Some(""));
        for body in [
            "BEGIN NEW := OLD; RETURN NEW; END",
            "DECLARE r t; BEGIN r := NEW; r.k := 1; RETURN r; END",
            "DECLARE r t; BEGIN r.k := 1; RETURN r; END",
            "BEGIN \"new\" := OLD; RETURN NEW; END",
            "BEGIN 'open",
        ] {
            assert_eq!(told(body), None, "{body}");
        }
    }

    #[test]
    fn a_trigger_that_stamps_its_row_is_quiet_and_one_that_writes_is_not() {
        let own = |name: &[u8]| name == b"log_it";
        for body in [
            "BEGIN NEW.updated_at = now(); RETURN NEW; END",
            "begin if (TG_OP = 'UPDATE') then NEW.n := coalesce(OLD.n, 0) + 1; end if; return NEW; end",
            "BEGIN IF NEW.a < 0 THEN RAISE EXCEPTION 'insert into it: %', NEW.a; END IF; RETURN NEW; END",
        ] {
            assert!(is_quiet(body.as_bytes(), own), "{body}");
        }
        for body in [
            "BEGIN INSERT INTO audit VALUES (NEW.*); RETURN NEW; END",
            "BEGIN EXECUTE 'delete from t'; RETURN NEW; END",
            "BEGIN PERFORM log_it(NEW.a); RETURN NEW; END",
            "BEGIN NEW.a := NEW.log_it; RETURN NEW; END",
            "BEGIN PERFORM somebody.f(); RETURN NEW; END",
            "BEGIN PERFORM query_to_xml('select log_it()', true, true, ''); RETURN NEW; END",
            "BEGIN SELECT a INTO x FROM t; RETURN NEW; END",
            "BEGIN U&\"f\"(); END",
            "BEGIN 'open",
        ] {
            assert!(!is_quiet(body.as_bytes(), own), "{body}");
        }
    }
}
