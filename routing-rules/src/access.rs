//! May a text run on a replica? Only if every token of it is known to be harmless there.
//!
//! Nothing is parsed: a statement is a read if it begins as a query, holds no word that could make it write, lock or
//! make a table, and calls only functions known not to write. Where a word could be a harmless name as well (a column
//! called `update`), it counts as what it could be at worst: the primary answers every statement.

use std::fmt;

use crate::Lex;
use crate::calls::{DEPTH_MAX, Function, Place, Seen};
use crate::lexer::{Token, Tokens};
use crate::names::Names;
use crate::words::{Call, Keyword, Meaning, WORDS, Words, is_anywhere};

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
    /// A function that is VOLATILE, or that only makes sense on the primary, called or just named: `row.function` calls it.
    Volatile(Box<str>),
    /// A function nobody knows.
    Unknown(Box<str>),
    /// A relation or a type that runs volatile functions, or that replicas don't have: a view, an unlogged table, a domain.
    Relation(Box<str>),
    /// An operator whose function is volatile.
    Operator(Box<str>),
    /// System catalogs, statistics and functions about a server are that server's own.
    Catalog(Box<str>),
    /// The text could not be read to its end.
    Unclear,
    /// No statement at all.
    Empty,
    /// What the database has is not known yet, or has just changed.
    NamesUnknown,
    /// A replica has refused its like.
    Refused,
}

impl Why {
    /// Is it certain that a replica can't do it, as opposed to not proven that it can?
    pub fn is_certain(&self) -> bool {
        match self {
            Why::Begins(_) | Why::Word(_) | Why::Locks | Why::Empty => true,
            Why::Volatile(_)
            | Why::Unknown(_)
            | Why::Relation(_)
            | Why::Operator(_)
            | Why::Catalog(_)
            | Why::Unclear
            | Why::NamesUnknown
            | Why::Refused => false,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Begins(word) => write!(f, "{word} is not proven to only read"),
            Why::Word(word) => write!(f, "it contains {word}"),
            Why::Locks => f.write_str("it locks rows"),
            Why::Volatile(name) => write!(f, "function {name} is volatile or needs the primary"),
            Why::Unknown(name) => write!(f, "function {name} is not known"),
            Why::Relation(name) => write!(f, "{name} runs volatile functions or can't be read on a replica"),
            Why::Operator(name) => write!(f, "operator {name} runs a volatile function"),
            Why::Catalog(name) => write!(f, "{name} belongs to the server it runs on"),
            Why::Unclear => f.write_str("its text could not be read to the end"),
            Why::Empty => f.write_str("it holds no statement"),
            Why::NamesUnknown => {
                f.write_str("the database's functions and views have not been looked up yet")
            }
            Why::Refused => f.write_str("a replica has refused a statement like it"),
        }
    }
}

