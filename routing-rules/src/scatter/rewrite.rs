//! An expression over groups and aggregates, as one over the columns of partial results.

use std::ops::Range;

use super::clauses::{closing, lower};
use super::groups::Planner;
use super::merge::{UNCLEAR, same_text};
use super::template::Template;
use crate::keys::functions;
use crate::sql::Kind;

impl Planner<'_, '_> {
    /// An expression over groups and aggregates as one over the columns of partial results.
    pub(super) fn rewritten(&mut self, range: Range<usize>) -> Result<Template, Box<str>> {
        let pieces = self.reader.pieces;
        let mut text = Template::default();
        let mut place = range.start;
        while place < range.end {
            if let Some(call) = self.calls.iter().find(|call| call.range.start == place) {
                self.total(call, &mut text);
                place = call.range.end;
                continue;
            }
            if let Some(known) = self.known.iter().find(|known| known.range.start == place) {
                text.append(known.last.clone());
                place = known.range.end;
                continue;
            }
            if self.plain.contains(&place) {
                text.pieces(place..place + 1);
                place += 1;
                continue;
            }
            if let Some((group, len)) = self.group_at(place, &range) {
                text.text(self.group_column(group));
                place += len;
                continue;
            }
            match pieces.all[place].2 {
                Kind::Word if self.is_harmless(place) => {
                    text.pieces(place..place + 1);
                }
                Kind::Parameter => {
                    text.parameter(pieces.text(place)[1..].parse().map_err(|_| UNCLEAR)?);
                }
                Kind::Mark if pieces.text(place) == "." => return Err(LEFT.into()),
                Kind::Literal(_) | Kind::Fixed | Kind::Mark | Kind::Operator => {
                    text.pieces(place..place + 1);
                }
                Kind::Word | Kind::Quoted => return Err(LEFT.into()),
            }
            place += 1;
        }
        Ok(text)
    }

    /// The group that stands here, and how long it is.
    fn group_at(&mut self, place: usize, within: &Range<usize>) -> Option<(usize, usize)> {
        let pieces = self.reader.pieces;
        let text = |at: usize| if within.contains(&at) { pieces.text(at) } else { "" };
        let before = if place > within.start { text(place - 1) } else { "" };
        if before == "." || before == "::" {
            return None;
        }
        for group in 0..self.groups.len() {
            let own = self.groups[group].clone();
            let mut ways = vec![own.clone()];
            // A column with its table and without.
            if own.len() == 3 && pieces.text(own.start + 1) == "." {
                ways.push(own.end - 1..own.end);
            }
            for way in ways {
                let end = place + way.len();
                let is_column = way.len() == 1 || (way.len() == 3 && pieces.text(way.start + 1) == ".");
                let is_call =
                    pieces.text(way.start + 1) == "(" && closing(pieces, way.start + 1) == Some(way.end - 1);
                let is_whole =
                    (place == within.start && end == within.end) || (before == "(" && text(end) == ")");
                let fits = (is_column || is_call || is_whole) && !matches!(text(end), "." | "(" | "[");
                if fits && end <= within.end && same_text(self.reader, way.clone(), place..end) {
                    return Some((group, way.len()));
                }
            }
            let is_qualified =
                own.len() == 1 && text(place + 1) == "." && !matches!(text(place + 3), "." | "(" | "[");
            if is_qualified && place + 3 <= within.end && same_text(self.reader, own, place + 2..place + 3) {
                return Some((group, 3));
            }
        }
        None
    }

    /// Is a word part of the syntax, a type behind a cast or before a constant, or a builtin function that is called?
    fn is_harmless(&self, place: usize) -> bool {
        let pieces = self.reader.pieces;
        let word = lower(pieces, place);
        let is_syntax = |syntax: &str| syntax.split_ascii_whitespace().any(|known| known == word);
        let is_type = place > 0 && pieces.text(place - 1) == "::" || TYPE_PARTS.contains(&&*word);
        let is_typed =
            matches!(pieces.all.get(place + 1), Some((.., Kind::Literal(_)))) && !is_syntax(SYNTAX);
        let is_call = pieces.text(place + 1) == "(" && {
            let name = sqlparser::ast::ObjectName::from(vec![sqlparser::ast::Ident::new(word.clone())]);
            functions::kind(&name) == functions::Kind::Builtin
        };
        let is_window = || self.windows.iter().any(|range| range.contains(&place)) && is_syntax(WINDOW);
        is_type || is_typed || is_call || is_syntax(SYNTAX) || is_window() || self.is_cast(place)
    }

    /// Is it AS of CAST, or of the type behind it?
    fn is_cast(&self, place: usize) -> bool {
        let pieces = self.reader.pieces;
        let mut depth = 0_usize;
        let mut has_as = false;
        for before in (0..=place).rev() {
            match pieces.text(before) {
                ")" => depth += 1,
                "(" if depth == 0 => return has_as && before > 0 && lower(pieces, before - 1) == "cast",
                "(" => depth -= 1,
                "," if depth == 0 => return false,
                text if depth == 0 && text.eq_ignore_ascii_case("as") => has_as = true,
                _ => {}
            }
        }
        false
    }
}

/// What an expression is left with that is neither a group nor an aggregate.
const LEFT: &str = "an expression that is more than aggregates and what is grouped by";
/// Words of types that have several.
const TYPE_PARTS: [&str; 2] = ["precision", "varying"];
const SYNTAX: &str = "and or not is null true false case when then else end between in like ilike distinct from asc desc nulls first last";
/// Words of OVER, WINDOW and of FILTER before OVER.
const WINDOW: &str = "over partition by order rows range groups unbounded preceding following current row exclude ties no others group \
    filter where as";
