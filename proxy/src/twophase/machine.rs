//! The coordinator's decisions, and none of its I/O: what to ask of which participant next, and what came of it all.
//!
//! Asked for a [`Round`], carried out, told the answers, until there is no further round.

/// What one participant is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// PREPARE TRANSACTION.
    Prepare,
    /// The decision and COMMIT, on the anchor.
    Decide,
    /// COMMIT PREPARED.
    CommitPrepared,
    /// ROLLBACK PREPARED.
    RollbackPrepared,
    /// ROLLBACK.
    Rollback,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Done,
    /// Refused; what was open there is rolled back, or about to be.
    Refused,
    /// No answer: nobody knows.
    Lost,
}

/// What the anchor's servers say of a decision whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The row is there: committed.
    Committed,
    /// An "abort" is there, and keeps the other out.
    Aborted,
    /// They could not be asked.
    Unknown,
}

/// What is to be done next. All of it may be done at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Round {
    /// These are asked for these.
    Asks(Vec<(usize, Ask)>),
    /// The anchor's answer was lost: find out what it decided.
    Resolve,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On all shards; these have not heard of it yet, and will.
    Committed {
        /// Participants, by their place.
        pending: Vec<usize>,
    },
    /// On none; this participant was the reason, and these have not heard of it yet.
    Aborted {
        /// The one that refused or was lost.
        by: usize,
        /// Participants, by their place.
        pending: Vec<usize>,
    },
    /// Nobody knows yet; it is one of the two.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// In its transaction.
    Open,
    Prepared,
    /// It has no transaction any more, or is not there.
    Over,
    /// It has not said what became of it.
    Pending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preparing,
    Deciding,
    Resolving,
    Committing,
    Undoing { by: usize },
    Ended,
}

/// A commit in progress.
#[derive(Clone, Debug)]
pub struct Machine {
    parts: Vec<Part>,
    anchor: usize,
    phase: Phase,
    outcome: Option<Outcome>,
}

impl Machine {
    /// For two or more participants, all in a transaction; the anchor is one of them.
    pub fn new(participants: usize, anchor: usize) -> Machine {
        Machine {
            parts: vec![Part::Open; participants],
            anchor,
            phase: Phase::Preparing,
            outcome: None,
        }
    }

    /// What is to be done next; `None`: it has ended.
    pub fn round(&self) -> Option<Round> {
        let asks = |from: Part, ask: Ask| {
            let parts = self.parts.iter().enumerate();
            parts
                .filter(move |(_, part)| **part == from)
                .map(move |(at, _)| (at, ask))
        };
        match self.phase {
            Phase::Preparing => Some(Round::Asks(
                asks(Part::Open, Ask::Prepare)
                    .filter(|(at, _)| *at != self.anchor)
                    .collect(),
            )),
            Phase::Deciding => Some(Round::Asks(vec![(self.anchor, Ask::Decide)])),
            Phase::Resolving => Some(Round::Resolve),
            Phase::Committing => Some(Round::Asks(asks(Part::Prepared, Ask::CommitPrepared).collect())),
            Phase::Undoing { .. } => {
                let open = asks(Part::Open, Ask::Rollback);
                let prepared = asks(Part::Prepared, Ask::RollbackPrepared);
                Some(Round::Asks(open.chain(prepared).collect()))
            }
            Phase::Ended => None,
        }
    }

    /// What came of the asks of a round, all of them.
    pub fn answered(&mut self, answers: &[(usize, Ask, Answer)]) {
        for &(at, ask, answer) in answers {
            self.parts[at] = match (ask, answer) {
                (Ask::Prepare, Answer::Done) => Part::Prepared,
                // PostgreSQL has rolled it back.
                (Ask::Prepare, Answer::Refused) => Part::Over,
                // It may be prepared: whoever recovers finds it.
                (Ask::Prepare, Answer::Lost) => Part::Pending,
                (Ask::Decide, Answer::Done) => Part::Over,
                (Ask::Decide, Answer::Refused) => Part::Open,
                (Ask::Decide, Answer::Lost) => Part::Pending,
                (Ask::CommitPrepared | Ask::RollbackPrepared, Answer::Done) => Part::Over,
                (Ask::CommitPrepared | Ask::RollbackPrepared, Answer::Refused | Answer::Lost) => {
                    Part::Pending
                }
                // Who is lost while it has nothing prepared rolls back by itself.
                (Ask::Rollback, _) => Part::Over,
            };
        }
        let failed = answers
            .iter()
            .filter(|(.., answer)| *answer != Answer::Done)
            // What was refused says more than what was lost.
            .min_by_key(|(at, _, answer)| (*answer == Answer::Lost, *at));
        self.phase = match (self.phase, failed) {
            (Phase::Preparing, None) => Phase::Deciding,
            (Phase::Preparing, Some(&(by, ..))) => Phase::Undoing { by },
            (Phase::Deciding, None) => Phase::Committing,
            (Phase::Deciding, Some(&(by, _, Answer::Lost))) => {
                debug_assert_eq!(by, self.anchor);
                Phase::Resolving
            }
            (Phase::Deciding, Some(&(by, ..))) => Phase::Undoing { by },
            (Phase::Committing, _) => self.end(Outcome::Committed {
                pending: self.pending(),
            }),
            (Phase::Undoing { by }, _) => self.end(Outcome::Aborted {
                by,
                pending: self.pending(),
            }),
            (phase @ (Phase::Resolving | Phase::Ended), _) => phase,
        };
    }

