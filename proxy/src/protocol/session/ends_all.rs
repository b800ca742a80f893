//! DEALLOCATE ALL and DISCARD ALL by the extended protocol: what follows in the same batch finds no statement any more, and
//! may take the names anew. Should it not be run, all is as before.

use routing_rules::{Effects, ends_all_prepared};

use super::pipeline::Expect;
use super::prepared::Held;
use super::{Backend, Prepared, Session};
use crate::protocol::message::cstr;

/// Everything that ended.
#[derive(Debug)]
pub struct All {
    prepared: Option<Box<Prepared>>,
    by_own_name: Vec<Box<[u8]>>,
    held: Held,
}

impl All {
    /// The client's name for a statement of this number.
    pub(super) fn name(&self, id: u64) -> Option<&[u8]> {
        let mut all = self.prepared.iter().flat_map(|prepared| prepared.iter());
        all.find_map(|(name, statement)| (statement.id == id).then_some(&**name))
    }
}

impl Session {
    /// A Bind is sent: of this text (with what stands behind it), to this portal.
    pub(super) fn binds_the_end_of_all(&mut self, (body, effects): (&[u8], Effects), portal: &[u8]) {
        if !effects.contains(Effects::PROBE) {
            self.ends_all = self.ends_all.take().filter(|bound| **bound != *portal);
            return;
        }
        let lex = self.lex();
        let ends = cstr(body).is_some_and(|(text, _)| ends_all_prepared(text, lex));
        self.ends_all = ends.then(|| portal.into());
    }

    /// An Execute was sent.
    pub(super) fn executes_the_end_of_all(&mut self, body: &[u8], backend: &mut Backend) {
        let Some(bound) = &self.ends_all else { return };
        if cstr(body).is_none_or(|(portal, _)| *portal != **bound) {
            return;
        }
        self.ends_all = None;
        let all = All {
            prepared: self.prepared.take(),
            by_own_name: std::mem::take(&mut self.by_own_name),
            held: std::mem::take(&mut backend.held),
        };
        backend.held.goes_on_from(&all.held);
        backend.pipeline.push(Expect::EndedAll(Box::new(all)));
    }

    /// It was not run.
    pub(super) fn all_goes_on(&mut self, all: All, backend: &mut Backend) {
        self.prepared = all.prepared;
        self.by_own_name = all.by_own_name;
        backend.held = all.held;
    }
}
