//! The gathering server's end of the line to its session: whole frames in, bytes out, no more waiting than the session takes.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::Halt;
use crate::protocol::frame::{self, HEADER};

/// The line.
pub(super) struct Line {
    stream: DuplexStream,
    input: Vec<u8>,
    used: usize,
    /// What is to be written.
    pub out: Vec<u8>,
}

/// A frame of the session's.
pub(super) struct Said {
    /// Its type.
    pub kind: u8,
    /// What is behind its header.
    pub body: Vec<u8>,
}

/// Bytes the pipe holds in each direction.
pub(super) const PIPE_BYTES: usize = 64 * 1024;

/// Bytes that are written together.
const PRESS_BYTES: usize = 32 * 1024;

impl Line {
    pub(super) fn new(stream: DuplexStream) -> Self {
        Line {
            stream,
            input: Vec::new(),
            used: 0,
            out: Vec::new(),
        }
    }

    /// The next frame; what is to be written is, before it is waited for. `None`: the session is gone.
    pub(super) async fn frame(&mut self) -> Option<Said> {
        loop {
            let rest = &self.input[self.used..];
            // Frames come from the session, that has looked at their lengths.
            let header = frame::header(rest).ok()?;
            if let Some(header) = header
                && header.total <= rest.len()
            {
                let body = rest[HEADER..header.total].to_vec();
                self.used += header.total;
                return Some(Said {
                    kind: header.kind,
                    body,
                });
            }
            self.flush().await.ok()?;
            self.input.drain(..self.used);
            self.used = 0;
            if self.input.is_empty() && self.input.capacity() > PIPE_BYTES {
                self.input = Vec::new();
            }
            if self.stream.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Writes everything.
    pub(super) async fn flush(&mut self) -> Result<(), Halt> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await.map_err(|_| Halt::Gone)?;
            self.out.clear();
            if self.out.capacity() > 4 * PRESS_BYTES {
                self.out = Vec::new();
            }
        }
        Ok(())
    }

    /// Writes if there is much to write.
    pub(super) async fn press(&mut self) -> Result<(), Halt> {
        match self.out.len() >= PRESS_BYTES {
            true => self.flush().await,
            false => Ok(()),
        }
    }
}
