//! Reads a text once: how many statements, what they may do to the session, and whether it is one the session answers.
//!
//! Not seen here, because the text does not show them: functions called by triggers, views, defaults, policies,
//! operators, casts and `row.function`. What these change stays with the server until something else asks it.

use crate::calls::{DEPTH_MAX, Place, Seen};
use crate::control::{self, Control};
use crate::effects::Effects;
use crate::lexer::{Token, Tokens};
use crate::settings::{Found, Source};
use crate::words::{Call, Keyword, WORDS, Words};

/// How text is to be lexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lex {
    /// Off: backslashes escape in plain strings.
    pub standard_conforming_strings: bool,
}

impl Default for Lex {
    fn default() -> Self {
        Lex {
            standard_conforming_strings: true,
        }
    }
}

/// A text read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// How many statements, empty ones not counted.
    pub statements: usize,
    /// What they may do, all together.
    pub effects: Effects,
    /// What the text is, if it is one statement in a form recognised exactly.
    pub control: Control,
    /// Settings with a dot in their name that the text sets, in lower case, each once.
    pub custom_settings: Vec<String>,
}

impl Script {
    /// One statement that is nothing but a query, and leaves nothing behind.
    pub const QUERY: Script = Script {
        statements: 1,
        effects: Effects::EMPTY,
        control: Control::None,
        custom_settings: Vec::new(),
    };
}

/// Reads a text.
pub fn read(text: &[u8], lex: Lex) -> Script {
    let mut reader = Reader::new(lex);
    let mut tokens = Tokens::new(text, lex);
    while let Some(token) = tokens.next() {
        reader.take(token, &tokens);
    }
    let control = match reader.first {
        Some(first) if reader.statements == 1 && !reader.broken => control::of(first, text, lex),
        _ => Control::None,
    };
    Script {
        statements: reader.statements,
        effects: reader.found.effects,
        control,
        custom_settings: reader.found.names,
    }
}

struct Reader<'a> {
    words: &'static Words,
    lex: Lex,
    place: Place<'a>,
    head: Head,
    routine: Routine,
    found: Found,
    statements: usize,
    /// The first word of the first statement.
    first: Option<Keyword>,
    broken: bool,
}

/// What the beginning of a statement says of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// No token yet.
    Empty,
    /// Only opening parentheses yet.
    Parentheses,
    /// EXPLAIN, before what is explained.
    Explain,
    /// What it does shows in the functions it calls.
    Calls,
    /// Calls no functions that could matter.
    Quiet,
    Create,
    Declare,
    Do,
    /// Probes as it is; only what it calls or names needs a look.
    Other,
}

/// How far a CREATE is known to define a routine, whose body may hold statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Routine {
    No,
    /// After CREATE, or CREATE OR REPLACE.
    Perhaps,
    Yes,
    /// In BEGIN ATOMIC, or in so many CASEs therein.
    Body(u32),
}

impl<'a> Reader<'a> {
    fn new(lex: Lex) -> Self {
        Reader {
            words: &WORDS,
            lex,
            place: Place::new(),
            head: Head::Empty,
            routine: Routine::No,
            found: Found::default(),
            statements: 0,
            first: None,
            broken: false,
        }
    }

    /// Takes one token; `rest` are those after it.
    fn take(&mut self, token: Token<'a>, rest: &Tokens<'a>) {
        if token == Token::Mark(b';') && self.place.depth == 0 && !matches!(self.routine, Routine::Body(_)) {
            self.place.next_statement();
            self.head = Head::Empty;
            self.routine = Routine::No;
            return;
        }
        if self.head == Head::Empty {
            self.statements += 1;
            self.head = Head::Parentheses;
        }
        if self.head == Head::Parentheses && !matches!(token, Token::Word(_) | Token::Mark(b'(')) {
            self.head = Head::Other;
            self.found.effects |= Effects::PROBE;
        }
        match token {
            Token::Word(text) => self.word(text, rest),
            Token::Quoted(text) => self.place.quoted(text, self.words),
            Token::Mark(b'(') => self.open(rest),
            Token::Mark(b')') => self.place.close(),
            Token::Mark(mark) => self.place.mark(mark),
            Token::Number(_) => self.place.other(Seen::Constant),
            Token::Operator(_) => self.place.other(Seen::Other),
            Token::Text(_) | Token::Body(_) => {
                self.source(token);
                self.place.other(Seen::Constant);
            }
            Token::Coded(_) => {
                self.source(token);
                self.place.other(Seen::Coded);
            }
            Token::Broken => {
                self.broken = true;
                self.found.effects |= Effects::PROBE;
            }
        }
    }

    fn word(&mut self, text: &'a [u8], rest: &Tokens<'a>) {
        let meaning = self.words.folded(text);
        let keyword = meaning.keyword;
        match self.head {
            Head::Empty | Head::Parentheses => self.begin(keyword, rest),
            Head::Explain => self.explained(keyword),
            Head::Create => self.create(keyword),
            Head::Declare if keyword == Keyword::Hold && self.place.seen == Seen::Word(Keyword::With) => {
                self.found.effects |= Effects::PROBE;
            }
            Head::Calls | Head::Quiet | Head::Declare | Head::Do | Head::Other => {}
        }
        let makes_table = keyword == Keyword::Into
            && !self.place.is_label_next()
            && !matches!(self.place.seen, Seen::Word(Keyword::Insert | Keyword::Merge));
        if makes_table {
            self.found.effects |= Effects::PROBE;
        }
        if keyword == Keyword::Uescape {
            // It may rename what stands before it.
            self.found.effects |= Effects::PROBE | Effects::COMPUTED_SETTING;
        }
        self.place.word(text, meaning);
    }

