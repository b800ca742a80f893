//! What one client sends, as data that can be printed, repeated and made smaller.

use std::fmt;

use crate::messages::{Messages, strings};

/// One message and how it reads.
#[derive(Clone, Debug)]
pub struct Message {
    /// The type byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Vec<u8>,
    words: String,
}

/// Messages sent in one write.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// In order.
    pub messages: Vec<Message>,
    /// Which of the two other sessions holds a server meanwhile.
    pub rival: Option<usize>,
}

/// A session from login to end.
#[derive(Clone, Debug, Default)]
pub struct Play {
    /// In order.
    pub turns: Vec<Turn>,
}

/// What Bind carries besides names.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Formats of the parameters.
    pub formats: Vec<u16>,
    /// The parameters; `None` is NULL.
    pub values: Vec<Option<Vec<u8>>>,
    /// Formats of the results.
    pub results: Vec<u16>,
}

impl Message {
    /// Any message.
    pub fn raw(kind: u8, body: &[u8]) -> Message {
        let words = format!("{} {:?}", char::from(kind), String::from_utf8_lossy(body));
        Message {
            kind,
            body: body.into(),
            words,
        }
    }

    /// Query.
    pub fn query(sql: &str) -> Message {
        Message {
            words: format!("Query {sql}"),
            ..Message::raw(b'Q', &strings(&[sql]))
        }
    }

    /// Parse.
    pub fn parse(name: &str, sql: &str, types: &[u32]) -> Message {
        let mut body = strings(&[name, sql]);
        put_count(&mut body, types.len());
        types
            .iter()
            .for_each(|oid| body.extend_from_slice(&oid.to_be_bytes()));
        Message {
            words: format!("Parse {name:?} {types:?} {sql}"),
            ..Message::raw(b'P', &body)
        }
    }

    /// Bind.
    pub fn bind(portal: &str, statement: &str, values: &Values) -> Message {
        let mut body = strings(&[portal, statement]);
        put_values(&mut body, values);
        put_formats(&mut body, &values.results);
        Message {
            words: format!("Bind {portal:?} {statement:?} {values:?}"),
            ..Message::raw(b'B', &body)
        }
    }

    /// Describe of a statement (`S`) or a portal (`P`).
    pub fn describe(what: u8, name: &str) -> Message {
        Message {
            words: format!("Describe {} {name:?}", char::from(what)),
            ..Message::raw(b'D', &[&[what], strings(&[name]).as_slice()].concat())
        }
    }

    /// Close of a statement (`S`) or a portal (`P`).
    pub fn close(what: u8, name: &str) -> Message {
        Message {
            words: format!("Close {} {name:?}", char::from(what)),
            ..Message::raw(b'C', &[&[what], strings(&[name]).as_slice()].concat())
        }
    }

    /// Execute.
    pub fn execute(portal: &str, rows_max: u32) -> Message {
        let body = [strings(&[portal]).as_slice(), &rows_max.to_be_bytes()].concat();
        Message {
            words: format!("Execute {portal:?} {rows_max}"),
            ..Message::raw(b'E', &body)
        }
    }

    /// FunctionCall.
    pub fn call(oid: u32, values: &Values, result: u16) -> Message {
        let mut body = oid.to_be_bytes().to_vec();
        put_values(&mut body, values);
        body.extend_from_slice(&result.to_be_bytes());
        Message {
            words: format!("FunctionCall {oid} {values:?} {result}"),
            ..Message::raw(b'F', &body)
        }
    }

    /// Sync.
    pub fn sync() -> Message {
        Message::raw(b'S', &[])
    }

    /// Flush.
    pub fn flush() -> Message {
        Message::raw(b'H', &[])
    }

    /// Does PostgreSQL answer it with ReadyForQuery, unless it skips it?
    pub fn is_unit_end(&self) -> bool {
        matches!(self.kind, b'Q' | b'S' | b'F')
    }
}

impl Turn {
    /// A turn without a rival.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Turn {
        Turn {
            messages: messages.into_iter().collect(),
            rival: None,
        }
    }

    /// The same while that session holds a server.
    pub fn beside(mut self, rival: usize) -> Turn {
        self.rival = Some(rival);
        self
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let all = self.messages.iter();
        all.fold(Messages::new(), |bytes, message| {
            bytes.raw(message.kind, &message.body)
        })
        .bytes
    }

    /// How many ReadyForQuery it asks for, at most.
    pub fn units(&self) -> usize {
        self.messages
            .iter()
            .filter(|message| message.is_unit_end())
            .count()
    }

    /// Does its last message bring a ReadyForQuery?
    pub fn ends_a_unit(&self) -> bool {
        self.messages.last().is_some_and(Message::is_unit_end)
    }
}

impl Play {
    /// Has any of its messages one of these words, in lower case?
    pub fn speaks_of(&self, words: &[&str]) -> bool {
        let mut messages = self.turns.iter().flat_map(|turn| &turn.messages);
        messages.any(|message| {
            let text = String::from_utf8_lossy(&message.body).to_ascii_lowercase();
            words.iter().any(|word| text.contains(word))
        })
    }

    /// The same with one turn, or one message, less.
    pub fn smaller(&self) -> Vec<Play> {
        let mut all = Vec::new();
        for at in 0..self.turns.len() {
            let mut play = self.clone();
            play.turns.remove(at);
            all.push(play);
        }
        for (at, turn) in self.turns.iter().enumerate() {
            for message in 0..turn.messages.len() {
                let mut play = self.clone();
                play.turns[at].messages.remove(message);
                all.push(play);
            }
            if turn.rival.is_some() {
                let mut play = self.clone();
                play.turns[at].rival = None;
                all.push(play);
            }
        }
        all
    }
}

impl fmt::Display for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, turn) in self.turns.iter().enumerate() {
            match turn.rival {
                Some(rival) => writeln!(f, "  turn {at}, rival {rival}:")?,
                None => writeln!(f, "  turn {at}:")?,
            }
            for message in &turn.messages {
                writeln!(f, "    {}", message.words)?;
            }
        }
        Ok(())
    }
}

fn put_count(body: &mut Vec<u8>, count: usize) {
    body.extend_from_slice(&u16::try_from(count).expect("below 65536").to_be_bytes());
}

fn put_formats(body: &mut Vec<u8>, formats: &[u16]) {
    put_count(body, formats.len());
    formats
        .iter()
        .for_each(|format| body.extend_from_slice(&format.to_be_bytes()));
}

fn put_values(body: &mut Vec<u8>, values: &Values) {
    put_formats(body, &values.formats);
    put_count(body, values.values.len());
    for value in &values.values {
        match value {
            Some(value) => {
                body.extend_from_slice(&u32::try_from(value.len()).expect("below 4 GB").to_be_bytes());
                body.extend_from_slice(value);
            }
            None => body.extend_from_slice(&u32::MAX.to_be_bytes()),
        }
    }
}
