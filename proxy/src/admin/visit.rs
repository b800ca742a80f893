//! A session with a running pgshunt, by one of its own doors, as any client has it: for commands, and to fetch answers in
//! advance. Not for clients' statements.

use std::sync::Arc;
use std::time::Duration;

use crate::net::inbox::Inbox;
use crate::net::stream::Stream;
use crate::net::tls::ToServer;
use crate::protocol::auth::Secret;
use crate::protocol::message::row_texts;
use crate::protocol::reply;
use crate::protocol::server_error::ServerError;
use crate::server::address::{Address, Target};
use crate::server::connect::connect;
use crate::snapshot::Endpoint;

/// A session.
pub struct Visit {
    stream: Stream,
    inbox: Inbox,
}

impl Visit {
    /// Goes in by this door as this role.
    ///
    /// # Errors
    ///
    /// In words, without a secret.
    pub async fn open(
        door: &Endpoint,
        (user, secret): (&str, &Secret),
        database: &str,
        settings: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Visit, String> {
        let tls = ToServer::new(&Default::default()).map_err(|fault| fault.to_string())?;
        let target = Target {
            address: address(door),
            dbname: database.to_owned(),
            tls: Arc::new(tls),
            connect_timeout: Duration::from_secs(15),
            tcp: Default::default(),
            name: Default::default(),
        };
        let server = connect(&target, user, secret, settings).await;
        let server = server.map_err(|fault| format!("{door}: {fault}"))?;
        Ok(Visit {
            stream: server.stream,
            inbox: server.rest.into(),
        })
    }

    /// One simple query; its rows as text, NULL as an empty one.
    ///
    /// # Errors
    ///
    /// The server's, or that of the line, in words.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let mut rows = Vec::new();
        self.each_row(sql, |row| rows.push(row_texts(row))).await?;
        Ok(rows)
    }

    /// One simple query, and what is to be done with each row.
    ///
    /// # Errors
    ///
    /// The server's, or that of the line, in words.
    pub async fn each_row(&mut self, sql: &str, mut act: impl FnMut(&[u8])) -> Result<(), String> {
        let mut out = Vec::new();
        reply::query(&mut out, sql.as_bytes());
        self.send(&out).await?;
        let mut refused = None;
        loop {
            let message = self.inbox.message(&mut self.stream, ANSWER_BYTES_MAX).await;
            let (kind, body) = message.map_err(|error| error.to_string())?;
            match kind {
                b'D' => act(&body),
                b'E' => refused = Some(ServerError::parse(&body).to_string()),
                // COPY FROM STDIN: there are no rows to give.
                b'G' => {
                    let mut out = Vec::new();
                    reply::frame(&mut out, b'f', |out| reply::cstr(out, b"there are none"));
                    self.send(&out).await?;
                }
                b'Z' => return refused.map_or(Ok(()), Err),
                _ => {}
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = self.stream.send(bytes).await;
        sent.map_err(|error| error.to_string())
    }
}

/// The longest message of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where a door that listens can be entered from this machine.
fn address(door: &Endpoint) -> Address {
    match door {
        Endpoint::Tcp(address) if address.ip().is_unspecified() => Address::Tcp {
            host: if address.is_ipv6() { "::1" } else { "127.0.0.1" }.into(),
            port: address.port(),
        },
        Endpoint::Tcp(address) => Address::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        },
        Endpoint::Unix { directory, port } => Address::Unix {
            directory: directory.clone(),
            port: *port,
        },
    }
}
