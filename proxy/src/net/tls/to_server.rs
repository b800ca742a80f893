//! TLS in which pgshunt is the client, with the meanings libpq gives sslmode. Not the SSLRequest before it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ALPN, ServerTls, SslMode, TlsFault, certificates, private_key, provider, refused, roots};
use crate::net::stream::Socket;

/// How to speak TLS to servers: the mode and the files, already read.
#[derive(Clone)]
pub struct ToServer {
    mode: SslMode,
    // INVARIANT: there unless the mode is `Disable`.
    config: Option<Arc<ClientConfig>>,
    // A hash of what was in each file.
    files: Vec<Vec<u8>>,
}

impl fmt::Debug for ToServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToServer").field("mode", &self.mode).finish()
    }
}

impl Default for ToServer {
    fn default() -> Self {
        ToServer::disabled()
    }
}

impl ToServer {
    /// Reads the files. Where a CA is given, every mode that speaks TLS holds the server's certificate against it, as in
    /// libpq; a server that fails is not spoken to in the clear instead, `prefer` or not.
    pub fn new(settings: &ServerTls) -> Result<ToServer, TlsFault> {
        let mode = settings.mode;
        let trust = match (&settings.ca, mode) {
            (_, SslMode::Disable) => return Ok(ToServer::disabled()),
            (Some(path), _) => {
                let trusted = certificates(path)?;
                Some(Trust {
                    roots: roots(path, &trusted)?,
                    trusted,
                })
            }
            (None, SslMode::VerifyCa | SslMode::VerifyFull) => {
                return Err(TlsFault::NotNamed(
                    "verify-ca and verify-full need a file of trusted CAs",
                ));
            }
            (None, SslMode::Allow | SslMode::Prefer | SslMode::Require) => None,
        };
        let provider = provider();
        let checks = Checks {
            trust,
            name: mode == SslMode::VerifyFull,
            provider: provider.clone(),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("ring".as_ref(), &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(checks));
        let mut config = match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| refused(certificate, &error))?,
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(TlsFault::NotNamed("a certificate needs its key")),
            (None, Some(_)) => return Err(TlsFault::NotNamed("a key needs its certificate")),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // PostgreSQL resumes no session.
        config.resumption = Resumption::disabled();
        let files = [&settings.ca, &settings.certificate, &settings.key];
        Ok(ToServer {
            mode,
            config: Some(Arc::new(config)),
            files: files.map(|file| digest(file.as_deref())).into(),
        })
    }

    /// Never TLS.
    pub fn disabled() -> ToServer {
        ToServer {
            mode: SslMode::Disable,
            config: None,
            files: Vec::new(),
        }
    }

    /// Was it made of the same mode and of files that hold the same?
    pub fn is_like(&self, other: &ToServer) -> bool {
        (self.mode, &self.files) == (other.mode, &other.files)
    }

    /// libpq's sslmode.
    pub fn mode(&self) -> SslMode {
        self.mode
    }

    /// Shakes hands after the server said `S`. `host` is what the certificate must name in `verify-full`: a name or an
    /// address. Errors name host and certificate, so they are for the log.
    pub async fn handshake(&self, socket: Socket, host: &str) -> io::Result<TlsStream<Socket>> {
        let Some(config) = &self.config else {
            return Err(io::Error::other("TLS is disabled towards this server"));
        };
        let name = match (ServerName::try_from(host.to_owned()), self.mode) {
            (Ok(name), _) => name,
            (Err(_), SslMode::VerifyFull) => {
                let text = format!("\"{host}\" is neither a host name nor an address");
                return Err(io::Error::other(text));
            }
            // Nobody looks at the name; an address leaves SNI out.
            (Err(_), _) => ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        };
        TlsConnector::from(config.clone()).connect(name, socket).await
    }
}

/// What tells a file from its successor; nothing for no file.
fn digest(file: Option<&Path>) -> Vec<u8> {
    let bytes = file.and_then(|file| std::fs::read(file).ok());
    bytes.map_or_else(Vec::new, |bytes| {
        ring::digest::digest(&ring::digest::SHA256, &bytes)
            .as_ref()
            .to_vec()
    })
}

/// What is asked of a server's certificate.
#[derive(Debug)]
struct Checks {
    trust: Option<Trust>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Trust {
    roots: RootCertStore,
    trusted: Vec<CertificateDer<'static>>,
}

impl Trust {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        (now, provider): (UnixTime, &CryptoProvider),
    ) -> Result<(), Error> {
        let algorithms = provider.signature_verification_algorithms.all;
        let chain =
            verify_server_cert_signed_by_trust_anchor(parsed, &self.roots, intermediates, now, algorithms);
        match chain {
            Err(error) if !is_out_of_date(&error) && self.trusted.contains(end_entity) => {
                // `openssl req -x509` makes a server certificate that is its own CA, which webpki refuses and OpenSSL
                // accepts. It is the very certificate that the operator trusts, and its dates were looked at first.
                Ok(())
            }
            other => other,
        }
    }
}

fn is_out_of_date(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        Error::InvalidCertificate(Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
    )
}

impl ServerCertVerifier for Checks {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(trust) = &self.trust {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            trust.check(end_entity, &parsed, intermediates, (now, &self.provider))?;
            if self.name {
                verify_server_name(&parsed, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