    /// What the anchor had decided.
    pub fn resolved(&mut self, verdict: Verdict) {
        if self.phase != Phase::Resolving {
            return;
        }
        self.phase = match verdict {
            Verdict::Committed => {
                self.parts[self.anchor] = Part::Over;
                Phase::Committing
            }
            Verdict::Aborted => {
                self.parts[self.anchor] = Part::Over;
                Phase::Undoing { by: self.anchor }
            }
            Verdict::Unknown => self.end(Outcome::Unknown),
        };
    }

    /// How it ended.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    fn pending(&self) -> Vec<usize> {
        let parts = self.parts.iter().enumerate();
        parts
            .filter(|(_, part)| **part == Part::Pending)
            .map(|(at, _)| at)
            .collect()
    }

    fn end(&mut self, outcome: Outcome) -> Phase {
        self.outcome = Some(outcome);
        Phase::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the servers have, as the answers say and as they may be where an answer was lost.
    #[derive(Clone, Debug)]
    struct World {
        /// Per participant: `None` is open, then prepared, committed or rolled back.
        parts: Vec<&'static str>,
        anchor: usize,
    }

    /// Plays every answer in every round; a lost answer may have been done or not. Returns how many ends there are.
    fn play(machine: &Machine, world: &World, ends: &mut usize) {
        let Some(round) = machine.round() else {
            *ends += 1;
            judge(machine, world);
            return;
        };
        let asks = match round {
            Round::Resolve => {
                for verdict in [Verdict::Committed, Verdict::Aborted, Verdict::Unknown] {
                    let is_committed = world.parts[world.anchor] == "committed";
                    let is_possible = match verdict {
                        Verdict::Committed => is_committed,
                        Verdict::Aborted => !is_committed,
                        Verdict::Unknown => true,
                    };
                    if is_possible {
                        let mut machine = machine.clone();
                        machine.resolved(verdict);
                        play(&machine, world, ends);
                    }
                }
                return;
            }
            Round::Asks(asks) => asks,
        };
        // Each ask: done, refused, lost and done, lost and not done.
        let ways = 4_usize.pow(u32::try_from(asks.len()).expect("few"));
        for way in 0..ways {
            let (mut machine, mut world) = (machine.clone(), world.clone());
            let mut answers = Vec::new();
            for (place, &(at, ask)) in asks.iter().enumerate() {
                let how = way / 4_usize.pow(u32::try_from(place).expect("few")) % 4;
                let (answer, is_done) = match how {
                    0 => (Answer::Done, true),
                    1 => (Answer::Refused, false),
                    2 => (Answer::Lost, true),
                    _ => (Answer::Lost, false),
                };
                world.parts[at] = match (ask, is_done) {
                    (Ask::Prepare, true) => "prepared",
                    (Ask::Prepare | Ask::Decide | Ask::Rollback, false) => "rolled back",
                    (Ask::Decide | Ask::CommitPrepared, true) => "committed",
                    (Ask::RollbackPrepared | Ask::Rollback, true) => "rolled back",
                    (Ask::CommitPrepared | Ask::RollbackPrepared, false) => world.parts[at],
                };
                answers.push((at, ask, answer));
            }
            machine.answered(&answers);
            play(&machine, &world, ends);
        }
    }

    fn judge(machine: &Machine, world: &World) {
        let is_committed = world.parts[world.anchor] == "committed";
        let outcome = machine.outcome().expect("it has ended");
        for (at, &part) in world.parts.iter().enumerate() {
            // The anchor decides: the others have heard of it, or are prepared and will.
            let agrees = match part {
                "committed" => is_committed,
                "rolled back" => !is_committed,
                "prepared" => true,
                other => panic!("{at} is {other}: {world:?}"),
            };
            assert!(agrees, "{world:?} {outcome:?}");
            let may_be_prepared = match outcome {
                Outcome::Committed { pending } | Outcome::Aborted { pending, .. } => pending.contains(&at),
                Outcome::Unknown => true,
            };
            assert!(
                part != "prepared" || may_be_prepared,
                "{at} is forgotten: {world:?} {outcome:?}"
            );
        }
        match outcome {
            Outcome::Committed { .. } => assert!(is_committed, "{world:?}"),
            Outcome::Aborted { .. } => assert!(!is_committed, "{world:?}"),
            Outcome::Unknown => {}
        }
    }

    #[test]
    fn whatever_is_answered_all_have_it_or_none() {
        let mut ends = 0;
        for (participants, anchor) in [(2, 0), (2, 1), (3, 1)] {
            let world = World {
                parts: vec!["open"; participants],
                anchor,
            };
            play(&Machine::new(participants, anchor), &world, &mut ends);
        }
        assert!(ends > 300, "{ends}");
    }

    #[test]
    fn the_ordinary_way_is_three_rounds() {
        let mut machine = Machine::new(3, 2);
        let rounds = [
            vec![(0, Ask::Prepare), (1, Ask::Prepare)],
            vec![(2, Ask::Decide)],
            vec![(0, Ask::CommitPrepared), (1, Ask::CommitPrepared)],
        ];
        for asks in rounds {
            assert_eq!(machine.round(), Some(Round::Asks(asks.clone())));
            let answers: Vec<_> = asks.iter().map(|&(at, ask)| (at, ask, Answer::Done)).collect();
            machine.answered(&answers);
        }
        assert_eq!(machine.round(), None);
        assert_eq!(
            machine.outcome(),
            Some(&Outcome::Committed { pending: Vec::new() })
        );
    }
}
