//! What both sides of SCRAM-SHA-256 share: its arithmetic, its words, its ways to fail (RFC 5802, RFC 7677).

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use crate::protocol::sqlstate::{self, SqlState};

/// The mechanism without channel binding.
pub const SCRAM: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The only channel binding PostgreSQL knows (RFC 5929).
pub const END_POINT: &str = "tls-server-end-point";
/// Random bytes in a nonce, as in PostgreSQL (`SCRAM_RAW_NONCE_LEN`); base64 makes 24 characters of them.
pub const NONCE_BYTES: usize = 18;
/// The iterations PostgreSQL uses unless told otherwise.
pub const ITERATIONS_DEFAULT: u32 = 4096;
/// The most iterations a server may ask of us: about a second of one core.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// The longest SCRAM message read.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// The longest salt read.
pub const SALT_BYTES_MAX: usize = 1024;
/// The longest nonce read, both halves together.
pub const NONCE_CHARS_MAX: usize = 1024;

/// A SHA-256 sized key.
pub type Key = [u8; 32];

/// Why a SCRAM exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// Not the message the exchange waits for; the text says which rule it broke.
    Malformed(&'static str),
    /// Something RFC 5802 allows and PostgreSQL does not.
    Unsupported(&'static str),
    /// The other side's nonce is not the one that was agreed.
    Nonce,
    /// The client believes we offered no channel binding, but we did: someone stands in between.
    BindingStripped,
    /// The channel the client names is not the one it is connected through.
    BindingMismatch,
    /// Wrong password, or a user that does not exist.
    WrongProof,
    /// The server asks for more iterations than [`ITERATIONS_MAX`], or none.
    Iterations(u32),
    /// The server could not prove that it knows the verifier.
    WrongSignature,
    /// The server ended the exchange with `e=`.
    ServerRefused,
    /// The secret at hand is of no use in this exchange.
    CannotProve,
}

impl ScramError {
    /// The SQLSTATE PostgreSQL answers with.
    pub fn code(&self) -> SqlState {
        match self {
            ScramError::Malformed(_) | ScramError::Nonce => sqlstate::PROTOCOL_VIOLATION,
            ScramError::Unsupported(_) => sqlstate::FEATURE_NOT_SUPPORTED,
            ScramError::BindingStripped | ScramError::BindingMismatch => sqlstate::INVALID_AUTHORIZATION,
            ScramError::WrongProof => sqlstate::INVALID_PASSWORD,
            ScramError::Iterations(_)
            | ScramError::WrongSignature
            | ScramError::ServerRefused
            | ScramError::CannotProve => sqlstate::CANNOT_CONNECT,
        }
    }
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScramError::Malformed(why) => write!(f, "malformed SCRAM message: {why}"),
            ScramError::Unsupported(what) => write!(f, "{what}"),
            ScramError::Nonce => f.write_str("invalid SCRAM response: nonce does not match"),
            ScramError::BindingStripped => f.write_str("SCRAM channel binding negotiation error"),
            ScramError::BindingMismatch => f.write_str("SCRAM channel binding check failed"),
            ScramError::WrongProof => f.write_str("password authentication failed"),
            ScramError::Iterations(n) => write!(
                f,
                "the server asks for {n} SCRAM iterations, 1 to {ITERATIONS_MAX} are allowed"
            ),
            ScramError::WrongSignature => f.write_str("the server's SCRAM signature is wrong"),
            ScramError::ServerRefused => f.write_str("the server refused the SCRAM exchange"),
            ScramError::CannotProve => f.write_str("no secret that is good for SCRAM is known for this user"),
        }
    }
}

impl std::error::Error for ScramError {}

/// ClientKey and ServerKey of a password. Costs a PBKDF2: milliseconds at 4096 iterations, on the calling thread.
pub(super) fn keys_of_password(password: &str, salt: &[u8], iterations: NonZeroU32) -> (Key, Key) {
    let mut salted = [0; 32];
    let prepared = prepare(password);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        prepared.as_bytes(),
        &mut salted,
    );
    (hmac(&salted, &[b"Client Key"]), hmac(&salted, &[b"Server Key"]))
}

/// SASLprep, or the password as it is where SASLprep has no answer (`pg_be_scram_build_secret` does the same).
fn prepare(password: &str) -> Cow<'_, str> {
    match stringprep::saslprep(password) {
        Ok(prepared) if !prepared.is_empty() => prepared,
        _ => Cow::Borrowed(password),
    }
}

/// HMAC-SHA-256 of the parts, one after the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    key_of(context.sign().as_ref())
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> Key {
    key_of(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn key_of(digest: &[u8]) -> Key {
    digest.try_into().expect("SHA-256 makes 32 bytes")
}

/// Byte by byte exclusive or.
pub(super) fn xor(a: &Key, b: &Key) -> Key {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// AuthMessage: what proof and signature sign.
pub(super) fn auth_message(first_bare: &str, server_first: &str, final_bare: &str) -> String {
    [first_bare, server_first, final_bare].join(",")
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

pub(super) fn decode_key(text: &str) -> Option<Key> {
    decode(text)?.try_into().ok()
}

/// A message as text, if it is short enough and of printable ASCII, which is all SCRAM without names needs.
pub(super) fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(ScramError::Malformed("too long"));
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))
}

/// Takes the attribute `name` from the front of `rest`, with the comma behind it.
pub(super) fn attribute<'a>(rest: &mut &'a str, name: &str) -> Result<&'a str, ScramError> {
    let value = rest
        .strip_prefix(name)
        .and_then(|r| r.strip_prefix('='))
        .ok_or(ScramError::Malformed(
            "an attribute is missing or in the wrong place",
        ))?;
    let (value, after) = value.split_once(',').unwrap_or((value, ""));
    *rest = after;
    Ok(value)
}

/// Is it a nonce: printable ASCII without commas, not empty, not too long?
pub(super) fn is_nonce(text: &str) -> bool {
    (1..=NONCE_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

/// A nonce of the bytes given.
pub fn nonce(chance: &[u8; NONCE_BYTES]) -> String {
    encode(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_prepared_or_taken_as_they_are() {
        assert_eq!(prepare("pencil"), "pencil");
        assert_eq!(prepare("I\u{ad}X"), "IX");
        assert_eq!(prepare("\u{2168}"), "IX");
        assert_eq!(prepare("a\u{7}b"), "a\u{7}b");
        assert_eq!(prepare("\u{ad}"), "\u{ad}");
    }

    #[test]
    fn attributes_come_in_order() {
        let mut rest = "r=abc,s=,i=4096";
        assert_eq!(attribute(&mut rest, "r"), Ok("abc"));
        assert!(attribute(&mut rest, "i").is_err());
        assert_eq!(attribute(&mut rest, "s"), Ok(""));
        assert_eq!(attribute(&mut rest, "i"), Ok("4096"));
        assert!(attribute(&mut rest, "x").is_err());
    }
}
