//! SCRAM as a client speaks it: pgshunt in front of its servers, which it trusts no further than their signature.

use std::fmt;
use std::num::NonZeroU32;

use super::scram::{self, Key, ScramError};
use super::{Secret, same_secret};

/// What is known of the channel to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// There is nothing to bind to: no TLS, or a certificate whose hash is not defined.
    Impossible,
    /// We could bind, but the server did not offer it; it will notice if it did (`y`).
    NotOffered,
    /// The hash of the server's certificate; the mechanism is SCRAM-SHA-256-PLUS.
    EndPoint(Vec<u8>),
}

impl Binding {
    /// The mechanism's name.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Binding::Impossible | Binding::NotOffered => scram::SCRAM,
            Binding::EndPoint(_) => scram::SCRAM_PLUS,
        }
    }

    fn gs2_header(&self) -> &'static str {
        match self {
            Binding::Impossible => "n,,",
            Binding::NotOffered => "y,,",
            Binding::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }
}

/// An exchange that has sent its first message.
pub struct AwaitingServerFirst {
    secret: Secret,
    binding: Binding,
    nonce: String,
}

/// An exchange that has sent its proof.
pub struct AwaitingServerFinal {
    signature: Key,
}

impl fmt::Debug for AwaitingServerFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwaitingServerFirst(…)")
    }
}

impl fmt::Debug for AwaitingServerFinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwaitingServerFinal(…)")
    }
}

impl AwaitingServerFirst {
    /// The first message, and the exchange that waits for its answer. `nonce` is from [`scram::nonce`], never used twice.
    /// A secret without a password or SCRAM keys fails here, before the server has heard anything.
    pub fn start(secret: Secret, nonce: String, binding: Binding) -> Result<(Vec<u8>, Self), ScramError> {
        match secret {
            Secret::Password(_) | Secret::ScramKeys { .. } => {}
            Secret::Md5Hash(_) | Secret::None => return Err(ScramError::CannotProve),
        }
        let first = format!("{}n=,r={nonce}", binding.gs2_header());
        let waiting = AwaitingServerFirst {
            secret,
            binding,
            nonce,
        };
        Ok((first.into_bytes(), waiting))
    }

    /// Reads server-first-message and answers with the proof. With a password it costs a PBKDF2 of as many iterations as the
    /// server wants (at most [`scram::ITERATIONS_MAX`]), on the calling thread.
    pub fn step(self, message: &[u8]) -> Result<(Vec<u8>, AwaitingServerFinal), ScramError> {
        let server_first = scram::text(message)?;
        if server_first.starts_with("e=") {
            return Err(ScramError::ServerRefused);
        }
        let mut rest = server_first;
        let nonce = scram::attribute(&mut rest, "r")?;
        let salt = scram::attribute(&mut rest, "s")?;
        let iterations = scram::attribute(&mut rest, "i")?;
        if !scram::is_nonce(nonce) || nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        let salt = scram::decode(salt)
            .filter(|s| (1..=scram::SALT_BYTES_MAX).contains(&s.len()))
            .ok_or(ScramError::Malformed("unusable salt"))?;
        let iterations: u32 = iterations
            .parse()
            .map_err(|_| ScramError::Malformed("unusable iteration count"))?;
        let iterations = NonZeroU32::new(iterations)
            .filter(|n| n.get() <= scram::ITERATIONS_MAX)
            .ok_or(ScramError::Iterations(iterations))?;
        let (client_key, server_key) = match &self.secret {
            Secret::Password(password) => scram::keys_of_password(password, &salt, iterations),
            Secret::ScramKeys {
                client_key,
                server_key,
            } => (*client_key, *server_key),
            Secret::Md5Hash(_) | Secret::None => return Err(ScramError::CannotProve),
        };
        let mut bound = self.binding.gs2_header().as_bytes().to_vec();
        if let Binding::EndPoint(hash) = &self.binding {
            bound.extend_from_slice(hash);
        }
        let final_bare = format!("c={},r={nonce}", scram::encode(&bound));
        let signed = scram::auth_message(&format!("n=,r={}", self.nonce), server_first, &final_bare);
        let client_signature = scram::hmac(&scram::sha256(&client_key), &[signed.as_bytes()]);
        let proof = scram::encode(&scram::xor(&client_key, &client_signature));
        let waiting = AwaitingServerFinal {
            signature: scram::hmac(&server_key, &[signed.as_bytes()]),
        };
        Ok((format!("{final_bare},p={proof}").into_bytes(), waiting))
    }
}

