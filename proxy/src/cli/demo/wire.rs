//! A small blocking client: one connection, one question at a time, or raw messages where a tour stop needs them.
//! For the demo only; pgshunt's own connections to servers are `server`'s.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};

use crate::protocol::auth::login::{Conversation, Login, LoginError, Step, Welcome};
use crate::protocol::auth::{Secret, messages, scram};
use crate::protocol::frame::{self, HEADER};
use crate::protocol::message::{cstr, row_values};
use crate::protocol::reply;
use crate::protocol::server_error::ServerError;

/// Where to connect, as whom.
#[derive(Clone, Debug)]
pub struct Door {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The role.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database.
    pub database: String,
}

/// A logged-in client.
pub struct Client {
    stream: TcpStream,
    port: u16,
    inbox: Vec<u8>,
    used: usize,
    welcome: Welcome,
    /// Notifications heard and not yet asked for: channel and payload.
    notifications: Vec<(String, String)>,
}

/// What came up to ReadyForQuery.
#[derive(Debug, Default)]
pub struct Answer {
    /// Rows of all results, one after the other; NULL is an empty text.
    pub rows: Vec<Vec<String>>,
    /// The tag of each CommandComplete.
    pub tags: Vec<String>,
    /// The last error.
    pub error: Option<ServerError>,
    /// The transaction status: I, T or E.
    pub status: u8,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum WireFault {
    /// The server refused.
    Server(ServerError),
    /// The login failed.
    Login(LoginError),
    /// The line broke, or nothing came in time.
    Line(io::Error),
    /// Not the protocol.
    Malformed,
}

impl fmt::Display for WireFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireFault::Server(error) => write!(f, "{error}"),
            WireFault::Login(error) => write!(f, "{error}"),
            WireFault::Line(error) => match error.kind() {
                io::ErrorKind::WouldBlock => write!(f, "no answer within {PATIENCE:?}"),
                _ => write!(f, "connection lost: {error}"),
            },
            WireFault::Malformed => f.write_str("an answer that is not the protocol"),
        }
    }
}

impl std::error::Error for WireFault {}

impl From<io::Error> for WireFault {
    fn from(error: io::Error) -> Self {
        WireFault::Line(error)
    }
}

impl WireFault {
    /// The SQLSTATE, if a server gave one.
    pub fn code(&self) -> Option<String> {
        match self {
            WireFault::Server(error) => error.code.map(|code| code.to_string()),
            WireFault::Login(LoginError::Refused(error)) => error.code.map(|code| code.to_string()),
            WireFault::Login(_) | WireFault::Line(_) | WireFault::Malformed => None,
        }
    }
}

