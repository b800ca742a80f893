//! A client's first words: TLS or not, cancel or login. Its proof comes later (`authenticate`), its statements later still.
//!
//! PostgreSQL: `ProcessStartupPacket` and `ProcessSSLStartup` in `backend_startup.c`. The caller bounds the time.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::fault::Fault;
use crate::net::inbox::{Inbox, InboxError};
use crate::net::stream::{Socket, Stream};
use crate::net::tls::{FromClient, common_name, description};
use crate::protocol::auth::messages;
use crate::protocol::sqlstate;
use crate::protocol::startup::{self, Opening, Startup, StartupError};

/// What became of a new connection.
pub enum Opened {
    /// It wants another connection's statement cancelled; there is no answer, the socket is closed.
    Cancel {
        /// The process id named.
        pid: i32,
        /// The secret named, 4 to 256 bytes.
        secret: Vec<u8>,
    },
    /// It wants to log in.
    Client(Box<Arrived>),
    /// It was refused, and told so where PostgreSQL would tell it.
    Refused(Fault),
    /// It left; `None` without having said anything wrong, as health checks do.
    Gone(Option<io::Error>),
}

/// A client that has named itself and proved nothing yet.
pub struct Arrived<S = Stream> {
    /// Where it is.
    pub stream: S,
    /// Who it says it is and what it wants.
    pub startup: Startup,
    /// How its line is encrypted, if it is.
    pub tls: Option<TlsFacts>,
    /// What it sent ahead.
    pub(super) inbox: Inbox,
}

impl<S> Arrived<S> {
    /// The stream, the startup packet, and the bytes the client sent ahead: the next frames it means.
    pub fn into_parts(self) -> (S, Startup, Vec<u8>) {
        (self.stream, self.startup, self.inbox.into_rest())
    }
}

/// How a client's line is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3, cipher TLS13_AES_256_GCM_SHA384`.
    pub description: String,
    /// What SCRAM-SHA-256-PLUS binds to.
    pub end_point: Option<Vec<u8>>,
    /// The name in the client's certificate, if it brought one that names anybody; its CA is ours.
    pub common_name: Option<String>,
    /// That name must be the role's (`mode = "verify-full"`).
    pub names_roles: bool,
}

/// Listens until the client has named itself, with TLS as `tls` wants it. Answers NegotiateProtocolVersion where the
/// client asks for more than protocol 3.0.
pub async fn greet(mut socket: Socket, tls: &FromClient) -> Opened {
    let over_tcp = matches!(socket, Socket::Tcp(_));
    let tls = if over_tcp { tls } else { &FromClient::disabled() };
    let mut inbox = Inbox::default();
    let is_direct = match first_byte(&socket).await {
        Ok(first) => first == Some(TLS_HANDSHAKE) && tls.is_offered(),
        Err(error) => return Opened::Gone(Some(error)),
    };
    let heard = if is_direct {
        Ok(Heard::Tls)
    } else {
        hear(&mut socket, &mut inbox, Asked::offering(tls.is_offered())).await
    };
    match heard {
        Ok(Heard::Tls) => greet_encrypted(socket, tls, is_direct).await,
        Ok(Heard::Cancel { pid, secret }) => Opened::Cancel { pid, secret },
        Ok(Heard::Startup(_)) if tls.is_required() => {
            let fault = Fault::fatal(
                sqlstate::INVALID_AUTHORIZATION,
                "this server accepts TLS connections only",
            )
            .hint("Set sslmode to require or stronger.");
            Opened::from(refuse(&mut socket, fault).await)
        }
        Ok(Heard::Startup(startup)) => arrive(socket.into(), startup, inbox, None).await,
        Err(end) => end.into(),
    }
}

async fn greet_encrypted(socket: Socket, tls: &FromClient, is_direct: bool) -> Opened {
    let mut stream = match tls.accept(socket).await {
        Ok(stream) => stream,
        Err(error) => return Opened::Gone(Some(error)),
    };
    let (facts, has_certificate) = {
        let (_, session) = stream.get_ref();
        if is_direct && session.alpn_protocol() != Some(b"postgresql") {
            let fault = Fault::fatal(
                sqlstate::PROTOCOL_VIOLATION,
                "received direct SSL connection request without ALPN protocol negotiation extension",
            );
            return refuse(&mut stream, fault).await.into();
        }
        let facts = TlsFacts {
            description: description(session),
            end_point: tls.end_point().map(<[u8]>::to_vec),
            common_name: session
                .peer_certificates()
                .and_then(|chain| common_name(chain.first()?)),
            names_roles: tls.names_roles(),
        };
        (facts, session.peer_certificates().is_some())
    };
    let mut inbox = Inbox::default();
    match hear(&mut stream, &mut inbox, Asked::ENCRYPTED).await {
        Ok(Heard::Cancel { pid, secret }) => Opened::Cancel { pid, secret },
        Ok(Heard::Startup(_)) if tls.wants_certificates() && !has_certificate => {
            let text = "connection requires a valid client certificate";
            let fault = Fault::fatal(sqlstate::INVALID_AUTHORIZATION, text);
            Opened::from(refuse(&mut stream, fault).await)
        }
        Ok(Heard::Startup(startup)) => {
            arrive(
                Stream::TlsFromClient(Box::new(stream)),
                startup,
                inbox,
                Some(facts),
            )
            .await
        }
        Ok(Heard::Tls) => Opened::Gone(None),
        Err(end) => end.into(),
    }
}

