//! SCRAM as a server speaks it: pgshunt in front of its clients. Each state is named by what it waits for.

use super::scram::{self, Key, ScramError};
use super::verifier::Verifier;
use super::{Secret, same_secret};

/// What the client was offered and chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// SCRAM-SHA-256-PLUS was not offered.
    Unbound,
    /// It was offered, and the client chose SCRAM-SHA-256.
    Offered,
    /// The client chose it; the hash of our certificate.
    Bound(Vec<u8>),
}

/// The exchange before its first message.
#[derive(Debug)]
pub struct AwaitingClientFirst {
    verifier: Verifier,
    doomed: bool,
    channel: Channel,
}

/// The exchange after the server's first message.
#[derive(Debug)]
pub struct AwaitingClientFinal {
    verifier: Verifier,
    doomed: bool,
    /// gs2 header and channel binding data, as `c=` must repeat them.
    binding: Vec<u8>,
    nonce: String,
    client_first_bare: String,
    server_first: String,
}

/// The client has proved that it knows the password.
pub struct Proven {
    /// What the proof revealed; logs in at every server that stores the same verifier.
    pub client_key: Key,
    /// From the verifier.
    pub server_key: Key,
    /// The last message, by which the client knows the server.
    pub server_final: Vec<u8>,
}

impl std::fmt::Debug for Proven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proven(…)")
    }
}

impl From<Proven> for Secret {
    fn from(proven: Proven) -> Secret {
        Secret::ScramKeys {
            client_key: proven.client_key,
            server_key: proven.server_key,
        }
    }
}

impl AwaitingClientFirst {
    /// An exchange with a user that has a verifier.
    pub fn new(verifier: Verifier, channel: Channel) -> Self {
        AwaitingClientFirst {
            verifier,
            doomed: false,
            channel,
        }
    }

    /// An exchange with a user that has none: it looks the same and always fails at the end.
    pub fn doomed(mock: Verifier, channel: Channel) -> Self {
        AwaitingClientFirst {
            doomed: true,
            ..AwaitingClientFirst::new(mock, channel)
        }
    }

    /// Reads client-first-message and answers it. The name in it counts for nothing: the startup packet named the user.
    pub fn step(
        self,
        message: &[u8],
        server_nonce: &str,
    ) -> Result<(Vec<u8>, AwaitingClientFinal), ScramError> {
        let message = scram::text(message)?;
        let (gs2_header, bare) = self.split_gs2(message)?;
        if bare.starts_with("m=") {
            return Err(ScramError::Unsupported(
                "client requires an unsupported SCRAM extension",
            ));
        }
        let mut rest = bare;
        scram::attribute(&mut rest, "n")?;
        let client_nonce = scram::attribute(&mut rest, "r")?;
        if !scram::is_nonce(client_nonce) {
            return Err(ScramError::Malformed("unusable nonce"));
        }
        let nonce = [client_nonce, server_nonce].concat();
        let salt = scram::encode(&self.verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", self.verifier.iterations);
        let mut binding = gs2_header.as_bytes().to_vec();
        if let Channel::Bound(end_point) = &self.channel {
            binding.extend_from_slice(end_point);
        }
        let next = AwaitingClientFinal {
            verifier: self.verifier,
            doomed: self.doomed,
            binding,
            nonce,
            client_first_bare: bare.to_owned(),
            server_first,
        };
        Ok((next.server_first.clone().into_bytes(), next))
    }

    /// Cuts the gs2 header off and holds it against the mechanism (`read_client_first_message`).
    fn split_gs2<'a>(&self, message: &'a str) -> Result<(&'a str, &'a str), ScramError> {
        let (flag, rest) = message
            .split_once(',')
            .ok_or(ScramError::Malformed("no gs2 header"))?;
        match (flag, &self.channel) {
            ("n", Channel::Unbound | Channel::Offered) | ("y", Channel::Unbound) => {}
            ("y", Channel::Offered) => return Err(ScramError::BindingStripped),
            ("p=tls-server-end-point", Channel::Bound(_)) => {}
            ("n" | "y", Channel::Bound(_)) => {
                return Err(ScramError::Malformed(
                    "SCRAM-SHA-256-PLUS without channel binding",
                ));
            }
            (flag, Channel::Bound(_)) if flag.starts_with("p=") => {
                return Err(ScramError::Malformed("unsupported SCRAM channel-binding type"));
            }
            _ => return Err(ScramError::Malformed("unexpected channel-binding flag")),
        }
        let (authzid, bare) = rest
            .split_once(',')
            .ok_or(ScramError::Malformed("no gs2 header"))?;
        if !authzid.is_empty() {
            return Err(ScramError::Unsupported(
                "client uses authorization identity, but it is not supported",
            ));
        }
        let header = &message[..message.len() - bare.len()];
        Ok((header, bare))
    }
}

