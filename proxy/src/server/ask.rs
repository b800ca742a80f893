//! pgshunt's own questions on a connection of its own: verifiers, roles, lag, tables. Not for clients' statements.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::address::Target;
use super::connect::{ConnectFault, connect};
use crate::net::inbox::{Inbox, InboxError};
use crate::net::stream::Stream;
use crate::protocol::auth::Secret;
use crate::protocol::reply::{cstr, frame};
use crate::protocol::server_error::ServerError;

/// The most bytes of one answer.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The most rows of one answer.
pub const ROWS_MAX: usize = 10_000;

/// A row: a text or NULL per column.
pub type Row = Vec<Option<Vec<u8>>>;

/// A connection that is asked one question at a time.
pub struct Asker<S = Stream> {
    stream: S,
    inbox: Inbox,
    /// An answer has not been read to its end: an ask failed or was dropped in the middle.
    owed: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum AskFault {
    /// The server's own error; the next question may be asked.
    Server(Box<ServerError>),
    /// The line is gone.
    Lost(io::Error),
    /// A message that has no place in an answer: its type.
    Unexpected(u8),
    /// A message that cannot be read: its type.
    Malformed(u8),
    /// More than [`ANSWER_BYTES_MAX`] or [`ROWS_MAX`], or too many parameters.
    TooMuch,
    /// An earlier question has not been answered to its end: make a new [`Asker`].
    Broken,
}

impl fmt::Display for AskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskFault::Server(error) => write!(f, "{error}"),
            AskFault::Lost(error) => write!(f, "connection lost: {error}"),
            AskFault::Unexpected(kind) => write!(f, "unexpected message '{}'", kind.escape_ascii()),
            AskFault::Malformed(kind) => write!(f, "malformed message '{}'", kind.escape_ascii()),
            AskFault::TooMuch => write!(
                f,
                "more than {ROWS_MAX} rows or {ANSWER_BYTES_MAX} bytes in one answer"
            ),
            AskFault::Broken => f.write_str("an earlier question was not answered to its end"),
        }
    }
}

impl std::error::Error for AskFault {}

