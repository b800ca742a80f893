//! What a server still owes: one entry for every message it will answer, in the order it will answer them.
//!
//! Synthetic answers take their place in the same queue, so that every answer reaches the client in the order a
//! PostgreSQL would have given it (PostgreSQL, "Message Flow").

use std::collections::VecDeque;
use std::rc::Rc;

use super::Unnamed;
use super::ends_all::All;
use super::prepared::Statement;

/// One answer owed.
#[derive(Debug)]
pub enum Expect {
    /// A client's Query: everything up to ReadyForQuery is the client's.
    Query,
    /// A client's FunctionCall, likewise.
    FunctionCall,
    /// A client's Sync: ReadyForQuery.
    Sync,
    /// A client's Parse; what it stores is undone should the server never run it.
    Parse(Box<Parse>),
    /// A client's Parse of the unnamed statement, by its token; should it not be run, what was there before is again: the
    /// client's own, and whose the server held.
    ParseUnnamed(u64, Option<Box<(Unnamed, u64)>>),
    /// A Parse of ours ahead of a client's Bind or Describe.
    OwnParse(Parsed),
    /// A Parse of ours that gives the server a statement under the client's own name; should it not be run, there is none.
    Told(Box<[u8]>),
    /// A client's Bind.
    Bind,
    /// A client's Bind with the wrong number of parameters, of the statement with this name of the client's.
    Misbound(Box<[u8]>),
    /// A client's Describe of a statement: two answers, the second ends it. The first tells its parameters' types.
    DescribeStatement(Option<Rc<Statement>>),
    /// A client's Describe of a portal. Of which statement, if what that returns is of interest.
    DescribePortal(Option<Rc<Statement>>),
    /// A Describe of ours, under this generation of the schema.
    OwnDescribe(Rc<Statement>, u64),
    /// What is sure to fail, in place of something of the client's that must fail with this error.
    Fails(&'static [u8]),
    /// A client's Execute.
    Execute,
    /// A client's Close that the server answers.
    Close,
    /// A Close of ours, to make room.
    OwnClose(u64),
    /// ParseComplete for this name, said by pgshunt when its turn comes.
    SayParsed(Box<[u8]>),
    /// CloseComplete, said by pgshunt; the name comes back should the batch fail before.
    SayClosed(Option<Box<Closed>>),
    /// No answer: what stands behind it ends the unnamed statement; should it not be run, this is there again: the client's
    /// own, and whose the server held; unless another unit has ended it since, and with it this era of its.
    Forgets(Box<(Unnamed, u64)>, u64),
    /// No answer: a statement the Query behind it gives up; should that not be run, the server still holds it.
    Gone(Box<Closed>),
    /// No answer: a name the server has from here on in place of pgshunt; should it not come to that, it is ours again, and
    /// the server still knows it by that name if it did before.
    HandedOver(Box<Closed>, bool),
    /// No answer: what stands before it has ended all prepared statements; should it not be run, they are there again.
    EndedAll(Box<All>),
    /// A Bind of ours in the middle of a client's batch.
    OwnBind,
    /// An Execute of ours, likewise.
    OwnExecute,
    /// The client's CopyDone or CopyFail: no answer, but Syncs before it do not count while copying.
    CopyEnd,
    /// Any number of a client's Syncs amid COPY data that failed, and a Sync and an empty query of ours: of the
    /// ReadyForQuerys, one is ours.
    EarlySyncs {
        /// One has come.
        has_ours: bool,
    },
    /// A simple query of ours.
    Own(Own),
}

/// A name given up, and what it stood for.
pub type Closed = (Box<[u8]>, Rc<Statement>);

/// What a successful Parse stores where.
#[derive(Debug)]
pub struct Parse {
    /// The client's name for it; empty for the unnamed one.
    pub name: Box<[u8]>,
    /// What the server then holds.
    pub stored: Parsed,
}

/// What a server holds after a Parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A numbered statement.
    Named(u64),
    /// The unnamed statement of the client that made this token.
    Unnamed(u64),
    /// Nothing pgshunt follows: the Parse is sure to fail, or it carries a name of the client's own.
    Nothing,
}

/// Why pgshunt runs a query of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// The client's settings.
    Settings,
    /// The BEGIN answered earlier.
    Begin,
    /// What has the session left here?
    Probe,
    /// ROLLBACK or DISCARD ALL after a client left.
    Clean,
    /// What the client asked for at startup, after a RESET.
    Startup,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Pipeline {
    queue: VecDeque<Expect>,
    /// Units, that is, messages answered by a ReadyForQuery: how many were ever sent, and how many answered.
    sent: u64,
    done: u64,
    /// The last unit that changes which statements the server holds.
    renames: u64,
    /// Messages were sent that no Sync has followed yet.
    open: bool,
    /// One of them failed: the server reads on to the Sync and answers nothing before it.
    skips: bool,
}

