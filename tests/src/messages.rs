//! What a client sends, written one message after the other into one buffer.

/// Messages to be sent in one write.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How many ReadyForQuery they ask for.
    pub syncs: usize,
}

impl Messages {
    /// Nothing yet.
    pub fn new() -> Messages {
        Messages::default()
    }

    /// Any message at all.
    pub fn raw(mut self, kind: u8, body: &[u8]) -> Messages {
        self.bytes.push(kind);
        let length = u32::try_from(body.len() + 4).expect("below 4 GB");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(body);
        self
    }

    /// Query.
    pub fn query(mut self, sql: &str) -> Messages {
        self.syncs += 1;
        self.raw(b'Q', &strings(&[sql]))
    }

    /// Parse, without parameter types.
    pub fn parse(self, name: &str, sql: &str) -> Messages {
        self.parse_typed(name, sql, &[])
    }

    /// Parse with parameter types.
    pub fn parse_typed(self, name: &str, sql: &str, types: &[u32]) -> Messages {
        let mut body = strings(&[name, sql]);
        body.extend_from_slice(&count(types.len()));
        types
            .iter()
            .for_each(|oid| body.extend_from_slice(&oid.to_be_bytes()));
        self.raw(b'P', &body)
    }

    /// Bind of text parameters; results in text.
    pub fn bind(self, portal: &str, statement: &str, values: &[&str]) -> Messages {
        let mut body = strings(&[portal, statement]);
        body.extend_from_slice(&count(0));
        body.extend_from_slice(&count(values.len()));
        for value in values {
            body.extend_from_slice(&u32::try_from(value.len()).expect("below 4 GB").to_be_bytes());
            body.extend_from_slice(value.as_bytes());
        }
        body.extend_from_slice(&count(0));
        self.raw(b'B', &body)
    }

    /// Describe of a statement (`S`) or a portal (`P`).
    pub fn describe(self, kind: u8, name: &str) -> Messages {
        self.raw(b'D', &[&[kind], strings(&[name]).as_slice()].concat())
    }

    /// Close of a statement (`S`) or a portal (`P`).
    pub fn close(self, kind: u8, name: &str) -> Messages {
        self.raw(b'C', &[&[kind], strings(&[name]).as_slice()].concat())
    }

    /// Execute; 0 is all rows.
    pub fn execute(self, portal: &str, rows_max: u32) -> Messages {
        self.raw(
            b'E',
            &[strings(&[portal]).as_slice(), &rows_max.to_be_bytes()].concat(),
        )
    }

    /// Parse, Bind, Describe and Execute of the unnamed statement.
    pub fn once(self, sql: &str, values: &[&str]) -> Messages {
        self.parse("", sql)
            .bind("", "", values)
            .describe(b'P', "")
            .execute("", 0)
    }

    /// Bind and Execute of a prepared statement.
    pub fn run(self, statement: &str, values: &[&str]) -> Messages {
        self.bind("", statement, values).execute("", 0)
    }

    /// Sync.
    pub fn sync(mut self) -> Messages {
        self.syncs += 1;
        self.raw(b'S', &[])
    }

    /// Flush.
    pub fn flush(self) -> Messages {
        self.raw(b'H', &[])
    }

    /// CopyData.
    pub fn copy_data(self, data: &[u8]) -> Messages {
        self.raw(b'd', data)
    }

    /// CopyDone.
    pub fn copy_done(self) -> Messages {
        self.raw(b'c', &[])
    }

    /// CopyFail.
    pub fn copy_fail(self, why: &str) -> Messages {
        self.raw(b'f', &strings(&[why]))
    }

    /// Terminate.
    pub fn terminate(self) -> Messages {
        self.raw(b'X', &[])
    }
}

/// Strings with their terminators.
pub fn strings(texts: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    for text in texts {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body
}

fn count(n: usize) -> [u8; 2] {
    u16::try_from(n).expect("below 65536").to_be_bytes()
}
