//! Asking a server to cancel what a connection of it is doing. The server answers nothing; the statement does.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::address::Target;
use super::connect::ConnectFault;
use super::dial::{dial, lines};
use crate::protocol::auth::messages;

/// Connects as for a login (TLS and all), sends the request and waits until the server has closed: by then the signal
/// has been sent. All of it within `timeout`.
pub async fn cancel(target: &Target, pid: i32, secret: &[u8], timeout: Duration) -> io::Result<()> {
    let all = async {
        let mut failure = io::ErrorKind::NotConnected.into();
        for line in lines(target) {
            match dial(target, *line, timeout).await {
                Ok(mut stream) => {
                    let mut request = Vec::new();
                    messages::cancel_request(&mut request, pid, secret);
                    stream.write_all(&request).await?;
                    stream.flush().await?;
                    // A server that talks instead of closing is not listened to for long.
                    let mut heard = [0; 64];
                    return match stream.read(&mut heard).await {
                        Ok(_) => Ok(()),
                        Err(error) if is_an_end(&error) => Ok(()),
                        Err(error) => Err(error),
                    };
                }
                Err(
                    ConnectFault::Unreachable(error) | ConnectFault::Lost(error) | ConnectFault::Tls(error),
                ) => {
                    failure = error;
                }
                Err(other) => failure = io::Error::other(other),
            }
        }
        Err(failure)
    };
    tokio::time::timeout(timeout, all).await?
}

/// PostgreSQL closes without TLS's goodbye, and sometimes with a reset.
fn is_an_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
