//! A fault: what pgshunt itself refuses, in the words a client sees. Not for server errors, which pass as they are.

use std::fmt;

use crate::protocol::reply;
use crate::protocol::sqlstate::SqlState;

/// How much ends with the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement fails, the session goes on.
    Error,
    /// The session ends.
    Fatal,
}

impl Severity {
    /// PostgreSQL's word, never translated.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        }
    }
}

/// Something pgshunt refuses or could not do, as the client is told.
///
/// The text says what, which and what to do; it never holds a password, a server's address or another tenant's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Does the session end?
    pub severity: Severity,
    /// The SQLSTATE.
    pub code: SqlState,
    /// One sentence, lower case, no full stop, as PostgreSQL writes them.
    pub message: String,
    /// More about what happened.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault that ends the statement.
    pub fn error(code: SqlState, message: impl Into<String>) -> Self {
        Fault {
            severity: Severity::Error,
            code,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// A fault that ends the session.
    pub fn fatal(code: SqlState, message: impl Into<String>) -> Self {
        Fault {
            severity: Severity::Fatal,
            ..Fault::error(code, message)
        }
    }

    /// The same fault with a hint.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Fault {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The same fault with a detail.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Fault {
            detail: Some(detail.into()),
            ..self
        }
    }

    /// Appends the fault as an ErrorResponse frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let fields = reply::ErrorFields {
            severity: self.severity.word(),
            code: self.code,
            message: &self.message,
            detail: self.detail.as_deref(),
            hint: self.hint.as_deref(),
        };
        reply::error_response(out, &fields);
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity.word(), self.code, self.message)
    }
}

impl std::error::Error for Fault {}
