//! Answers whatever it is asked with the same row: one receive and one send for each batch, and nothing else. Who answers each
//! question by itself can hardly do more, so this says what `tests/bench/cache.sh` can find at most.
//!
//! Arguments: a port of 127.0.0.1, and the path of a Unix socket.

use std::io;

use pgshunt::protocol::reply;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{LocalSet, spawn_local};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, path] = &arguments[..] else {
        return Err(io::Error::other("bare-answers PORT PATH"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let tcp = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
        let unix = UnixListener::bind(path)?;
        loop {
            tokio::select! {
                accepted = tcp.accept() => {
                    let (stream, _) = accepted?;
                    stream.set_nodelay(true)?;
                    spawn_local(serve(stream));
                }
                accepted = unix.accept() => {
                    spawn_local(serve(accepted?.0));
                }
            }
        }
    })
}

/// One client, until it has gone. What pgbench asks comes whole.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let (mut input, mut out) = ([0; 4096], Vec::new());
    let mut is_in = false;
    loop {
        let size = stream.read(&mut input).await?;
        if size == 0 {
            return Ok(());
        }
        out.clear();
        match is_in {
            true => answer(&input[..size], &mut out),
            // A request for TLS or GSSAPI is eight bytes.
            false if size == 8 => out.push(b'N'),
            false => {
                is_in = true;
                reply::frame(&mut out, b'R', |out| out.extend_from_slice(&[0; 4]));
                reply::ready_for_query(&mut out, b'I');
            }
        }
        stream.write_all(&out).await?;
    }
}

fn answer(mut input: &[u8], out: &mut Vec<u8>) {
    while let [kind, a, b, c, d, ..] = *input {
        let size = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
        match kind {
            b'P' => reply::parse_complete(out),
            b'B' => reply::frame(out, b'2', |_| ()),
            b'D' => description(out),
            b'E' => row(out),
            b'Q' => {
                description(out);
                row(out);
                reply::ready_for_query(out, b'I');
            }
            b'S' => reply::ready_for_query(out, b'I'),
            _ => {}
        }
        input = input.get(size..).unwrap_or_default();
    }
}

fn description(out: &mut Vec<u8>) {
    let name = "abalance";
    reply::row_description(out, &[reply::Column { name, oid: 23 }]);
}

fn row(out: &mut Vec<u8>) {
    reply::data_row(out, [Some(&b"0"[..])].into_iter());
    reply::command_complete(out, "SELECT 1");
}
