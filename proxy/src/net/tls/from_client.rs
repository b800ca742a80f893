//! TLS in which pgshunt is the server. Not the SSLRequest before it (`client::handshake`).

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{ALPN, SslMode, TlsFault, certificates, end_point, private_key, provider, refused, roots};
use crate::net::stream::Socket;

/// How to speak TLS with clients: the mode and the files, already read. To reload, make a new one.
#[derive(Clone)]
pub struct FromClient {
    mode: SslMode,
    // INVARIANT: there unless the mode is `Disable`.
    config: Option<Arc<ServerConfig>>,
    end_point: Option<Vec<u8>>,
}

impl fmt::Debug for FromClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromClient").field("mode", &self.mode).finish()
    }
}

impl FromClient {
    /// Reads certificate chain and key. `allow` means `prefer`. `client_ca` checks the certificates clients bring; in
    /// `verify-ca` and `verify-full` they must bring one ([`FromClient::wants_certificates`]), in `verify-full` their own
    /// ([`FromClient::names_roles`]).
    pub fn new(
        mode: SslMode,
        certificate: Option<&Path>,
        key: Option<&Path>,
        client_ca: Option<&Path>,
    ) -> Result<FromClient, TlsFault> {
        if mode == SslMode::Disable {
            return Ok(FromClient::disabled());
        }
        let (Some(certificate), Some(key)) = (certificate, key) else {
            return Err(TlsFault::NotNamed(
                "TLS for clients needs a certificate and its key",
            ));
        };
        let provider = provider();
        let verifier = match client_ca {
            None if mode.verifies() => {
                return Err(TlsFault::NotNamed(
                    "verify-ca and verify-full need a file of client CAs",
                ));
            }
            None => WebPkiClientVerifier::no_client_auth(),
            Some(path) => {
                let roots: RootCertStore = roots(path, &certificates(path)?)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
                // Whoever must bring one and has none is told so in PostgreSQL's words, once it has named itself.
                let verifier = verifier.allow_unauthenticated();
                verifier.build().map_err(|error| refused(path, &error))?
            }
        };
        let chain = certificates(certificate)?;
        let end_point = chain.first().and_then(|own| end_point(own));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("ring".as_ref(), &error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, private_key(key)?)
            .map_err(|error| refused(certificate, &error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // PostgreSQL resumes no session; neither do we, and no ticket needs a key to rotate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(FromClient {
            mode,
            config: Some(Arc::new(config)),
            end_point,
        })
    }

    /// Never TLS.
    pub fn disabled() -> FromClient {
        FromClient {
            mode: SslMode::Disable,
            config: None,
            end_point: None,
        }
    }

    /// Is the answer to SSLRequest `S`?
    pub fn is_offered(&self) -> bool {
        self.config.is_some()
    }

    /// Is a client on TCP without TLS refused?
    pub fn is_required(&self) -> bool {
        match self.mode {
            SslMode::Disable | SslMode::Allow | SslMode::Prefer => false,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => true,
        }
    }

    /// Is a client in TLS without a certificate refused?
    pub fn wants_certificates(&self) -> bool {
        self.mode.verifies()
    }

    /// Must a client's certificate name the role it logs in as? PostgreSQL's `clientcert=verify-full`.
    pub fn names_roles(&self) -> bool {
        self.mode == SslMode::VerifyFull
    }

    /// What SCRAM-SHA-256-PLUS binds to; `None` where our certificate has no such hash.
    pub fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// Shakes hands after `S`, or at once with a client that speaks TLS directly.
    pub async fn accept(&self, socket: Socket) -> io::Result<TlsStream<Socket>> {
        let Some(config) = &self.config else {
            return Err(io::Error::other("TLS is disabled for clients"));
        };
        TlsAcceptor::from(config.clone()).accept(socket).await
    }
}
