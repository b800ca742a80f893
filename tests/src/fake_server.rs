//! A server that misbehaves when it is told to: it stands between pgshunt and a real PostgreSQL and passes everything on,
//! except for a statement that names a misdeed, and for logins while it has orders for them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::PATIENCE;

/// What is done in place of an honest answer.
#[derive(Clone, Debug)]
pub struct Misdeed {
    /// A statement that contains `misbehave:` and this is answered with it; a name in capitals is looked for as it is.
    pub name: &'static str,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// How it goes on.
    pub then: Then,
}

/// How it goes on after a misdeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The line is closed.
    Close,
    /// Nothing more is said, whatever is heard.
    Silence,
    /// As if nothing had been.
    Honest,
}

/// What a login meets: each of these is sent after one message was heard; then the line stays open and silent.
#[derive(Clone, Debug)]
pub struct FalseLogin {
    /// Logins, or cancel requests, whose first packet contains this.
    pub whose: Vec<u8>,
    /// The answers; `NONCE` in one is replaced by the client's own.
    pub answers: Vec<Vec<u8>>,
    /// Whether the line is closed behind them.
    pub closes: bool,
}

/// The server.
#[derive(Debug)]
pub struct FakeServer {
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    login: Arc<Mutex<Option<FalseLogin>>>,
}

impl FakeServer {
    /// In front of the PostgreSQL at this port. It listens as long as the test runs.
    pub fn before(real: u16, misdeeds: Vec<Misdeed>) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let login = Arc::new(Mutex::new(None));
        let (misdeeds, orders) = (Arc::new(misdeeds), login.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (misdeeds, orders) = (misdeeds.clone(), orders.clone());
                std::thread::spawn(move || {
                    // A line that breaks is what many of them are about.
                    let _ = serve(stream, real, &misdeeds, &orders);
                });
            }
        });
        FakeServer { port, login }
    }

    /// From now on logins meet this, or an honest server.
    pub fn at_login(&self, login: Option<FalseLogin>) {
        *self.login.lock().expect("no panic while it was held") = login;
    }
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn serve(
    mut near: TcpStream,
    real: u16,
    misdeeds: &[Misdeed],
    orders: &Mutex<Option<FalseLogin>>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut n = near.read(&mut buffer)?;
    while n == SSL_REQUEST.len() && buffer[..n] == SSL_REQUEST {
        near.write_all(b"N")?;
        n = near.read(&mut buffer)?;
    }
    let order = orders.lock().expect("no panic while it was held").clone();
    if let Some(order) = order.filter(|order| has(&buffer[..n], &order.whose)) {
        return lie(near, &order, n);
    }
    let mut far = TcpStream::connect(("127.0.0.1", real))?;
    far.write_all(&buffer[..n])?;
    let (mut from, mut to) = (far.try_clone()?, near.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    loop {
        let n = near.read(&mut buffer)?;
        if n == 0 {
            return far.shutdown(Shutdown::Both);
        }
        let named = |misdeed: &&Misdeed| {
            let wanted = match misdeed.name.starts_with(char::is_uppercase) {
                true => misdeed.name.to_owned(),
                false => format!("misbehave:{} ", misdeed.name),
            };
            has(&buffer[..n], wanted.as_bytes())
        };
        let Some(misdeed) = misdeeds.iter().find(named) else {
            far.write_all(&buffer[..n])?;
            continue;
        };
        near.write_all(&misdeed.bytes)?;
        match misdeed.then {
            Then::Honest => {}
            Then::Close => {
                let _ = near.shutdown(Shutdown::Both);
                return far.shutdown(Shutdown::Both);
            }
            Then::Silence => while near.read(&mut buffer)? > 0 {},
        }
    }
}

fn lie(mut near: TcpStream, order: &FalseLogin, mut heard: usize) -> io::Result<()> {
    near.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; 64 * 1024];
    let mut nonce = Vec::new();
    for answer in &order.answers {
        if heard == 0 {
            heard = near.read(&mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..heard]).into_owned();
            if let Some((_, theirs)) = text.split_once("r=") {
                nonce = theirs
                    .split([',', '\0'])
                    .next()
                    .unwrap_or_default()
                    .as_bytes()
                    .to_vec();
            }
        }
        near.write_all(&with_nonce(answer, &nonce))?;
        heard = 0;
    }
    if order.closes {
        return near.shutdown(Shutdown::Both);
    }
    while near.read(&mut buffer)? > 0 {}
    Ok(())
}

/// A SASL message with the client's nonce in it, its length put right.
fn with_nonce(answer: &[u8], nonce: &[u8]) -> Vec<u8> {
    let Some(at) = answer.windows(5).position(|window| window == b"NONCE") else {
        return answer.to_vec();
    };
    let mut whole = [&answer[..at], nonce, &answer[at + 5..]].concat();
    let length = u32::try_from(whole.len() - 1).expect("short").to_be_bytes();
    whole[1..5].copy_from_slice(&length);
    whole
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
