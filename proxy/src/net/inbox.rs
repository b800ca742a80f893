//! Messages one at a time, for logins and control connections. Not for the data path, which works on runs of frames.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at a time.
const CHUNK_BYTES: usize = 4096;

/// Bytes that have been read and not yet taken. Empty, it holds no memory.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What clients send while they log in is nobody's business.
        write!(f, "Inbox({} bytes)", self.left())
    }
}

impl From<Vec<u8>> for Inbox {
    fn from(bytes: Vec<u8>) -> Self {
        Inbox { bytes, taken: 0 }
    }
}

/// Why there is no message.
#[derive(Debug)]
pub enum InboxError {
    /// The peer closed between two messages.
    Closed,
    /// The stream broke, or ended inside a message.
    Io(io::Error),
    /// A message's length is below its minimum or above the limit.
    Length,
}

impl fmt::Display for InboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InboxError::Closed => f.write_str("the connection was closed"),
            InboxError::Io(error) => write!(f, "{error}"),
            InboxError::Length => f.write_str("invalid message length"),
        }
    }
}

impl std::error::Error for InboxError {}

impl Inbox {
    /// Has everything that was read been taken?
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// What was read and not taken.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.taken);
        self.bytes
    }

    /// Takes `count` bytes. Cancel-safe: what has been read stays for the next call.
    pub async fn take(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        count: usize,
    ) -> Result<Vec<u8>, InboxError> {
        self.fill(stream, count).await?;
        let taken = self.bytes[self.taken..self.taken + count].to_vec();
        self.advance(count);
        Ok(taken)
    }

    /// Takes a typed message: its type and its body, which is at most `body_bytes_max` long. Cancel-safe.
    pub async fn message(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        body_bytes_max: usize,
    ) -> Result<(u8, Vec<u8>), InboxError> {
        self.fill(stream, 5).await?;
        let header = &self.bytes[self.taken..];
        let kind = header[0];
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let body = length
            .checked_sub(4)
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= body_bytes_max)
            .ok_or(InboxError::Length)?;
        let mut message = self.take(stream, body + 5).await?;
        message.drain(..5);
        Ok((kind, message))
    }

    /// Returns when the peer has hung up. What it sends until then is kept for later, at most `bytes_max` of it.
    /// Cancel-safe.
    pub async fn ended(&mut self, stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) {
        while self.left() < bytes_max {
            if self.fill(stream, self.left() + 1).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.taken
    }

    fn advance(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() {
            self.bytes = Vec::new();
            self.taken = 0;
        }
    }

    /// Reads until `count` bytes are there. The caller bounds `count`.
    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin), count: usize) -> Result<(), InboxError> {
        while self.left() < count {
            if self.taken > 0 {
                self.bytes.drain(..self.taken);
                self.taken = 0;
            }
            self.bytes.reserve(CHUNK_BYTES);
            match stream.read_buf(&mut self.bytes).await {
                Ok(0) if self.is_empty() => return Err(InboxError::Closed),
                Ok(0) => return Err(InboxError::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(InboxError::Io(error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_whole_whatever_the_pieces() {
        let bytes = b"Z\0\0\0\x05IR\0\0\0\x04S\0\0\0\x06abrest".to_vec();
        for piece in 1..bytes.len() {
            let (a, b) = bytes.split_at(piece);
            let mut stream = tokio::io::AsyncReadExt::chain(a, b);
            let mut inbox = Inbox::default();
            for expected in [(b'Z', &b"I"[..]), (b'R', b""), (b'S', b"ab")] {
                let (kind, body) = inbox.message(&mut stream, 100).await.unwrap();
                assert_eq!((kind, body.as_slice()), expected);
            }
            assert_eq!(inbox.take(&mut stream, 4).await.unwrap(), b"rest");
            assert!(matches!(
                inbox.message(&mut stream, 9).await,
                Err(InboxError::Closed)
            ));
        }
    }

    #[tokio::test]
    async fn lengths_are_bounded_before_anything_is_kept() {
        for length in [0u32, 3, 105, u32::MAX, 0x8000_0000] {
            let bytes = [&b"p"[..], &length.to_be_bytes(), &[0; 300]].concat();
            let got = Inbox::default().message(&mut bytes.as_slice(), 100).await;
            assert!(matches!(got, Err(InboxError::Length)), "{length}");
        }
        let bytes = [&b"p"[..], &104u32.to_be_bytes(), &[7; 100]].concat();
        let got = Inbox::default().message(&mut bytes.as_slice(), 100).await;
        assert_eq!(got.unwrap().1, [7; 100]);
    }

    #[tokio::test]
    async fn an_end_inside_a_message_is_an_error() {
        let got = Inbox::default().message(&mut &b"Z\0\0"[..], 100).await;
        assert!(matches!(got, Err(InboxError::Io(_))));
        let got = Inbox::default().message(&mut &b"Z\0\0\0\x09I"[..], 100).await;
        assert!(matches!(got, Err(InboxError::Io(_))));
    }
}
