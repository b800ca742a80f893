//! Asks the second level of the cache for a client whose question this process has no answer to, and shares what a server
//! answers. The client waits no longer than the configuration says; what was found lies in the first level then.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::handle::{Doing, Signal};
use super::relay::Client;
use crate::cache::counts::count;
use crate::cache::flight::Leader;
use crate::cache::key::Context;
use crate::cache::local::{Entry, Said};
use crate::cache::redis::{Door, Found};
use crate::cache::stamp::Stamp;
use crate::cache::{Kept, Reader};
use crate::protocol::session::question::Question;
use crate::protocol::session::touched::Rows;

/// A question asked of the second level.
pub(super) struct Asked {
    /// Its number.
    pub(super) hash: u128,
    /// Whatever lies there, a server is asked.
    pub(super) refreshes: bool,
    answer: Rc<RefCell<Answer>>,
}

/// What came of it.
#[derive(Default)]
struct Answer {
    is_over: bool,
    leader: Option<Leader>,
    under: Option<Under>,
}

/// What a server's answer may be shared under.
pub(super) struct Under {
    door: Door,
    name: Vec<u8>,
    under: Box<[u8]>,
}

/// Who asks, and what.
pub(super) struct Asks<'a> {
    pub(super) reader: &'a Rc<Reader>,
    pub(super) kept: &'a Rc<Kept>,
    pub(super) context: &'a Context,
    pub(super) question: &'a Question,
    pub(super) hash: u128,
    pub(super) refreshes: bool,
}

/// The longest a client waits: the door gives up before.
const WAIT_MAX: Duration = Duration::from_secs(2);

impl Asked {
    /// Is there no answer yet?
    pub(super) fn is_open(&self) -> bool {
        !self.answer.borrow().is_over
    }

    /// Who leads, and what a server's answer may be shared under.
    pub(super) fn ends(self) -> (Option<Leader>, Option<Under>) {
        let mut answer = self.answer.borrow_mut();
        (answer.leader.take(), answer.under.take())
    }
}

impl Under {
    /// Shares an answer that lives so long.
    pub(super) fn keep(self, entry: Arc<Entry>, life: Duration) {
        self.door.keep(self.name, entry, self.under, life);
    }
}

impl Client {
    /// Asks the second level, if there is one: the client waits then.
    ///
    /// # Errors
    ///
    /// There is none; gives the leader back.
    pub(super) fn asks_shared(
        &mut self,
        asks: &Asks<'_>,
        leader: Option<Leader>,
        at: Instant,
    ) -> Result<(), Option<Leader>> {
        let Some(door) = asks.reader.cache.shared.door() else {
            return Err(leader);
        };
        let reads = asks.reader.reads(asks.kept, asks.question);
        let answer = Rc::new(RefCell::new(Answer {
            leader,
            ..Answer::default()
        }));
        let asking = Asking {
            name: door
                .seal
                .name(&door.place, &asks.context.bytes, &asks.question.body),
            door,
            // INVARIANT: before Redis is asked. What changes later makes the answer old, what changed before was told.
            stamp: asks.reader.stamp(&reads),
            rows: reads.rows,
            reader: asks.reader.clone(),
            kept: asks.kept.clone(),
            context: asks.context.clone(),
            body: asks.question.body.as_slice().into(),
            hash: asks.hash,
            is_wanted: !asks.refreshes,
        };
        let (handle, to) = (self.handle.clone(), answer.clone());
        tokio::task::spawn_local(async move {
            let under = asking.ask().await;
            let mut answer = to.borrow_mut();
            (answer.is_over, answer.under) = (true, under);
            drop(answer);
            handle.signal(Signal::Caught);
        });
        let cached = &mut self.routing.cache;
        cached.asked = Some(Asked {
            hash: asks.hash,
            refreshes: asks.refreshes,
            answer,
        });
        cached.waits = Some((asks.hash, at + WAIT_MAX));
        self.handle.does(Doing::Waiting, at);
        Ok(())
    }
}

/// A question on its way.
struct Asking {
    door: Door,
    name: Vec<u8>,
    stamp: Stamp,
    rows: Arc<[Rows]>,
    reader: Rc<Reader>,
    kept: Rc<Kept>,
    context: Context,
    body: Box<[u8]>,
    hash: u128,
    is_wanted: bool,
}

impl Asking {
    async fn ask(self) -> Option<Under> {
        let found = self.door.find(&self.name, self.rows.clone()).await?;
        if self.is_wanted {
            self.keep(&found);
        }
        Some(Under {
            door: self.door,
            name: self.name,
            under: found.under,
        })
    }

    /// Keeps what was found, if it is the answer and still good.
    fn keep(&self, found: &Found) {
        let Some((sealed, left)) = &found.sealed else {
            return;
        };
        let cache = &self.reader.cache;
        let Some(answer) = self.door.seal.open(&self.name, sealed) else {
            return count(&cache.shared.foreign);
        };
        let age = Duration::from_millis(answer.life_ms).checked_sub(*left);
        let asked_at = age.and_then(|age| Instant::now().checked_sub(age));
        let is_it = *answer.context == *self.context.bytes && *answer.body == *self.body;
        let Some(asked_at) = asked_at.filter(|_| is_it && *answer.under == *found.under) else {
            return;
        };
        let entry = Entry {
            hash: self.hash,
            context: self.context.bytes.clone(),
            tenant: self.context.tenant.clone(),
            class: self.kept.class,
            stamp: self.stamp.clone(),
            asked_at,
            said: Said::new(&self.body, answer.description, answer.rows),
            is_used: AtomicBool::new(false),
        };
        if entry.bytes() <= self.reader.rules.max_entry_bytes {
            count(&cache.shared.hits);
            count(&cache.counts.classes[self.kept.class].shared);
            cache.local.keep(Arc::new(entry), self.reader.rules.tenant_share);
        }
    }
}
