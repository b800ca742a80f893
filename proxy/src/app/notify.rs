//! Tells systemd how we are (`Type=notify`): one datagram to the socket it named. Without one, nothing happens.
//!
//! sd_notify(3).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What systemd is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Clients can come in.
    Ready,
    /// The configuration is being read again; [`State::Ready`] follows.
    Reloading,
    /// No more clients, and the end.
    Stopping,
}

impl State {
    fn word(self) -> &'static [u8] {
        match self {
            State::Ready => b"READY=1",
            State::Reloading => b"RELOADING=1",
            State::Stopping => b"STOPPING=1",
        }
    }
}

/// Tells systemd, if it listens.
pub fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, ?state, "systemd could not be told");
    }
}

fn send(socket: &OsStr, state: State) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.word(), &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_by_path_and_by_abstract_name() {
        let file = std::env::temp_dir().join(format!("pgshunt-notify-{}", std::process::id()));
        let name = format!("@pgshunt-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&file).expect("bound");
        let address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).expect("a name");
        let by_name = UnixDatagram::bind_addr(&address).expect("bound");
        for (listener, socket) in [(by_path, file.as_os_str()), (by_name, OsStr::new(&name))] {
            send(socket, State::Ready).expect("sent");
            let mut heard = [0; 32];
            let length = listener.recv(&mut heard).expect("received");
            assert_eq!(&heard[..length], b"READY=1");
        }
        std::fs::remove_file(&file).expect("removed");
        assert!(send(file.as_os_str(), State::Stopping).is_err());
    }
}
