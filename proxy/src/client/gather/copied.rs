//! COPY over several shards.

use routing_rules::Pieces;

use super::block::complete;
use super::run::Job;
use super::{Gather, Halt};
use crate::fault::Fault;
use crate::protocol::merge::copies::{Form, TRAILER, kept};
use crate::protocol::merge::tags;
use crate::protocol::{reply, sqlstate};

impl Gather {
    /// COPY TO: every shard's rows, one header, one trailer.
    pub(super) async fn copy_out(&mut self, on: &[usize], job: Job<'_>, pieces: &Pieces<'_>) -> Result<Vec<u8>, Halt> {
        let has_header = (0..pieces.all.len()).any(|place| pieces.text(place).eq_ignore_ascii_case("header"));
        let mut form = Form::Lines { has_header };
        let mut tags = Vec::new();
        for (turn, &at) in on.iter().enumerate() {
            let mut query = Vec::new();
            reply::query(&mut query, &job.statement.text);
            self.send(at, &query, 1).await?;
            let mut among = vec![at];
            let mut is_first = true;
            while let Some((at, header)) = self.next(&mut among).await? {
                match header.kind {
                    b'H' => {
                        let format = self.parts[at].as_ref().and_then(|part| part.body(header).first().copied());
                        if format == Some(1) {
                            form = Form::Binary;
                        }
                        if turn == 0 {
                            self.pass(at, header);
                        }
                    }
                    b'd' => {
                        if let Some(part) = &self.parts[at] {
                            let data = kept(form, part.body(header), is_first, turn == 0);
                            if !data.is_empty() {
                                reply::frame(&mut self.line.out, b'd', |out| out.extend_from_slice(data));
                            }
                        }
                        is_first = false;
                    }
                    b'C' => {
                        let tag = self.parts[at].as_ref().map_or_else(Vec::new, |part| part.body(header).to_vec());
                        tags.push(tag);
                    }
                    _ => {}
                }
                self.consume(at, header);
                self.line.press().await?;
            }
        }
        if form == Form::Binary {
            reply::frame(&mut self.line.out, b'd', |out| out.extend_from_slice(&TRAILER));
        }
        reply::frame(&mut self.line.out, b'c', |_| ());
        let tags = tags.iter().map(|tag| tag.strip_suffix(b"\0").unwrap_or(tag));
        match tags::sum(tags) {
            Some(tag) => Ok(complete(&tag)),
            None => Err(Halt::of(&Fault::error(sqlstate::INTERNAL, "the shards have done different things"))),
        }
    }

    /// COPY FROM for one shard: what the client sends is passed on until it ends.
    pub(super) async fn copy_in(&mut self, at: usize) -> Result<(), Halt> {
        loop {
            let Some(said) = self.line.frame().await else {
                return Err(Halt::Gone);
            };
            if matches!(said.kind, b'H' | b'S') {
                // Neither means anything while data is copied.
                continue;
            }
            let mut frame = Vec::with_capacity(said.body.len() + 5);
            reply::frame(&mut frame, said.kind, |out| out.extend_from_slice(&said.body));
            match said.kind {
                b'd' => self.send(at, &frame, 0).await?,
                b'c' | b'f' => return self.send(at, &frame, 0).await,
                _ => {
                    frame.clear();
                    reply::frame(&mut frame, b'f', |out| reply::cstr(out, b"unexpected message during COPY"));
                    return self.send(at, &frame, 0).await;
                }
            }
        }
    }
}
