//! A SCRAM verifier: what `pg_authid.rolpassword` holds of a password. It can check a proof, and cannot make one.

use std::fmt;
use std::num::NonZeroU32;

use super::scram::{self, Key};

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, its parts in base64.
///
/// `Debug` shows nothing of it; [`Verifier::to_text`] writes it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// How often the password is hashed.
    pub iterations: NonZeroU32,
    /// What it is hashed with.
    pub salt: Vec<u8>,
    /// SHA-256 of the ClientKey.
    pub stored_key: Key,
    /// What the server proves itself with.
    pub server_key: Key,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

impl Verifier {
    /// Reads PostgreSQL's text; `None` if it is anything else.
    pub fn parse(text: &str) -> Option<Verifier> {
        let rest = text.strip_prefix("SCRAM-SHA-256$")?;
        let (parameters, keys) = rest.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let salt = scram::decode(salt)?;
        if !(1..=scram::SALT_BYTES_MAX).contains(&salt.len()) {
            return None;
        }
        Some(Verifier {
            iterations: iterations.parse().ok()?,
            salt,
            stored_key: scram::decode_key(stored_key)?,
            server_key: scram::decode_key(server_key)?,
        })
    }

    /// PostgreSQL's text. A secret: whoever has it can try passwords.
    pub fn to_text(&self) -> String {
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            scram::encode(&self.salt),
            scram::encode(&self.stored_key),
            scram::encode(&self.server_key)
        )
    }

    /// The verifier of a password. Costs a PBKDF2: milliseconds at 4096 iterations, on the calling thread.
    pub fn from_password(password: &str, salt: Vec<u8>, iterations: NonZeroU32) -> Verifier {
        let (client_key, server_key) = scram::keys_of_password(password, &salt, iterations);
        Verifier {
            iterations,
            stored_key: scram::sha256(&client_key),
            server_key,
            salt,
        }
    }

    /// A verifier for a user that does not exist: the same salt for the same name as long as `mock_key` lives, so that
    /// a second try tells no more than the first. Its keys belong to no password.
    pub fn mock(mock_key: &Key, user: &str, iterations: NonZeroU32) -> Verifier {
        let derived = |what: &[u8]| scram::hmac(mock_key, &[what, user.as_bytes()]);
        Verifier {
            iterations,
            salt: derived(b"salt\0")[..16].to_vec(),
            stored_key: derived(b"stored key\0"),
            server_key: derived(b"server key\0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N4096: NonZeroU32 = NonZeroU32::new(4096).unwrap();

    #[test]
    fn text_and_back() {
        let verifier = Verifier::from_password("pencil", b"0123456789abcdef".to_vec(), N4096);
        let text = verifier.to_text();
        assert_eq!(Verifier::parse(&text), Some(verifier.clone()));
        assert!(!format!("{verifier:?}").contains(&text[20..40]));
    }

    #[test]
    fn anything_else_is_no_verifier() {
        let key = scram::encode(&[7; 32]);
        let good = format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}");
        assert!(Verifier::parse(&good).is_some());
        let long = scram::encode(&[0; 1025]);
        for bad in [
            String::new(),
            "md5abc".into(),
            good.replace("4096", "0"),
            good.replace("4096", "-1"),
            good.replace("4096", "99999999999"),
            good.replace("c2FsdA==", ""),
            good.replace("c2FsdA==", "***"),
            good.replace("c2FsdA==", &long),
            good.replace(&format!(":{key}"), ""),
            good.replace(&format!(":{key}"), ":c2FsdA=="),
            format!("{good}x"),
        ] {
            assert_eq!(Verifier::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_mock_is_stable_per_user() {
        let mock = |key: u8, user| Verifier::mock(&[key; 32], user, N4096);
        assert_eq!(mock(1, "ann"), mock(1, "ann"));
        assert_ne!(mock(1, "ann").salt, mock(1, "bob").salt);
        assert_ne!(mock(1, "ann").salt, mock(2, "ann").salt);
    }
}