/// A TLS record that shakes hands, which no startup packet begins with: its length would be above the limit.
const TLS_HANDSHAKE: u8 = 0x16;

/// The first byte over TCP, left where it is.
async fn first_byte(socket: &Socket) -> io::Result<Option<u8>> {
    let mut first = [0];
    match socket {
        Socket::Tcp(tcp) => Ok((tcp.peek(&mut first).await? == 1).then_some(first[0])),
        Socket::Unix(_) => Ok(None),
    }
}

async fn arrive(mut stream: Stream, startup: Startup, inbox: Inbox, tls: Option<TlsFacts>) -> Opened {
    if startup.needs_negotiation() {
        let mut out = Vec::new();
        let newest = u32::from(startup::MINOR_NEWEST);
        messages::negotiate_protocol_version(&mut out, newest, &startup.protocol_options);
        if let Err(error) = stream.write_all(&out).await {
            return Opened::Gone(Some(error));
        }
    }
    Opened::Client(Box::new(Arrived {
        stream,
        startup,
        tls,
        inbox,
    }))
}

/// Why a conversation with a client ended before it was logged in.
#[derive(Debug)]
pub enum Ended {
    /// It was refused, and told so where PostgreSQL would tell it.
    Refused(Fault),
    /// It left; `None` without having said anything wrong.
    Gone(Option<io::Error>),
}

impl From<Ended> for Opened {
    fn from(end: Ended) -> Self {
        match end {
            Ended::Refused(fault) => Opened::Refused(fault),
            Ended::Gone(error) => Opened::Gone(error),
        }
    }
}

/// Tells the client and closes; that it may be gone already changes nothing.
pub async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, fault: Fault) -> Ended {
    let mut out = Vec::new();
    fault.write(&mut out);
    if stream.write_all(&out).await.is_ok() {
        let _ = stream.shutdown().await;
    }
    Ended::Refused(fault)
}

/// What has been asked for: each request may come once.
struct Asked {
    tls: bool,
    gss: bool,
    offers_tls: bool,
}

impl Asked {
    /// Inside TLS no request is left to make.
    const ENCRYPTED: Asked = Asked {
        tls: true,
        gss: true,
        offers_tls: false,
    };

    fn offering(offers_tls: bool) -> Asked {
        Asked {
            tls: false,
            gss: false,
            offers_tls,
        }
    }
}

#[cfg_attr(test, derive(Debug))]
enum Heard {
    /// `S` has been answered: the next byte is TLS.
    Tls,
    Cancel {
        pid: i32,
        secret: Vec<u8>,
    },
    Startup(Startup),
}

async fn hear<S>(stream: &mut S, inbox: &mut Inbox, mut asked: Asked) -> Result<Heard, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let (what, answer) = match packet(stream, inbox).await? {
            Opening::Cancel { pid, secret } => return Ok(Heard::Cancel { pid, secret }),
            Opening::Startup(startup) => return Ok(Heard::Startup(startup)),
            Opening::Ssl if !asked.tls => {
                asked.tls = true;
                ("SSL request", if asked.offers_tls { b"S" } else { b"N" })
            }
            Opening::Gss if !asked.gss => {
                asked.gss = true;
                ("GSSAPI encryption request", b"N")
            }
            // PostgreSQL takes a second request for a version.
            Opening::Ssl => {
                return Err(refuse_packet(
                    stream,
                    StartupError::Version {
                        major: 1234,
                        minor: 5679,
                    },
                )
                .await);
            }
            Opening::Gss => {
                return Err(refuse_packet(
                    stream,
                    StartupError::Version {
                        major: 1234,
                        minor: 5680,
                    },
                )
                .await);
            }
        };
        // INVARIANT: nothing said in the clear is heard as if it had been said inside TLS (CVE-2021-23214).
        if !inbox.is_empty() {
            let fault = Fault::fatal(
                sqlstate::PROTOCOL_VIOLATION,
                format!("received unencrypted data after {what}"),
            )
            .detail(
                "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.",
            );
            return Err(refuse(stream, fault).await);
        }
        stream
            .write_all(answer)
            .await
            .map_err(|error| Ended::Gone(Some(error)))?;
        if answer == b"S" {
            return Ok(Heard::Tls);
        }
    }
}

async fn packet<S>(stream: &mut S, inbox: &mut Inbox) -> Result<Opening, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let first = inbox.take(stream, 4).await.map_err(gone)?;
    let first: [u8; 4] = first.try_into().unwrap_or_default();
    // PostgreSQL tells the log and not the peer, which is seldom a PostgreSQL client.
    let length = startup::packet_len(first)
        .map_err(|error| Ended::Refused(Fault::fatal(error.code(), error.to_string())))?;
    let body = inbox.take(stream, length - 4).await.map_err(gone)?;
    match startup::opening(&body) {
        Ok(opening) => Ok(opening),
        // A cancel request has no answer, not even this one.
        Err(error @ StartupError::CancelLength(_)) => {
            Err(Ended::Refused(Fault::fatal(error.code(), error.to_string())))
        }
        Err(error) => Err(refuse_packet(stream, error).await),
    }
}

async fn refuse_packet<S: AsyncWrite + Unpin>(stream: &mut S, error: StartupError) -> Ended {
    refuse(stream, Fault::fatal(error.code(), error.to_string())).await
}

fn gone(error: InboxError) -> Ended {
    match error {
        InboxError::Closed => Ended::Gone(None),
        InboxError::Io(error) => Ended::Gone(Some(error)),
        InboxError::Length => Ended::Gone(Some(io::ErrorKind::InvalidData.into())),
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
