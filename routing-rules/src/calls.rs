//! Tells a function call from the other uses of a parenthesis, by what stands before it.
//!
//! Where the neighbours leave it open, it is a call: an unknown call costs one question to the server, a missed one
//! would be a leak.

use crate::words::{Call, Keyword, Meaning, Words};

/// Where in a statement the reader is.
#[derive(Debug)]
pub struct Place<'a> {
    /// Of what kind the last token was.
    pub seen: Seen,
    /// Parentheses open.
    pub depth: usize,
    /// The statement is a COPY.
    pub copy: bool,
    chain: Chain<'a>,
    levels: [u8; DEPTH_MAX],
    /// An INSERT waits for its query.
    insert_open: bool,
    /// An UPDATE waits for its SET.
    update_open: bool,
    /// The last SET was that of an UPDATE.
    set_of_update: bool,
}

/// The kind of a token, as far as it tells what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// None yet: the statement or the query begins.
    Start,
    /// A word without quotes.
    Word(Keyword),
    /// A quoted identifier.
    Name,
    /// `(`
    Open,
    /// `)` after which an operand has ended.
    Close,
    /// `)` after which an operand may begin: of `DISTINCT ON (…)`, `OPERATOR(…)`.
    CloseBefore,
    /// A number, a string, `]`: the end of an operand.
    Constant,
    /// A string or an identifier whose text is not known.
    Coded,
    /// `.`
    Dot,
    /// `:`
    Colon,
    /// `::`
    Cast,
    /// An operator, a comma, anything else.
    Other,
}

/// A function called.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// As it is written.
    pub name: &'a [u8],
    /// Is it not to be folded?
    pub is_quoted: bool,
    /// Is it without a schema, or in that of the builtins?
    pub may_be_builtin: bool,
    /// What a builtin with this name would do.
    pub call: Call,
}

/// Names with dots between them.
#[derive(Debug)]
struct Chain<'a> {
    /// What stood before the first.
    before: Seen,
    /// How many; 0: the last token was no name.
    parts: usize,
    schema: Schema,
    /// The last one.
    text: &'a [u8],
    quoted: bool,
    meaning: Meaning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Schema {
    None,
    Catalog,
    Information,
    Other,
}

/// Parentheses whose inside is told apart; deeper ones are all the same.
pub const DEPTH_MAX: usize = 64;

/// A level between WITH and the query it belongs to: names here are those of common table expressions.
const IN_WITH: u8 = 1;
/// A level after whose end an operand may begin.
const BEFORE_OPERAND: u8 = 2;

const NO_CHAIN: Chain<'static> = Chain {
    before: Seen::Start,
    parts: 0,
    schema: Schema::None,
    text: b"",
    quoted: false,
    meaning: crate::words::UNKNOWN,
};

impl<'a> Place<'a> {
    /// Before the first token of a statement.
    pub fn new() -> Self {
        Place {
            seen: Seen::Start,
            depth: 0,
            copy: false,
            chain: NO_CHAIN,
            levels: [0; DEPTH_MAX],
            insert_open: false,
            update_open: false,
            set_of_update: false,
        }
    }

    /// Before the next statement.
    pub fn next_statement(&mut self) {
        self.seen = Seen::Start;
        self.depth = 0;
        self.copy = false;
        self.chain.parts = 0;
        self.levels[0] = 0;
        self.insert_open = false;
        self.update_open = false;
        self.set_of_update = false;
    }

    /// Is the next word a name whatever it says: a column after a dot, a label after AS?
    pub fn is_label_next(&self) -> bool {
        matches!(self.seen, Seen::Dot | Seen::Word(Keyword::As))
    }

    /// A word without quotes.
    pub fn word(&mut self, text: &'a [u8], meaning: Meaning) {
        if !self.is_label_next() {
            self.keyword(meaning.keyword);
        }
        let keyword = if self.seen == Seen::Dot {
            Keyword::No
        } else {
            meaning.keyword
        };
        self.link(text, meaning, false);
        self.seen = Seen::Word(keyword);
    }

    /// A quoted identifier.
    pub fn quoted(&mut self, text: &'a [u8], words: &Words) {
        let meaning = words.exact(text);
        let call = match meaning.call {
            Call::Syntax | Call::Reserved => Call::Unknown,
            call => call,
        };
        self.link(
            text,
            Meaning {
                keyword: Keyword::No,
                call,
                ..meaning
            },
            true,
        );
        self.seen = Seen::Name;
    }

    /// Any token that is neither a name nor a parenthesis.
    pub fn other(&mut self, seen: Seen) {
        if seen != Seen::Dot {
            self.chain.parts = 0;
        }
        self.seen = seen;
    }

    /// Any mark but a parenthesis.
    pub fn mark(&mut self, mark: u8) {
        self.other(match mark {
            b'.' => Seen::Dot,
            b':' if self.seen == Seen::Colon => Seen::Cast,
            b':' => Seen::Colon,
            b']' => Seen::Constant,
            _ => Seen::Other,
        });
    }

