//! A connection to Redis: commands out, replies in, nothing decided. It says what a reply may be at most.

use tokio::io::AsyncReadExt;

use super::resp::{self, Reply};
use crate::net::stream::Stream;

/// A connection.
pub struct Line {
    stream: Stream,
    input: Vec<u8>,
    /// The longest string in a reply.
    pub(super) bulk_max: usize,
}

/// What a reply takes beside its longest string.
const REPLY_BYTES_MAX: usize = 4 << 20;

impl Line {
    /// On a connection on which nothing has been said.
    pub(super) fn on(stream: Stream, bulk_max: usize) -> Line {
        Line {
            stream,
            input: Vec::new(),
            bulk_max,
        }
    }

    /// Logs in, if there is a password.
    pub(super) async fn log_in(&mut self, user: Option<&str>, password: Option<&str>) -> Result<(), String> {
        let Some(password) = password else { return Ok(()) };
        let mut words: Vec<&[u8]> = vec![b"AUTH"];
        words.extend(user.map(str::as_bytes));
        words.push(password.as_bytes());
        let said = self.say(&words).await;
        said.map(drop).map_err(|why| format!("login refused: {why}"))
    }

    /// One command and its reply. An error is a failure.
    pub(super) async fn say(&mut self, words: &[&[u8]]) -> Result<Reply, String> {
        match self.ask(words).await? {
            Reply::Error(why) => Err(error_word(&why)),
            reply @ (Reply::Status(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::Array(_)) => Ok(reply),
        }
    }

    /// One command and its reply, whatever it is.
    pub(super) async fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, String> {
        let mut out = Vec::new();
        resp::command(&mut out, words);
        self.send(&out).await?;
        self.reply().await
    }

    pub(super) async fn send(&mut self, out: &[u8]) -> Result<(), String> {
        let sent = self.stream.send(out).await;
        sent.map_err(|error| error.to_string())
    }

    pub(super) async fn reply(&mut self) -> Result<Reply, String> {
        loop {
            let reply =
                resp::reply(&self.input, self.bulk_max).map_err(|_| "it does not speak Redis's protocol")?;
            if let Some((reply, bytes)) = reply {
                self.input.drain(..bytes);
                return Ok(reply);
            }
            if self.input.len() > self.bulk_max + REPLY_BYTES_MAX {
                return Err("it says more than it was asked".to_owned());
            }
            let read = self.stream.read_buf(&mut self.input).await;
            if read.map_err(|error| error.to_string())? == 0 {
                return Err("it closed the connection".to_owned());
            }
        }
    }

    /// What has changed must be known there: anything but a number is a failure. Gives back the last one.
    pub(super) async fn told(&mut self, replies: usize) -> Result<i64, String> {
        let mut last = 0;
        for _ in 0..replies {
            last = match self.reply().await? {
                Reply::Integer(number) => number,
                Reply::Error(why) => return Err(error_word(&why)),
                Reply::Status(_) | Reply::Bulk(_) | Reply::Array(_) => {
                    return Err("it does not count".to_owned());
                }
            };
        }
        Ok(last)
    }

    /// The last reply to commands between MULTI and EXEC. One that was refused is a failure, as all of them are: the slot
    /// has moved, or a master was replaced.
    pub(super) async fn last_of(&mut self, replies: usize) -> Result<Reply, String> {
        let mut refused = None;
        for _ in 1..replies {
            if let Reply::Error(why) = self.reply().await? {
                refused.get_or_insert(why);
            }
        }
        match (refused, self.reply().await?) {
            (Some(why), _) | (None, Reply::Error(why)) => Err(error_word(&why)),
            (None, reply) => Ok(reply),
        }
    }
}

/// The first word of Redis's error: the rest may repeat what it was sent.
pub(super) fn error_word(error: &[u8]) -> String {
    let word = error.split(|byte| *byte == b' ').next().unwrap_or_default();
    format!("Redis says {}", String::from_utf8_lossy(word))
}
