//! A client that speaks the protocol message by message, and hears every answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use pgshunt::protocol::auth::login::{Conversation, Login, LoginError, Step, Welcome};
use pgshunt::protocol::auth::{Secret, messages, scram};

use crate::PATIENCE;
use crate::cluster::unique;
use crate::door::Door;
use crate::frame::Frame;
use crate::messages::Messages;

/// A session, or a connection on its way to one.
pub struct Wire {
    line: Line,
    unread: Vec<u8>,
    door: Door,
    /// What the server said when it let us in.
    pub welcome: Welcome,
}

impl Wire {
    /// A connection on which nothing has been said.
    pub fn connect(door: &Door) -> io::Result<Wire> {
        let line = Line::connect(door)?;
        line.set_patience(PATIENCE)?;
        Ok(Wire {
            line,
            unread: Vec::new(),
            door: door.clone(),
            welcome: Welcome::default(),
        })
    }

    /// Logs in, or gives back the ErrorResponse.
    pub fn log_in(door: &Door, parameters: &[(&str, &str)]) -> Result<Wire, Frame> {
        let mut wire = Wire::connect(door).unwrap_or_else(|error| panic!("{door:?}: {error}"));
        let mut opening = Vec::new();
        let owned = |&(name, value): &(&str, &str)| (name.into(), value.into());
        let parameters: Vec<(Vec<u8>, Vec<u8>)> = parameters.iter().map(owned).collect();
        messages::startup_message(&mut opening, &door.user, &door.database, &parameters);
        wire.send_bytes(&opening);
        let mut conversation = Conversation::new(Login {
            user: door.user.clone(),
            secret: Secret::Password(door.password.clone()),
            private: true,
            end_point: None,
            nonce: scram::nonce(&chance()),
        });
        loop {
            let frame = wire.read();
            match conversation.on_message(frame.kind, &frame.body) {
                Ok(Step::Wait) => {}
                Ok(Step::Send(answer)) => wire.send_bytes(&answer),
                Ok(Step::Ready(welcome)) => {
                    wire.welcome = welcome;
                    return Ok(wire);
                }
                Err(LoginError::Refused(_)) => return Err(frame),
                Err(error) => panic!("login at {door:?}: {error} ({frame})"),
            }
        }
    }

