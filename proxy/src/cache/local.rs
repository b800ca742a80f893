//! The answers of one process, within so many bytes: what is asked for stays, and no tenant takes more than its share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::stamp::Stamp;
use crate::by_hash::ByHash;

/// An answer.
#[derive(Debug)]
pub struct Entry {
    /// A number for the question and who asks it that another one hardly has.
    pub hash: u128,
    /// Who asks.
    pub context: Arc<[u8]>,
    /// Whose it is.
    pub tenant: Arc<[u8]>,
    /// Its class.
    pub class: usize,
    /// What it was made under.
    pub stamp: Stamp,
    /// When it was asked for.
    pub asked_at: Instant,
    /// What it says.
    pub said: Said,
    /// It was found since it was last passed over.
    pub is_used: AtomicBool,
}

/// What is asked, and the answer to it: one after the other, as there are many.
#[derive(Debug)]
pub struct Said {
    bytes: Box<[u8]>,
    body: usize,
    /// Up to where RowDescription goes.
    described: usize,
}

impl Said {
    /// The question's body, RowDescription, and DataRows with CommandComplete.
    pub fn new(body: &[u8], description: &[u8], rows: &[u8]) -> Self {
        Said {
            bytes: [body, description, rows].concat().into(),
            body: body.len(),
            described: body.len() + description.len(),
        }
    }

    /// What is asked, as in `protocol::session::question`.
    pub fn body(&self) -> &[u8] {
        &self.bytes[..self.body]
    }

    /// RowDescription; empty if it was asked for without.
    pub fn description(&self) -> &[u8] {
        &self.bytes[self.body..self.described]
    }

    /// DataRows and CommandComplete.
    pub fn rows(&self) -> &[u8] {
        &self.bytes[self.described..]
    }
}

impl Entry {
    /// Does it answer this question, asked by somebody who would hear the same?
    pub fn is_of(&self, context: &Arc<[u8]>, body: &[u8]) -> bool {
        (Arc::ptr_eq(&self.context, context) || self.context == *context) && self.said.body() == body
    }

    /// About how many bytes it takes, if its context is its own.
    pub fn bytes(&self) -> usize {
        ENTRY_BYTES + self.context.len() + self.stamp.bytes() + self.said.bytes.len()
    }
}

/// Percent of the room from which on it counts as full.
const FULL: usize = 95;

/// What an entry takes beside its contents.
const ENTRY_BYTES: usize = 320;

/// All of them, in parts that are locked one by one.
#[derive(Debug)]
pub struct Local {
    parts: Box<[Mutex<Part>]>,
    /// Bytes given up for room, ever: entries, not bytes.
    pub evictions: AtomicU64,
}

#[derive(Debug, Default)]
struct Part {
    bytes_max: usize,
    bytes: usize,
    entries: ByHash<u128, Arc<Entry>>,
    tenants: HashMap<Arc<[u8]>, Tenant>,
    /// Tenants in the order they are asked to make room.
    turns: VecDeque<Arc<[u8]>>,
    /// Questions whose answers were not taken, of late, by a part of their number. Two may share one: no harm is done.
    once: Box<[u32]>,
}

/// What one tenant has in a part, oldest first. Numbers of entries that are gone may be among them.
#[derive(Debug, Default)]
struct Tenant {
    bytes: usize,
    entries: VecDeque<u128>,
}

/// Parts that are locked one by one.
const PARTS_MAX: usize = 16;

/// Questions of a part that are known to have been asked once.
const ONCE: usize = 8192;

impl Local {
    /// Room for so many bytes, and for entries of so many.
    pub fn new(bytes_max: usize, entry_bytes_max: usize) -> Self {
        let parts = (bytes_max / entry_bytes_max.max(1) / 4).clamp(1, PARTS_MAX);
        let part = || {
            Mutex::new(Part {
                bytes_max: bytes_max / parts,
                ..Part::default()
            })
        };
        Local {
            parts: (0..parts).map(|_| part()).collect(),
            evictions: AtomicU64::new(0),
        }
    }

