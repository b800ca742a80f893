//! Logging in at a server, message by message, from its first answer to ReadyForQuery. Sends nothing by itself.
//!
//! libpq: `pg_fe_sendauth` and `PQconnectPoll`. The server is not trusted: every message must fit the state, and after
//! SCRAM has begun nothing but a verified signature leads on.

use std::fmt;

use super::client::{AwaitingServerFinal, AwaitingServerFirst, Binding};
use super::messages::{self, AuthRequest};
use super::scram::{self, ScramError};
use super::{Secret, md5};
use crate::protocol::server_error::ServerError;

/// The most messages of one login.
pub const MESSAGES_MAX: usize = 1000;
/// The most bytes of one login, all messages together.
pub const BYTES_MAX: usize = 1 << 20;

/// Who logs in, and what protects the conversation.
#[derive(Clone, Debug)]
pub struct Login {
    /// The role.
    pub user: String,
    /// What it can prove.
    pub secret: Secret,
    /// TLS or a Unix socket: a cleartext password may pass.
    pub private: bool,
    /// Over TLS, the hash of the server's certificate, if its kind has one.
    pub end_point: Option<Vec<u8>>,
    /// From [`scram::nonce`], never used twice.
    pub nonce: String,
}

/// What the server told before it was ready.
#[derive(Clone, Default)]
pub struct Welcome {
    /// The process id to cancel; 0 if it gave none.
    pub pid: i32,
    /// The secret to cancel with.
    pub cancel_secret: Vec<u8>,
    /// Every ParameterStatus in order.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What comes after a message.
pub enum Step {
    /// Wait for the next one.
    Wait,
    /// Send these bytes, then wait.
    Send(Vec<u8>),
    /// The server is ready.
    Ready(Welcome),
}

/// Why a login failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginError {
    /// The server refused, in its own words.
    Refused(Box<ServerError>),
    /// SCRAM failed.
    Scram(ScramError),
    /// The server wants the password in cleartext over an open line.
    CleartextInTheOpen,
    /// No secret that answers this method is known.
    CannotProve(&'static str),
    /// A method pgshunt does not speak: its code.
    Method(u32),
    /// SASL without SCRAM-SHA-256.
    Mechanisms,
    /// A message that has no place here.
    Unexpected(u8),
    /// A message that cannot be read.
    Malformed(u8),
    /// More than [`MESSAGES_MAX`] or [`BYTES_MAX`].
    TooMuch,
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoginError::Refused(e) => write!(f, "{e}"),
            LoginError::Scram(e) => write!(f, "{e}"),
            LoginError::CleartextInTheOpen => f.write_str(
                "the server asks for a cleartext password without TLS; use scram-sha-256 there, or TLS",
            ),
            LoginError::CannotProve(method) => {
                write!(f, "no secret that is good for {method} is known for this user")
            }
            LoginError::Method(code) => write!(f, "the server asks for authentication method {code}"),
            LoginError::Mechanisms => f.write_str("the server offers no SASL mechanism that pgshunt speaks"),
            LoginError::Unexpected(kind) => {
                write!(f, "unexpected message '{}' during login", kind.escape_ascii())
            }
            LoginError::Malformed(kind) => {
                write!(f, "malformed message '{}' during login", kind.escape_ascii())
            }
            LoginError::TooMuch => f.write_str("the server sent too much during login"),
        }
    }
}

impl std::error::Error for LoginError {}

/// A login in progress.
pub struct Conversation {
    login: Login,
    waiting: Waiting,
    welcome: Welcome,
    messages: usize,
    bytes: usize,
}

enum Waiting {
    /// For the server's choice of method.
    Method,
    /// For its challenge.
    ServerFirst(AwaitingServerFirst),
    /// For its signature.
    ServerFinal(AwaitingServerFinal),
    /// For AuthenticationOk, and nothing but.
    Verdict,
    /// For parameters, a cancel key and ReadyForQuery.
    Ready,
    /// For nothing: the login failed.
    Nothing,
}

impl Conversation {
    /// A login whose startup message has been sent.
    pub fn new(login: Login) -> Self {
        Conversation {
            login,
            waiting: Waiting::Method,
            welcome: Welcome::default(),
            messages: 0,
            bytes: 0,
        }
    }

    /// Takes the server's next message. After an error or `Ready` there is nothing more to be said.
    pub fn on_message(&mut self, kind: u8, body: &[u8]) -> Result<Step, LoginError> {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(body.len());
        if self.messages > MESSAGES_MAX || self.bytes > BYTES_MAX {
            return Err(LoginError::TooMuch);
        }
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        match (kind, waiting) {
            (b'E', _) => Err(LoginError::Refused(Box::new(ServerError::parse(body)))),
            (b'N', waiting) | (b'v', waiting @ Waiting::Method) => {
                self.waiting = waiting;
                Ok(Step::Wait)
            }
            (b'R', Waiting::Ready | Waiting::Nothing) => Err(LoginError::Unexpected(kind)),
            (b'R', waiting) => {
                let request = AuthRequest::parse(body).ok_or(LoginError::Malformed(kind))?;
                self.on_request(waiting, request)
            }
            (_, Waiting::Ready) => self.on_greeting(kind, body),
            (_, _) => Err(LoginError::Unexpected(kind)),
        }
    }