impl Asker<Stream> {
    /// Connects and logs in, as [`connect`] does.
    pub async fn connect(
        target: &Target,
        user: &str,
        secret: &Secret,
        params: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Self, ConnectFault> {
        let server = connect(target, user, secret, params).await?;
        Ok(Asker::over(server.stream, server.rest))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Asker<S> {
    /// Asks over a connection that is ready for a query; `rest` is what it sent behind that.
    pub fn over(stream: S, rest: Vec<u8>) -> Self {
        Asker {
            stream,
            inbox: rest.into(),
            owed: false,
        }
    }

    /// Must a new one be made?
    pub fn is_broken(&self) -> bool {
        self.owed
    }

    /// One statement with text parameters (`None` is NULL) by the extended protocol; its rows as text. Time is the
    /// caller's to bound; an ask that was dropped leaves the asker broken.
    pub async fn ask(&mut self, sql: &str, params: &[Option<&str>]) -> Result<Vec<Row>, AskFault> {
        if self.owed {
            return Err(AskFault::Broken);
        }
        let question = question(sql, params).ok_or(AskFault::TooMuch)?;
        self.owed = true;
        self.stream.write_all(&question).await.map_err(AskFault::Lost)?;
        self.stream.flush().await.map_err(AskFault::Lost)?;
        let mut answer = Answer::default();
        loop {
            let (kind, body) = self
                .inbox
                .message(&mut self.stream, ANSWER_BYTES_MAX)
                .await
                .map_err(|error| match error {
                    InboxError::Closed => AskFault::Lost(io::ErrorKind::UnexpectedEof.into()),
                    InboxError::Io(error) => AskFault::Lost(error),
                    InboxError::Length => AskFault::TooMuch,
                })?;
            if kind == b'Z' {
                self.owed = false;
                return answer.end();
            }
            answer.on_message(kind, &body)?;
        }
    }
}

/// Parse, Bind, Execute and Sync, all unnamed; `None` if the protocol has no room for it.
fn question(sql: &str, params: &[Option<&str>]) -> Option<Vec<u8>> {
    let count = u16::try_from(params.len()).ok()?;
    let size = params.iter().flatten().map(|p| p.len()).sum::<usize>() + sql.len();
    // One more than may come, so that a suspended portal means too many.
    let rows = i32::try_from(ROWS_MAX + 1).ok()?;
    if size > ANSWER_BYTES_MAX {
        return None;
    }
    let mut out = Vec::new();
    frame(&mut out, b'P', |out| {
        cstr(out, b"");
        cstr(out, sql.as_bytes());
        out.extend_from_slice(&0u16.to_be_bytes());
    });
    frame(&mut out, b'B', |out| {
        cstr(out, b"");
        cstr(out, b"");
        out.extend_from_slice(&0u16.to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        for param in params {
            match param {
                Some(text) => {
                    // At most ANSWER_BYTES_MAX, as was checked above.
                    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
                None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            }
        }
        out.extend_from_slice(&0u16.to_be_bytes());
    });
    frame(&mut out, b'E', |out| {
        cstr(out, b"");
        out.extend_from_slice(&rows.to_be_bytes());
    });
    frame(&mut out, b'S', |_| ());
    Some(out)
}

#[derive(Default)]
struct Answer {
    rows: Vec<Row>,
    bytes: usize,
    refused: Option<Box<ServerError>>,
    is_cut: bool,
}

impl Answer {
    fn on_message(&mut self, kind: u8, body: &[u8]) -> Result<(), AskFault> {
        self.bytes = self.bytes.saturating_add(body.len()).saturating_add(5);
        if self.bytes > ANSWER_BYTES_MAX || self.rows.len() > ROWS_MAX {
            return Err(AskFault::TooMuch);
        }
        match kind {
            b'D' => self.rows.push(row(body).ok_or(AskFault::Malformed(kind))?),
            b'E' => self.refused = Some(Box::new(ServerError::parse(body))),
            b's' => self.is_cut = true,
            // ParseComplete, BindComplete, CommandComplete, EmptyQueryResponse; and what may come at any time.
            b'1' | b'2' | b'C' | b'I' | b'N' | b'S' | b'A' => {}
            _ => return Err(AskFault::Unexpected(kind)),
        }
        Ok(())
    }

    fn end(self) -> Result<Vec<Row>, AskFault> {
        match self.refused {
            Some(error) => Err(AskFault::Server(error)),
            None if self.is_cut => Err(AskFault::TooMuch),
            None => Ok(self.rows),
        }
    }
}

/// A DataRow's columns; `None` if lengths and bytes disagree.
fn row(body: &[u8]) -> Option<Row> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (column, after) = match i32::from_be_bytes(*length) {
            -1 => (None, after),
            n => {
                let (bytes, after) = after.split_at_checked(usize::try_from(n).ok()?)?;
                (Some(bytes.to_vec()), after)
            }
        };
        columns.push(column);
        rest = after;
    }
    rest.is_empty().then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(bytes: &[u8]) -> (Result<Vec<Row>, AskFault>, bool) {
        let (ours, mut theirs) = tokio::io::duplex(4 << 20);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut asker = Asker::over(ours, Vec::new());
        let result = asker.ask("SELECT $1", &[Some("x"), None]).await;
        (result, asker.is_broken())
    }

    #[tokio::test]
    async fn rows_are_texts_and_nulls() {
        let answer =
            b"1\0\0\0\x042\0\0\0\x04D\0\0\0\x0f\0\x02\0\0\0\x01a\xff\xff\xff\xffC\0\0\0\x05\0Z\0\0\0\x05I";
        let (rows, broken) = answered(answer).await;
        assert_eq!(rows.unwrap(), [[Some(b"a".to_vec()), None]]);
        assert!(!broken);
    }

    #[tokio::test]
    async fn an_error_leaves_it_whole_and_a_lost_answer_does_not() {
        let (error, broken) = answered(b"E\0\0\0\x0cC42601\0\0Z\0\0\0\x05I").await;
        assert!(
            matches!(error, Err(AskFault::Malformed(_) | AskFault::Server(_))),
            "{error:?}"
        );
        assert!(!broken);
        let (cut, broken) = answered(b"s\0\0\0\x04Z\0\0\0\x05I").await;
        assert!(matches!(cut, Err(AskFault::TooMuch)) && !broken);
        for bytes in [
            &b""[..],
            b"D\0\0\0\x06\0\x01",
            b"G\0\0\0\x04",
            b"D\x7f\xff\xff\xff",
            b"H\0\0\0\x04",
        ] {
            let (error, broken) = answered(bytes).await;
            assert!(error.is_err() && broken, "{}", bytes.escape_ascii());
        }
        let large = [
            &b"N\0\x09\0\x04"[..],
            &[0; 0x90000],
            b"N\0\x09\0\x04",
            &[0; 0x90000],
        ]
        .concat();
        let (error, broken) = answered(&large).await;
        assert!(matches!(error, Err(AskFault::TooMuch)) && broken);
    }

    #[tokio::test]
    async fn a_dropped_ask_breaks_it() {
        let (ours, _theirs) = tokio::io::duplex(1 << 16);
        let mut asker = Asker::over(ours, Vec::new());
        {
            let ask = asker.ask("SELECT 1", &[]);
            tokio::pin!(ask);
            tokio::select! {
                biased;
                _ = &mut ask => panic!("answered by nobody"),
                () = std::future::ready(()) => {}
            }
        }
        assert!(matches!(asker.ask("SELECT 1", &[]).await, Err(AskFault::Broken)));
    }

    #[test]
    fn malformed_rows_are_refused() {
        assert_eq!(row(b"\0\0"), Some(vec![]));
        let bad: [&[u8]; 6] = [
            b"",
            b"\0",
            b"\0\x01",
            b"\0\x01\0\0\0\x02a",
            b"\0\x01\xff\xff\xff\xfe",
            b"\0\0x",
        ];
        for body in bad {
            assert_eq!(row(body), None, "{}", body.escape_ascii());
        }
    }
}
