//! Carries a commit out: the machine's rounds, on the servers that hold the transaction.
//!
//! Once begun it must be carried to its end, whatever the client does meanwhile. Dropped in between, the servers it was talking
//! to must be closed, and whoever recovers ends what is left.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::door::{self, Door};
use super::gid::{Gid, Id, Secret, plain};
use super::machine::{Answer, Ask, Machine, Outcome, Round};
use super::refusal::Refusal;
use crate::fault::Fault;
use crate::net::buffer::Buffers;
use crate::protocol::server_error::ServerError;
use crate::protocol::sqlstate;
use crate::server::held::Server;

/// One shard's part of a transaction: a server in it that has written, idle, owing nothing.
pub struct Participant<'a> {
    /// The shard.
    pub shard: &'a str,
    /// The server; its status is `T`.
    pub server: &'a mut Server,
}

/// A commit on several shards.
pub struct Commit<'a> {
    participants: Vec<Participant<'a>>,
    machine: Machine,
    names: Names,
    refusal: Option<Refusal>,
    lost: Vec<bool>,
}

struct Names {
    secret: Secret,
    id: Id,
    gids: Vec<Gid>,
    anchor: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What the client is told instead of COMMIT.
    pub fault: Option<Fault>,
    /// Participants, by their place, whose servers can't be used any more.
    pub lost: Vec<usize>,
    /// The transaction's name.
    pub id: Id,
}

/// The longest a server may take to hear what has been decided; then it is told later.
const AFTERWARDS: Duration = Duration::from_secs(10);

