//! What the order of merged rows depends on besides their values: how text compares, and how the shards write floating point.

use std::time::{Duration, Instant};

use routing_rules::{SortColumn, SortKey, TextOrder};

use super::{Gather, Halt};
use crate::protocol::merge::order::{self, Ways};
use crate::protocol::merge::rows::Description;

/// Is the database's own collation C? Before PostgreSQL 15 there is no provider but the system.
const IS_C: &[u8] =
    b"SELECT datcollate IN ('C', 'POSIX') AND COALESCE(pg_catalog.to_jsonb(d) OPERATOR(pg_catalog.->>) \
    'datlocprovider', 'c') OPERATOR(pg_catalog.=) 'c' FROM pg_catalog.pg_database d \
    WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

/// Is floating point written exactly? Rounded values may look the same and not be.
const IS_EXACT: &[u8] =
    b"SELECT pg_catalog.current_setting('extra_float_digits')::pg_catalog.int4 OPERATOR(pg_catalog.>) 0";

/// How long a server's own setting counts as known: a changed postgresql.conf reaches servers that are logged in.
const KNOWN_FOR: Duration = Duration::from_secs(10);

impl Gather {
    /// How values compare.
    pub(super) fn ways(&self, text_is_c: bool) -> Ways {
        let value = |name: &[u8]| self.reported.value(name).unwrap_or_default();
        Ways {
            text_is_bytes: text_is_c && value(b"client_encoding") == value(b"server_encoding"),
            dates_are_iso: value(b"DateStyle").starts_with(b"ISO"),
            floats_are_exact: self.floats_are_exact,
        }
    }

    /// Asks for what the order of these rows depends on and nobody reports; `told` are the client's columns, where they are known.
    pub(super) async fn learn_ways(
        &mut self,
        on: &[usize],
        keys: &[SortKey],
        told: Option<&Description>,
    ) -> Result<(), Halt> {
        self.learn_collation(on, keys).await?;
        let may_be_rounded = |key: &SortKey| match (key.column, told) {
            (SortColumn::Output(place), Some(told)) => told
                .columns
                .get(place)
                .is_none_or(|column| !order::is_written_whole(column.type_oid)),
            (_, _) => true,
        };
        match keys.iter().any(may_be_rounded) {
            true => self.learn_floats(on).await,
            false => Ok(()),
        }
    }

    /// Whether texts compare byte by byte is asked once.
    async fn learn_collation(&mut self, on: &[usize], keys: &[SortKey]) -> Result<(), Halt> {
        let depends = keys.iter().any(|key| key.text == TextOrder::Database);
        if !depends || self.terms.is_c.get().is_some() {
            return Ok(());
        }
        let count = self.ask_each(on, IS_C).await?.len();
        if on.len() == self.parts.len() {
            self.terms.is_c.set(Some(count == on.len()));
        }
        Ok(())
    }

    /// Learns whether these shards write floating point exactly. What the session has set is known, what its role, its database or
    /// the server begin with is asked for; so is everything where a transaction may have set it.
    pub(super) async fn learn_floats(&mut self, on: &[usize]) -> Result<(), Halt> {
        let digits = self.terms.settings.value(b"extra_float_digits");
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.trim().parse::<i32>().ok());
        let (mut unknown, mut are_exact) = (Vec::new(), true);
        for &at in on {
            let Some(part) = &self.parts[at] else { continue };
            let kept = part.lease.writes_exactly;
            let known = match (part.is_dirty || part.in_block, digits) {
                (true, _) => None,
                (false, Some(digits)) => Some(digits > 0),
                (false, None) => {
                    kept.and_then(|(since, is_so)| (since.elapsed() < KNOWN_FOR).then_some(is_so))
                }
            };
            match known {
                Some(is_so) => are_exact &= is_so,
                None => unknown.push(at),
            }
        }
        if !unknown.is_empty() {
            let exact = self.ask_each(&unknown, IS_EXACT).await?;
            are_exact &= exact.len() == unknown.len();
            for at in unknown {
                if let Some(part) = &mut self.parts[at]
                    && !(part.is_dirty || part.in_block)
                {
                    part.lease.writes_exactly = Some((Instant::now(), exact.contains(&at)));
                }
            }
        }
        self.floats_are_exact = are_exact;
        Ok(())
    }

    /// Asks these shards something; gives those that say yes.
    async fn ask_each(&mut self, on: &[usize], question: &[u8]) -> Result<Vec<usize>, Halt> {
        let rows = self.ask(on, question).await?;
        let agreeing = rows.into_iter().filter(|(_, row)| row.ends_with(b"t"));
        Ok(agreeing.map(|(at, _)| at).collect())
    }
}
