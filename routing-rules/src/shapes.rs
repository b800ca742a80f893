//! Readings remembered by the shape of their text, so that one parse serves every text that differs in its constants alone.
//! One per thread, or behind a lock of its owner's; bounded in bytes.
//!
//! Exact by construction: the parser never sees a constant's value ([`crate::cut`]), a reading that asked for one says so
//! ([`Reading::looked_at`]), and shapes are compared whole. What a reading depends on besides its text (rules, catalog, search
//! path, temporary tables) is the owner's to keep apart: [`Shapes::clear`] when it changes, and one cache for each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::keys::{Context, Reading};
use crate::sql::Pieces;

/// A bounded set of readings.
#[derive(Debug)]
pub struct Shapes {
    bytes_max: usize,
    bytes: usize,
    /// What was used since the last sweep, and what was not.
    young: HashMap<Box<[u8]>, Vec<Arc<Reading>>>,
    old: HashMap<Box<[u8]>, Vec<Arc<Reading>>>,
    young_bytes: usize,
    counts: Counts,
}

/// How often the cache had what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// It had it.
    pub hits: u64,
    /// It had not: the text was parsed.
    pub misses: u64,
    /// Readings given up for room.
    pub evicted: u64,
}

/// Readings of one shape that differ in constants they looked at: more are not kept.
const VARIANTS_MAX: usize = 8;
/// Shapes longer than this part of the bound are not kept.
const SHAPE_SHARE: usize = 16;

impl Shapes {
    /// A cache that holds about so many bytes.
    pub fn new(bytes_max: usize) -> Shapes {
        Shapes {
            bytes_max,
            bytes: 0,
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// The reading of a text.
    pub fn read(&mut self, pieces: &Pieces<'_>, context: &Context<'_>) -> Arc<Reading> {
        if let Some(reading) = self.look_up(pieces) {
            self.counts.hits += 1;
            return reading;
        }
        self.counts.misses += 1;
        let reading = Arc::new(Reading::new(pieces, context));
        self.keep(&pieces.shape, reading.clone());
        reading
    }

    /// Forgets everything: the rules or the catalog have changed.
    pub fn clear(&mut self) {
        (self.bytes, self.young_bytes) = (0, 0);
        self.young.clear();
        self.old.clear();
    }

    /// How often it had what was asked for.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn look_up(&mut self, pieces: &Pieces<'_>) -> Option<Arc<Reading>> {
        let find =
            |readings: &Vec<Arc<Reading>>| readings.iter().find(|reading| is_for(reading, pieces)).cloned();
        if let Some(found) = self.young.get(&pieces.shape[..]).and_then(find) {
            return Some(found);
        }
        let found = self.old.get(&pieces.shape[..]).and_then(find)?;
        if let Some((shape, readings)) = self.old.remove_entry(&pieces.shape[..]) {
            let bytes: usize = readings.iter().map(|reading| cost(&shape, reading)).sum();
            self.bytes -= bytes;
            self.make_room(bytes);
            (self.bytes, self.young_bytes) = (self.bytes + bytes, self.young_bytes + bytes);
            self.young.entry(shape).or_default().extend(readings);
        }
        Some(found)
    }

    fn keep(&mut self, shape: &[u8], reading: Arc<Reading>) {
        let bytes = cost(shape, &reading);
        if bytes > self.bytes_max / SHAPE_SHARE {
            return;
        }
        if self
            .young
            .get(shape)
            .is_some_and(|variants| variants.len() >= VARIANTS_MAX)
        {
            return;
        }
        self.make_room(bytes);
        (self.bytes, self.young_bytes) = (self.bytes + bytes, self.young_bytes + bytes);
        self.young.entry(shape.into()).or_default().push(reading);
    }

    /// Two generations: when the young one would have more than half the room, the old one goes and the young one becomes old.
    fn make_room(&mut self, bytes: usize) {
        if (self.young_bytes + bytes) * 2 <= self.bytes_max {
            return;
        }
        let gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        self.counts.evicted += gone.values().map(|readings| readings.len() as u64).sum::<u64>();
        self.bytes = self.young_bytes;
        self.young_bytes = 0;
    }
}

/// Does a reading of this shape hold for this text?
fn is_for(reading: &Reading, pieces: &Pieces<'_>) -> bool {
    let same = |(literal, value): &(u32, String)| pieces.value(*literal).as_ref() == Some(value);
    reading.looked_at.iter().all(same)
}

/// About what an entry takes: its shape, and its reading's lists.
fn cost(shape: &[u8], reading: &Reading) -> usize {
    let slots: usize = reading
        .bounds
        .iter()
        .flat_map(|bound| &bound.ties)
        .map(|tie| 24 + tie.len() * 8)
        .sum();
    let rows = reading.rows.as_ref().map_or(0, |rows| rows.rows.len() * 24);
    let plan = if reading.plan.is_some() { 1024 } else { 0 };
    let looked_at: usize = reading.looked_at.iter().map(|(_, value)| 32 + value.len()).sum();
    shape.len() + size_of::<Reading>() + 128 + reading.bounds.len() * 64 + slots + rows + looked_at + plan
}