impl<'a> Commit<'a> {
    /// For two or more participants. The last of them is the anchor: its part commits in one phase, with the decision.
    ///
    /// # Errors
    /// Nothing is done yet: a participant is not in a transaction, or the shards' names are too long.
    pub fn new(participants: Vec<Participant<'a>>) -> Result<Commit<'a>, Fault> {
        let anchor = participants.len().saturating_sub(1);
        let secret = Secret::new();
        let secret =
            secret.ok_or_else(|| Fault::error(sqlstate::INTERNAL, "the system gives no random bytes"))?;
        let id = secret.id();
        let gid =
            |participant: &Participant<'_>| Gid::new(&id, participants[anchor].shard, participant.shard);
        let gids: Option<Vec<Gid>> = participants.iter().map(gid).collect();
        let gids = gids.ok_or_else(|| {
            let message = "the shards' names are too long for a transaction that spans them";
            Fault::error(sqlstate::PROGRAM_LIMIT, message)
        })?;
        if let Some(other) = participants
            .iter()
            .find(|part| part.server.backend.status != b'T')
        {
            let message = format!(
                "shard {} is in no transaction that could be committed",
                other.shard
            );
            return Err(Fault::error(sqlstate::IN_FAILED_TRANSACTION, message));
        }
        Ok(Commit {
            machine: Machine::new(participants.len(), anchor),
            lost: vec![false; participants.len()],
            participants,
            names: Names {
                secret,
                id,
                gids,
                anchor,
            },
            refusal: None,
        })
    }

    /// To the end. `doors` are those of all shards, to find out what became of a COMMIT whose answer was lost.
    pub async fn run(mut self, doors: &[Door], buffers: &Buffers) -> Report {
        while self.round(doors, buffers).await {}
        self.report()
    }

    /// One round; false: there is none left.
    pub async fn round(&mut self, doors: &[Door], buffers: &Buffers) -> bool {
        match self.machine.round() {
            None => return false,
            Some(Round::Resolve) => {
                let anchor = self.participants[self.names.anchor].shard;
                let door = doors.iter().find(|door| door.shard == anchor);
                let verdict = door::resolve(door, &self.names.id).await;
                self.machine.resolved(verdict);
            }
            Some(Round::Asks(asks)) => {
                let answers = self.ask_all(&asks, buffers).await;
                self.machine.answered(&answers);
            }
        }
        true
    }

    /// What came of it so far; the machine has ended.
    pub fn report(self) -> Report {
        let outcome = self.machine.outcome().cloned().unwrap_or(Outcome::Unknown);
        let shards: Vec<&str> = self.participants.iter().map(|part| part.shard).collect();
        let fault = match &outcome {
            Outcome::Committed { .. } => None,
            Outcome::Aborted { by, .. } => {
                let lost = Refusal {
                    shard: shards[*by].to_owned(),
                    ask: Ask::Decide,
                    error: None,
                };
                Some(self.refusal.unwrap_or(lost).fault(&shards))
            }
            Outcome::Unknown => Some(Refusal::unknown(shards[self.names.anchor])),
        };
        let lost = self.lost.iter().enumerate();
        Report {
            outcome,
            fault,
            lost: lost.filter(|(_, lost)| **lost).map(|(at, _)| at).collect(),
            id: self.names.id,
        }
    }

    /// All at once.
    async fn ask_all(&mut self, asks: &[(usize, Ask)], buffers: &Buffers) -> Vec<(usize, Ask, Answer)> {
        let names = &self.names;
        let shards: Vec<&str> = self.participants.iter().map(|part| part.shard).collect();
        let mut asked: Vec<Asked<'_>> = Vec::new();
        for (at, participant) in self.participants.iter_mut().enumerate() {
            let Some(&(_, ask)) = asks.iter().find(|(of, _)| *of == at) else {
                continue;
            };
            let text = names.text(at, ask, &shards);
            let is_lost = self.lost[at];
            let server = &mut *participant.server;
            asked.push(Box::pin(async move {
                match is_lost {
                    true => (at, ask, Heard::Lost),
                    false => (at, ask, tell(server, ask, &text, buffers).await),
                }
            }));
        }
        let mut answers = Vec::new();
        for (at, ask, heard) in all(asked).await {
            let answer = match heard {
                Heard::Done => Answer::Done,
                Heard::Refused(error) => {
                    self.note(at, ask, Some(error));
                    Answer::Refused
                }
                Heard::Lost => {
                    self.lost[at] = true;
                    self.note(at, ask, None);
                    Answer::Lost
                }
            };
            answers.push((at, ask, answer));
        }
        answers
    }

    /// The first refusal is the reason; a server's words say more than a lost line.
    fn note(&mut self, at: usize, ask: Ask, error: Option<ServerError>) {
        let shard = self.participants[at].shard;
        match (ask, &error) {
            (Ask::Prepare | Ask::Decide, _) => {
                let has_words = self.refusal.as_ref().is_some_and(|known| known.error.is_some());
                if self.refusal.is_none() || (!has_words && error.is_some()) {
                    self.refusal = Some(Refusal {
                        shard: shard.to_owned(),
                        ask,
                        error,
                    });
                }
            }
            (Ask::CommitPrepared | Ask::RollbackPrepared, error) => {
                let why = error.as_ref().map_or("no answer".to_owned(), ToString::to_string);
                tracing::warn!(id = %self.names.id, shard, why, "a shard will hear later what was decided");
            }
            (Ask::Rollback, _) => {}
        }
    }
}

impl Names {
    fn text(&self, at: usize, ask: Ask, shards: &[&str]) -> String {
        let gid = &self.gids[at];
        match ask {
            Ask::Prepare => format!("PREPARE TRANSACTION '{gid}'"),
            Ask::CommitPrepared => format!("COMMIT PREPARED '{gid}'"),
            Ask::RollbackPrepared => format!("ROLLBACK PREPARED '{gid}'"),
            Ask::Rollback => "ROLLBACK".to_owned(),
            Ask::Decide => {
                let shards: Vec<String> = shards.iter().map(|shard| plain(shard)).collect();
                format!(
                    "SELECT pgshunt.decide('{}', '{{{}}}'); COMMIT",
                    self.secret.expose(),
                    shards.join(",")
                )
            }
        }
    }
}

enum Heard {
    Done,
    Refused(ServerError),
    Lost,
}

type Asked<'a> = Pin<Box<dyn Future<Output = (usize, Ask, Heard)> + 'a>>;

async fn tell(server: &mut Server, ask: Ask, text: &str, buffers: &Buffers) -> Heard {
    let running = server.run(text.as_bytes(), buffers);
    let ran = match ask {
        // As long as PostgreSQL takes: triggers run, replicas confirm.
        Ask::Prepare | Ask::Decide => running.await,
        Ask::CommitPrepared | Ask::RollbackPrepared | Ask::Rollback => {
            match tokio::time::timeout(AFTERWARDS, running).await {
                Ok(ran) => ran,
                Err(_) => return Heard::Lost,
            }
        }
    };
    let error = match ran {
        Err(_) => return Heard::Lost,
        Ok(Ok(())) => return Heard::Done,
        Ok(Err(body)) => ServerError::parse(&body),
    };
    let is_gone = error.code == Some(sqlstate::UNDEFINED_OBJECT);
    match ask {
        // Somebody who recovers was faster.
        Ask::CommitPrepared | Ask::RollbackPrepared if is_gone => Heard::Done,
        // It will not say more; the line ends with it.
        _ if error.severity != "ERROR" => Heard::Lost,
        _ => Heard::Refused(error),
    }
}

/// Runs all of them, and waits for the last.
async fn all(mut asked: Vec<Asked<'_>>) -> Vec<(usize, Ask, Heard)> {
    let mut heard = Vec::new();
    std::future::poll_fn(|cx| {
        asked.retain_mut(|one| match one.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                heard.push(answer);
                false
            }
            Poll::Pending => true,
        });
        match asked.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    heard.sort_by_key(|(at, ..)| *at);
    heard
}