impl Client {
    /// Connects and logs in.
    pub fn connect(door: &Door) -> Result<Client, WireFault> {
        let stream = TcpStream::connect(("127.0.0.1", door.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Client {
            stream,
            port: door.port,
            inbox: Vec::new(),
            used: 0,
            welcome: Welcome::default(),
            notifications: Vec::new(),
        };
        client.log_in(door)?;
        Ok(client)
    }

    fn log_in(&mut self, door: &Door) -> Result<(), WireFault> {
        let mut chance = [0; scram::NONCE_BYTES];
        let filled = SystemRandom::new().fill(&mut chance);
        filled.map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let mut conversation = Conversation::new(Login {
            user: door.user.clone(),
            secret: Secret::Password(door.password.clone()),
            private: false,
            end_point: None,
            nonce: scram::nonce(&chance),
        });
        let mut startup = Vec::new();
        let name = (b"application_name".to_vec(), b"demo".to_vec());
        messages::startup_message(&mut startup, &door.user, &door.database, &[name]);
        self.send(&startup)?;
        loop {
            let (kind, body) = self.message()?;
            match conversation.on_message(kind, &body).map_err(WireFault::Login)? {
                Step::Wait => {}
                Step::Send(bytes) => self.send(&bytes)?,
                Step::Ready(welcome) => {
                    self.welcome = welcome;
                    return Ok(());
                }
            }
        }
    }

    /// Runs statements by the simple protocol; the first error is the outcome.
    pub fn query(&mut self, sql: &str) -> Result<Answer, WireFault> {
        self.ask(sql)?;
        self.answer()?.into_result()
    }

    /// The one value of a statement.
    pub fn value(&mut self, sql: &str) -> Result<String, WireFault> {
        let mut answer = self.query(sql)?;
        let row = answer.rows.pop().unwrap_or_default();
        Ok(row.into_iter().next().unwrap_or_default())
    }

    /// Sends statements; [`Client::answer`] waits for what comes.
    pub fn ask(&mut self, sql: &str) -> Result<(), WireFault> {
        let mut out = Vec::new();
        reply::query(&mut out, sql.as_bytes());
        self.send(&out)
    }

    /// Prepares a named statement.
    pub fn prepare(&mut self, name: &str, sql: &str) -> Result<(), WireFault> {
        let mut out = Vec::new();
        parse(&mut out, name, sql);
        sync(&mut out);
        self.send(&out)?;
        self.answer()?.into_result().map(drop)
    }

    /// Executes a prepared statement.
    pub fn execute(&mut self, name: &str, values: &[&str]) -> Result<Answer, WireFault> {
        let mut out = Vec::new();
        bind_and_execute(&mut out, name, values);
        sync(&mut out);
        self.send(&out)?;
        self.answer()?.into_result()
    }

    /// Writes messages made by hand.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), WireFault> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads up to the next ReadyForQuery.
    pub fn answer(&mut self) -> Result<Answer, WireFault> {
        let mut answer = Answer::default();
        loop {
            let (kind, body) = match self.message() {
                Ok(message) => message,
                // A FATAL is the last word before the line ends.
                Err(WireFault::Line(error)) => {
                    return match answer.error.take() {
                        Some(last) => Err(WireFault::Server(last)),
                        None => Err(WireFault::Line(error)),
                    };
                }
                Err(other) => return Err(other),
            };
            match kind {
                b'D' => {
                    let values = row_values(&body).map(Option::unwrap_or_default);
                    let texts = values.map(|value| String::from_utf8_lossy(value).into_owned());
                    answer.rows.push(texts.collect());
                }
                b'C' => answer.tags.push(text(&body)?.0),
                b'E' => answer.error = Some(ServerError::parse(&body)),
                b'A' => self.note(&body)?,
                b'Z' => {
                    answer.status = body.first().copied().unwrap_or_default();
                    return Ok(answer);
                }
                _ => {}
            }
        }
    }

    /// The next notification, if one comes within `patience` without anything being asked.
    pub fn notification(&mut self, patience: Duration) -> Result<Option<(String, String)>, WireFault> {
        let deadline = Instant::now() + patience;
        while self.notifications.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.stream.set_read_timeout(Some(left))?;
            let heard = self.message();
            self.stream.set_read_timeout(Some(PATIENCE))?;
            match heard {
                Ok((b'A', body)) => self.note(&body)?,
                Ok(_) => {}
                Err(WireFault::Line(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(fault) => return Err(fault),
            }
        }
        Ok((!self.notifications.is_empty()).then(|| self.notifications.remove(0)))
    }

    /// Asks, on a connection of its own, for what this client runs now to be cancelled.
    pub fn cancel(&self) -> Result<(), WireFault> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let mut out = Vec::new();
        messages::cancel_request(&mut out, self.welcome.pid, &self.welcome.cancel_secret);
        stream.write_all(&out)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // The other side closes when the request has been passed on.
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }

    /// Is gone without a word, as a client that crashed.
    pub fn vanish(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn note(&mut self, body: &[u8]) -> Result<(), WireFault> {
        let rest = body.get(4..).ok_or(WireFault::Malformed)?;
        let (channel, rest) = text(rest)?;
        self.notifications.push((channel, text(rest)?.0));
        Ok(())
    }

    /// The next message: its type and body.
    fn message(&mut self) -> Result<(u8, Vec<u8>), WireFault> {
        loop {
            let bytes = &self.inbox[self.used..];
            let header = frame::header(bytes).map_err(|_| WireFault::Malformed)?;
            if let Some(header) = header.filter(|header| header.total <= bytes.len()) {
                let body = bytes[HEADER..header.total].to_vec();
                self.used += header.total;
                return Ok((header.kind, body));
            }
            self.inbox.drain(..self.used);
            self.used = 0;
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                n => self.inbox.extend_from_slice(&chunk[..n]),
            }
        }
    }
}

impl Answer {
    fn into_result(self) -> Result<Answer, WireFault> {
        match self.error {
            Some(error) => Err(WireFault::Server(error)),
            None => Ok(self),
        }
    }
}

/// Appends a Parse without parameter types.
pub fn parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    reply::frame(out, b'P', |out| {
        cstring(out, name);
        cstring(out, sql);
        out.extend_from_slice(&0u16.to_be_bytes());
    });
}

/// Appends a Bind of the unnamed portal, all values as text, and its Execute.
pub fn bind_and_execute(out: &mut Vec<u8>, name: &str, values: &[&str]) {
    reply::frame(out, b'B', |out| {
        cstring(out, "");
        cstring(out, name);
        out.extend_from_slice(&0u16.to_be_bytes());
        out.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(&0u16.to_be_bytes());
    });
    reply::frame(out, b'E', |out| {
        cstring(out, "");
        out.extend_from_slice(&0u32.to_be_bytes());
    });
}

/// Appends a Sync.
pub fn sync(out: &mut Vec<u8>) {
    reply::frame(out, b'S', |_| ());
}

fn cstring(out: &mut Vec<u8>, text: &str) {
    reply::cstr(out, text.as_bytes());
}

fn text(bytes: &[u8]) -> Result<(String, &[u8]), WireFault> {
    let (text, rest) = cstr(bytes).ok_or(WireFault::Malformed)?;
    Ok((String::from_utf8_lossy(text).into_owned(), rest))
}

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