    /// A parameter the server reported at login.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let found = |(n, _): &&(Vec<u8>, Vec<u8>)| n == name.as_bytes();
        let value = self.welcome.parameters.iter().rev().find(found)?;
        Some(String::from_utf8_lossy(&value.1).into_owned())
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.line.write_all(bytes).expect("sent");
    }

    /// Sends messages in one write and hears nothing yet.
    #[track_caller]
    pub fn send(&mut self, messages: &Messages) {
        self.send_bytes(&messages.bytes);
    }

    /// The next message. Fails the test if the connection ends or nothing comes.
    #[track_caller]
    pub fn read(&mut self) -> Frame {
        match self.try_read() {
            Ok(Some(frame)) => frame,
            Ok(None) => panic!("the connection ended"),
            Err(error) => panic!("no message: {error}"),
        }
    }

    /// The next message, or `None` at the end of the connection.
    pub fn try_read(&mut self) -> io::Result<Option<Frame>> {
        // What has come of a message stays unread until all of it has.
        if !self.fill(5)? {
            return Ok(None);
        }
        let length = u32::from_be_bytes([self.unread[1], self.unread[2], self.unread[3], self.unread[4]]);
        self.fill(1 + length as usize)?;
        let rest = self.unread.split_off(1 + length as usize);
        let whole = std::mem::replace(&mut self.unread, rest);
        let (kind, body) = (whole[0], whole[5..].to_vec());
        Ok(Some(Frame { kind, body }))
    }

    /// Everything up to the next ReadyForQuery, which is the last.
    #[track_caller]
    pub fn until_ready(&mut self) -> Vec<Frame> {
        self.until(b'Z')
    }

    /// Everything up to the next message of this kind, which is the last.
    #[track_caller]
    pub fn until(&mut self, kind: u8) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            frames.push(self.read());
            if frames.last().is_some_and(|frame| frame.kind == kind) {
                return frames;
            }
        }
    }

    /// Sends messages and hears all the ReadyForQuery they ask for: a transcript without ParameterStatus.
    #[track_caller]
    pub fn exchange(&mut self, messages: &Messages) -> Vec<String> {
        self.send(messages);
        let mut frames = Vec::new();
        for _ in 0..messages.syncs {
            frames.extend(self.until_ready());
        }
        transcript(&frames)
    }

    /// The transcript of one simple query.
    #[track_caller]
    pub fn query(&mut self, sql: &str) -> Vec<String> {
        self.exchange(&Messages::new().query(sql))
    }

    /// The transcript of one query by Parse, Bind, Describe, Execute and Sync.
    #[track_caller]
    pub fn extended(&mut self, sql: &str, values: &[&str]) -> Vec<String> {
        self.exchange(&Messages::new().once(sql, values).sync())
    }

    /// The rows of one simple query, each joined by `|`. Fails the test on an error.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<String> {
        self.send(&Messages::new().query(sql));
        let frames = self.until_ready();
        if let Some(error) = frames.iter().find(|frame| frame.kind == b'E') {
            panic!("{sql}: {error}");
        }
        let rows = frames.iter().filter(|frame| frame.kind == b'D');
        rows.map(Frame::row).collect()
    }

    /// The one value of a query, or its rows joined by line feeds.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        self.rows(sql).join("\n")
    }

    /// A simple query's answer, or `None` if the line broke before it was whole. A FATAL error ends it too.
    pub fn try_run(&mut self, sql: &str) -> Option<Vec<String>> {
        let mut bytes = Vec::new();
        pgshunt::protocol::reply::query(&mut bytes, sql.as_bytes());
        self.line.write_all(&bytes).ok()?;
        let mut frames = Vec::new();
        loop {
            let frame = self.try_read().ok()??;
            let ends = frame.kind == b'Z' || frame.to_string().starts_with("E FATAL");
            frames.push(frame);
            if ends {
                return Some(transcript(&frames));
            }
        }
    }

    /// Runs a statement whose answer does not matter. Fails the test on an error.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        self.rows(sql);
    }

    /// SQLSTATE of the error a query ends with. Fails the test if there is none.
    #[track_caller]
    pub fn sqlstate(&mut self, sql: &str) -> String {
        self.send(&Messages::new().query(sql));
        let frames = self.until_ready();
        match frames.iter().find(|frame| frame.kind == b'E') {
            Some(error) => error.sqlstate(),
            None => panic!("{sql} succeeded: {frames:?}"),
        }
    }

    /// The server's process id, found without `pg_backend_pid()`, which would keep the server for the client.
    #[track_caller]
    pub fn server_pid(&mut self) -> String {
        let mark = unique("who_am_i");
        // In a transaction, PostgreSQL shows what it showed before.
        self.run("SELECT pg_stat_clear_snapshot()");
        self.value(&format!(
            "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND strpos(query, '{mark}') > 0"
        ))
    }

    /// Hears the connection end, whatever comes before; gives that back.
    #[track_caller]
    pub fn until_end(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match self.try_read() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return frames,
                Err(error) => panic!("the connection does not end: {error}; heard {frames:?}"),
            }
        }
    }

    /// Everything up to the next ReadyForQuery or the end of the connection.
    #[track_caller]
    pub fn until_end_or_ready(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = self.try_read() {
            frames.push(frame);
            if frames.last().is_some_and(|frame| frame.kind == b'Z') {
                break;
            }
        }
        frames
    }

    /// Asks for a cancel of what this session runs, on a connection of its own; returns when that one is closed.
    pub fn cancel(&self) {
        cancel(&self.door, self.welcome.pid, &self.welcome.cancel_secret);
    }

    /// A second handle, to write from another thread while this one reads.
    pub fn writer(&self) -> Line {
        self.line.try_clone().expect("a second handle")
    }

    /// Ends the connection without a word, as a killed client does.
    pub fn hang_up(self) {
        self.line.shutdown();
    }

    /// How long a read may take.
    pub fn set_patience(&self, patience: Duration) {
        self.line.set_patience(patience).expect("a time");
    }

    fn fill(&mut self, length: usize) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        while self.unread.len() < length {
            match self.line.read(&mut buffer)? {
                0 if self.unread.is_empty() => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.unread.extend_from_slice(&buffer[..n]),
            }
        }
        Ok(true)
    }
}

/// A CancelRequest with any key; returns when the other side has closed.
pub fn cancel(door: &Door, pid: i32, secret: &[u8]) {
    let mut line = Line::connect(door).expect("a connection");
    line.set_patience(PATIENCE).expect("a time");
    let mut request = Vec::new();
    messages::cancel_request(&mut request, pid, secret);
    line.write_all(&request).expect("sent");
    let mut heard = Vec::new();
    let _ = line.read_to_end(&mut heard);
    assert_eq!(heard, b"", "a cancel request has no answer");
}

/// Messages as lines. ParameterStatus is left out: when it comes is not a promise.
pub fn transcript(frames: &[Frame]) -> Vec<String> {
    let frames = frames.iter().filter(|frame| frame.kind != b'S');
    frames.map(ToString::to_string).collect()
}

/// A blocking socket of either kind.
#[derive(Debug)]
pub enum Line {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Line {
    fn connect(door: &Door) -> io::Result<Line> {
        if door.host.starts_with('/') {
            let socket = format!("{}/.s.PGSQL.{}", door.host, door.port);
            return UnixStream::connect(socket).map(Line::Unix);
        }
        let stream = TcpStream::connect((door.host.as_str(), door.port))?;
        stream.set_nodelay(true)?;
        Ok(Line::Tcp(stream))
    }

    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        match self {
            Line::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Line::Unix(stream) => stream.set_read_timeout(Some(patience)),
        }
    }

    fn try_clone(&self) -> io::Result<Line> {
        match self {
            Line::Tcp(stream) => stream.try_clone().map(Line::Tcp),
            Line::Unix(stream) => stream.try_clone().map(Line::Unix),
        }
    }

    fn shutdown(&self) {
        let _ = match self {
            Line::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Line::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Tcp(stream) => stream.read(buffer),
            Line::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Line::Tcp(stream) => stream.write(bytes),
            Line::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn chance() -> [u8; scram::NONCE_BYTES] {
    let mut bytes = [0; scram::NONCE_BYTES];
    let mut source = std::fs::File::open("/dev/urandom").expect("randomness");
    source.read_exact(&mut bytes).expect("randomness");
    bytes
}
