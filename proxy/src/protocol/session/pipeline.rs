//! What a server still owes: one entry for every message it will answer, in the order it will answer them.
//!
//! Synthetic answers take their place in the same queue, so that every answer reaches the client in the order a
//! PostgreSQL would have given it (PostgreSQL, "Message Flow").

use std::collections::VecDeque;
use std::rc::Rc;

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
    /// A client's Parse of the unnamed statement, by its token.
    ParseUnnamed(u64),
    /// A Parse of ours ahead of a client's Bind or Describe.
    OwnParse(Parsed),
    /// A client's Bind.
    Bind,
    /// A client's Describe of a statement: two answers, the second ends it.
    DescribeStatement,
    /// A client's Describe of a portal.
    DescribePortal,
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
    /// The client's CopyDone or CopyFail: no answer, but Syncs before it do not count while copying.
    CopyEnd,
    /// A simple query of ours.
    Own(Own),
}

impl Expect {
    /// The statement's name that it brings or takes away.
    fn name(&self) -> Option<&[u8]> {
        match self {
            Expect::Parse(parse) if !parse.name.is_empty() => Some(&parse.name),
            Expect::SayParsed(name) => Some(name),
            Expect::SayClosed(Some(closed)) => Some(&closed.0),
            _ => None,
        }
    }
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
}

/// The queue.
#[derive(Debug, Default)]
pub struct Pipeline {
    queue: VecDeque<Expect>,
    /// Entries that bring or take away a statement's name.
    names: usize,
}

impl Pipeline {
    /// Nothing owed?
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How much is owed.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Owes one more.
    pub fn push(&mut self, expect: Expect) {
        self.names += usize::from(expect.name().is_some());
        self.queue.push_back(expect);
    }

    /// What comes next.
    pub fn head(&self) -> Option<&Expect> {
        self.queue.front()
    }

    /// Takes what comes next.
    pub fn pop(&mut self) -> Option<Expect> {
        let expect = self.queue.pop_front()?;
        self.names -= usize::from(expect.name().is_some());
        Some(expect)
    }

    /// Does it end in something that no ReadyForQuery will follow?
    pub fn wants_sync(&self) -> bool {
        let last = self
            .queue
            .iter()
            .rev()
            .find(|expect| !matches!(expect, Expect::CopyEnd));
        !matches!(
            last,
            None | Some(Expect::Sync | Expect::Query | Expect::FunctionCall | Expect::Own(_))
        )
    }

    /// Does an earlier unit, not answered yet, decide what this name stands for?
    pub fn decides(&self, name: &[u8]) -> bool {
        if self.names == 0 {
            return false;
        }
        let mut decides = false;
        for expect in &self.queue {
            match expect {
                Expect::Sync if decides => return true,
                expect => decides |= expect.name() == Some(name),
            }
        }
        false
    }

    /// Gives back memory a long pipeline took.
    pub fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
    }

    /// An error came: all up to the next Sync will never be answered and goes to `undo`.
    pub fn fail(&mut self, mut undo: impl FnMut(Expect)) {
        while let Some(head) = self.queue.front() {
            match head {
                Expect::Sync | Expect::Query | Expect::FunctionCall | Expect::Own(_) => return,
                _ => undo(self.pop().expect("the head was just seen")),
            }
        }
    }

    /// The server began to read COPY data for the head: Syncs sent before the CopyDone do not count.
    ///
    /// Returns whether the client's CopyDone or CopyFail is still to come.
    pub fn copy_in(&mut self) -> bool {
        let mut at = 1;
        while at < self.queue.len() {
            match self.queue[at] {
                Expect::Sync => {
                    self.queue.remove(at);
                }
                Expect::CopyEnd => {
                    self.queue.remove(at);
                    return false;
                }
                _ => at += 1,
            }
        }
        true
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
