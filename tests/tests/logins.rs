//! Logins end to end, pgshunt's server side against pgshunt's client side, over real sockets and real TLS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pgshunt::client::authenticate::Credential;
use pgshunt::client::handshake::{Ended, Opened, greet};
use pgshunt::net::stream::{Socket, Stream};
use pgshunt::net::tls::{FromClient, ServerTls, SslMode, ToServer};
use pgshunt::protocol::auth::verifier::Verifier;
use pgshunt::protocol::auth::{Secret, messages};
use pgshunt::protocol::reply;
use pgshunt::server::address::{Address, Target};
use pgshunt::server::connect::{ConnectFault, LoggedIn, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A folder of certificates made by openssl: `self` is its own CA, `server` and `client` are signed by `ca`.
struct Certificates(PathBuf);

impl Certificates {
    fn make(test: &str) -> Certificates {
        let folder = std::env::temp_dir().join(format!("pgshunt-logins-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for certificates");
        let script = r#"
            new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
            names="subjectAltName=DNS:localhost,IP:127.0.0.1"
            $new -x509 -keyout self.key -out self.crt -subj /CN=localhost -addext $names
            $new -x509 -keyout ca.key -out ca.crt -subj /CN=ca
            printf "$names\nbasicConstraints=CA:FALSE\n" > extensions
            for who in server client; do
                $new -keyout $who.key -out $who.csr -subj /CN=$who
                openssl x509 -req -in $who.csr -CA ca.crt -CAkey ca.key -CAcreateserial -sha384 \
                    -extfile extensions -out $who.crt
            done"#;
        let made = Command::new("sh")
            .args(["-ec", script])
            .current_dir(&folder)
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Certificates(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn server(&self, mode: SslMode, who: &str) -> FromClient {
        let (certificate, key) = (self.file(&format!("{who}.crt")), self.file(&format!("{who}.key")));
        let ca = self.file("ca.crt");
        let ca: Option<&Path> = (mode == SslMode::VerifyCa).then_some(&ca);
        FromClient::new(mode, Some(&certificate), Some(&key), ca).expect("usable files")
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Lets one client in that knows `pencil`, as far as it gets.
async fn admit(listener: &TcpListener, tls: &FromClient) -> Result<Secret, String> {
    let (socket, _) = listener.accept().await.expect("a client");
    let mut client = match greet(Socket::Tcp(socket), tls).await {
        Opened::Client(client) => client,
        Opened::Refused(fault) => return Err(fault.to_string()),
        Opened::Gone(_) => return Err("gone".into()),
        Opened::Cancel { .. } => return Err("cancel".into()),
    };
    let verifier = Verifier::from_password("pencil", b"salt".to_vec(), 4096.try_into().expect("not 0"));
    match client.authenticate(Credential::Verifier(verifier)).await {
        Ok(secret) => {
            let (mut stream, _, _) = client.into_parts();
            let mut out = Vec::new();
            messages::backend_key_data(&mut out, 7, b"abcd");
            reply::ready_for_query(&mut out, b'I');
            let _ = stream.write_all(&out).await;
            let _ = stream.flush().await;
            Ok(secret)
        }
        Err(Ended::Refused(fault)) => Err(fault.to_string()),
        Err(Ended::Gone(_)) => Err("gone".into()),
    }
}

async fn log_in(
    host: &str,
    ours: &FromClient,
    theirs: ServerTls,
) -> (Result<Secret, String>, Result<LoggedIn, ConnectFault>) {
    let listener = TcpListener::bind((host, 0)).await.expect("a port");
    let target = Target {
        address: Address::Tcp {
            host: host.into(),
            port: listener.local_addr().expect("bound").port(),
        },
        dbname: "shop".into(),
        tls: Arc::new(ToServer::new(&theirs).expect("usable files")),
        connect_timeout: Duration::from_secs(10),
        tcp: Default::default(),
        name: Default::default(),
    };
    let secret = Secret::Password("pencil".into());
    tokio::join!(admit(&listener, ours), connect(&target, "ann", &secret, &[]))
}

fn trusting(mode: SslMode, ca: PathBuf) -> ServerTls {
    ServerTls {
        mode,
        ca: Some(ca),
        ..ServerTls::default()
    }
}

#[tokio::test]
async fn certificates_are_held_against_ca_and_name() {
    let files = Certificates::make("ca-and-name");
    let cases = [
        ("127.0.0.1", "server", SslMode::VerifyFull, "ca.crt", true),
        ("localhost", "server", SslMode::VerifyFull, "ca.crt", true),
        ("localhost", "self", SslMode::VerifyFull, "self.crt", true),
        ("127.0.0.1", "self", SslMode::VerifyCa, "self.crt", true),
        ("127.0.0.1", "server", SslMode::VerifyCa, "self.crt", false),
        ("127.0.0.1", "server", SslMode::Require, "self.crt", false),
        ("127.0.0.1", "server", SslMode::Prefer, "self.crt", false),
        ("127.0.0.1", "self", SslMode::VerifyFull, "ca.crt", false),
    ];
    for (host, who, mode, ca, good) in cases {
        let ours = files.server(SslMode::Require, who);
        let (admitted, server) = log_in(host, &ours, trusting(mode, files.file(ca))).await;
        let label = format!("{host} {who} {mode:?} {ca}");
        match server {
            Ok(server) => assert!(good && matches!(server.stream, Stream::TlsToServer(_)), "{label}"),
            Err(ConnectFault::Tls(_)) => assert!(!good, "{label}"),
            Err(other) => panic!("{label}: {other}"),
        }
        assert_eq!(admitted.is_ok(), good, "{label}");
    }
}

#[tokio::test]
async fn a_name_the_certificate_does_not_have() {
    let files = Certificates::make("name");
    let ours = files.server(SslMode::Require, "server");
    // The certificate names 127.0.0.1 and localhost; these are the same machine, the second as no certificate can say it.
    for host in ["127.0.0.2", "127.2"] {
        for (mode, good) in [(SslMode::VerifyCa, true), (SslMode::VerifyFull, false)] {
            let (_, server) = log_in(host, &ours, trusting(mode, files.file("ca.crt"))).await;
            assert_eq!(server.is_ok(), good, "{host} {mode:?}");
        }
    }
}

#[tokio::test]
async fn clients_must_bring_what_the_mode_asks_for() {
    let files = Certificates::make("clients");
    let plain = ServerTls {
        mode: SslMode::Disable,
        ..ServerTls::default()
    };
    let (admitted, _) = log_in(
        "127.0.0.1",
        &files.server(SslMode::Require, "server"),
        plain.clone(),
    )
    .await;
    let refusal = "FATAL 28000: this server accepts TLS connections only";
    assert_eq!(admitted.err().as_deref(), Some(refusal));
    let (admitted, _) = log_in("127.0.0.1", &files.server(SslMode::Prefer, "server"), plain).await;
    assert!(admitted.is_ok());
    let strict = files.server(SslMode::VerifyCa, "server");
    let bare = ServerTls {
        mode: SslMode::Require,
        ..ServerTls::default()
    };
    let (admitted, server) = log_in("127.0.0.1", &strict, bare.clone()).await;
    assert!(admitted.is_err() && server.is_err());
    let dressed = ServerTls {
        certificate: Some(files.file("client.crt")),
        key: Some(files.file("client.key")),
        ..bare
    };
    let (admitted, server) = log_in("127.0.0.1", &strict, dressed).await;
    assert!(admitted.is_ok() && server.is_ok());
}

#[tokio::test]
async fn bytes_sent_behind_ssl_request_are_never_heard() {
    let files = Certificates::make("injection");
    let ours = files.server(SslMode::Prefer, "server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let attack = async {
        let mut socket = TcpStream::connect(address).await.expect("a server");
        let mut bytes = Vec::new();
        messages::ssl_request(&mut bytes);
        messages::startup_message(&mut bytes, "ann", "shop", &[]);
        socket.write_all(&bytes).await.expect("sent");
        let mut heard = Vec::new();
        let _ = socket.read_to_end(&mut heard).await;
        heard
    };
    let (admitted, heard) = tokio::join!(admit(&listener, &ours), attack);
    assert_eq!(
        admitted.err().as_deref(),
        Some("FATAL 08P01: received unencrypted data after SSL request")
    );
    assert_eq!(heard.first(), Some(&b'E'), "no S may come");
}
