//! Logging in at a server, from nothing to ReadyForQuery. What the messages mean is `protocol::auth::login`.

use std::fmt;
use std::io;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::address::Target;
use super::dial::{self, Line, dial};
use crate::fault::Fault;
use crate::net::inbox::{Inbox, InboxError};
use crate::net::stream::Stream;
use crate::protocol::auth::login::{Conversation, Login, LoginError, Step, Welcome};
use crate::protocol::auth::{Secret, messages, scram};
use crate::protocol::server_error::ServerError;
use crate::protocol::sqlstate;
use crate::protocol::startup;

/// The longest message of a login.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A server that is ready for its first query.
pub struct LoggedIn {
    /// The line.
    pub stream: Stream,
    /// The process id to cancel; 0 if it gave none.
    pub pid: i32,
    /// The secret to cancel with; empty if it gave none.
    pub cancel_secret: Vec<u8>,
    /// Every ParameterStatus of the login, in order.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the server sent behind ReadyForQuery: nothing, unless a notice came at once.
    pub rest: Vec<u8>,
}

/// Why there is no server.
#[derive(Debug)]
pub enum ConnectFault {
    /// The server refused, in its own words.
    Refused(Box<ServerError>),
    /// The server refused keys that a client's proof had revealed: it stores another verifier.
    OtherVerifier(Box<ServerError>),
    /// No socket.
    Unreachable(io::Error),
    /// The line broke before the server was ready.
    Lost(io::Error),
    /// TLS is required, and the server has none.
    NoTls,
    /// The answer to SSLRequest was this byte.
    TlsAnswer(u8),
    /// The handshake failed; names host and certificate.
    Tls(io::Error),
    /// `connect_timeout` is over.
    Timeout,
    /// The conversation failed.
    Login(LoginError),
    /// A message above [`MESSAGE_BYTES_MAX`].
    MessageLength,
    /// The startup message would be longer than a server reads.
    StartupLength,
    /// The system has no randomness.
    NoChance,
}

impl fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectFault::Refused(error) => write!(f, "the server refused: {error}"),
            ConnectFault::OtherVerifier(error) => {
                write!(
                    f,
                    "the server stores another verifier than the one the client's proof was held against: {error}"
                )
            }
            ConnectFault::Unreachable(error) => write!(f, "unreachable: {error}"),
            ConnectFault::Lost(error) => write!(f, "lost during login: {error}"),
            ConnectFault::NoTls => f.write_str("the server does not support TLS, but TLS is required"),
            ConnectFault::TlsAnswer(byte) => {
                write!(f, "the server answered SSLRequest with '{}'", byte.escape_ascii())
            }
            ConnectFault::Tls(error) => write!(f, "TLS failed: {error}"),
            ConnectFault::Timeout => f.write_str("timeout expired"),
            ConnectFault::Login(error) => write!(f, "login failed: {error}"),
            ConnectFault::MessageLength => f.write_str("invalid message length during login"),
            ConnectFault::StartupLength => f.write_str("the startup parameters are longer than 10000 bytes"),
            ConnectFault::NoChance => f.write_str("the system gives no random bytes"),
        }
    }
}

impl std::error::Error for ConnectFault {}

impl ConnectFault {
    /// What the client is told: the server's own words where it had any, and never where the server is.
    pub fn for_client(&self) -> Fault {
        let failed = |why: &str| {
            let text = format!("connection to server failed: {why}");
            Fault::fatal(sqlstate::CANNOT_CONNECT, text)
        };
        match self {
            ConnectFault::Refused(error) => refusal(error),
            ConnectFault::OtherVerifier(error) => refusal(error).hint(
                "The password was right where pgshunt looked it up, and this server stores another verifier. \
                 \"pgshunt setup\" makes them equal.",
            ),
            ConnectFault::Login(LoginError::CannotProve(method)) => {
                failed(&format!("the server asks for {method}, and pgshunt has nothing to answer with")).hint(
                    "A client's SCRAM proof is good for scram-sha-256 in pg_hba.conf only; for anything else give the \
                     role a password_file in [[auth.user]].",
                )
            }
            ConnectFault::Login(LoginError::CleartextInTheOpen) => {
                failed("the server asks for a cleartext password without TLS")
                    .hint("Set sslmode to require, or scram-sha-256 in pg_hba.conf.")
            }
            ConnectFault::Unreachable(error) => failed(unreachable(error.kind())),
            ConnectFault::Lost(_) => failed("server closed the connection unexpectedly"),
            ConnectFault::Timeout => failed("timeout expired"),
            ConnectFault::NoTls | ConnectFault::TlsAnswer(_) | ConnectFault::Tls(_) => {
                failed("no TLS could be agreed on").hint("The log of pgshunt says why.")
            }
            ConnectFault::Login(_) | ConnectFault::MessageLength | ConnectFault::NoChance => {
                failed("the login could not be completed").hint("The log of pgshunt says why.")
            }
            ConnectFault::StartupLength => failed("the startup parameters are longer than 10000 bytes"),
        }
    }

