//! The end of a transaction that is open on several shards: who has written is found out, and commits with the others or not at all.

use super::part::Part;
use super::{Gather, Halt};
use crate::fault::Fault;
use crate::protocol::{reply, sqlstate};
use crate::twophase::{Commit, Outcome, Participant};

impl Gather {
    /// Commits: in two phases if several shards have written; those that have only read just end.
    pub(super) async fn commit_parts(&mut self) -> Result<(), Halt> {
        if self.open(|_| true).len() > 1 {
            let unproven = self.open(|part| part.is_unproven && !part.writes);
            self.ask_what_wrote(&unproven).await?;
        }
        let writers = self.open(|part| part.writes || part.notifies);
        let readers = self.open(|part| !part.writes && !part.notifies && !part.locks);
        let mut commit = Vec::new();
        reply::query(&mut commit, b"COMMIT");
        // First those that have nothing to lose: what fails here leaves nothing committed.
        if let Err(halt) = self.ends(&readers, &commit).await {
            let mut rollback = Vec::new();
            reply::query(&mut rollback, b"ROLLBACK");
            for writer in writers {
                let _ = self.ends(&[writer], &rollback).await;
            }
            return Err(halt);
        }
        let done = match writers[..] {
            [] => Ok(()),
            [only] => self.ends(&[only], &commit).await,
            [_, _, ..] => self.commit_in_two_phases(&writers).await,
        };
        // What they have locked is free once the others' work is seen, or undone.
        let lockers = self.open(|part| part.locks);
        match self.ends(&lockers, &commit).await {
            Err(Halt::Gone) => Err(Halt::Gone),
            // They have only locked: nothing is lost.
            Ok(()) | Err(Halt::Failed(_)) => done,
        }
    }

    /// The shards the transaction is open on whose part is such a one.
    fn open(&self, is_it: fn(&Part) -> bool) -> Vec<usize> {
        let is_open = |at: &usize| {
            let part = self.parts[*at].as_ref();
            part.is_some_and(|part| part.in_block && is_it(part))
        };
        (0..self.parts.len()).filter(is_open).collect()
    }

    /// What these shards have run is not proven to have only read. One that has written has a transaction's number; a function that
    /// wrote is found out so.
    async fn ask_what_wrote(&mut self, on: &[usize]) -> Result<(), Halt> {
        let mut question = Vec::new();
        reply::query(&mut question, HAS_WRITTEN);
        for &at in on {
            self.send(at, &question, 1).await?;
        }
        let mut among = on.to_vec();
        while let Some((at, header)) = self.next(&mut among).await? {
            if let Some(part) = self.parts[at].as_mut().filter(|_| header.kind == b'D') {
                part.writes |= !part.body(header).ends_with(b"f");
            }
            self.consume(at, header);
        }
        Ok(())
    }

    async fn commit_in_two_phases(&mut self, writers: &[usize]) -> Result<(), Halt> {
        for &at in writers {
            if let Some(part) = &mut self.parts[at] {
                part.settle().await;
            }
        }
        let doors = self.terms.doors();
        let buffers = &self.terms.worker.buffers;
        let mut open: Vec<(usize, &mut Part)> = Vec::new();
        for (at, part) in self.parts.iter_mut().enumerate() {
            open.extend(
                part.as_mut()
                    .filter(|_| writers.contains(&at))
                    .map(|part| (at, part)),
            );
        }
        // The last one is not prepared, which who notifies can't be.
        open.sort_by_key(|(_, part)| part.notifies);
        let places: Vec<usize> = open.iter().map(|(at, _)| *at).collect();
        let participants = open.into_iter().map(|(at, part)| {
            // What it prepares is no session's from then on.
            part.end_block();
            Participant {
                shard: &self.terms.shards[at].name,
                server: &mut part.lease,
            }
        });
        let participants = participants.collect();
        let commit = match Commit::new(participants) {
            Ok(commit) => commit,
            Err(fault) => {
                for &at in writers {
                    self.parts[at] = None;
                }
                return Err(Halt::of(&fault));
            }
        };
        let report = commit.run(&doors, buffers).await;
        for place in &report.lost {
            self.parts[places[*place]] = None;
        }
        let is_pending = match &report.outcome {
            Outcome::Committed { pending } | Outcome::Aborted { pending, .. } => !pending.is_empty(),
            Outcome::Unknown => true,
        };
        if is_pending || !report.lost.is_empty() {
            self.terms.worker.common.transactions.wanted.notify_one();
        }
        match report.fault {
            Some(fault) => Err(Halt::of(&fault)),
            None => Ok(()),
        }
    }

    /// Ends what is open on these shards.
    async fn ends(&mut self, on: &[usize], commit: &[u8]) -> Result<(), Halt> {
        self.keeps_position = false;
        for &at in on {
            self.send(at, commit, 1).await?;
        }
        let mut among = on.to_vec();
        let mut rolled_back = None;
        while let Some((at, header)) = self.next(&mut among).await? {
            if let Some(part) = &self.parts[at]
                && header.kind == b'C'
                && part.body(header) == b"ROLLBACK\0"
            {
                rolled_back = Some(at);
            }
            self.consume(at, header);
        }
        for &at in on {
            if let Some(part) = &mut self.parts[at] {
                part.end_block();
            }
        }
        match rolled_back {
            Some(at) => Err(Halt::of(&Fault::error(
                sqlstate::IN_FAILED_TRANSACTION,
                format!(
                    "shard \"{}\" has rolled the transaction back",
                    self.terms.shards[at].name
                ),
            ))),
            None => Ok(()),
        }
    }
}

/// PostgreSQL 13 has another name for it, and all have this one.
const HAS_WRITTEN: &[u8] = b"SELECT pg_catalog.txid_current_if_assigned() IS NOT NULL";