/// What a text does. `names` is what the database has beyond the builtins; without it nothing is proven.
pub fn access(text: &[u8], lex: Lex, names: Option<&Names>) -> Access {
    let Some(names) = names else {
        return Access::Write(Why::NamesUnknown);
    };
    if let Some(operator) = names.volatile_implicit_operator() {
        return Access::Write(Why::Operator(lossy(operator)));
    }
    let mut reader = Reader {
        words: &WORDS,
        names,
        place: Place::new(),
        head: Head::Begin,
        last: Keyword::No,
        odd: &[],
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
    /// The last word if it ends beyond ASCII, while nothing else came.
    odd: &'a [u8],
    statements: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, token: Token<'a>) -> Result<(), Why> {
        let last = std::mem::replace(&mut self.last, Keyword::No);
        let odd = std::mem::take(&mut self.odd);
        if !odd.is_empty() && may_be_swallowed(odd, token) {
            return Err(Why::Unclear);
        }
        match token {
            Token::Mark(b';') if self.place.depth == 0 => return self.end(),
            Token::Word(text) => return self.word(text, last),
            Token::Quoted(text) => self.quoted(text)?,
            Token::Mark(b'(') => self.open()?,
            Token::Mark(b')') => self.place.close(),
            Token::Mark(mark) => self.place.mark(mark),
            Token::Operator(run) => self.operator(run)?,
            Token::Number(_) | Token::Text(_) | Token::Body(_) => {
                self.place.other(Seen::Constant);
            }
            // A string or a name with escapes: what it says is not looked at.
            Token::Coded(_) | Token::Broken => return Err(Why::Unclear),
        }
        if self.head == Head::Begin && token != Token::Mark(b'(') {
            return Err(Why::Unclear);
        }
        Ok(())
    }

    /// `;`
    fn end(&mut self) -> Result<(), Why> {
        if self.head == Head::Copy {
            return Err(Why::Begins("COPY".into()));
        }
        self.place.next_statement();
        self.head = Head::Begin;
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
        self.folded_name(text, meaning)?;
        self.place.word(text, meaning);
        self.last = meaning.keyword;
        self.odd = match text.last() {
            Some(0x80..) => text,
            _ => &[],
        };
        Ok(())
    }

    fn quoted(&mut self, text: &'a [u8]) -> Result<(), Why> {
        let is_cut_amid_letters = text.len() > NAME_BYTES_MAX && !text.is_ascii();
        if text.contains(&b'"') || is_cut_amid_letters {
            return Err(Why::Unclear);
        }
        let name = cut(text);
        self.name(name, self.words.exact(name))?;
        self.place.quoted(name, self.words);
        Ok(())
    }

    fn begin(&mut self, keyword: Keyword, text: &[u8]) -> Result<(), Why> {
        self.statements += 1;
        self.head = match keyword {
            Keyword::Select | Keyword::Values | Keyword::With => Head::Query,
            Keyword::Table if self.place.depth == 0 => Head::Query,
            Keyword::Explain => Head::Explain,
            Keyword::Copy => {
                self.place.copy = true;
                Head::Copy
            }
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

    /// `(`
    fn open(&mut self) -> Result<(), Why> {
        if self.place.depth + 1 >= DEPTH_MAX {
            return Err(Why::Unclear);
        }
        if let Some(function) = self.place.function() {
            self.function(function)?;
        }
        self.place.open();
        Ok(())
    }

    /// A function called whose name, as a name, is harmless.
    fn function(&self, function: Function<'_>) -> Result<(), Why> {
        if function.may_be_builtin && function.call == Call::Harmless {
            return Ok(());
        }
        let mut buffer = [0; NAME_BYTES_MAX];
        let name = match function.is_quoted {
            true => function.name,
            false => fold(function.name, &mut buffer),
        };
        match self.names.look_up(name).is_safe_function {
            Some(true) => Ok(()),
            Some(false) => Err(Why::Volatile(lossy(name))),
            None => Err(Why::Unknown(lossy(name))),
        }
    }

    fn folded_name(&self, text: &[u8], meaning: Meaning) -> Result<(), Why> {
        let mut buffer = [0; NAME_BYTES_MAX];
        self.name(fold(text, &mut buffer), meaning)
    }

    /// Any name: it could be a relation, or a function called as `row.function`, which works for scalars as well.
    fn name(&self, name: &[u8], meaning: Meaning) -> Result<(), Why> {
        let known = self.names.look_up(name);
        if known.is_safe_function == Some(false) {
            return Err(Why::Volatile(lossy(name)));
        }
        if known.is_for_primary {
            return Err(Why::Relation(lossy(name)));
        }
        if (name.starts_with(b"pg_") && !is_anywhere(name)) || name == b"information_schema" {
            return Err(Why::Catalog(lossy(name)));
        }
        if meaning.needs_primary {
            return Err(Why::Volatile(lossy(name)));
        }
        Ok(())
    }

    /// A run of operator characters, which `scan.l` may cut into several operators.
    fn operator(&mut self, run: &[u8]) -> Result<(), Why> {
        let is_whole = run.iter().any(|c| b"~!@#%^&|`?".contains(c));
        let signs = run.iter().rev().take_while(|c| b"+-".contains(c)).count();
        let first = match is_whole {
            true => run.len(),
            false => (run.len() - signs).max(1),
        };
        let (first, signs) = run.split_at(first);
        let first = if first == b"!=" { b"<>" } else { first };
        for operator in std::iter::once(first).chain(signs.chunks(1)) {
            if self.names.is_volatile_operator(operator) {
                return Err(Why::Operator(lossy(operator)));
            }
        }
        self.place.other(Seen::Other);
        Ok(())
    }
}

/// The longest name PostgreSQL keeps; it cuts what is longer.
const NAME_BYTES_MAX: usize = 63;

/// In SJIS, BIG5, GBK, GB18030, JOHAB and UHC, a byte that looks like ASCII may be the second half of a letter.
fn may_be_swallowed(odd: &[u8], token: Token<'_>) -> bool {
    match token {
        Token::Operator(run) => odd.as_ptr_range().end == run.as_ptr(),
        Token::Mark(mark) => !b"(),;.:".contains(&mark),
        Token::Word(_)
        | Token::Quoted(_)
        | Token::Text(_)
        | Token::Body(_)
        | Token::Coded(_)
        | Token::Number(_)
        | Token::Broken => false,
    }
}

fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(NAME_BYTES_MAX)]
}

/// Lower case and short, as PostgreSQL makes names.
fn fold<'b>(name: &[u8], buffer: &'b mut [u8; NAME_BYTES_MAX]) -> &'b [u8] {
    let name = cut(name);
    let folded = &mut buffer[..name.len()];
    folded.copy_from_slice(name);
    folded.make_ascii_lowercase();
    folded
}

fn lossy(name: &[u8]) -> Box<str> {
    String::from_utf8_lossy(name).into()
}

fn upper(word: &[u8]) -> Box<str> {
    String::from_utf8_lossy(&word[..word.len().min(40)])
        .to_uppercase()
        .into()
}
