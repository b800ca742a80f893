//! Writes plays by chance: every order of messages PostgreSQL accepts, and many it refuses.

use super::chance::Chance;
use super::play::{Message, Play, Turn, Values};
use super::sql::{CONTROL, COPY_IN, COPY_OUT, KEPT, PLAIN, SETTINGS, SEVERAL, WITH_PARAMETERS, WRITES};

/// The play of a seed.
pub fn play(seed: u64) -> Play {
    Author::new(seed).play()
}

/// The play of a seed, of few texts that come again and again: they meet each other more often.
pub fn play_of_few(seed: u64) -> Play {
    let mut author = Author::new(seed);
    author.few = [KEPT, KEPT, KEPT, CONTROL]
        .map(|list| author.chance.pick(list))
        .to_vec();
    let one = author.text_of_all();
    author.few.push(one);
    author.play()
}

struct Author {
    chance: Chance,
    /// What names stand for, should all have gone well: statement and number of parameters.
    parsed: Vec<(&'static str, usize)>,
    /// Has a batch been begun that no Sync has followed yet?
    is_open: bool,
    /// Of ten turns, how many are of the extended protocol.
    extended: usize,
    /// The texts it takes most from, if there are any.
    few: Vec<&'static str>,
}

const STATEMENTS: [&str; 5] = ["", "", "a", "b", "A b"];
const PORTALS: [&str; 5] = ["", "", "", "p", "q"];

impl Author {
    fn new(seed: u64) -> Author {
        Author {
            chance: Chance::new(seed),
            parsed: Vec::new(),
            is_open: false,
            extended: 0,
            few: Vec::new(),
        }
    }

    fn play(mut self) -> Play {
        self.extended = self.chance.below(10);
        let turns = 2 + self.chance.below(9);
        let mut play = Play::default();
        for _ in 0..turns {
            self.scene(&mut play);
        }
        play
    }

    /// One turn, or several that belong together.
    fn scene(&mut self, play: &mut Play) {
        let rival = match self.chance.below(3) {
            0 => None,
            n => Some(n - 1),
        };
        let mut put = |messages: Vec<Message>| {
            let turn = Turn::new(messages);
            play.turns.push(match rival {
                Some(rival) => turn.beside(rival),
                None => turn,
            });
        };
        match self.chance.below(40) {
            0 => put(vec![self.strange()]),
            1 | 2 => put(vec![self.call()]),
            3 | 4 => {
                let (first, more) = self.copy_in();
                if self.chance.one_in(3) {
                    put([first, more].concat());
                } else {
                    put(first);
                    put(more);
                }
            }
            5 => put((0..2 + self.chance.below(3)).map(|_| self.query()).collect()),
            6 => {
                // A batch, a query and a batch in one write.
                let mut all = self.batch();
                all.push(self.query());
                all.extend(self.batch());
                put(all);
            }
            7 => {
                let mut all = self.batch();
                all.pop();
                self.is_open = true;
                all.push(self.query());
                self.is_open = false;
                all.push(Message::sync());
                put(all);
            }
            8 | 9 => {
                // A batch in two writes, the first with a Flush or without.
                let mut first = self.batch();
                first.pop();
                if !self.chance.one_in(3) {
                    first.push(Message::flush());
                }
                put(first);
                put(self.batch());
            }
            n if n % 10 < self.extended => put(self.batch()),
            _ => put(vec![self.query()]),
        }
    }

    fn query(&mut self) -> Message {
        let text = self.text();
        if self.chance.one_in(8) && !self.is_open {
            let more = self.text();
            return Message::query(&format!("{text}; {more}"));
        }
        Message::query(text)
    }

    fn text(&mut self) -> &'static str {
        if !self.few.is_empty() && !self.chance.one_in(6) {
            return self.chance.pick(&self.few);
        }
        self.text_of_all()
    }

