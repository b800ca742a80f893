//! Authentication exchanges, pure: bytes and chance in, bytes and verdicts out.
//!
//! `scram` is what both sides of RFC 5802 share, `verifier` what PostgreSQL stores of a password, `server` pgshunt in
//! front of its clients, `client` pgshunt in front of its servers, `login` that whole conversation, `messages` the frames.

pub mod client;
pub mod login;
pub mod md5;
pub mod messages;
pub mod scram;
pub mod server;
pub mod verifier;

use std::fmt;

/// What pgshunt can prove to a server on a user's behalf. Never shown: `Debug` names the kind and nothing else.
#[derive(Clone, Default)]
pub enum Secret {
    /// The password itself: good for every method.
    Password(String),
    /// What a client's own SCRAM proof revealed: good for SCRAM at servers that store the same verifier.
    ScramKeys {
        /// RFC 5802's ClientKey.
        client_key: [u8; 32],
        /// RFC 5802's ServerKey.
        server_key: [u8; 32],
    },
    /// `md5` and 32 hexadecimal digits: good for the md5 method.
    Md5Hash(String),
    /// Nothing: good for trust, peer and certificate.
    #[default]
    None,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Secret::Password(_) => "Password(…)",
            Secret::ScramKeys { .. } => "ScramKeys(…)",
            Secret::Md5Hash(_) => "Md5Hash(…)",
            Secret::None => "None",
        })
    }
}

/// Are they equal? Takes as long for different secrets as for equal ones of the same length.
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |seen, (x, y)| seen | (x ^ y));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_show_nothing() {
        let secrets = [
            Secret::Password("hunter2".into()),
            Secret::Md5Hash("md5hunter2".into()),
        ];
        for secret in secrets {
            assert!(!format!("{secret:?}").contains("hunter"));
        }
    }

    #[test]
    fn equal_is_equal() {
        assert!(same_secret(b"", b""));
        assert!(same_secret(b"abc", b"abc"));
        assert!(!same_secret(b"abc", b"abd"));
        assert!(!same_secret(b"abc", b"ab"));
    }
}
