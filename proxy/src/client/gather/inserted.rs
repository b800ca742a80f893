//! INSERT of rows of several shards: each gets its own, and what they return comes back in the order of the statement's rows.

use routing_rules::{Reading, Values, in_order};

use super::rows::{changed, sum_of, too_much};
use super::run::Job;
use super::{Gather, Halt};
use crate::protocol::frame::Header;
use crate::protocol::merge::rows::Description;

/// What one shard has answered.
#[derive(Default)]
struct Returned {
    /// DataRow messages, and where each ends.
    rows: Vec<u8>,
    ends: Vec<usize>,
    tag: Vec<u8>,
}

impl Gather {
    /// Sends each shard its rows.
    pub(super) async fn insert(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        reading: &Reading,
        values: &Values<'_>,
    ) -> Result<Vec<u8>, Halt> {
        let unclear = || Halt::refused("INSERT of rows of several shards in this form");
        let sharding = self.terms.sharding.clone();
        let parts = match reading.split_insert(&sharding, values) {
            Some(Ok(parts)) => parts,
            Some(Err(reason)) => return self.refuse(job.statement, reason).await,
            None => return Err(unclear()),
        };
        self.keeps_position = false;
        let types = job.statement.types_for_shards();
        let mut places = Vec::new();
        for part in &parts {
            let at = self.terms.place(&part.shard).filter(|at| on.contains(at));
            let at = at.ok_or_else(unclear)?;
            places.push(at);
            let (bound, types) = job.bound.picked(&part.parameters, &types);
            let messages = bound.messages(part.text.as_bytes(), &types, &job.bound.results);
            self.send(at, &messages, 1).await?;
        }
        let returned = self.returned(&places, job).await?;
        let counts: Vec<usize> = returned.iter().map(|own| own.ends.len()).collect();
        match in_order(&parts, &counts) {
            Some(order) => {
                for (part, number) in order {
                    self.rows_out().extend_from_slice(returned[part].row(number));
                    self.press().await?;
                }
            }
            // Whose rows they are, nobody can tell.
            None => {
                for own in &returned {
                    self.rows_out().extend_from_slice(&own.rows);
                    self.press().await?;
                }
            }
        }
        sum_of(returned.iter().map(|own| &own.tag[..]))
    }

    /// Hears these shards out, and keeps what they return apart.
    async fn returned(&mut self, places: &[usize], job: Job<'_>) -> Result<Vec<Returned>, Halt> {
        let mut all: Vec<Returned> = std::iter::repeat_with(Returned::default)
            .take(places.len())
            .collect();
        let mut first: Option<Description> = None;
        let mut held = 0;
        let mut among = places.to_vec();
        while let Some((at, header)) = self.next(&mut among).await? {
            let own = places.iter().position(|&place| place == at);
            match (header.kind, own.map(|own| &mut all[own])) {
                (b'T', _) => self.describes(at, header, job, &mut first)?,
                (b'D', Some(own)) => {
                    let whole = self.parts[at]
                        .as_ref()
                        .map_or(&b""[..], |part| part.whole(header));
                    own.rows.extend_from_slice(whole);
                    own.ends.push(own.rows.len());
                    held += whole.len();
                }
                (b'C', Some(own)) => {
                    own.tag = self.parts[at]
                        .as_ref()
                        .map_or_else(Vec::new, |part| part.body(header).to_vec());
                }
                _ => {}
            }
            self.consume(at, header);
            if held > self.terms.merge_memory {
                return Err(too_much(
                    "what an INSERT on several shards returns takes more than merge_memory",
                    "Insert fewer rows at once, return less of them, or raise merge_memory.",
                ));
            }
        }
        Ok(all)
    }

    /// A shard has described its rows: the first time the client is told, if it asked by a simple query.
    pub(super) fn describes(
        &mut self,
        at: usize,
        header: Header,
        job: Job<'_>,
        first: &mut Option<Description>,
    ) -> Result<(), Halt> {
        let description = self.description(at, header)?;
        if job.told().is_some_and(|told| !told.fits(&description)) {
            return Err(changed());
        }
        match first {
            None if job.is_simple => description.write(self.rows_out(), &Default::default()),
            None => {}
            Some(first) if !first.fits(&description) => return Err(self.unlike(at)),
            Some(_) => {}
        }
        first.get_or_insert(description);
        Ok(())
    }
}

impl Returned {
    fn row(&self, number: usize) -> &[u8] {
        let from = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.rows[from..self.ends[number]]
    }
}
