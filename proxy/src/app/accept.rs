//! Listens, accepts, and gives each connection to the worker that has the fewest.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::StartFault;
use crate::admin::console::Console;
use crate::admin::http::Site;
use crate::client::worker::{Accepted, Common, Order};
use crate::snapshot::Endpoint;

/// Something that listens.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// The socket's file for a directory and a port, as PostgreSQL names it.
fn socket_file(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

/// Opens every door for clients.
pub async fn listen(common: &Common) -> Result<Vec<Listener>, StartFault> {
    let mut listeners = Vec::new();
    let snapshot = common.snapshot.load();
    for endpoint in &snapshot.listen.clients {
        listeners.push(open(endpoint, snapshot.limits.listen_backlog).await?);
        tracing::info!(address = %endpoint, "listening");
    }
    Ok(listeners)
}

/// Opens one door; before it, so many may wait.
pub async fn open(endpoint: &Endpoint, backlog: u32) -> Result<Listener, StartFault> {
    let failed = |error| StartFault::Listen(endpoint.to_string(), error);
    match endpoint {
        Endpoint::Tcp(address) => tcp(*address, backlog).map(Listener::Tcp).map_err(failed),
        Endpoint::Unix { directory, port } => {
            let file = socket_file(directory, *port);
            if std::os::unix::net::UnixStream::connect(&file).is_err() {
                // Nobody listens there: it was left by a process that is gone.
                let _ = std::fs::remove_file(&file);
            }
            let listener = UnixListener::bind(&file).map_err(failed)?;
            // A second listen says how many may wait.
            SockRef::from(&listener).listen(backlog as i32).map_err(failed)?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o777)).map_err(failed)?;
            Ok(Listener::Unix(listener))
        }
    }
}

fn tcp(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Removes the files of Unix sockets.
pub fn remove_sockets(common: &Common) {
    let listen = &common.snapshot.load().listen;
    for endpoint in listen.clients.iter().chain(&listen.admin) {
        if let Endpoint::Unix { directory, port } = endpoint {
            let _ = std::fs::remove_file(socket_file(directory, *port));
        }
    }
}

/// Accepts clients until it is aborted.
pub async fn accept(listener: Listener, common: Arc<Common>) {
    let next = AtomicUsize::new(0);
    let give = |accepted| {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let _ = common.doors[turn % common.doors.len()].send(Order::Arrive(accepted));
    };
    each(&listener, give).await;
}

/// Accepts operators until it is aborted.
pub async fn accept_console(listener: Listener, console: Rc<Console>) {
    let serve = |accepted| {
        tokio::task::spawn_local(console.clone().serve(accepted));
    };
    each(&listener, serve).await;
}

/// Accepts visitors of HTTP until it is aborted.
pub async fn accept_http(listener: Listener, site: Rc<Site>) {
    let serve = |accepted| {
        tokio::task::spawn_local(site.clone().serve(accepted));
    };
    each(&listener, serve).await;
}

async fn each(listener: &Listener, take: impl Fn(Accepted)) {
    loop {
        let accepted = match listener {
            Listener::Tcp(tcp) => tcp
                .accept()
                .await
                .and_then(|(tcp, peer)| Ok(Accepted::Tcp(tcp.into_std()?, peer))),
            Listener::Unix(unix) => unix
                .accept()
                .await
                .and_then(|(unix, _)| Ok(Accepted::Unix(unix.into_std()?))),
        };
        match accepted {
            Ok(accepted) => take(accepted),
            Err(error) => {
                // Out of file descriptors, most likely: a pause lets some close.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
