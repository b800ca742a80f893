//! What has been read and not used, what is to be written and could not be. An idle connection holds neither.
//!
//! Buffers are lent by a worker's [`Buffers`] for as long as they hold bytes, so that memory follows what is in flight
//! and not the number of connections.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;

/// Size of a lent buffer, in bytes.
pub const BUFFER: usize = 32 * 1024;

/// Buffers kept for the next reader.
const SPARE_MAX: usize = 64;

/// A worker's spare buffers.
#[derive(Debug, Default)]
pub struct Buffers {
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    fn lend(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER])
    }

    /// Takes a buffer back; one that grew is freed.
    fn give_back(&self, buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if buffer.len() == BUFFER && spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }
}

/// Bytes read and not yet used.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// An inbox that begins with these bytes.
    pub fn with(bytes: Vec<u8>) -> Self {
        Inbox {
            start: 0,
            end: bytes.len(),
            buffer: bytes,
        }
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Is nothing there?
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `n` bytes are used. An emptied buffer goes back.
    pub fn consume(&mut self, n: usize, buffers: &Buffers) {
        self.start = (self.start + n).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            buffers.give_back(std::mem::take(&mut self.buffer));
        }
    }

    /// These bytes come before what is there: they are to be read once more.
    pub fn unread(&mut self, bytes: &[u8]) {
        let mut all = bytes.to_vec();
        all.extend_from_slice(self.bytes());
        *self = Inbox::with(all);
    }

    /// Reads once. `Ready(Ok(0))` is the end of the stream.
    ///
    /// A short read says that the socket is empty, so no second call is made to hear it; nothing is held while waiting.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        buffers: &Buffers,
    ) -> Poll<io::Result<usize>> {
        self.make_room(buffers);
        let mut space = ReadBuf::new(&mut self.buffer[self.end..]);
        let polled = Pin::new(stream).poll_read(cx, &mut space);
        let n = space.filled().len();
        self.end += n;
        if n == 0 && self.is_empty() {
            self.consume(0, buffers);
        }
        ready!(polled)?;
        Poll::Ready(Ok(n))
    }

    fn make_room(&mut self, buffers: &Buffers) {
        if self.buffer.is_empty() {
            self.buffer = buffers.lend();
        }
        // The beginning of a frame whose end is still to come: it is short of a buffer, and is moved so that a read can fill one.
        let is_cramped = self.buffer.len() - self.end < self.start;
        if self.start > 0 && (self.end == self.buffer.len() || is_cramped) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let grown = (self.buffer.len() * 2).max(BUFFER);
            self.buffer.resize(grown, 0);
        }
    }
}

/// Bytes that could not be written yet.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Vec<u8>,
    written: usize,
    unflushed: bool,
}

impl Outbox {
    /// How many bytes wait.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.written
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.waiting_bytes() == 0 && !self.unflushed
    }

    /// Writes as much as the stream takes now and keeps the rest.
    pub fn write(&mut self, cx: &mut Context<'_>, stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
        while self.waiting_bytes() == 0 && !bytes.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => bytes = &bytes[n..],
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        self.waiting.extend_from_slice(bytes);
        self.unflushed = stream.is_tls();
        match self.poll_flush(cx, stream) {
            Poll::Ready(done) => done,
            Poll::Pending => Ok(()),
        }
    }

    /// Writes what waits.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        while self.waiting_bytes() > 0 {
            let n = ready!(Pin::new(&mut *stream).poll_write(cx, &self.waiting[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.waiting = Vec::new();
        self.written = 0;
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