    fn on_request(&mut self, waiting: Waiting, request: AuthRequest<'_>) -> Result<Step, LoginError> {
        let (out, next) = match (waiting, request) {
            (Waiting::Method | Waiting::Verdict, AuthRequest::Ok) => {
                self.waiting = Waiting::Ready;
                return Ok(Step::Wait);
            }
            (Waiting::ServerFinal(scram), AuthRequest::SaslFinal(data)) => {
                scram.step(data).map_err(LoginError::Scram)?;
                self.waiting = Waiting::Verdict;
                return Ok(Step::Wait);
            }
            (Waiting::ServerFirst(scram), AuthRequest::SaslContinue(data)) => {
                let (proof, scram) = scram.step(data).map_err(LoginError::Scram)?;
                let mut out = Vec::new();
                messages::sasl_response(&mut out, &proof);
                (out, Waiting::ServerFinal(scram))
            }
            (Waiting::Method, AuthRequest::Cleartext) => (self.cleartext()?, Waiting::Verdict),
            (Waiting::Method, AuthRequest::Md5(salt)) => (self.md5(salt)?, Waiting::Verdict),
            (Waiting::Method, AuthRequest::Sasl(offered)) => self.sasl(&offered)?,
            (Waiting::Method, AuthRequest::Other(code)) => return Err(LoginError::Method(code)),
            (_, _) => return Err(LoginError::Unexpected(b'R')),
        };
        self.waiting = next;
        Ok(Step::Send(out))
    }

    fn cleartext(&self) -> Result<Vec<u8>, LoginError> {
        let Secret::Password(password) = &self.login.secret else {
            return Err(LoginError::CannotProve("a cleartext password"));
        };
        if !self.login.private {
            return Err(LoginError::CleartextInTheOpen);
        }
        let mut out = Vec::new();
        messages::password_message(&mut out, password.as_bytes());
        Ok(out)
    }

    fn md5(&self, salt: [u8; 4]) -> Result<Vec<u8>, LoginError> {
        let response = match &self.login.secret {
            Secret::Password(password) => {
                md5::md5_response(&md5::md5_hash(password.as_bytes(), &self.login.user), salt)
            }
            Secret::Md5Hash(hash) => md5::md5_response(hash, salt),
            Secret::ScramKeys { .. } | Secret::None => return Err(LoginError::CannotProve("md5")),
        };
        let mut out = Vec::new();
        messages::password_message(&mut out, response.as_bytes());
        Ok(out)
    }

    fn sasl(&self, offered: &[&[u8]]) -> Result<(Vec<u8>, Waiting), LoginError> {
        let has = |mechanism: &str| offered.contains(&mechanism.as_bytes());
        let binding = match &self.login.end_point {
            Some(hash) if has(scram::SCRAM_PLUS) => Binding::EndPoint(hash.clone()),
            Some(_) if has(scram::SCRAM) => Binding::NotOffered,
            None if has(scram::SCRAM) => Binding::Impossible,
            Some(_) | None => return Err(LoginError::Mechanisms),
        };
        let mechanism = binding.mechanism();
        let (first, scram) =
            AwaitingServerFirst::start(self.login.secret.clone(), self.login.nonce.clone(), binding)
                .map_err(LoginError::Scram)?;
        let mut out = Vec::new();
        messages::sasl_initial_response(&mut out, mechanism, &first);
        Ok((out, Waiting::ServerFirst(scram)))
    }

    fn on_greeting(&mut self, kind: u8, body: &[u8]) -> Result<Step, LoginError> {
        let malformed = || LoginError::Malformed(kind);
        match kind {
            b'S' => {
                let body = body.strip_suffix(b"\0").ok_or_else(malformed)?;
                let mut parts = body.split(|&b| b == 0);
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(name), Some(value), None) => {
                        self.welcome.parameters.push((name.to_vec(), value.to_vec()));
                    }
                    (_, _, _) => return Err(malformed()),
                }
            }
            b'K' => {
                let (pid, secret) = body.split_first_chunk::<4>().ok_or_else(malformed)?;
                if !(4..=256).contains(&secret.len()) {
                    return Err(malformed());
                }
                self.welcome.pid = i32::from_be_bytes(*pid);
                self.welcome.cancel_secret = secret.to_vec();
            }
            b'Z' if body == b"I" => return Ok(Step::Ready(std::mem::take(&mut self.welcome))),
            b'Z' => return Err(malformed()),
            _ => return Err(LoginError::Unexpected(kind)),
        }
        self.waiting = Waiting::Ready;
        Ok(Step::Wait)
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
