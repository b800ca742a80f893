//! What a text may do to the session that runs it.

/// How text is to be lexed.
#[derive(Clone, Copy, Debug)]
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

/// A set of effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects(u32);

#[allow(missing_docs)]
impl Effects {
    pub const EMPTY: Effects = Effects(0);
    pub const PROBE: Effects = Effects(1);
    pub const BACKEND_PID: Effects = Effects(2);
    pub const SEQUENCE_STATE: Effects = Effects(4);
    pub const SET_SEED: Effects = Effects(8);
    pub const LOADS: Effects = Effects(16);
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    pub fn contains(self, other: Effects) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A statement the session layer handles itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Control {
    None,
    Begin {
        tag: &'static str,
        read_only: bool,
        serializable: bool,
    },
    Commit,
    Rollback,
    Deallocate {
        name: Vec<u8>,
    },
    SetOurs {
        name: String,
        value: Option<String>,
        local: bool,
    },
    ShowOurs {
        name: String,
    },
}

/// A text read.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Script {
    pub statements: usize,
    pub effects: Effects,
    pub control: Control,
    pub custom_settings: Vec<String>,
}

/// Reads a text.
pub fn read(text: &[u8], _lex: Lex) -> Script {
    let t = text.to_ascii_lowercase();
    let control = match &t[..] {
        b"begin" | b"begin;" => Control::Begin {
            tag: "BEGIN",
            read_only: false,
            serializable: false,
        },
        b"commit" | b"commit;" | b"end;" | b"end" => Control::Commit,
        b"rollback" | b"rollback;" => Control::Rollback,
        _ => Control::None,
    };
    let hot = [
        &b"select"[..],
        b"insert",
        b"update",
        b"delete",
        b"begin",
        b"end",
        b"commit",
        b"rollback",
    ]
    .iter()
    .any(|w| t.starts_with(w));
    let effects = if hot && !t.contains(&b'(') {
        Effects::EMPTY
    } else {
        Effects::PROBE
    };
    Script {
        statements: 1,
        effects,
        control,
        custom_settings: Vec::new(),
    }
}
