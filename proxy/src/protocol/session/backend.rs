//! What is known of one server.

use std::sync::Arc;

use super::pipeline::{Expect, Own, Pipeline};
use super::prepared::Held;
use super::probe::Report;
use super::reported::Reported;
use super::sequences::Remembers;
use super::settings::Shared;

/// What is known of one server by its own answers. Travels with the server.
#[derive(Debug, Default)]
pub struct Backend {
    /// The role it logged in as.
    pub login: Arc<[u8]>,
    /// Its process id.
    pub pid: i32,
    /// Prepared statements it holds.
    pub held: Held,
    /// Whose unnamed statement it holds; 0 for nobody's.
    pub unnamed: u64,
    /// The unit it came by.
    pub(super) unnamed_unit: u64,
    /// The session that had it last, by its number; 0 for none.
    pub last_session: u64,
    /// Whose sequence values it remembers, as that session sees it.
    pub(super) remembers: Remembers,
    /// Session settings it carries.
    pub settings: Shared,
    /// What it reports.
    pub reported: Reported,
    /// Custom settings it has ever been given: they can be emptied, not removed.
    pub custom: Vec<String>,
    /// `I`, `T` or `E`, by its last ReadyForQuery.
    pub status: u8,
    /// What it owes.
    pub pipeline: Pipeline,
    /// Bytes still to come of a frame whose header was seen.
    pub(super) stream_left: usize,
    /// Are they the client's?
    pub(super) stream_passes: bool,
    /// An error came for a query of ours.
    pub(super) own_failed: bool,
    /// The statement it was last asked the result of, and under which schema.
    pub(super) asked: Option<(u64, u64)>,
    /// What was used before this moment may be given up to make room.
    pub(super) batch_began: u64,
    pub(super) report: Option<Box<Report>>,
}

impl Backend {
    /// A server just logged in.
    pub fn new(login: Arc<[u8]>, reported: Reported) -> Self {
        Backend {
            login,
            reported,
            status: b'I',
            ..Backend::default()
        }
    }

    /// Has every frame it began been passed on whole?
    pub fn is_between_frames(&self) -> bool {
        self.stream_left == 0
    }

    /// Is what it is doing now the client's, and not pgshunt's own?
    pub fn works_for_client(&self) -> bool {
        !matches!(self.pipeline.head(), None | Some(Expect::Own(_)))
    }

    /// DISCARD ALL has succeeded: it holds nothing of any session.
    pub fn emptied(&mut self) {
        self.held.clear();
        self.unnamed = 0;
        self.settings = Shared::default();
    }

    /// Is it being asked what the session has left in it?
    pub(super) fn is_probed(&self) -> bool {
        matches!(self.pipeline.head(), Some(Expect::Own(Own::Probe)))
    }

    /// Owes nothing and is in the middle of no frame: what is said to the client now comes in its place.
    pub(super) fn is_silent(&self) -> bool {
        self.pipeline.is_empty() && self.stream_left == 0
    }

    /// Owes nothing, in no transaction, in the middle of no frame.
    pub fn is_idle(&self) -> bool {
        self.is_silent() && !self.pipeline.is_open() && self.status == b'I'
    }
}
