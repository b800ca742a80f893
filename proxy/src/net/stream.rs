//! One byte stream, whatever it runs over: TCP or a Unix socket, plain or TLS, or a pipe within the process. Reads and
//! writes; no buffers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

use super::tls::description;

/// A connected stream of bytes. TLS is boxed: it is large, and most streams have none.
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS in which pgshunt is the server.
    TlsFromClient(Box<server::TlsStream<Socket>>),
    /// TLS in which pgshunt is the client.
    TlsToServer(Box<client::TlsStream<Socket>>),
    /// A pipe to what plays a server within pgshunt.
    Within(DuplexStream),
}

/// A plain stream, below TLS or alone.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

macro_rules! each {
    ($self:expr, $kind:ident { $($variant:ident),* }, $inner:ident => $call:expr) => {
        match $self { $($kind::$variant($inner) => $call,)* }
    };
}

impl Stream {
    /// Does TLS run on it?
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::TlsFromClient(_) | Stream::TlsToServer(_))
    }

    /// TLS version and cipher; empty without TLS.
    pub fn tls(&self) -> String {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) | Stream::Within(_) => String::new(),
            Stream::TlsFromClient(tls) => description(tls.get_ref().1),
            Stream::TlsToServer(tls) => description(tls.get_ref().1),
        }
    }

    /// Our own address; `None` on a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    /// The other side's address; `None` on a Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.tcp()?.peer_addr().ok()
    }

    /// Writes all of this.
    ///
    /// # Errors
    ///
    /// The line's.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }

    fn tcp(&self) -> Option<&TcpStream> {
        let socket = match self {
            Stream::Tcp(tcp) => return Some(tcp),
            Stream::Unix(_) | Stream::Within(_) => return None,
            Stream::TlsFromClient(tls) => tls.get_ref().0,
            Stream::TlsToServer(tls) => tls.get_ref().0,
        };
        match socket {
            Socket::Tcp(tcp) => Some(tcp),
            Socket::Unix(_) => None,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Socket { Tcp, Unix }, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), Socket { Tcp, Unix }, inner => Pin::new(inner).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Socket { Tcp, Unix }, inner => Pin::new(inner).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Socket { Tcp, Unix }, inner => Pin::new(inner).poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Stream { Tcp, Unix, TlsFromClient, TlsToServer, Within },
            inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), Stream { Tcp, Unix, TlsFromClient, TlsToServer, Within },
            inner => Pin::new(inner).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Stream { Tcp, Unix, TlsFromClient, TlsToServer, Within },
            inner => Pin::new(inner).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), Stream { Tcp, Unix, TlsFromClient, TlsToServer, Within },
            inner => Pin::new(inner).poll_shutdown(cx))
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        match socket {
            Socket::Tcp(tcp) => Stream::Tcp(tcp),
            Socket::Unix(unix) => Stream::Unix(unix),
        }
    }
}
