//! What has changed and others who keep answers have not been told yet. Not for what makes this process's own answers old
//! (`touched`).

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use routing_rules::Lex;
use routing_rules::cache::{Catalog, Touches, effect};

use super::touched::Rows;

/// What has changed and was not told to others who keep answers. Collected from the beginning, until nobody wants to know.
#[derive(Debug)]
pub struct Untold {
    is_wanted: AtomicBool,
    changes: Mutex<Changes>,
    /// Texts that nobody could look into yet: what they change is found out before it is told.
    unknown: Mutex<Option<Vec<Unknown>>>,
}

/// A text that was run before the catalog was known, and how it is read.
pub type Unknown = (Box<[u8]>, Lex);

/// Texts that are kept until the catalog is known, and their length; more are anything.
pub(super) const UNKNOWN_MAX: usize = 64;
pub(super) const UNKNOWN_BYTES_MAX: usize = 16 * 1024;

/// What has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Anything may have.
    pub anything: bool,
    /// These rows have.
    pub rows: HashSet<Rows>,
}

/// Rows that are told one by one; more are anything.
const UNTOLD_MAX: usize = 1024;

impl Changes {
    /// Has nothing changed?
    pub fn is_empty(&self) -> bool {
        !self.anything && self.rows.is_empty()
    }
}

impl Default for Untold {
    fn default() -> Self {
        Untold {
            is_wanted: AtomicBool::new(true),
            changes: Mutex::default(),
            unknown: Mutex::new(Some(Vec::new())),
        }
    }
}

impl Untold {
    /// From now on, or no longer, somebody wants to know.
    pub fn is_wanted(&self, is_wanted: bool) {
        self.is_wanted.store(is_wanted, Ordering::SeqCst);
        if !is_wanted {
            *self.unknown() = None;
            *self.lock() = Changes::default();
        }
    }

    /// Anything may have changed.
    pub fn add_anything(&self) {
        if self.is_wanted.load(Ordering::SeqCst) {
            *self.lock() = Changes {
                anything: true,
                ..Changes::default()
            };
        }
    }

    /// A text was run of which nobody knows what it changes. Where nobody will, anything may have changed.
    pub(super) fn add_unknown(&self, text: &Unknown) {
        if !self.is_wanted.load(Ordering::SeqCst) {
            return;
        }
        match &mut *self.unknown() {
            Some(texts) if texts.contains(text) => {}
            Some(texts) if texts.len() < UNKNOWN_MAX => texts.push(text.clone()),
            Some(_) | None => self.add_anything(),
        }
    }

    /// The catalog is known: what the texts change that were run before is to be told. From here on what is not known is
    /// anything.
    pub fn know(&self, catalog: &Catalog) {
        let mut unknown = self.unknown();
        for (text, lex) in unknown.take().unwrap_or_default() {
            let effect = effect(&text, lex, Some(catalog));
            match &effect.touches {
                Touches::Nothing => {}
                Touches::Anything => self.add_anything(),
                Touches::Tables(names) => names.iter().for_each(|name| self.add(&Rows::all(name))),
            }
            let owned = effect.owned.iter().flat_map(|owned| &owned.tables);
            owned.for_each(|table| self.add(&Rows::all(table)));
        }
    }

    /// All of it, to be told.
    pub fn take(&self) -> Changes {
        if self.unknown().take().is_some_and(|texts| !texts.is_empty()) {
            self.add_anything();
        }
        std::mem::take(&mut *self.lock())
    }

    fn unknown(&self) -> std::sync::MutexGuard<'_, Option<Vec<Unknown>>> {
        self.unknown
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn add(&self, rows: &Rows) {
        if !self.is_wanted.load(Ordering::SeqCst) {
            return;
        }
        let mut changes = self.lock();
        if changes.anything || changes.rows.contains(rows) {
            return;
        }
        if changes.rows.len() >= UNTOLD_MAX {
            changes.anything = true;
            changes.rows.clear();
        } else {
            changes.rows.insert(rows.clone());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Changes> {
        self.changes
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