impl AwaitingServerFinal {
    /// Reads server-final-message: does the server know the verifier?
    pub fn step(self, message: &[u8]) -> Result<(), ScramError> {
        let message = scram::text(message)?;
        if message.starts_with("e=") {
            return Err(ScramError::ServerRefused);
        }
        let mut rest = message;
        let signature = scram::attribute(&mut rest, "v")?;
        match scram::decode_key(signature) {
            Some(found) if same_secret(&found, &self.signature) => Ok(()),
            Some(_) => Err(ScramError::WrongSignature),
            None => Err(ScramError::Malformed("malformed signature")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{AwaitingClientFirst, Channel};
    use super::super::verifier::Verifier;
    use super::*;

    const N4096: NonZeroU32 = NonZeroU32::new(4096).unwrap();

    fn start(secret: Secret, binding: Binding) -> (Vec<u8>, AwaitingServerFirst) {
        AwaitingServerFirst::start(secret, "cnonce".into(), binding).unwrap()
    }

    fn password(text: &str) -> Secret {
        Secret::Password(text.into())
    }

    /// Both sides talk; the keys the server side learned.
    fn talk(secret: Secret, binding: Binding, channel: Channel) -> Result<Secret, ScramError> {
        let verifier = Verifier::from_password("pencil", b"salt".to_vec(), N4096);
        let (first, client) = start(secret, binding);
        let (server_first, server) = AwaitingClientFirst::new(verifier, channel).step(&first, "snonce")?;
        let (proof, client) = client.step(&server_first)?;
        let proven = server.step(&proof)?;
        client.step(&proven.server_final)?;
        Ok(proven.into())
    }

    #[test]
    fn both_sides_agree_and_the_keys_log_in_again() {
        let keys = talk(password("pencil"), Binding::Impossible, Channel::Unbound).unwrap();
        let again = talk(keys, Binding::NotOffered, Channel::Unbound).unwrap();
        let bound = || (Binding::EndPoint(vec![1; 32]), Channel::Bound(vec![1; 32]));
        let (binding, channel) = bound();
        talk(again, binding, channel).unwrap();
    }

    #[test]
    fn both_sides_disagree() {
        let wrong = talk(password("pen"), Binding::Impossible, Channel::Unbound);
        assert_eq!(wrong.unwrap_err(), ScramError::WrongProof);
        let binding = Binding::EndPoint(vec![1; 32]);
        let other = talk(password("pencil"), binding, Channel::Bound(vec![2; 32]));
        assert_eq!(other.unwrap_err(), ScramError::BindingMismatch);
        let stripped = talk(password("pencil"), Binding::NotOffered, Channel::Offered);
        assert_eq!(stripped.unwrap_err(), ScramError::BindingStripped);
    }

    #[test]
    fn a_hostile_first_message_is_refused() {
        let long_nonce = format!("r=cnonce{},s=c2FsdA==,i=4096", "x".repeat(1100));
        let long_salt = format!("r=cnonceX,s={},i=1", scram::encode(&[0; 1025]));
        let too_long = format!("r=cnonce{},s=c2FsdA==,i=4096", "x".repeat(10_000));
        let cases = [
            (
                "",
                ScramError::Malformed("an attribute is missing or in the wrong place"),
            ),
            ("e=other-error", ScramError::ServerRefused),
            ("r=other,s=c2FsdA==,i=4096", ScramError::Nonce),
            ("r=cnonce,s=c2FsdA==,i=4096", ScramError::Nonce),
            ("r=cnonce x,s=c2FsdA==,i=4096", ScramError::Nonce),
            (&long_nonce, ScramError::Nonce),
            (&too_long, ScramError::Malformed("too long")),
            ("r=cnonceX,s=,i=4096", ScramError::Malformed("unusable salt")),
            ("r=cnonceX,s=%,i=4096", ScramError::Malformed("unusable salt")),
            (&long_salt, ScramError::Malformed("unusable salt")),
            ("r=cnonceX,s=c2FsdA==,i=0", ScramError::Iterations(0)),
            (
                "r=cnonceX,s=c2FsdA==,i=1000001",
                ScramError::Iterations(1_000_001),
            ),
            (
                "r=cnonceX,s=c2FsdA==,i=-1",
                ScramError::Malformed("unusable iteration count"),
            ),
            (
                "r=cnonceX,s=c2FsdA==,i=99999999999",
                ScramError::Malformed("unusable iteration count"),
            ),
        ];
        for (message, expected) in cases {
            let (_, client) = start(password("pencil"), Binding::Impossible);
            assert_eq!(
                client.step(message.as_bytes()).unwrap_err(),
                expected,
                "{message}"
            );
        }
    }

    #[test]
    fn a_server_without_the_verifier_is_found_out() {
        let waiting = || {
            let (_, client) = start(password("pencil"), Binding::Impossible);
            client.step(b"r=cnonceX,s=c2FsdA==,i=1").unwrap().1
        };
        let zeros = format!("v={}", scram::encode(&[0; 32]));
        assert_eq!(waiting().step(zeros.as_bytes()), Err(ScramError::WrongSignature));
        assert_eq!(waiting().step(b"e=invalid-proof"), Err(ScramError::ServerRefused));
        assert_eq!(
            waiting().step(b"v=AA=="),
            Err(ScramError::Malformed("malformed signature"))
        );
        assert!(waiting().step(b"").is_err());
    }

    #[test]
    fn secrets_that_cannot_prove_say_so_first() {
        for secret in [Secret::None, Secret::Md5Hash("md5x".into())] {
            let started = AwaitingServerFirst::start(secret, "n".into(), Binding::Impossible);
            assert_eq!(started.unwrap_err(), ScramError::CannotProve);
        }
    }
}
