//! What a server says when it refuses: the fields of an ErrorResponse, every one of them optional on the wire.

use std::fmt;

use super::sqlstate::SqlState;

/// An ErrorResponse's fields, as text: bytes that are not UTF-8 are replaced, as the server's encoding is not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`; the untranslated word where the server sent it.
    pub severity: String,
    /// The SQLSTATE, if it was five ASCII letters or digits.
    pub code: Option<SqlState>,
    /// The primary message.
    pub message: String,
    /// The detail line.
    pub detail: Option<String>,
    /// The hint line.
    pub hint: Option<String>,
}

impl ServerError {
    /// Reads the body of an `E` or `N` message. Whatever is missing or malformed stays empty.
    pub fn parse(body: &[u8]) -> ServerError {
        let mut found = ServerError::default();
        let mut has_plain_severity = false;
        let mut rest = body;
        while let [tag, after @ ..] = rest {
            if *tag == 0 {
                break;
            }
            let Some(end) = after.iter().position(|&b| b == 0) else {
                break;
            };
            let bytes = &after[..end];
            let text = || String::from_utf8_lossy(bytes).into_owned();
            match tag {
                b'V' => (found.severity, has_plain_severity) = (text(), true),
                b'S' if !has_plain_severity => found.severity = text(),
                b'C' => found.code = code(bytes),
                b'M' => found.message = text(),
                b'D' => found.detail = Some(text()),
                b'H' => found.hint = Some(text()),
                _ => {}
            }
            rest = &after[end + 1..];
        }
        found
    }
}

fn code(bytes: &[u8]) -> Option<SqlState> {
    let code: [u8; 5] = bytes.try_into().ok()?;
    code.iter()
        .all(u8::is_ascii_alphanumeric)
        .then_some(SqlState(code))
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.severity)?;
        if let Some(code) = self.code {
            write!(f, " {code}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_optional() {
        let e = ServerError::parse(b"SFATAL\0VFATAL\0C28P01\0Mno\0Dbecause\0Hdo\0Fauth.c\0\0");
        assert_eq!(e.to_string(), "FATAL 28P01: no (because)");
        assert_eq!(e.hint.as_deref(), Some("do"));
        assert_eq!(ServerError::parse(b""), ServerError::default());
        assert_eq!(ServerError::parse(b"\0"), ServerError::default());
        assert_eq!(ServerError::parse(b"Mnever ends").message, "");
        assert_eq!(ServerError::parse(b"C28\0\0").code, None);
        assert_eq!(ServerError::parse(b"C\xff\xff\xff\xff\xff\0\0").code, None);
        assert_eq!(ServerError::parse(b"M\xff\0").message, "\u{fffd}");
        assert_eq!(ServerError::parse(b"VERROR\0SFEHLER\0\0").severity, "ERROR");
    }
}
