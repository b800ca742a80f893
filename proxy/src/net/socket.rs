//! Plain sockets: options and connecting. Not TLS (`tls`), not logins (`server::connect`).

use std::io;
use std::path::Path;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::names::Name;
use super::stream::Socket;

/// The most addresses of one name that are tried.
pub const ADDRESSES_MAX: usize = 16;

const SECOND: Duration = Duration::from_secs(1);

/// Linux's `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL`.
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// The option is a whole number of milliseconds in 31 bits.
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// How TCP notices a peer that has gone without a word, and how long what is known of its name holds. For the former a
/// zero duration leaves it to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Probe idle connections (`tcp_keepalive`).
    pub keepalive: bool,
    /// Silence before the first probe (`tcp_keepidle`).
    pub keepalive_idle: Duration,
    /// Time between probes (`tcp_keepintvl`).
    pub keepalive_interval: Duration,
    /// Probes without an answer before the connection is dead (`tcp_keepcnt`); 0 leaves it to the system.
    pub keepalive_count: u32,
    /// The longest that sent bytes may stay unacknowledged (`tcp_user_timeout`).
    pub user_timeout: Duration,
    /// How long a name's addresses are taken for true.
    pub dns_max_ttl: Duration,
    /// How long a name that could not be looked up is not looked up again.
    pub dns_nxdomain_ttl: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            keepalive: true,
            // Linux waits for two hours: by then everybody behind a firewall has been forgotten.
            keepalive_idle: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(10),
            keepalive_count: 6,
            // It also ends connections whose peer is alive and only slow to read.
            user_timeout: Duration::ZERO,
            dns_max_ttl: Duration::from_secs(15),
            dns_nxdomain_ttl: Duration::from_secs(15),
        }
    }
}

/// Sets a TCP socket's options; small messages leave at once (`TCP_NODELAY`).
pub fn tune(tcp: &TcpStream, settings: &Settings) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    if settings.keepalive {
        // Linux counts whole seconds here, and no more than these.
        let given = |d: Duration| (!d.is_zero()).then_some(d.clamp(SECOND, KEEPALIVE_MAX));
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = given(settings.keepalive_idle) {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = given(settings.keepalive_interval) {
            keepalive = keepalive.with_interval(interval);
        }
        if settings.keepalive_count > 0 {
            keepalive = keepalive.with_retries(settings.keepalive_count);
        }
        socket.set_keepalive(true)?;
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if !settings.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(settings.user_timeout.min(USER_TIMEOUT_MAX)))?;
    }
    Ok(())
}

/// Connects over TCP: every address of the name in turn, each with its share of the time that is left. The last
/// address's error counts.
pub async fn tcp(
    (host, name): (&str, &Name),
    port: u16,
    patience: Duration,
    settings: &Settings,
) -> io::Result<Socket> {
    let deadline = Instant::now() + patience;
    let addresses = timeout_at(deadline, name.addresses(host, settings)).await??;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        // At least one is left, so the divisor is not zero; and there are at most ADDRESSES_MAX.
        let share = deadline.saturating_duration_since(now) / (addresses.len() - tried) as u32;
        match timeout_at(now + share, TcpStream::connect((*address, port))).await {
            Ok(Ok(tcp)) => {
                tune(&tcp, settings)?;
                return Ok(Socket::Tcp(tcp));
            }
            Ok(Err(error)) => failure = error,
            Err(elapsed) => failure = elapsed.into(),
        }
    }
    name.doubt();
    Err(failure)
}

/// Connects to the socket `.s.PGSQL.<port>` in a directory.
pub async fn unix(directory: &Path, port: u16) -> io::Result<Socket> {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    Ok(Socket::Unix(UnixStream::connect(path).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_connected_socket_has_its_options() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let settings = Settings {
            keepalive_idle: Duration::from_secs(33),
            user_timeout: Duration::from_secs(44),
            ..Settings::default()
        };
        let socket = tcp(
            ("127.0.0.1", &Name::default()),
            port,
            Duration::from_secs(5),
            &settings,
        )
        .await
        .unwrap();
        let Socket::Tcp(tcp) = socket else {
            panic!("not TCP");
        };
        let socket = SockRef::from(&tcp);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(33));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(44)));
        assert!(tcp.nodelay().unwrap());
    }

    #[tokio::test]
    async fn what_the_system_can_not_do_is_done_as_far_as_it_can() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let year = Duration::from_secs(365 * 24 * 3600);
        let settings = Settings {
            keepalive_idle: Duration::from_millis(1),
            keepalive_interval: year,
            keepalive_count: 127,
            user_timeout: year,
            ..Settings::default()
        };
        tune(&tcp, &settings).unwrap();
        let socket = SockRef::from(&tcp);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SECOND);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_MAX);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT_MAX));
    }

    #[tokio::test]
    async fn nobody_there() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let patience = Duration::from_secs(5);
        let refused = tcp(
            ("127.0.0.1", &Name::default()),
            port,
            patience,
            &Settings::default(),
        )
        .await;
        assert_eq!(refused.err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
        let missing = unix(Path::new("/nonexistent"), 1).await;
        assert_eq!(missing.err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
