//! A client's proof of who it is. Who may try, and against what, is the caller's to look up. The caller bounds the time.
//!
//! PostgreSQL: `ClientAuthentication` in `auth.c`, `CheckSASLAuth` in `auth-sasl.c`.

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::handshake::{Arrived, Ended, refuse};
use crate::fault::Fault;
use crate::net::inbox::{Inbox, InboxError};
use crate::protocol::auth::messages::{self, SaslInitial};
use crate::protocol::auth::scram::{self, ScramError};
use crate::protocol::auth::server::{AwaitingClientFirst, Channel};
use crate::protocol::auth::verifier::Verifier;
use crate::protocol::auth::{Secret, md5};
use crate::protocol::sqlstate;

/// The longest message of a client that is not logged in yet.
pub const PASSWORD_BYTES_MAX: usize = 8 * 1024;

/// What a client's proof is held against.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A SCRAM verifier. The proof becomes [`Secret::ScramKeys`], good at servers with the same verifier.
    Verifier(Verifier),
    /// `md5` and 32 digits. The hash becomes [`Secret::Md5Hash`].
    Md5Hash(Secret),
    /// No proof is asked for.
    Trust,
    /// There is no such user, or it may not log in now: it meets the exchange of [`Verifier::mock`] and fails at its end
    /// in the same words as a wrong password.
    Unknown(Verifier),
    /// Refused before any exchange, whoever it is.
    Reject,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Arrived<S> {
    /// Asks for the proof, checks it, and sends AuthenticationOk; or tells the client what failed and closes. What the
    /// client sends ahead stays for [`Arrived::into_parts`].
    pub async fn authenticate(&mut self, who: Credential) -> Result<Secret, Ended> {
        let mut out = Vec::new();
        let mut exchange = Exchange {
            user: &self.startup.user,
            end_point: self.tls.as_ref().and_then(|tls| tls.end_point.as_deref()),
            stream: &mut self.stream,
            inbox: &mut self.inbox,
        };
        let result = match who {
            Credential::Verifier(verifier) => {
                exchange
                    .scram(&mut out, |channel| AwaitingClientFirst::new(verifier, channel))
                    .await
            }
            Credential::Unknown(mock) => {
                exchange
                    .scram(&mut out, |channel| AwaitingClientFirst::doomed(mock, channel))
                    .await
            }
            Credential::Md5Hash(secret) => exchange.md5(secret).await,
            Credential::Trust => Ok(Secret::None),
            Credential::Reject => Err(Failure::Fault(Fault::fatal(
                sqlstate::INVALID_AUTHORIZATION,
                format!(
                    "pgshunt rejects connection for user \"{}\", database \"{}\"",
                    self.startup.user, self.startup.database
                ),
            ))),
        };
        match result {
            Ok(secret) => {
                messages::authentication_ok(&mut out);
                let sent = send(&mut self.stream, &out).await;
                sent.map(|()| secret).map_err(|error| Ended::Gone(Some(error)))
            }
            Err(Failure::Fault(fault)) => Err(refuse(&mut self.stream, fault).await),
            Err(Failure::Gone(error)) => Err(Ended::Gone(error)),
        }
    }
}

enum Failure {
    Fault(Fault),
    Gone(Option<std::io::Error>),
}