    fn text_of_all(&mut self) -> &'static str {
        let list = match self.chance.below(20) {
            0..=4 => PLAIN,
            5..=7 => WRITES,
            8..=11 => CONTROL,
            12..=14 => SETTINGS,
            15..=17 => KEPT,
            18 => COPY_OUT,
            _ => SEVERAL,
        };
        self.chance.pick(list)
    }

    /// Extended messages up to a Sync.
    fn batch(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        for _ in 0..=self.chance.below(4) {
            match self.chance.below(12) {
                0..=5 => self.whole(&mut all),
                _ => {
                    let one = self.piece();
                    all.push(one);
                }
            }
            if self.chance.one_in(8) {
                all.push(Message::flush());
            }
        }
        all.push(Message::sync());
        all
    }

    /// Parse, Bind, Describe, Execute; some left out.
    fn whole(&mut self, all: &mut Vec<Message>) {
        let (name, portal) = (self.chance.pick(&STATEMENTS), self.chance.pick(&PORTALS));
        if name.is_empty() || self.chance.one_in(3) {
            all.push(self.parse(name));
        }
        if self.chance.one_in(3) {
            all.push(Message::describe(b'S', name));
        }
        all.push(self.bind(portal, name));
        if self.chance.one_in(2) {
            all.push(Message::describe(b'P', portal));
        }
        let rows = self.chance.pick(&[0, 0, 0, 1, 2]);
        all.push(Message::execute(portal, rows));
        if rows > 0 {
            all.push(Message::execute(portal, rows));
        }
    }

    fn piece(&mut self) -> Message {
        let (name, portal) = (self.chance.pick(&STATEMENTS), self.chance.pick(&PORTALS));
        match self.chance.below(10) {
            0 | 1 => self.parse(name),
            2 | 3 => self.bind(portal, name),
            4 => Message::describe(b'S', name),
            // Not the unnamed portal without its Bind: behind a failed Query, PostgreSQL 15.20 crashes over it.
            5 => Message::describe(b'P', self.chance.pick(&["p", "q"])),
            6 => Message::execute(self.chance.pick(&["p", "q"]), self.chance.pick(&[0, 1, 2])),
            7 => Message::close(b'S', name),
            8 => Message::close(b'P', portal),
            _ => Message::execute("nobody", 0),
        }
    }

    fn parse(&mut self, name: &'static str) -> Message {
        let has_parameters = self.chance.one_in(if self.few.is_empty() { 2 } else { 6 });
        let (text, count) = if has_parameters {
            self.chance.pick(WITH_PARAMETERS)
        } else if self.chance.one_in(12) {
            (self.chance.pick(SEVERAL), 0)
        } else {
            (self.text_to_prepare(name), 0)
        };
        let types: &[u32] = match self.chance.below(12) {
            0 => &[23],
            1 => &[25, 23],
            2 => &[0],
            3 => &[99999],
            _ => &[],
        };
        self.parsed.retain(|(known, _)| *known != name);
        self.parsed.push((name, count));
        // Two names of one session for one text are one statement, and an error may speak of it by either name.
        let text = match name {
            "b" => format!("{text} "),
            "A b" => format!("{text}  "),
            _ => text.to_owned(),
        };
        Message::parse(name, &text, types)
    }

    /// A text that may be prepared under this name.
    fn text_to_prepare(&mut self, name: &str) -> &'static str {
        loop {
            let text = self.text();
            let ends_itself = text.starts_with("DEALLOCATE") && !name.is_empty() && text.ends_with(name);
            if !ends_itself {
                return text;
            }
        }
    }

    fn bind(&mut self, portal: &str, name: &str) -> Message {
        let known = self.parsed.iter().find(|(known, _)| *known == name);
        let mut count = known.map_or(0, |(_, count)| *count);
        if self.chance.one_in(15) {
            count = self.chance.below(4);
        }
        let mut values = Values::default();
        let binary = self.chance.one_in(5);
        for _ in 0..count {
            values.values.push(self.value(binary));
        }
        if binary {
            values.formats.push(1);
        } else if self.chance.one_in(8) {
            values.formats = vec![0; count];
        } else if self.chance.one_in(20) {
            values.formats = vec![0, 1, 7];
        }
        match self.chance.below(10) {
            0 | 1 => values.results.push(1),
            2 => values.results = vec![0, 1],
            3 if self.chance.one_in(4) => values.results.push(9),
            _ => {}
        }
        Message::bind(portal, name, &values)
    }

    fn value(&mut self, binary: bool) -> Option<Vec<u8>> {
        if self.chance.one_in(10) {
            return None;
        }
        if binary {
            return Some(
                self.chance
                    .pick(&[&b"\0\0\0\x03"[..], b"\0\0\0\0", b"", b"\x01"])
                    .into(),
            );
        }
        Some(
            self.chance
                .pick(&["3", "3", "7", "0", "words", "", "1.5", "work_mem", "\u{e9}"])
                .into(),
        )
    }

    fn call(&mut self) -> Message {
        let binary = self.chance.one_in(2);
        let oid = self.chance.pick(&[177, 177, 31, 154, 1, 99999]);
        let mut values = Values::default();
        for _ in 0..self.chance.pick(&[2, 2, 1, 3]) {
            values.values.push(self.value(binary));
        }
        values.formats = match self.chance.below(3) {
            0 => vec![u16::from(binary); values.values.len()],
            _ => vec![u16::from(binary)],
        };
        Message::call(oid, &values, self.chance.pick(&[0, 1]))
    }

    /// COPY FROM STDIN by either protocol, and what the client then sends.
    fn copy_in(&mut self) -> (Vec<Message>, Vec<Message>) {
        let text = self.chance.pick(COPY_IN);
        let extended = self.chance.one_in(2);
        let mut first = match extended {
            false if self.chance.one_in(4) => vec![Message::query(&format!("{text}; SELECT 'behind'"))],
            false => vec![Message::query(text)],
            true => vec![
                Message::parse("", text, &[]),
                Message::bind("", "", &Values::default()),
                Message::execute("", 0),
            ],
        };
        if extended {
            first.push(if self.chance.one_in(2) {
                Message::sync()
            } else {
                Message::flush()
            });
        }
        let mut more = Vec::new();
        for _ in 0..self.chance.below(4) {
            let data = self.chance.pick(&[
                &b"300\tthree\t1\n"[..],
                b"301\tone\\N\t\\N\n",
                b"302,two\n",
                b"not a number\t\n",
                b"1\ttaken\t0\n",
                b"30",
                b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xff",
                b"",
            ]);
            more.push(Message::raw(b'd', data));
            if self.chance.one_in(5) {
                more.push(Message::sync());
            }
        }
        // Behind an early Sync other messages differ, as tests/README.md says.
        let is_early = |messages: &[Message]| messages.iter().any(|message| message.kind == b'S');
        match self.chance.below(10) {
            0 | 1 => more.push(Message::raw(b'f', b"no more\0")),
            2 if !is_early(&first) && !is_early(&more) => more.push(Message::query("SELECT 'in the middle'")),
            // With the Sync of its Bind behind it, this too may be the Execute that PostgreSQL 15.20 crashes over.
            3 if extended && !is_early(&first) && !is_early(&more) => more.push(Message::execute("", 0)),
            _ => more.push(Message::raw(b'c', b"")),
        }
        if extended || self.chance.one_in(6) {
            more.push(Message::sync());
        }
        (first, more)
    }

    /// What has no place here, or no form.
    fn strange(&mut self) -> Message {
        let (kind, body) = self.chance.pick(&[
            (b'S', &b""[..]),
            (b'S', b""),
            (b'H', b""),
            (b'd', b"data"),
            (b'c', b""),
            (b'f', b"why\0"),
            (b'S', b"more"),
            (b'H', b"more"),
            (b'P', b"no end"),
            (b'P', b"a\0SELECT 1\0\0\x09"),
            (b'B', b"\0"),
            (b'B', b"\0nobody\0\0\0\0\x02\0\0\0\x7f"),
            (b'E', b"\0"),
            (b'D', b"Xa\0"),
            (b'D', b"S"),
            (b'C', b"Xa\0"),
            (b'F', b"\0"),
            (b'Q', b"no end"),
            (b'Q', b"SELECT 1\0more"),
            (b'X', b""),
            (b'p', b"password\0"),
            (b'y', b""),
        ]);
        Message::raw(kind, body)
    }
}