    /// The first word of a statement.
    fn begin(&mut self, keyword: Keyword, rest: &Tokens<'a>) {
        if self.statements == 1 && self.place.depth == 0 {
            self.first = Some(keyword);
        }
        self.head = match keyword {
            Keyword::Explain => Head::Explain,
            Keyword::Declare => Head::Declare,
            Keyword::Copy => Head::Calls,
            Keyword::Set | Keyword::Reset => Head::Quiet,
            keyword if is_query(keyword) => Head::Calls,
            keyword if is_trackless(keyword) => Head::Quiet,
            Keyword::Create => Head::Create,
            Keyword::Do => Head::Do,
            _ => Head::Other,
        };
        match keyword {
            Keyword::Set => self.found.set(rest.clone()),
            Keyword::Reset => self.found.reset(rest.clone()),
            Keyword::Load => self.found.effects |= Effects::LOADS,
            Keyword::Copy => self.place.copy = true,
            Keyword::Create => self.routine = Routine::Perhaps,
            _ => {}
        }
        if matches!(self.head, Head::Create | Head::Do | Head::Other) {
            self.found.effects |= Effects::PROBE;
        }
    }

    /// A word after EXPLAIN: an option, or the first word of what is explained.
    fn explained(&mut self, keyword: Keyword) {
        if is_query(keyword) || keyword == Keyword::Declare {
            self.head = if keyword == Keyword::Declare {
                Head::Declare
            } else {
                Head::Calls
            };
            self.place.seen = Seen::Start;
        } else if self.place.depth == 0 && !matches!(keyword, Keyword::Analyze | Keyword::Verbose) {
            self.head = Head::Other;
            self.found.effects |= Effects::PROBE;
        }
    }

    /// A word of a CREATE: `;` does not end a statement inside of BEGIN ATOMIC … END.
    fn create(&mut self, keyword: Keyword) {
        if self.place.depth > 0 || self.place.is_label_next() {
            return;
        }
        self.routine = match (self.routine, keyword) {
            (Routine::Perhaps, Keyword::Routine) => Routine::Yes,
            (Routine::Perhaps, Keyword::OrReplace) => Routine::Perhaps,
            (Routine::Perhaps, _) => Routine::No,
            (Routine::Yes, Keyword::Atomic) if self.place.seen == Seen::Word(Keyword::Begin) => {
                Routine::Body(0)
            }
            (Routine::Body(cases), Keyword::Case) => Routine::Body(cases + 1),
            (Routine::Body(0), Keyword::End) => Routine::Yes,
            (Routine::Body(cases), Keyword::End) => Routine::Body(cases - 1),
            (routine, _) => routine,
        };
    }

    fn open(&mut self, rest: &Tokens<'a>) {
        if self.place.depth + 1 >= DEPTH_MAX {
            self.found.effects |= Effects::PROBE;
        }
        let coded = self.place.seen == Seen::Coded;
        match self.place.open() {
            None => {}
            Some(Call::Unknown) if coded => {
                self.found.effects |= Effects::PROBE | Effects::COMPUTED_SETTING;
            }
            Some(_) if self.head == Head::Quiet => {}
            Some(Call::Unknown) => self.found.effects |= Effects::PROBE,
            Some(Call::SetConfig) => self.found.set_config(rest.clone()),
            Some(Call::SetSeed) => self.found.effects |= Effects::SET_SEED,
            Some(Call::SequenceState) => self.found.effects |= Effects::SEQUENCE_STATE,
            Some(Call::BackendPid) => self.found.effects |= Effects::BACKEND_PID,
            Some(Call::Harmless | Call::Syntax | Call::Reserved) => {}
        }
    }

    /// A constant that may be source code.
    fn source(&mut self, token: Token<'a>) {
        match (self.head, self.routine) {
            (Head::Do, _) => self.found.source(token, Source::Runs, self.lex),
            (Head::Create, Routine::Yes) => self.found.source(token, Source::Waits, self.lex),
            _ => {}
        }
    }
}

/// Begins a statement whose effects show in the functions it calls?
fn is_query(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::Select
            | Keyword::Insert
            | Keyword::Update
            | Keyword::Delete
            | Keyword::Merge
            | Keyword::Values
            | Keyword::Table
            | Keyword::With
    )
}

/// Begins a statement that leaves no trace in the session?
fn is_trackless(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::Trackless
            | Keyword::Begin
            | Keyword::Start
            | Keyword::Commit
            | Keyword::End
            | Keyword::Rollback
            | Keyword::Abort
            | Keyword::Show
            | Keyword::Fetch
            | Keyword::Vacuum
            | Keyword::Analyze
    )
}
