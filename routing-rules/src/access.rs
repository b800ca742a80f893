//! May a text run on a replica? Only if every token of it is known to be harmless there.
//!
//! Nothing is parsed: a statement is a read if it begins as a query, holds no word that could make it write, lock or
//! make a table, and calls only functions known not to write. Where a word could be a harmless name as well (a column
//! called `update`), it counts as what it could be at worst: the primary answers every statement.

use std::fmt;

use crate::Lex;
use crate::calls::{Place, Seen};
use crate::lexer::{Token, Tokens};
use crate::names::Names;
use crate::words::{Call, Keyword, WORDS, Words};

/// What a text does to data, as far as that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads, and a replica can do it.
    Read,
    /// It writes, or could, or only the primary can tell.
    Write(Why),
}

impl Access {
    /// Is it proven to only read?
    pub fn is_read(&self) -> bool {
        *self == Access::Read
    }
}

/// Why a text is for the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is no query: it begins with this word.
    Begins(Box<str>),
    /// A word in it could make it write: INSERT, INTO, …
    Word(Box<str>),
    /// FOR UPDATE, FOR SHARE and their kin.
    Locks,
    /// A function that is VOLATILE, or that only makes sense on the primary.
    Volatile(Box<str>),
    /// A function nobody knows.
    Unknown(Box<str>),
    /// A relation that runs volatile functions, or that replicas don't have: a view, an unlogged or foreign table.
    Relation(Box<str>),
    /// An operator whose function is volatile.
    Operator(Box<str>),
    /// System catalogs and statistics are each server's own.
    Catalog(Box<str>),
    /// The text could not be read to its end.
    Unclear,
    /// No statement at all.
    Empty,
    /// What the database has is not known yet, or has just changed.
    NamesUnknown,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Begins(word) => write!(f, "{word} is not proven to only read"),
            Why::Word(word) => write!(f, "it contains {word}"),
            Why::Locks => f.write_str("it locks rows"),
            Why::Volatile(name) => write!(f, "function {name} is volatile or needs the primary"),
            Why::Unknown(name) => write!(f, "function {name} is not known"),
            Why::Relation(name) => write!(f, "{name} can't be read on a replica, or runs volatile functions"),
            Why::Operator(name) => write!(f, "operator {name} runs a volatile function"),
            Why::Catalog(name) => write!(f, "{name} is each server's own"),
            Why::Unclear => f.write_str("its text could not be read to the end"),
            Why::Empty => f.write_str("it holds no statement"),
            Why::NamesUnknown => {
                f.write_str("the database's functions and views have not been looked up yet")
            }
        }
    }
}