    /// May another line be tried? Only where `pg_hba.conf` has no entry for this one (28000).
    fn asks_for_another_line(&self) -> bool {
        matches!(self, ConnectFault::Refused(error) if error.code == Some(sqlstate::INVALID_AUTHORIZATION))
    }
}

fn unreachable(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::TimedOut => "timeout expired",
        _ => "server is unreachable",
    }
}

fn refusal(error: &ServerError) -> Fault {
    let code = error.code.unwrap_or(sqlstate::CANNOT_CONNECT);
    if error.message.contains("pg_hba.conf") {
        // It names the address pgshunt comes from.
        return Fault::fatal(code, "connection to server failed: pg_hba.conf rejects pgshunt")
            .hint("The log of pgshunt has the server's own words.");
    }
    Fault {
        detail: error.detail.clone(),
        hint: error.hint.clone(),
        ..Fault::fatal(code, error.message.clone())
    }
}

/// Connects and logs in, all of it within `target.connect_timeout`. `params` go into the startup message behind `user`
/// and `database`. With `Secret::Password` and SCRAM it costs a PBKDF2, milliseconds, on the calling thread.
pub async fn connect(
    target: &Target,
    user: &str,
    secret: &Secret,
    params: &[(Vec<u8>, Vec<u8>)],
) -> Result<LoggedIn, ConnectFault> {
    let all = async {
        let mut refused = None;
        let mut was_private = None;
        for line in dial::lines(target) {
            // `prefer` was answered with N: the second line would be the first once more.
            if *line == Line::Plain && was_private == Some(false) {
                break;
            }
            let stream = match dial(target, *line, target.connect_timeout).await {
                Ok(stream) => stream,
                Err(fault) => return Err(refused.unwrap_or(fault)),
            };
            was_private = Some(dial::is_private(&stream));
            match on_line(target, (user, secret), params, stream).await {
                Err(fault) if fault.asks_for_another_line() => refused = Some(fault),
                other => return other,
            }
        }
        // INVARIANT: there is at least one line, and what did not return was refused.
        Err(refused.unwrap_or(ConnectFault::NoTls))
    };
    match tokio::time::timeout(target.connect_timeout, all).await {
        Ok(result) => result,
        Err(_) => Err(ConnectFault::Timeout),
    }
}

async fn on_line(
    target: &Target,
    (user, secret): (&str, &Secret),
    params: &[(Vec<u8>, Vec<u8>)],
    mut stream: Stream,
) -> Result<LoggedIn, ConnectFault> {
    let mut chance = [0; scram::NONCE_BYTES];
    SystemRandom::new()
        .fill(&mut chance)
        .map_err(|_| ConnectFault::NoChance)?;
    let login = Login {
        user: user.to_owned(),
        secret: secret.clone(),
        private: dial::is_private(&stream),
        end_point: dial::end_point(&stream),
        nonce: scram::nonce(&chance),
    };
    let mut startup = Vec::new();
    messages::startup_message(&mut startup, user, &target.dbname, params);
    if startup.len() > startup::PACKET_BYTES_MAX {
        return Err(ConnectFault::StartupLength);
    }
    let (welcome, rest) = match converse(&mut stream, login, &startup).await {
        Err(ConnectFault::Refused(error))
            if error.code == Some(sqlstate::INVALID_PASSWORD)
                && matches!(secret, Secret::ScramKeys { .. }) =>
        {
            return Err(ConnectFault::OtherVerifier(error));
        }
        conversed => conversed?,
    };
    Ok(LoggedIn {
        stream,
        pid: welcome.pid,
        cancel_secret: welcome.cancel_secret,
        parameters: welcome.parameters,
        rest,
    })
}

