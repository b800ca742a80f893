//! tokio-postgres with rustls, in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::runtime::Runtime;
use tokio_postgres::Socket;
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::driver::{NOT_OFFERED, Way};

/// What it runs on.
pub fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

/// In and out again, as `Driver::visit` says it.
pub fn visit(runtime: &Runtime, way: &Way) -> String {
    let mut config = tokio_postgres::Config::new();
    let door = &way.door;
    config.host(&door.host).port(door.port).user(&door.user);
    config.password(&door.password).dbname(&door.database);
    config.ssl_mode(match way.sslmode {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        // Whether and how certificates are verified is rustls' affair, and rustls knows one way: in full.
        "require" | "verify-full" => SslMode::Require,
        _ => return NOT_OFFERED.into(),
    });
    match way.more {
        "" => {}
        "channel_binding=require" => drop(config.channel_binding(ChannelBinding::Require)),
        "sslnegotiation=direct" => drop(config.ssl_negotiation(SslNegotiation::Direct)),
        _ => return NOT_OFFERED.into(),
    }
    runtime.block_on(async {
        let limit = Duration::from_secs(30);
        let visit = tokio::time::timeout(limit, come_in(&config, tls(way)));
        visit.await.expect("an answer within 30 seconds")
    })
}

async fn come_in(config: &tokio_postgres::Config, tls: MakeRustlsConnect) -> String {
    let is_tls = Arc::new(AtomicBool::new(false));
    let (client, connection) = match config.connect(Noting(tls, is_tls.clone())).await {
        Ok(both) => both,
        Err(refusal) => {
            return format!("no {}", refusal.code().map_or("", |code| code.code()));
        }
    };
    let line = tokio::spawn(connection);
    let row = client.query_one("SELECT current_user::text", &[]).await;
    let name: String = row.expect("a row").get(0);
    drop(client);
    line.await.expect("no panic").expect("an orderly end");
    let kind = if is_tls.load(Ordering::Relaxed) {
        "tls"
    } else {
        "plain"
    };
    format!("{kind} {name}")
}

/// rustls, and whether it was called upon.
#[derive(Clone)]
struct Noting<T>(T, Arc<AtomicBool>);

impl MakeTlsConnect<Socket> for Noting<MakeRustlsConnect> {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = Noting<<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect>;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, Self::Error> {
        let made = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.0, domain)?;
        Ok(Noting(made, self.1.clone()))
    }
}

impl<T: TlsConnect<Socket>> TlsConnect<Socket> for Noting<T> {
    type Stream = T::Stream;
    type Error = T::Error;
    type Future = T::Future;

    fn connect(self, stream: Socket) -> Self::Future {
        self.1.store(true, Ordering::Relaxed);
        self.0.connect(stream)
    }
}

fn tls(way: &Way) -> MakeRustlsConnect {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has them");
    let builder = match &way.root {
        Some(root) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(root));
            builder.with_root_certificates(roots)
        }
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer)),
    };
    let mut config = match &way.certificate {
        Some(certificate) => {
            let key = PrivateKeyDer::from_pem_file(format!("{certificate}.key")).expect("a key");
            let chain = certificates(&format!("{certificate}.crt"));
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    if way.more == "sslnegotiation=direct" {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    MakeRustlsConnect::new(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(file: &str) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_file_iter(file).expect("a file");
    all.collect::<Result<_, _>>().expect("certificates")
}

/// Without a CA, `require` means what it means to libpq: whoever it is.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