    /// The entry of this number.
    pub fn find(&self, hash: u128) -> Option<Arc<Entry>> {
        let entry = self.part(hash).entries.get(&hash).cloned()?;
        if !entry.is_used.load(Ordering::Relaxed) {
            entry.is_used.store(true, Ordering::Relaxed);
        }
        Some(entry)
    }

    /// Is the answer to the question with this number to be kept? Where others would have to go for it, only if it is asked for
    /// again: what is asked once, by a program that reads row by row, takes no other's place.
    pub fn takes(&self, hash: u128) -> bool {
        let mut part = self.part(hash);
        if part.bytes < part.bytes_max / 100 * FULL {
            return true;
        }
        if part.once.is_empty() {
            part.once = vec![0; ONCE].into();
        }
        let (place, mark) = ((hash >> 32) as usize % ONCE, hash as u32);
        std::mem::replace(&mut part.once[place], mark) == mark
    }

    /// Keeps an answer; `tenant_max` is how many percent of the room its tenant may take.
    pub fn keep(&self, entry: Arc<Entry>, tenant_max: usize) {
        let mut part = self.part(entry.hash);
        let evicted = part.keep(entry, tenant_max);
        drop(part);
        self.evictions.fetch_add(evicted, Ordering::Relaxed);
    }

    /// Forgets an answer, if it is still this one.
    pub fn forget(&self, entry: &Arc<Entry>) {
        let mut part = self.part(entry.hash);
        if part
            .entries
            .get(&entry.hash)
            .is_some_and(|known| Arc::ptr_eq(known, entry))
        {
            part.remove(entry.hash);
        }
    }

    /// Forgets all.
    pub fn clear(&self) {
        for part in &self.parts {
            let mut part = lock(part);
            let bytes_max = part.bytes_max;
            *part = Part {
                bytes_max,
                ..Part::default()
            };
        }
    }

    /// How many entries there are, and about how many bytes they take.
    pub fn size(&self) -> (usize, usize) {
        self.parts.iter().fold((0, 0), |(entries, bytes), part| {
            let part = lock(part);
            (entries + part.entries.len(), bytes + part.bytes)
        })
    }

