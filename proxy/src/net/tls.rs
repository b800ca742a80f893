//! TLS towards servers and from clients, with rustls and ring: files read once, a handshake per connection.

mod certificate;
mod from_client;
mod to_server;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use certificate::{common_name, end_point};
pub use from_client::FromClient;
pub use to_server::ToServer;

/// libpq's sslmode, towards servers and from clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Plain, TLS only when the server insists.
    Allow,
    /// TLS if the other side has it.
    #[default]
    Prefer,
    /// TLS or nothing; the certificate is checked only where a CA is given.
    Require,
    /// The certificate must come from a known CA.
    VerifyCa,
    /// And name the host.
    VerifyFull,
}

/// `TLSv1.3, cipher TLS13_AES_256_GCM_SHA384`.
pub fn description(session: &rustls::CommonState) -> String {
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(_) | None => "TLS",
    };
    match session.negotiated_cipher_suite() {
        Some(suite) => format!("{version}, cipher {:?}", suite.suite()),
        None => version.to_owned(),
    }
}

impl SslMode {
    /// Must the other side have a certificate that comes from a known CA?
    pub fn verifies(self) -> bool {
        match self {
            SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => false,
            SslMode::VerifyCa | SslMode::VerifyFull => true,
        }
    }

    /// The word in connection strings and in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

/// How to reach servers: part of a shard's settings.
#[derive(Clone, Debug, Default)]
pub struct ServerTls {
    /// libpq's sslmode.
    pub mode: SslMode,
    /// PEM file of trusted CAs.
    pub ca: Option<PathBuf>,
    /// PEM file of our own certificate chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of our own key.
    pub key: Option<PathBuf>,
}

/// Why TLS files cannot be used: which file, and what is wrong with it.
#[derive(Debug)]
pub enum TlsFault {
    /// The file cannot be read, or is not PEM.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system or the PEM reader says.
        error: pem::Error,
    },
    /// The file is PEM, and has no such thing in it.
    Missing {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// rustls refuses what is in the file.
    Refused {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        reason: String,
    },
    /// The mode needs a file that is not named.
    NotNamed(&'static str),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsFault::Unreadable { path, error } => match error {
                pem::Error::Io(error) => write!(f, "{}: {error}", path.display()),
                error => write!(f, "{}: not PEM: {error:?}", path.display()),
            },
            TlsFault::Missing { path, what } => write!(f, "{}: no {what} in it", path.display()),
            TlsFault::Refused { path, reason } => write!(f, "{}: {reason}", path.display()),
            TlsFault::NotNamed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for TlsFault {}

/// What PostgreSQL 17's direct TLS agrees on (ALPN).
const ALPN: &[u8] = b"postgresql";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    match found {
        Ok(found) if found.is_empty() => Err(TlsFault::Missing {
            path: path.to_owned(),
            what: "certificate",
        }),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsFault::Missing {
            path: path.to_owned(),
            what: "private key",
        },
        error => unreadable(path, error),
    })
}

fn roots(path: &Path, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| refused(path, &error))?;
    }
    Ok(roots)
}

fn unreadable(path: &Path, error: pem::Error) -> TlsFault {
    TlsFault::Unreadable {
        path: path.to_owned(),
        error,
    }
}

fn refused(path: &Path, reason: &impl fmt::Display) -> TlsFault {
    TlsFault::Refused {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_the_file_and_what_is_wrong_with_it() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/tls.rs");
        let nowhere = Path::new("/nonexistent/server.pem");
        let text = |fault: TlsFault| fault.to_string();
        let of_client = |certificate, key, ca| {
            text(FromClient::new(SslMode::VerifyCa, certificate, key, ca).unwrap_err())
        };
        let missing = of_client(Some(nowhere), Some(nowhere), Some(nowhere));
        assert!(
            missing.starts_with("/nonexistent/server.pem: No such file"),
            "{missing}"
        );
        let empty = of_client(Some(nowhere), Some(nowhere), Some(&own));
        assert!(empty.ends_with("tls.rs: no certificate in it"), "{empty}");
        assert!(of_client(None, None, None).contains("needs a certificate"));
        assert!(of_client(Some(nowhere), Some(nowhere), None).contains("client CAs"));
        let settings = |mode, certificate: Option<&Path>| ServerTls {
            mode,
            certificate: certificate.map(Path::to_owned),
            ..ServerTls::default()
        };
        let of_server = |mode, certificate| text(ToServer::new(&settings(mode, certificate)).unwrap_err());
        assert!(of_server(SslMode::VerifyFull, None).contains("trusted CAs"));
        assert!(of_server(SslMode::Prefer, Some(nowhere)).contains("needs its key"));
        let unread = ToServer::new(&settings(SslMode::Disable, Some(nowhere)));
        assert_eq!(unread.unwrap().mode(), SslMode::Disable);
    }
}