/// What a text does. `names` is what the database has beyond the builtins; without it nothing is proven.
pub fn access(text: &[u8], lex: Lex, names: Option<&Names>) -> Access {
    let Some(names) = names else {
        return Access::Write(Why::NamesUnknown);
    };
    let mut reader = Reader {
        words: &WORDS,
        names,
        place: Place::new(),
        head: Head::Begin,
        last: Keyword::No,
        statements: 0,
    };
    for token in Tokens::new(text, lex) {
        if let Err(why) = reader.take(token) {
            return Access::Write(why);
        }
    }
    match (reader.statements, reader.head) {
        (0, _) => Access::Write(Why::Empty),
        (_, Head::Copy) => Access::Write(Why::Begins("COPY".into())),
        (_, Head::Begin | Head::Explain | Head::Query | Head::CopyOut) => Access::Read,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// No word of the statement yet.
    Begin,
    /// Behind EXPLAIN.
    Explain,
    Query,
    /// COPY, its direction not seen yet.
    Copy,
    /// COPY … TO STDOUT.
    CopyOut,
}

struct Reader<'a> {
    words: &'static Words,
    names: &'a Names,
    place: Place<'a>,
    head: Head,
    /// The last word, while nothing else came.
    last: Keyword,
    statements: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, token: Token<'a>) -> Result<(), Why> {
        let last = std::mem::replace(&mut self.last, Keyword::No);
        match token {
            Token::Mark(b';') if self.place.depth == 0 => {
                if self.head == Head::Copy {
                    return Err(Why::Begins("COPY".into()));
                }
                self.place.next_statement();
                self.head = Head::Begin;
            }
            Token::Word(text) => return self.word(text, last),
            Token::Quoted(text) => {
                self.name(text)?;
                self.place.quoted(text, self.words);
            }
            Token::Mark(b'(') => self.open()?,
            Token::Mark(b')') => self.place.close(),
            Token::Mark(mark) => self.place.mark(mark),
            Token::Operator(operator) => {
                if self.names.is_volatile_operator(operator) {
                    return Err(Why::Operator(lossy(operator)));
                }
                self.place.other(Seen::Other);
            }
            Token::Number(_) | Token::Text(_) | Token::Body(_) => {
                self.place.other(Seen::Constant);
            }
            // A string or a name spelled with Unicode escapes: what it says is not looked at.
            Token::Coded(_) | Token::Broken => return Err(Why::Unclear),
        }
        if self.head == Head::Begin && !matches!(token, Token::Mark(b'(' | b';')) {
            return Err(Why::Unclear);
        }
        Ok(())
    }

    fn word(&mut self, text: &'a [u8], last: Keyword) -> Result<(), Why> {
        let meaning = self.words.folded(text);
        let is_label = self.place.is_label_next();
        match self.head {
            Head::Begin => self.begin(meaning.keyword, text)?,
            Head::Explain if self.place.depth == 0 => self.explained(meaning.keyword, text)?,
            Head::Copy
                if self.place.depth == 0 && last == Keyword::To && meaning.keyword == Keyword::StdInOut =>
            {
                self.head = Head::CopyOut;
            }
            Head::Explain | Head::Query | Head::Copy | Head::CopyOut if !is_label => {
                self.inner(meaning.keyword, text, last)?;
            }
            Head::Explain | Head::Query | Head::Copy | Head::CopyOut => {}
        }
        self.folded_name(text)?;
        self.place.word(text, meaning);
        self.last = meaning.keyword;
        Ok(())
    }

    fn begin(&mut self, keyword: Keyword, text: &[u8]) -> Result<(), Why> {
        self.statements += 1;
        self.head = match keyword {
            Keyword::Select | Keyword::Values | Keyword::With => Head::Query,
            Keyword::Table if self.place.depth == 0 => Head::Query,
            Keyword::Explain => Head::Explain,
            Keyword::Copy => Head::Copy,
            _ => return Err(Why::Begins(upper(text))),
        };
        Ok(())
    }

    fn explained(&mut self, keyword: Keyword, text: &[u8]) -> Result<(), Why> {
        match keyword {
            Keyword::Analyze | Keyword::Verbose => Ok(()),
            Keyword::Select | Keyword::Values | Keyword::With | Keyword::Table => {
                self.head = Head::Query;
                Ok(())
            }
            _ => Err(Why::Begins(upper(text))),
        }
    }

    /// A word inside a query.
    fn inner(&mut self, keyword: Keyword, text: &[u8], last: Keyword) -> Result<(), Why> {
        match keyword {
            Keyword::Update if last == Keyword::For => Err(Why::Locks),
            Keyword::Share | Keyword::Key | Keyword::NoKey if last == Keyword::For => Err(Why::Locks),
            Keyword::Insert
            | Keyword::Update
            | Keyword::Delete
            | Keyword::Merge
            | Keyword::Into
            | Keyword::Uescape => Err(Why::Word(upper(text))),
            _ => Ok(()),
        }
    }

    fn open(&mut self) -> Result<(), Why> {
        match self.place.function() {
            None => {}
            Some(None) => return Err(Why::Unknown("with a schema".into())),
            Some(Some(name)) => self.function(name)?,
        }
        self.place.open();
        Ok(())
    }

    fn function(&self, name: &[u8]) -> Result<(), Why> {
        let mut buffer = [0; 64];
        let Some(name) = fold(name, &mut buffer) else {
            return Err(Why::Unknown(lossy(name)));
        };
        match self.words.exact(name).call {
            Call::Harmless if self.words.needs_primary(name) => Err(Why::Volatile(lossy(name))),
            Call::Harmless => Ok(()),
            Call::SetConfig | Call::SetSeed | Call::SequenceState | Call::BackendPid => {
                Err(Why::Volatile(lossy(name)))
            }
            Call::Unknown | Call::Syntax | Call::Reserved => match self.names.is_safe_function(name) {
                Some(true) => Ok(()),
                Some(false) => Err(Why::Volatile(lossy(name))),
                None => Err(Why::Unknown(lossy(name))),
            },
        }
    }

    fn folded_name(&self, text: &[u8]) -> Result<(), Why> {
        let mut buffer = [0; 64];
        // A longer name is cut by PostgreSQL; so is what it is compared with.
        match fold(&text[..text.len().min(63)], &mut buffer) {
            Some(name) => self.name(name),
            None => Ok(()),
        }
    }

    /// Any name: it could be a relation, or a function called as `row.function`.
    fn name(&self, name: &[u8]) -> Result<(), Why> {
        if self.names.is_for_primary(name) {
            return Err(Why::Relation(lossy(name)));
        }
        let is_catalog = name.starts_with(b"pg_") || name == b"information_schema";
        if is_catalog && (self.words.exact(name).call != Call::Harmless || self.words.needs_primary(name)) {
            return Err(Why::Catalog(lossy(name)));
        }
        Ok(())
    }
}

/// Lower case as PostgreSQL folds it; `None` if it is too long for a name.
fn fold<'b>(name: &[u8], buffer: &'b mut [u8; 64]) -> Option<&'b [u8]> {
    let folded = buffer.get_mut(..name.len())?;
    folded.copy_from_slice(name);
    folded.make_ascii_lowercase();
    Some(folded)
}

fn lossy(name: &[u8]) -> Box<str> {
    String::from_utf8_lossy(name).into()
}

fn upper(word: &[u8]) -> Box<str> {
    String::from_utf8_lossy(&word[..word.len().min(40)])
        .to_uppercase()
        .into()
}
