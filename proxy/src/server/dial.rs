//! A line to a server: socket, and TLS as the mode wants it. No login (`connect`), no statements.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::address::{Address, SslMode, Target};
use super::connect::ConnectFault;
use crate::net::socket;
use crate::net::stream::Stream;
use crate::net::tls;
use crate::protocol::auth::messages;

/// What a line may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing but the socket.
    Plain,
    /// TLS, or no line.
    Tls,
    /// TLS if the server says yes.
    TlsIfOffered,
}

/// The lines to try in turn; libpq's meaning of sslmode, which a Unix socket has none of.
pub fn lines(target: &Target) -> &'static [Line] {
    match (&target.address, target.tls.mode()) {
        (Address::Unix { .. }, _) | (_, SslMode::Disable) => &[Line::Plain],
        (_, SslMode::Allow) => &[Line::Plain, Line::Tls],
        (_, SslMode::Prefer) => &[Line::TlsIfOffered, Line::Plain],
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Line::Tls],
    }
}

/// Reaches the server. `patience` is for TCP alone; the caller bounds the whole.
pub async fn dial(target: &Target, line: Line, patience: Duration) -> Result<Stream, ConnectFault> {
    let (mut plain, host) = match &target.address {
        Address::Tcp { host, port } => {
            let socket = socket::tcp((host, &target.name), *port, patience, &target.tcp).await;
            (socket.map_err(ConnectFault::Unreachable)?, host)
        }
        Address::Unix { directory, port } => {
            let socket = socket::unix(directory, *port).await;
            return Ok(socket.map_err(ConnectFault::Unreachable)?.into());
        }
    };
    if line == Line::Plain {
        return Ok(plain.into());
    }
    let mut request = Vec::new();
    messages::ssl_request(&mut request);
    plain.write_all(&request).await.map_err(ConnectFault::Lost)?;
    // One byte and no more: whatever follows it in the clear is read as TLS, and fails as TLS (CVE-2021-23222).
    let answer = plain.read_u8().await.map_err(ConnectFault::Lost)?;
    match (answer, line) {
        (b'S', _) => {
            let encrypted = target.tls.handshake(plain, host).await;
            Ok(Stream::TlsToServer(Box::new(
                encrypted.map_err(ConnectFault::Tls)?,
            )))
        }
        (b'N', Line::TlsIfOffered) => Ok(plain.into()),
        (b'N', _) => Err(ConnectFault::NoTls),
        // An ErrorResponse here comes from nobody in particular: its text is not read (CVE-2024-10977).
        (other, _) => Err(ConnectFault::TlsAnswer(other)),
    }
}

/// The hash of the server's certificate, if there is TLS and its kind has one.
pub fn end_point(stream: &Stream) -> Option<Vec<u8>> {
    match stream {
        Stream::TlsToServer(tls) => tls::end_point(tls.get_ref().1.peer_certificates()?.first()?),
        Stream::Tcp(_) | Stream::Unix(_) | Stream::TlsFromClient(_) | Stream::Within(_) => None,
    }
}

/// May nobody in between listen?
pub fn is_private(stream: &Stream) -> bool {
    match stream {
        Stream::TlsToServer(_) | Stream::TlsFromClient(_) | Stream::Unix(_) | Stream::Within(_) => true,
        Stream::Tcp(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::net::tls::{ServerTls, ToServer};
    use tokio::net::TcpListener;

    fn target(mode: SslMode, port: u16) -> Target {
        let settings = ServerTls {
            mode,
            ..ServerTls::default()
        };
        Target {
            address: Address::Tcp {
                host: "127.0.0.1".into(),
                port,
            },
            dbname: "d".into(),
            tls: Arc::new(ToServer::new(&settings).unwrap()),
            connect_timeout: Duration::from_secs(5),
            tcp: socket::Settings::default(),
            name: Default::default(),
        }
    }

    /// A server that hears SSLRequest and answers with these bytes.
    async fn answered(answer: &'static [u8], mode: SslMode) -> Result<Stream, ConnectFault> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(mode, listener.local_addr().unwrap().port());
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 8];
            socket.read_exact(&mut request).await.unwrap();
            socket.write_all(answer).await.unwrap();
            socket
        };
        let line = lines(&target)[0];
        let (got, _) = tokio::join!(dial(&target, line, Duration::from_secs(5)), serve);
        got
    }

    #[tokio::test]
    async fn the_answer_is_one_byte() {
        let no = answered(b"N", SslMode::Prefer).await;
        assert!(matches!(no, Ok(Stream::Tcp(_))));
        let no = answered(b"N", SslMode::Require).await;
        assert!(matches!(no, Err(ConnectFault::NoTls)));
        let text = answered(b"EFATAL: trust me\0", SslMode::Prefer).await;
        assert!(matches!(text, Err(ConnectFault::TlsAnswer(b'E'))));
        let injected = answered(b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", SslMode::Prefer).await;
        assert!(matches!(injected, Err(ConnectFault::Tls(_))));
    }

    #[test]
    fn modes_are_libpqs() {
        let of = |mode| match mode {
            SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => lines(&target(mode, 1)),
            SslMode::VerifyCa | SslMode::VerifyFull => unreachable!("need a file"),
        };
        assert_eq!(of(SslMode::Disable), [Line::Plain]);
        assert_eq!(of(SslMode::Allow), [Line::Plain, Line::Tls]);
        assert_eq!(of(SslMode::Prefer), [Line::TlsIfOffered, Line::Plain]);
        assert_eq!(of(SslMode::Require), [Line::Tls]);
        let unix = Target {
            address: Address::Unix {
                directory: "/tmp".into(),
                port: 1,
            },
            ..target(SslMode::Require, 1)
        };
        assert_eq!(lines(&unix), [Line::Plain]);
    }
}