impl AwaitingClientFinal {
    /// Reads client-final-message: the proof.
    pub fn step(self, message: &[u8]) -> Result<Proven, ScramError> {
        let message = scram::text(message)?;
        let (without_proof, proof) = message
            .rsplit_once(",p=")
            .ok_or(ScramError::Malformed("no proof"))?;
        let mut rest = without_proof;
        let binding = scram::attribute(&mut rest, "c")?;
        let nonce = scram::attribute(&mut rest, "r")?;
        if scram::decode(binding).is_none_or(|b| !same_secret(&b, &self.binding)) {
            return Err(ScramError::BindingMismatch);
        }
        if !same_secret(nonce.as_bytes(), self.nonce.as_bytes()) {
            return Err(ScramError::Nonce);
        }
        let proof = scram::decode_key(proof).ok_or(ScramError::Malformed("malformed proof"))?;
        let signed = scram::auth_message(&self.client_first_bare, &self.server_first, without_proof);
        let client_signature = scram::hmac(&self.verifier.stored_key, &[signed.as_bytes()]);
        let client_key = scram::xor(&proof, &client_signature);
        // The doom is looked at last, so that both ways take the same time.
        let right = same_secret(&scram::sha256(&client_key), &self.verifier.stored_key);
        if !right | self.doomed {
            return Err(ScramError::WrongProof);
        }
        let signature = scram::hmac(&self.verifier.server_key, &[signed.as_bytes()]);
        Ok(Proven {
            client_key,
            server_key: self.verifier.server_key,
            server_final: format!("v={}", scram::encode(&signature)).into_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    // RFC 7677, section 3.
    const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn verifier() -> Verifier {
        let salt = scram::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Verifier::from_password("pencil", salt, NonZeroU32::new(4096).unwrap())
    }

    fn after_first() -> AwaitingClientFinal {
        let start = AwaitingClientFirst::new(verifier(), Channel::Unbound);
        start.step(CLIENT_FIRST, SERVER_NONCE).unwrap().1
    }

    #[test]
    fn rfc_7677() {
        let start = AwaitingClientFirst::new(verifier(), Channel::Unbound);
        let (reply, next) = start.step(CLIENT_FIRST, SERVER_NONCE).unwrap();
        assert_eq!(
            reply,
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let proven = next.step(CLIENT_FINAL.as_bytes()).unwrap();
        assert_eq!(
            proven.server_final,
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        assert_eq!(scram::sha256(&proven.client_key), verifier().stored_key);
    }

    #[test]
    fn a_doomed_exchange_looks_the_same_and_fails() {
        let doomed = AwaitingClientFirst::doomed(verifier(), Channel::Unbound);
        let (reply, next) = doomed.step(CLIENT_FIRST, SERVER_NONCE).unwrap();
        assert!(reply.starts_with(b"r=rOprNGfwEbeRWgbNEkqO%hv"));
        assert_eq!(
            next.step(CLIENT_FINAL.as_bytes()).unwrap_err(),
            ScramError::WrongProof
        );
    }

    #[test]
    fn first_messages_that_must_fail() {
        let bound = || Channel::Bound(vec![1; 32]);
        let negotiated = |e: ScramError| matches!(e, ScramError::BindingStripped);
        let malformed = |e: ScramError| matches!(e, ScramError::Malformed(_));
        let unsupported = |e: ScramError| matches!(e, ScramError::Unsupported(_));
        type Is = fn(ScramError) -> bool;
        let cases: &[(&[u8], Channel, Is)] = &[
            (b"", Channel::Unbound, malformed),
            (b"n", Channel::Unbound, malformed),
            (b"n,", Channel::Unbound, malformed),
            (b"n,,", Channel::Unbound, malformed),
            (b"n,,n=", Channel::Unbound, malformed),
            (b"n,,n=,r=", Channel::Unbound, malformed),
            (b"n,,n=,r=a b", Channel::Unbound, malformed),
            (b"n,,r=abc,n=", Channel::Unbound, malformed),
            (b"n,,n=,r=\xff", Channel::Unbound, malformed),
            (b"x,,n=,r=abc", Channel::Unbound, malformed),
            (b"n,a=bob,n=,r=abc", Channel::Unbound, unsupported),
            (b"n,,m=x,n=,r=abc", Channel::Unbound, unsupported),
            (b"y,,n=,r=abc", Channel::Offered, negotiated),
            (b"p=tls-server-end-point,,n=,r=abc", Channel::Unbound, malformed),
            (b"p=tls-server-end-point,,n=,r=abc", Channel::Offered, malformed),
            (b"p=tls-unique,,n=,r=abc", bound(), malformed),
            (b"n,,n=,r=abc", bound(), malformed),
            (b"y,,n=,r=abc", bound(), malformed),
            (&[b'n'; 5000], Channel::Unbound, malformed),
        ];
        for (message, channel, is) in cases {
            let start = AwaitingClientFirst::new(verifier(), channel.clone());
            let error = start.step(message, SERVER_NONCE).unwrap_err();
            assert!(is(error.clone()), "{}: {error}", message.escape_ascii());
        }
        let long = [b"n,,n=,r=", &[b'a'; 1025][..]].concat();
        let start = AwaitingClientFirst::new(verifier(), Channel::Unbound);
        assert!(start.step(&long, SERVER_NONCE).is_err());
    }

    #[test]
    fn final_messages_that_must_fail() {
        let cases = [
            (
                CLIENT_FINAL.replace("c=biws", "c=eSws"),
                ScramError::BindingMismatch,
            ),
            (CLIENT_FINAL.replace("c=biws", "c=%"), ScramError::BindingMismatch),
            (CLIENT_FINAL.replace("k0,p", "k1,p"), ScramError::Nonce),
            (CLIENT_FINAL.replace("k0,p", "k00,p"), ScramError::Nonce),
            (CLIENT_FINAL.replace("p=dH", "p=dI"), ScramError::WrongProof),
            (CLIENT_FINAL.replace("k0,p", "k0,x=1,p"), ScramError::WrongProof),
            (
                CLIENT_FINAL.replace("VQ=", ""),
                ScramError::Malformed("malformed proof"),
            ),
            (
                CLIENT_FINAL.replace(",p=", ",q="),
                ScramError::Malformed("no proof"),
            ),
            (String::new(), ScramError::Malformed("no proof")),
        ];
        for (message, expected) in cases {
            assert_eq!(
                after_first().step(message.as_bytes()).unwrap_err(),
                expected,
                "{message}"
            );
        }
    }
}
