//! What a statement sets of pgshunt's own, and whether it may: the tenant and the target of a session.

use routing_rules::{Control, Effects, Parameter, PieceKind, Slot, read};

use super::super::relay::Client;
use super::readings::Read;
use super::refusals::{bound_tenant, sets_among_others};
use super::wishes::named_shard;
use crate::fault::Fault;
use crate::pool::Reads;
use crate::protocol::session::said::Spoken;

/// What a statement sets of pgshunt's own.
pub(super) enum Set {
    /// `pgshunt.tenant`
    Tenant(String),
    /// `pgshunt.target`: a shard, or something else.
    Shard(Option<Box<str>>),
}

impl Client {
    /// What of pgshunt's own a statement sets, if it does. What a bound role may not do is refused.
    pub(super) fn sets(
        &self,
        spoken: &Spoken<'_>,
        read: &Read<'_>,
        parameters: &[Parameter<'_>],
        reads: &Reads,
    ) -> Result<Option<Set>, Fault> {
        let bound = reads.tenant.as_deref();
        if bound.is_none() && !read.reading.bounds.is_empty() {
            // What it says now is learned from the server when its transaction has ended.
            return Ok(None);
        }
        if !mentions(spoken.text, b"pgshunt.") && (bound.is_none() || !mentions(spoken.text, b"set_config")) {
            return Ok(None);
        }
        let script = self::read(spoken.text, self.session.lex_of());
        if bound.is_some() && script.effects.contains(Effects::COMPUTED_SETTING) {
            return Err(bound_tenant());
        }
        let names = |name: &str| script.custom_settings.iter().any(|own| own == name);
        let (of_tenant, of_target) = (names("pgshunt.tenant"), names("pgshunt.target"));
        if !of_tenant && !of_target {
            return Ok(None);
        }
        if script.statements > 1 || of_tenant && of_target {
            return Err(sets_among_others());
        }
        let value = match &script.control {
            Control::SetOurs { value, .. } => {
                let default = bound.filter(|_| of_tenant).map(str::to_owned);
                Some(value.clone().or(default).unwrap_or_default())
            }
            _ => set_by_function(read, parameters),
        };
        match (bound, value) {
            (Some(bound), value) if of_tenant && value.as_deref() != Some(bound) => Err(bound_tenant()),
            (_, Some(value)) if of_tenant => Ok(Some(Set::Tenant(value))),
            (_, Some(value)) => Ok(Some(Set::Shard(named_shard(value.as_bytes())))),
            (_, None) => Err(sets_among_others()),
        }
    }
}

/// `set_config('pgshunt.tenant', value, …)` as a text's only call of it: the value, where it can be seen.
fn set_by_function(read: &Read<'_>, parameters: &[Parameter<'_>]) -> Option<String> {
    let pieces = &read.pieces;
    let is = |place: usize, text: &str| pieces.text(place).eq_ignore_ascii_case(text);
    let mut calls = (0..pieces.all.len()).filter(|&place| is(place, "set_config"));
    let (at, None) = (calls.next()?, calls.next()) else {
        return None;
    };
    (is(at + 1, "(") && is(at + 3, ",") && is(at + 5, ",")).then_some(())?;
    let slot = match pieces.all.get(at + 4)?.2 {
        PieceKind::Literal(number) => Slot::Literal(number),
        PieceKind::Parameter => Slot::Parameter(pieces.text(at + 4).strip_prefix('$')?.parse().ok()?),
        _ => return None,
    };
    match slot {
        Slot::Literal(number) => pieces.value(number),
        Slot::Parameter(number) => {
            let parameter = parameters.get(usize::from(number).checked_sub(1)?)?;
            String::from_utf8(parameter.bytes?.to_vec()).ok()
        }
        _ => None,
    }
}

/// Is this word, written in small letters, in a text?
pub(super) fn mentions(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}
