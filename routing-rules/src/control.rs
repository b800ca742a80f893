//! The statements a session answers or keeps itself, recognised only in exact forms.

use std::iter::Peekable;

use crate::Lex;
use crate::lexer::{Token, Tokens};
use crate::settings::{dotted_name, identifier, is_word, single};
use crate::words::{Call, Keyword, WORDS};

/// A statement the session layer handles itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// None of these, or in a form not known exactly.
    None,
    /// BEGIN or START TRANSACTION.
    Begin {
        /// What PostgreSQL answers.
        tag: &'static str,
        /// READ ONLY is asked for.
        read_only: bool,
        /// READ WRITE is asked for.
        read_write: bool,
        /// ISOLATION LEVEL REPEATABLE READ is asked for.
        repeatable_read: bool,
        /// ISOLATION LEVEL SERIALIZABLE is asked for.
        serializable: bool,
    },
    /// COMMIT or END, without a chained transaction.
    Commit,
    /// ROLLBACK or ABORT, without a chained transaction.
    Rollback,
    /// DEALLOCATE of one prepared statement.
    Deallocate {
        /// Its name, folded and cut as PostgreSQL does.
        name: Vec<u8>,
    },
    /// SET or RESET of a setting that begins with `pgshunt.`.
    SetOurs {
        /// Its whole name, in lower case.
        name: String,
        /// Its value; `None`: the default.
        value: Option<String>,
        /// For the transaction only.
        local: bool,
    },
    /// SHOW of a setting that begins with `pgshunt.`.
    ShowOurs {
        /// Its whole name, in lower case.
        name: String,
    },
    /// EXPLAIN (ROUTE) of another statement.
    ExplainRoute {
        /// Where that begins in the text.
        at: usize,
    },
}

impl Control {
    /// Is a text none of these, as its first letters show? Of others it is not said here.
    pub fn is_surely_none(text: &[u8]) -> bool {
        let first = text.trim_ascii_start().get(..QUERY.len());
        first.is_some_and(|first| first.eq_ignore_ascii_case(QUERY))
    }
}

/// With what a query begins, and no control.
const QUERY: &[u8] = b"select";

/// What a text of one statement is, given its first word.
pub(crate) fn of(first: Keyword, text: &[u8], lex: Lex) -> Control {
    if first == Keyword::Explain {
        return explain_route(text, lex).map_or(Control::None, |at| Control::ExplainRoute { at });
    }
    let mut form = Form {
        tokens: Tokens::new(text, lex).peekable(),
    };
    while form.mark(b';') {}
    form.tokens.next();
    let control = match first {
        Keyword::Begin => form.begin(),
        Keyword::Start => form.start(),
        Keyword::Commit | Keyword::End => form.finish(Control::Commit),
        Keyword::Rollback | Keyword::Abort => form.finish(Control::Rollback),
        Keyword::Deallocate => form.deallocate(),
        Keyword::Set => form.set(),
        Keyword::Reset => form.reset(),
        Keyword::Show => form.show(),
        _ => None,
    };
    control.filter(|_| form.is_at_end()).unwrap_or(Control::None)
}

/// Where the statement behind EXPLAIN (ROUTE) begins.
fn explain_route(text: &[u8], lex: Lex) -> Option<usize> {
    let mut tokens = Tokens::new(text, lex);
    let explain = tokens.find(|token| *token != Token::Mark(b';'));
    is_word(explain, b"explain").then_some(())?;
    (tokens.next()? == Token::Mark(b'(')).then_some(())?;
    is_word(tokens.next(), b"route").then_some(())?;
    (tokens.next()? == Token::Mark(b')')).then_some(())?;
    Some(tokens.position())
}

/// Tokens that are expected to have a certain form; what reads a part of it says whether it was there.
struct Form<'a> {
    tokens: Peekable<Tokens<'a>>,
}