    /// `(`: what is called by it, if anything.
    pub fn open(&mut self) -> Option<Call> {
        let call = self.called();
        let flags = match (self.chain.parts, self.chain.meaning.keyword, self.chain.before) {
            (1, Keyword::On, Seen::Word(Keyword::Distinct)) | (1, Keyword::Operator, _) => BEFORE_OPERAND,
            _ => 0,
        };
        if self.seen == Seen::Close {
            // `WITH … AS (…) (SELECT …)`: the query itself.
            self.unset(IN_WITH);
        }
        self.depth += 1;
        if let Some(level) = self.levels.get_mut(self.depth) {
            *level = flags;
        }
        self.other(Seen::Open);
        call
    }

    /// `)`
    pub fn close(&mut self) {
        let before_operand = self.has(BEFORE_OPERAND);
        self.depth = self.depth.saturating_sub(1);
        self.other(if before_operand {
            Seen::CloseBefore
        } else {
            Seen::Close
        });
    }

    fn has(&self, flag: u8) -> bool {
        self.levels.get(self.depth).is_some_and(|level| level & flag != 0)
    }

    fn unset(&mut self, flag: u8) {
        if let Some(level) = self.levels.get_mut(self.depth) {
            *level &= !flag;
        }
    }

    fn link(&mut self, text: &'a [u8], meaning: Meaning, quoted: bool) {
        let chain = &mut self.chain;
        if self.seen == Seen::Dot {
            chain.schema = match chain.parts {
                1 => Schema::named(chain.text, chain.quoted),
                _ => Schema::Other,
            };
            chain.parts = chain.parts.max(1) + 1;
        } else {
            chain.before = self.seen;
            chain.schema = Schema::None;
            chain.parts = 1;
        }
        chain.text = text;
        chain.quoted = quoted;
        chain.meaning = meaning;
    }

    fn keyword(&mut self, keyword: Keyword) {
        match keyword {
            Keyword::With if self.insert_open || matches!(self.seen, Seen::Start | Seen::Open) => {
                if let Some(level) = self.levels.get_mut(self.depth) {
                    *level |= IN_WITH;
                }
                self.insert_open = false;
            }
            Keyword::Select
            | Keyword::Insert
            | Keyword::Update
            | Keyword::Delete
            | Keyword::Merge
            | Keyword::Values
            | Keyword::Table => {
                self.unset(IN_WITH);
                self.insert_open = false;
                self.update_open |= keyword == Keyword::Update;
            }
            Keyword::Into => self.insert_open = self.seen == Seen::Word(Keyword::Insert),
            Keyword::Set => {
                self.set_of_update = self.update_open;
                self.update_open = false;
            }
            _ => {}
        }
    }

    /// What function the `(` that comes next would call, if any.
    pub fn function(&self) -> Option<Function<'a>> {
        let chain = &self.chain;
        if chain.parts == 0 || self.seen == Seen::Dot || self.is_name_of_no_function() {
            return None;
        }
        let may_be_builtin = matches!(chain.schema, Schema::None | Schema::Catalog);
        let is_syntax = matches!(chain.meaning.call, Call::Syntax | Call::Reserved) && chain.parts == 1;
        (!is_syntax).then_some(Function {
            name: chain.text,
            is_quoted: chain.quoted,
            may_be_builtin,
            call: chain.meaning.call,
        })
    }

    fn called(&self) -> Option<Call> {
        let chain = &self.chain;
        if self.seen == Seen::Coded {
            return Some(Call::Unknown);
        }
        if chain.parts == 0 || self.seen == Seen::Dot {
            return None;
        }
        let may_be_builtin = matches!(chain.schema, Schema::None | Schema::Catalog);
        if may_be_builtin && chain.meaning.call.is_telling() {
            return Some(chain.meaning.call);
        }
        if self.is_name_of_no_function() {
            return None;
        }
        match (chain.schema, chain.meaning.call) {
            (Schema::None | Schema::Catalog, Call::Harmless | Call::Syntax | Call::Reserved) => None,
            // Views for drivers live on these; only the owner of the database can put functions there.
            (Schema::Information, _) if chain.text.starts_with(b"_pg_") => None,
            _ => Some(Call::Unknown),
        }
    }

    /// Does the place of the name say that no function is called: a table's columns, a type's length, an alias, a keyword?
    fn is_name_of_no_function(&self) -> bool {
        use Keyword::*;
        let chain = &self.chain;
        match chain.before {
            Seen::Cast | Seen::Close | Seen::Constant => return true,
            Seen::Word(As | Into | Ordinality) => return true,
            Seen::Word(Copy) if self.copy => return true,
            _ => {}
        }
        if self.has(IN_WITH) {
            return true;
        }
        if chain.parts > 1 || chain.quoted {
            return false;
        }
        match (chain.meaning.keyword, chain.before) {
            (_, Seen::Start) => true,
            (By, Seen::Word(GroupOrder))
            | (Conflict, Seen::Word(On))
            | (Sets, Seen::Word(Grouping))
            | (Zone, Seen::Word(Time))
            | (FirstNext, Seen::Word(Fetch))
            | (Insert, Seen::Word(Then))
            | (Varying, Seen::Word(Character)) => true,
            (Set, _) => self.set_of_update,
            (StdInOut | ForceNull, _) => self.copy,
            _ => false,
        }
    }
}

impl Schema {
    fn named(text: &[u8], quoted: bool) -> Schema {
        let is = |name: &[u8]| text == name || (!quoted && text.eq_ignore_ascii_case(name));
        if is(b"pg_catalog") {
            Schema::Catalog
        } else if is(b"information_schema") {
            Schema::Information
        } else {
            Schema::Other
        }
    }
}