impl Pipeline {
    /// Is a simple query the next to be answered?
    pub fn answers_query(&self) -> bool {
        matches!(self.queue.front(), Some(Expect::Query))
    }

    /// Nothing owed?
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Nothing owed but answers to queries of ours, and no batch open?
    pub fn owes_nothing_to_client(&self) -> bool {
        !self.open && self.queue.iter().all(|expect| matches!(expect, Expect::Own(_)))
    }

    /// How much is owed.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Owes one more.
    pub fn push(&mut self, expect: Expect) {
        if changes_names(&expect) {
            self.renames = self.unit();
        }
        if let Some(open) = opens(&expect) {
            self.open = open;
            self.skips &= open;
            self.sent += u64::from(!open);
        }
        self.queue.push_back(expect);
    }

    /// Is a Sync still to come, whatever has been answered by now? Until then an implicit transaction may be open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The number of the unit that is open now, or will be with the next message.
    pub fn unit(&self) -> u64 {
        self.sent + 1
    }

    /// The number of the unit whose answers come now.
    pub fn unit_heard(&self) -> u64 {
        self.done + 1
    }

    /// Is this an earlier unit, sent but not answered yet? Whether its messages will be run is not known.
    pub fn is_in_flight(&self, unit: u64) -> bool {
        unit > self.done && unit < self.unit()
    }

    /// Is there any such unit?
    pub fn has_units_in_flight(&self) -> bool {
        self.sent > self.done
    }

    /// Is there one that changes which statements the server holds?
    pub fn renames_in_flight(&self) -> bool {
        self.is_in_flight(self.renames)
    }

    /// What is sent next may change which statements the server holds, though it is no message for that.
    pub fn may_rename(&mut self) {
        self.renames = self.unit();
    }

    /// Does the server skip everything up to the next Sync?
    pub fn skips(&self) -> bool {
        self.skips
    }

    /// What comes next.
    pub fn head(&self) -> Option<&Expect> {
        self.queue.front()
    }

    /// Is the batch whose answers come next one of ours?
    pub fn is_own_batch(&self) -> bool {
        let end = self.queue.iter().find(|expect| opens(expect) == Some(false));
        matches!(end, Some(Expect::Own(_))) && self.head().and_then(opens) == Some(true)
    }

    /// May a batch that no Sync has ended yet fail, and have the server skip what is sent now?
    pub fn may_skip(&self) -> bool {
        let last = self.queue.iter().rev();
        let mut unended = last.take_while(|expect| !matches!(expect, Expect::Sync | Expect::Own(_)));
        self.open || unended.any(|expect| opens(expect) == Some(true))
    }

    /// The client's name for a statement of this number that it gives up further on.
    pub fn closed(&self, id: u64) -> Option<&[u8]> {
        self.queue.iter().find_map(|expect| match expect {
            Expect::SayClosed(Some(closed)) | Expect::Gone(closed) | Expect::HandedOver(closed, _)
                if closed.1.id == id =>
            {
                Some(&*closed.0)
            }
            Expect::EndedAll(all) => all.name(id),
            _ => None,
        })
    }

    /// Does what was sent hand this name over to the server?
    pub fn hands_over(&self, name: &[u8]) -> bool {
        let is_it = |expect: &Expect| matches!(expect, Expect::HandedOver(closed, _) if *closed.0 == *name);
        self.queue.iter().any(is_it)
    }

    /// Does what comes next end all prepared statements, as was noted when it was sent?
    pub fn ends_all(&self) -> bool {
        matches!(self.queue.get(1), Some(Expect::EndedAll(_)))
    }

    /// Takes what comes next.
    pub fn pop(&mut self) -> Option<Expect> {
        let expect = self.queue.pop_front()?;
        self.done += u64::from(opens(&expect) == Some(false));
        Some(expect)
    }