struct Exchange<'a, S> {
    user: &'a str,
    end_point: Option<&'a [u8]>,
    stream: &'a mut S,
    inbox: &'a mut Inbox,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<'_, S> {
    /// The last message goes to `out`, so that it leaves with AuthenticationOk.
    async fn scram(
        &mut self,
        out: &mut Vec<u8>,
        begin: impl FnOnce(Channel) -> AwaitingClientFirst,
    ) -> Result<Secret, Failure> {
        let offered: &[&str] = match self.end_point {
            Some(_) => &[scram::SCRAM_PLUS, scram::SCRAM],
            None => &[scram::SCRAM],
        };
        self.send(|out| messages::authentication_sasl(out, offered))
            .await?;
        let initial = self.response("SASL").await?;
        let initial = SaslInitial::parse(&initial).ok_or_else(|| violation("malformed SASL response"))?;
        let channel = match (initial.mechanism, self.end_point) {
            (b"SCRAM-SHA-256-PLUS", Some(hash)) => Channel::Bound(hash.to_vec()),
            (b"SCRAM-SHA-256", Some(_)) => Channel::Offered,
            (b"SCRAM-SHA-256", None) => Channel::Unbound,
            (_, _) => {
                return Err(violation(
                    "client selected an invalid SASL authentication mechanism",
                ));
            }
        };
        let first = match initial.data {
            Some(data) => data.to_vec(),
            None => {
                self.send(|out| messages::authentication_sasl_continue(out, b""))
                    .await?;
                self.response("SASL").await?
            }
        };
        let nonce = scram::nonce(&chance()?);
        let (server_first, waiting) = begin(channel)
            .step(&first, &nonce)
            .map_err(|error| self.scram_failed(error))?;
        self.send(|out| messages::authentication_sasl_continue(out, &server_first))
            .await?;
        let proof = self.response("SASL").await?;
        let proven = waiting.step(&proof).map_err(|error| self.scram_failed(error))?;
        messages::authentication_sasl_final(out, &proven.server_final);
        Ok(proven.into())
    }

    async fn md5(&mut self, secret: Secret) -> Result<Secret, Failure> {
        let salt: [u8; 4] = chance()?;
        self.send(|out| messages::authentication_md5(out, salt)).await?;
        let body = self.response("password").await?;
        let response = messages::password(&body).ok_or_else(|| violation("invalid password packet size"))?;
        match &secret {
            Secret::Md5Hash(hash) if md5::md5_verify(hash, salt, response) => Ok(secret),
            Secret::Md5Hash(_) | Secret::Password(_) | Secret::ScramKeys { .. } | Secret::None => {
                Err(self.denied())
            }
        }
    }

    async fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Failure> {
        let mut out = Vec::new();
        write(&mut out);
        send(self.stream, &out)
            .await
            .map_err(|error| Failure::Gone(Some(error)))
    }

    /// The body of the client's next message, which must be a `p`.
    async fn response(&mut self, what: &str) -> Result<Vec<u8>, Failure> {
        match self.inbox.message(self.stream, PASSWORD_BYTES_MAX).await {
            Ok((b'p', body)) => Ok(body),
            Ok((kind, _)) => Err(violation(format!(
                "expected {what} response, got message type {kind}"
            ))),
            Err(InboxError::Length) => Err(violation("invalid message length")),
            Err(InboxError::Closed) => Err(Failure::Gone(None)),
            Err(InboxError::Io(error)) => Err(Failure::Gone(Some(error))),
        }
    }

    fn denied(&self) -> Failure {
        let text = format!("password authentication failed for user \"{}\"", self.user);
        Failure::Fault(Fault::fatal(sqlstate::INVALID_PASSWORD, text))
    }

    fn scram_failed(&self, error: ScramError) -> Failure {
        match error {
            ScramError::WrongProof => self.denied(),
            ScramError::Malformed(why) => {
                let fault = Fault::fatal(error.code(), "malformed SCRAM message");
                Failure::Fault(fault.detail(why))
            }
            other => Failure::Fault(Fault::fatal(other.code(), other.to_string())),
        }
    }
}

fn violation(text: impl Into<String>) -> Failure {
    Failure::Fault(Fault::fatal(sqlstate::PROTOCOL_VIOLATION, text))
}

/// Random bytes of the system.
fn chance<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Failure::Fault(Fault::fatal(
            sqlstate::INTERNAL,
            "could not generate random bytes",
        ))),
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

#[cfg(test)]
#[path = "authenticate_tests.rs"]
mod tests;
