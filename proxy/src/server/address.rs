//! Where a PostgreSQL is, and how to talk to it. No sockets here.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::net::names::Name;
use crate::net::socket;

pub use crate::net::tls::{ServerTls, SslMode};

/// A place a PostgreSQL listens at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Host name or address, and port.
    Tcp {
        /// Name, IPv4 or IPv6 address without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A directory that holds `.s.PGSQL.<port>`.
    Unix {
        /// The directory.
        directory: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix { directory, port } => write!(f, "unix:{}:{port}", directory.display()),
        }
    }
}

/// What one connection to a server needs to know before it is made.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where.
    pub address: Address,
    /// The database's name on that server.
    pub dbname: String,
    /// TLS, with its files already read.
    pub tls: Arc<crate::net::tls::ToServer>,
    /// Time for TCP, TLS and login together.
    pub connect_timeout: Duration,
    /// How TCP notices that the server has gone.
    pub tcp: socket::Settings,
    /// The addresses of the host's name.
    pub name: Arc<Name>,
}

/// One shard's servers.
#[derive(Clone, Debug)]
pub struct Servers {
    /// The shard's name.
    pub shard: Arc<str>,
    /// Its servers, in the order of the configuration.
    pub targets: Vec<Arc<Target>>,
}

impl Target {
    /// Does a connection to the one do for the other? The same place, the same database, the same TLS.
    pub fn is_like(&self, other: &Target) -> bool {
        self.address == other.address && self.dbname == other.dbname && self.tls.is_like(&other.tls)
    }
}