    /// Gives back memory a long pipeline took.
    pub fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
    }

    /// An error came: all up to the next Sync will never be answered and goes to `undo`.
    pub fn fail(&mut self, mut undo: impl FnMut(Expect)) {
        if !self.head().and_then(opens).unwrap_or(false) {
            // A simple query's error ends with that query.
            return;
        }
        while let Some(head) = self.head() {
            if matches!(head, Expect::Sync | Expect::Own(_)) {
                return;
            }
            undo(self.pop().expect("the head was just seen"));
        }
        // A Query among them was skipped too: it did not end the batch.
        (self.open, self.skips) = (true, true);
    }

    /// Syncs were sent amid COPY data that has failed now, and then a Sync and an empty query of ours.
    pub fn count_syncs(&mut self) {
        // Whether the client's batch is over is known when they are counted.
        self.queue.push_back(Expect::EarlySyncs { has_ours: false });
        self.queue.push_back(Expect::Own(Own::Clean));
        self.sent += 1;
    }

    /// Is it still to be found out how many such Syncs count?
    pub fn counts_syncs(&self) -> bool {
        let is_count = |expect: &Expect| matches!(expect, Expect::EarlySyncs { .. });
        self.queue.iter().take(2).any(is_count)
    }

    /// A ReadyForQuery came. If it is one of those that are counted: is it for the client?
    pub fn counts_ready(&mut self) -> Option<bool> {
        let Some(Expect::EarlySyncs { has_ours }) = self.queue.front_mut() else {
            return None;
        };
        let is_clients = std::mem::replace(has_ours, true);
        if is_clients {
            (self.open, self.skips) = (false, false);
        }
        Some(is_clients)
    }

    /// The server began to read COPY data for the head: Syncs sent before the CopyDone do not count. Any other message
    /// ends the COPY with an error, and Syncs behind it count again.
    ///
    /// Returns whether the client's CopyDone or CopyFail is still to come.
    pub fn copy_in(&mut self) -> bool {
        let mut comes = true;
        let mut at = 1;
        while comes && let Some(expect) = self.queue.get(at) {
            match expect {
                Expect::Sync => {
                    self.queue.remove(at);
                    self.done += 1;
                }
                Expect::CopyEnd => {
                    self.queue.remove(at);
                    comes = false;
                }
                Expect::SayParsed(_)
                | Expect::SayClosed(_)
                | Expect::Forgets(..)
                | Expect::Gone(_)
                | Expect::HandedOver(..)
                | Expect::EndedAll(_) => at += 1,
                _ => comes = false,
            }
        }
        self.open = self.queue.iter().rev().find_map(opens).unwrap_or(false);
        comes
    }
}

/// Does a message leave the batch open, or end it? None: neither.
fn opens(expect: &Expect) -> Option<bool> {
    match expect {
        Expect::Query | Expect::FunctionCall | Expect::Sync | Expect::Own(_) => Some(false),
        Expect::Parse(_)
        | Expect::ParseUnnamed(..)
        | Expect::OwnParse(_)
        | Expect::Told(_)
        | Expect::Bind
        | Expect::Misbound(_)
        | Expect::DescribeStatement(_)
        | Expect::DescribePortal(_)
        | Expect::OwnDescribe(..)
        | Expect::Fails(_)
        | Expect::Execute
        | Expect::Close
        | Expect::OwnBind
        | Expect::OwnExecute
        | Expect::OwnClose(_) => Some(true),
        Expect::SayParsed(_)
        | Expect::SayClosed(_)
        | Expect::Forgets(..)
        | Expect::Gone(_)
        | Expect::HandedOver(..)
        | Expect::EndedAll(_)
        | Expect::EarlySyncs { .. }
        | Expect::CopyEnd => None,
    }
}

/// Is a message about a named statement coming into being or ending?
fn changes_names(expect: &Expect) -> bool {
    match expect {
        Expect::Parse(_)
        | Expect::OwnParse(_)
        | Expect::Told(_)
        | Expect::OwnClose(_)
        | Expect::SayParsed(_)
        | Expect::Gone(_)
        | Expect::HandedOver(..)
        | Expect::EndedAll(_)
        | Expect::SayClosed(_) => true,
        Expect::Query
        | Expect::FunctionCall
        | Expect::Sync
        | Expect::Own(_)
        | Expect::ParseUnnamed(..)
        | Expect::Bind
        | Expect::Misbound(_)
        | Expect::DescribeStatement(_)
        | Expect::DescribePortal(_)
        | Expect::OwnDescribe(..)
        | Expect::Fails(_)
        | Expect::Execute
        | Expect::Close
        | Expect::OwnBind
        | Expect::OwnExecute
        | Expect::Forgets(..)
        | Expect::EarlySyncs { .. }
        | Expect::CopyEnd => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_takes_all_up_to_the_sync() {
        let mut pipeline = Pipeline::default();
        for expect in [Expect::Bind, Expect::Execute, Expect::Sync, Expect::Bind] {
            pipeline.push(expect);
        }
        let mut undone = 0;
        pipeline.fail(|_| undone += 1);
        assert_eq!((undone, pipeline.len()), (2, 2));
        assert!(matches!(pipeline.head(), Some(Expect::Sync)));
    }

    #[test]
    fn a_sync_sent_before_copy_done_does_not_count() {
        let mut pipeline = Pipeline::default();
        for expect in [Expect::Execute, Expect::Sync, Expect::CopyEnd, Expect::Sync] {
            pipeline.push(expect);
        }
        assert!(!pipeline.copy_in());
        assert_eq!(pipeline.len(), 2);
    }
}
