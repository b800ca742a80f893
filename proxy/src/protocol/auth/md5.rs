//! PostgreSQL's md5 method. Weak, kept for servers and clients that have nothing else.

use md5::{Digest, Md5};

use super::same_secret;

/// What `pg_authid` stores: `md5` and the hexadecimal MD5 of the password followed by the user name.
pub fn md5_hash(password: &[u8], user: &str) -> String {
    md5_of(&[password, user.as_bytes()])
}

/// What goes over the wire: the stored hash, its `md5` cut off, hashed with the server's salt.
pub fn md5_response(hash: &str, salt: [u8; 4]) -> String {
    let digits = hash.strip_prefix("md5").unwrap_or(hash);
    md5_of(&[digits.as_bytes(), &salt])
}

/// Is `response` (as sent, without its terminator) the right answer to `salt`?
pub fn md5_verify(hash: &str, salt: [u8; 4], response: &[u8]) -> bool {
    is_md5_hash(hash) && same_secret(md5_response(hash, salt).as_bytes(), response)
}

/// Does the text look like a stored md5 password: `md5` and 32 lower-case hexadecimal digits?
pub fn is_md5_hash(text: &str) -> bool {
    let digits = text.strip_prefix("md5").unwrap_or_default().as_bytes();
    digits.len() == 32 && digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn md5_of(parts: &[&[u8]]) -> String {
    let mut hasher = Md5::new();
    parts.iter().for_each(|part| hasher.update(part));
    let mut text = String::with_capacity(35);
    text.push_str("md5");
    for byte in hasher.finalize() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_and_response_are_postgresqls() {
        // SELECT 'md5' || md5('passwordpostgres')
        let hash = md5_hash(b"password", "postgres");
        assert_eq!(hash, "md532e12f215ba27cb750c9e093ce4b5127");
        let response = md5_response(&hash, *b"abcd");
        assert!(md5_verify(&hash, *b"abcd", response.as_bytes()));
        assert!(!md5_verify(&hash, *b"abce", response.as_bytes()));
        assert!(!md5_verify(&hash, *b"abcd", b""));
    }

    #[test]
    fn only_a_real_hash_verifies() {
        for bad in [
            "",
            "md5",
            "md5XYZ",
            "SCRAM-SHA-256$4096:",
            "md532E12F215BA27CB750C9E093CE4B5127",
        ] {
            assert!(!is_md5_hash(bad));
            assert!(!md5_verify(bad, [0; 4], md5_response(bad, [0; 4]).as_bytes()));
        }
    }
}