impl Form<'_> {
    fn word(&mut self, word: &[u8]) -> bool {
        self.tokens.next_if(|token| is_word(Some(*token), word)).is_some()
    }

    fn mark(&mut self, mark: u8) -> bool {
        self.tokens.next_if_eq(&Token::Mark(mark)).is_some()
    }

    fn equals(&mut self) -> bool {
        self.tokens.next_if_eq(&Token::Operator(b"=")).is_some()
    }

    fn is_at_end(&mut self) -> bool {
        while self.mark(b';') {}
        self.tokens.peek().is_none()
    }

    fn begin(&mut self) -> Option<Control> {
        let _noise = self.word(b"work") || self.word(b"transaction");
        self.modes("BEGIN")
    }

    fn start(&mut self) -> Option<Control> {
        self.word(b"transaction").then_some(())?;
        self.modes("START TRANSACTION")
    }

    /// The modes of a transaction, with commas between them or without; none twice.
    fn modes(&mut self, tag: &'static str) -> Option<Control> {
        let (mut isolation, mut access, mut deferrable) = (None, None, None);
        let mut wanted = false;
        while wanted || !matches!(self.tokens.peek(), None | Some(Token::Mark(b';'))) {
            if self.word(b"isolation") {
                self.word(b"level").then_some(())?;
                put(&mut isolation, self.isolation()?)?;
            } else if self.word(b"read") {
                let only = self.word(b"only");
                (only || self.word(b"write")).then_some(())?;
                put(&mut access, only)?;
            } else {
                let not = self.word(b"not");
                self.word(b"deferrable").then_some(())?;
                put(&mut deferrable, !not)?;
            }
            wanted = self.mark(b',');
        }
        Some(Control::Begin {
            tag,
            read_only: access == Some(true),
            read_write: access == Some(false),
            repeatable_read: isolation == Some(Isolation::RepeatableRead),
            serializable: isolation == Some(Isolation::Serializable),
        })
    }

    fn isolation(&mut self) -> Option<Isolation> {
        if self.word(b"serializable") {
            Some(Isolation::Serializable)
        } else if self.word(b"repeatable") {
            self.word(b"read").then_some(Isolation::RepeatableRead)
        } else {
            self.word(b"read").then_some(())?;
            (self.word(b"committed") || self.word(b"uncommitted")).then_some(Isolation::ReadCommitted)
        }
    }

    /// The rest of COMMIT, ROLLBACK and their other names.
    fn finish(&mut self, control: Control) -> Option<Control> {
        let _noise = self.word(b"work") || self.word(b"transaction");
        if self.word(b"and") {
            (self.word(b"no") && self.word(b"chain")).then_some(())?;
        }
        Some(control)
    }

    fn deallocate(&mut self) -> Option<Control> {
        let mut token = self.tokens.next()?;
        if is_word(Some(token), b"prepare") && !matches!(self.tokens.peek(), None | Some(Token::Mark(b';'))) {
            token = self.tokens.next()?;
        }
        if let Token::Word(word) = token {
            // A reserved word is no name; ALL is all of them.
            (WORDS.folded(word).call != Call::Reserved).then_some(())?;
        }
        Some(Control::Deallocate {
            name: identifier(token)?,
        })
    }

    fn set(&mut self) -> Option<Control> {
        let local = self.word(b"local");
        let _noise = !local && self.word(b"session");
        let name = self.our_name()?;
        (self.equals() || self.word(b"to")).then_some(())?;
        let value = if self.word(b"default") {
            None
        } else {
            Some(self.value()?)
        };
        Some(Control::SetOurs { name, value, local })
    }

    fn reset(&mut self) -> Option<Control> {
        let name = self.our_name()?;
        Some(Control::SetOurs {
            name,
            value: None,
            local: false,
        })
    }

    fn show(&mut self) -> Option<Control> {
        Some(Control::ShowOurs {
            name: self.our_name()?,
        })
    }

    fn our_name(&mut self) -> Option<String> {
        let first = self.tokens.next();
        let name = String::from_utf8(dotted_name(first, &mut self.tokens)?)
            .ok()?
            .to_ascii_lowercase();
        name.starts_with("pgshunt.").then_some(name)
    }

    /// One value, as PostgreSQL would keep it.
    fn value(&mut self) -> Option<String> {
        let value = match self.tokens.next()? {
            Token::Text(text) => single(text, b'\''),
            Token::Body(text) => text.to_vec(),
            token @ (Token::Word(_) | Token::Quoted(_)) => identifier(token)?,
            Token::Operator(b"-") => [b"-", self.number()?].concat(),
            Token::Operator(b"+") => self.number()?.to_vec(),
            Token::Number(number) if !number.starts_with(b"$") => number.to_vec(),
            _ => return None,
        };
        String::from_utf8(value).ok()
    }

    fn number(&mut self) -> Option<&[u8]> {
        match self.tokens.next()? {
            Token::Number(number) if !number.starts_with(b"$") => Some(number),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isolation {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// Fills a place; `None` if it is taken.
fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}
