//! Bytes that decide, and bytes made into messages: most random bytes are no frame at all and would test nothing more.

/// Decisions read off the front of some bytes; 0 for ever once they are used up.
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl Choices<'_> {
    /// A number below `count`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(byte) % count
    }

    /// True once in `count` times, while there is anything left to decide by.
    pub(super) fn one_in(&mut self, count: usize) -> bool {
        !self.0.is_empty() && self.below(count) == count - 1
    }
}

const NAMES: [&[u8]; 5] = [b"", b"a", b"b", b"pgshunt:1", b"pgshunt:none"];

const TEXTS: [&[u8]; 16] = [
    b"select 1",
    b"begin",
    b"commit",
    b"rollback",
    b"select f()",
    b"deallocate a",
    b"deallocate all",
    b"discard all",
    b"set app.x = '1'",
    b"copy t from stdin",
    b"insert into t values ($1)",
    b"listen c",
    b"begin; select 1",
    b"",
    b"select 'open",
    b"/* begin */ start transaction read only",
];

const PARAMETERS: [&[u8]; 5] = [
    b"TimeZone\0UTC\0",
    b"standard_conforming_strings\0off\0",
    b"a\0",
    b"",
    b"application_name\0x\0",
];

const ERRORS: [&[u8]; 4] = [
    b"SERROR\0VERROR\0C42601\0Mno\0\0",
    b"SFATAL\0VFATAL\0C57P01\0Mno\0\0",
    b"",
    b"SERROR\0C",
];

fn frame(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let body = parts.concat();
    out.push(kind);
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(&body);
}

fn pick<'a>(from: &[&'a [u8]], by: u8) -> &'a [u8] {
    from[usize::from(by) % from.len()]
}

/// Turns content into a client's messages, now and then with raw bytes between them.
pub(super) fn client_messages(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for pair in content.chunks(2) {
        let (kind, by) = (pair[0], pair.get(1).copied().unwrap_or_default());
        let (name, text) = (pick(&NAMES, by), pick(&TEXTS, by));
        match kind % 32 {
            0..=3 => frame(&mut out, b'Q', &[text, b"\0"]),
            4..=7 => frame(&mut out, b'P', &[name, b"\0", pick(&TEXTS, by / 5), b"\0\0\0"]),
            8..=11 => frame(&mut out, b'B', &[b"\0", name, b"\0\0\0\0\0\0\0"]),
            12 => frame(&mut out, b'D', &[b"S", name, b"\0"]),
            13 => frame(&mut out, b'D', &[b"P\0"]),
            14..=17 => frame(&mut out, b'E', &[b"\0\0\0\0\0"]),
            18 | 19 => frame(&mut out, b'C', &[b"S", name, b"\0"]),
            20..=23 => frame(&mut out, b'S', &[]),
            24 => frame(&mut out, b'H', &[]),
            25 => frame(&mut out, b'd', &[text]),
            26 => frame(&mut out, b'c', &[]),
            27 => frame(&mut out, b'f', &[b"no\0"]),
            28 => frame(&mut out, b'F', &[b"\0\0\0\x01\0\0\0\0\0\0"]),
            29 => frame(
                &mut out,
                pick(&[b"PBDECQSHFdcf"], 0)[usize::from(by) % 12],
                &[text],
            ),
            30 => out.push(by),
            _ => frame(&mut out, by, &[name]),
        }
    }
    out
}

/// Turns content into a server's messages, in no order a PostgreSQL would use.
pub(super) fn server_messages(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for pair in content.chunks(2) {
        let (kind, by) = (pair[0], pair.get(1).copied().unwrap_or_default());
        match kind % 24 {
            0..=4 => frame(&mut out, b'Z', &[&[b"ITE"[usize::from(by) % 3]]]),
            5..=7 => frame(
                &mut out,
                b'C',
                &[pick(&[b"SELECT 1\0", b"DISCARD ALL\0", b""], by)],
            ),
            8..=10 => frame(&mut out, b'1', &[]),
            11 => frame(&mut out, b'2', &[]),
            12 => frame(&mut out, b'3', &[]),
            13 => frame(&mut out, b'E', &[pick(&ERRORS, by)]),
            14 => frame(&mut out, b'S', &[pick(&PARAMETERS, by)]),
            15 => frame(
                &mut out,
                b'D',
                &[b"\0\x03\0\0\0\x01s\0\0\0\x01a\0\0\0", &[by % 3], b"bc"],
            ),
            16 => frame(&mut out, b'T', &[b"\0\0"]),
            17 => frame(&mut out, b't', &[b"\0\0"]),
            18 => frame(&mut out, b'n', &[]),
            19 => frame(&mut out, b'G', &[b"\0\0\0"]),
            20 => frame(&mut out, b'A', &[b"\0\0\0\x01c\0\0"]),
            21 => frame(&mut out, b'N', &[pick(&ERRORS, by)]),
            22 => out.push(by),
            _ => frame(&mut out, by, &[b"x"]),
        }
    }
    out
}

/// What a PostgreSQL would say next to whoever waits for `kind`; `turn` chooses among the ways it may go.
pub(super) fn reply(kind: Owed, turn: usize, status: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut say = |kind: u8, body: &[u8]| frame(&mut out, kind, &[body]);
    let fails = turn == 7;
    match kind {
        Owed::Ready => say(b'Z', &[status]),
        _ if fails => {
            say(b'E', ERRORS[0]);
            if kind == Owed::Query {
                say(b'Z', &[status]);
            }
        }
        Owed::Query => {
            match turn {
                0 => say(b'I', b""),
                1 => say(b'G', b"\0\0\0"),
                2 => say(b'S', PARAMETERS[0]),
                3 => say(b'D', b"\0\x03\0\0\0\x01s\0\0\0\x01a\0\0\0\x01b"),
                4 => say(b'C', b"DISCARD ALL\0"),
                _ => say(b'C', b"SELECT 0\0"),
            }
            say(b'Z', &[status]);
        }
        Owed::Function => {
            say(b'V', b"\0\0\0\0");
            say(b'Z', &[status]);
        }
        Owed::Parse => say(b'1', b""),
        Owed::Bind => say(b'2', b""),
        Owed::Close => say(b'3', b""),
        Owed::Statement => {
            say(b't', b"\0\0");
            say(b'n', b"");
        }
        Owed::Portal => say(b'n', b""),
        Owed::Execute => match turn {
            0 => say(b'I', b""),
            1 => say(b's', b""),
            2 => {
                say(b'G', b"\0\0\0");
                say(b'C', b"COPY 0\0");
            }
            _ => {
                say(b'D', b"\0\0");
                say(b'C', b"SELECT 1\0");
            }
        },
    }
    out
}

/// What a server owes, as far as its answer depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    Ready,
    Query,
    Function,
    Parse,
    Bind,
    Close,
    Statement,
    Portal,
    Execute,
}