    fn part(&self, hash: u128) -> MutexGuard<'_, Part> {
        let at = (hash >> 64) as usize % self.parts.len();
        lock(&self.parts[at])
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Part {
    /// Gives back how many others had to go.
    fn keep(&mut self, entry: Arc<Entry>, tenant_max: usize) -> u64 {
        let (hash, bytes, whose) = (entry.hash, entry.bytes(), entry.tenant.clone());
        if bytes > self.bytes_max / 2 {
            return 0;
        }
        self.remove(hash);
        let share = match whose.is_empty() {
            true => self.bytes_max,
            false => self.bytes_max / 100 * tenant_max,
        };
        let mut evicted = 0;
        while self
            .tenants
            .get(&whose)
            .is_some_and(|tenant| tenant.bytes + bytes > share)
            && self.evict(&whose)
        {
            evicted += 1;
        }
        while self.bytes + bytes > self.bytes_max {
            let Some(other) = self.turns.pop_front() else {
                break;
            };
            self.turns.push_back(other.clone());
            if self.evict(&other) {
                evicted += 1;
            }
        }
        if !self.tenants.contains_key(&whose) {
            self.turns.push_back(whose.clone());
        }
        let tenant = self.tenants.entry(whose).or_default();
        tenant.bytes += bytes;
        tenant.entries.push_back(hash);
        self.bytes += bytes;
        self.entries.insert(hash, entry);
        evicted
    }

    /// Gives up one entry of a tenant: the oldest that was not found since it was last passed over.
    fn evict(&mut self, whose: &Arc<[u8]>) -> bool {
        let Some(tenant) = self.tenants.get_mut(whose) else {
            return false;
        };
        let mut victim = None;
        // Twice around, and none is without a mark any more.
        for _ in 0..tenant.entries.len() * 2 {
            let Some(hash) = tenant.entries.pop_front() else {
                break;
            };
            match self.entries.get(&hash) {
                None => {}
                Some(entry) if entry.tenant != *whose => {}
                Some(entry) if entry.is_used.swap(false, Ordering::Relaxed) => tenant.entries.push_back(hash),
                Some(_) => {
                    victim = Some(hash);
                    break;
                }
            }
        }
        if tenant.entries.is_empty() && victim.is_none() {
            self.tenants.remove(whose);
            self.turns.retain(|other| other != whose);
        }
        victim.is_some_and(|hash| self.remove(hash))
    }

    fn remove(&mut self, hash: u128) -> bool {
        let Some(entry) = self.entries.remove(&hash) else {
            return false;
        };
        let bytes = entry.bytes();
        self.bytes -= bytes;
        if let Some(tenant) = self.tenants.get_mut(&entry.tenant) {
            tenant.bytes -= bytes;
            // Numbers of what is gone stay in line until their turn; not without end.
            if tenant.entries.len() > 64 && tenant.bytes < tenant.entries.len() * ENTRY_BYTES / 2 {
                let entries = &self.entries;
                tenant.entries.retain(|hash| entries.contains_key(hash));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::stamp::Reads;
    use crate::protocol::session::touched::Generations;

    fn entry(hash: u128, tenant: &[u8], bytes: usize) -> Arc<Entry> {
        let generations = Generations::new(|| 0);
        Arc::new(Entry {
            hash,
            context: Arc::new([]),
            tenant: tenant.into(),
            class: 0,
            stamp: Stamp::now(&generations, &Reads::default()),
            asked_at: Instant::now(),
            said: Said::new(b"", b"", &vec![0; bytes - ENTRY_BYTES]),
            is_used: AtomicBool::new(false),
        })
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_makes_room() {
        let local = Local::new(100_000, 100_000);
        for hash in 0..200 {
            local.keep(entry(hash, b"", 1000), 25);
            assert!(local.find(0).is_some(), "{hash}");
            let (_, bytes) = local.size();
            assert!(bytes <= 100_000);
        }
        assert_eq!(local.size().0, 100);
        assert_eq!(local.evictions.load(Ordering::Relaxed), 100);
        assert!(local.find(1).is_none());
        local.keep(entry(1000, b"", 90_000), 25);
        assert!(local.find(1000).is_none(), "too large a part of the room");
        local.clear();
        assert_eq!(local.size(), (0, 0));
    }

    #[test]
    fn what_is_asked_once_takes_nobodys_place() {
        let local = Local::new(100_000, 100_000);
        for hash in 0..95 {
            assert!(local.takes(hash), "there is room");
            local.keep(entry(hash, b"", 1000), 25);
        }
        let asked_once = (1000..2000).filter(|hash| local.takes(hash << 32 | hash)).count();
        assert_eq!(asked_once, 0);
        assert!(local.takes(1999 << 32 | 1999));
    }

    #[test]
    fn a_tenant_takes_its_share_from_nobody_else() {
        let local = Local::new(100_000, 100_000);
        for hash in 0..10 {
            local.keep(entry(hash, b"small", 1000), 25);
        }
        for hash in 100..400 {
            local.keep(entry(hash, b"loud", 1000), 25);
        }
        assert!((0..10).all(|hash| local.find(hash).is_some()));
        assert_eq!(local.size(), (35, 35_000));
    }

    #[test]
    fn another_answer_takes_the_place_of_the_old_one() {
        let local = Local::new(100_000, 100_000);
        let (one, other) = (entry(1, b"", 1000), entry(1, b"", 2000));
        local.keep(one.clone(), 25);
        local.keep(other, 25);
        assert_eq!(local.size(), (1, 2000));
        local.forget(&one);
        assert_eq!(local.size().0, 1, "it is no longer that one");
    }
}