/// Sends the startup message and talks until the server is ready.
async fn converse<S>(stream: &mut S, login: Login, startup: &[u8]) -> Result<(Welcome, Vec<u8>), ConnectFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut talk = Conversation::new(login);
    let mut inbox = Inbox::default();
    send(stream, startup).await?;
    loop {
        let (kind, body) = inbox
            .message(stream, MESSAGE_BYTES_MAX)
            .await
            .map_err(|error| match error {
                InboxError::Closed => ConnectFault::Lost(io::ErrorKind::UnexpectedEof.into()),
                InboxError::Io(error) => ConnectFault::Lost(error),
                InboxError::Length => ConnectFault::MessageLength,
            })?;
        match talk.on_message(kind, &body) {
            Ok(Step::Wait) => {}
            Ok(Step::Send(out)) => send(stream, &out).await?,
            Ok(Step::Ready(welcome)) => return Ok((welcome, inbox.into_rest())),
            Err(LoginError::Refused(error)) => return Err(ConnectFault::Refused(error)),
            Err(error) => return Err(ConnectFault::Login(error)),
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), ConnectFault> {
    stream.write_all(bytes).await.map_err(ConnectFault::Lost)?;
    stream.flush().await.map_err(ConnectFault::Lost)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::address::Address;
    use super::*;
    use crate::net::tls::ToServer;
    use tokio::io::AsyncReadExt;

    /// A server that sends all of this, whatever it hears.
    async fn against(bytes: &[u8]) -> Result<(Welcome, Vec<u8>), ConnectFault> {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let login = Login {
            user: "u".into(),
            secret: Secret::Password("p".into()),
            private: true,
            end_point: None,
            nonce: "n".into(),
        };
        let mut startup = Vec::new();
        messages::startup_message(&mut startup, "u", "d", &[]);
        let result = converse(&mut ours, login, &startup).await;
        drop(ours);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert!(heard.starts_with(&startup));
        result
    }

    #[tokio::test]
    async fn trust_and_what_comes_behind() {
        let (welcome, rest) = against(
            b"R\0\0\0\x08\0\0\0\0S\0\0\0\x08a\0b\0K\0\0\0\x0c\0\0\0\x01\x01\x02\x03\x04Z\0\0\0\x05IN\0",
        )
        .await
        .unwrap();
        assert_eq!(welcome.pid, 1);
        assert_eq!(rest, b"N\0");
    }

    #[tokio::test]
    async fn a_server_that_ends_early_or_talks_nonsense() {
        let lost = against(b"").await.err().unwrap();
        assert!(matches!(lost, ConnectFault::Lost(_)));
        let lost = against(b"R\0\0\0\x08\0\0").await.err().unwrap();
        assert!(matches!(lost, ConnectFault::Lost(_)));
        let long = against(b"R\x7f\xff\xff\xff").await.err().unwrap();
        assert!(matches!(long, ConnectFault::MessageLength));
        let html = against(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.err().unwrap();
        assert!(matches!(html, ConnectFault::MessageLength), "{html}");
    }

    #[tokio::test]
    async fn a_silent_server_costs_connect_timeout_and_no_more() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            address: Address::Tcp {
                host: "127.0.0.1".into(),
                port: listener.local_addr().unwrap().port(),
            },
            dbname: "d".into(),
            tls: ToServer::disabled().into(),
            connect_timeout: Duration::from_millis(50),
            tcp: Default::default(),
            name: Default::default(),
        };
        let result = connect(&target, "u", &Secret::None, &[]).await;
        assert!(matches!(result, Err(ConnectFault::Timeout)));
        let long = [(b"x".to_vec(), vec![b'y'; 10_000])];
        let result = connect(&target, "u", &Secret::None, &long).await;
        assert!(matches!(result, Err(ConnectFault::StartupLength)));
    }

    #[test]
    fn clients_hear_no_addresses() {
        let refused = |text: &[u8]| ConnectFault::Refused(Box::new(ServerError::parse(text)));
        let hba =
            refused(b"C28000\0Mno pg_hba.conf entry for host \"10.1.2.3\", user \"u\"\0\0").for_client();
        assert_eq!(hba.code, sqlstate::INVALID_AUTHORIZATION);
        assert!(!hba.message.contains("10.1.2.3"));
        let own = refused(b"C3D000\0Mdatabase \"x\" does not exist\0\0").for_client();
        assert_eq!(own.to_string(), "FATAL 3D000: database \"x\" does not exist");
        let tls = ConnectFault::Tls(io::Error::other("not valid for name db1.internal"));
        assert!(!format!("{:?}", tls.for_client()).contains("db1"));
        let gone = ConnectFault::Unreachable(io::ErrorKind::ConnectionRefused.into()).for_client();
        assert_eq!(gone.message, "connection to server failed: connection refused");
    }
}
