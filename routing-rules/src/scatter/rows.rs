//! What needs all rows: windows, aggregates that are no sums of sums, GROUPING SETS, DISTINCT ON. Each shard gives its rows, as far as
//! they are used; the statement itself, over these, is the last text.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    Distinct, Expr, Function, GroupByExpr, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr,
};

use super::Place;
use super::clauses::{Clauses, behind_words, clauses, conjuncts, lower};
use super::finish::Part;
use super::groups::{Known, NAMELESS, check};
use super::merge::{UNCLEAR, direction_off, is_wildcard, item_name, item_range, same_text};
use super::names::{name_of, output_name, quoted};
use super::template::{Template, column};
use super::uses::Uses;
use crate::keys::read::{Calls, Reader};
use crate::keys::scope::{Entry, Env, names};
use crate::sql::Kind;

/// Plans it; `operator` is what needs all rows.
pub fn rows(
    reader: &mut Reader<'_>,
    query: &Query,
    range: Range<usize>,
    operator: &str,
    place: Place<'_>,
) -> Result<Part, Box<str>> {
    let SetExpr::Select(select) = &*query.body else {
        return Err(UNCLEAR.into());
    };
    let found = clauses(reader.pieces, range).ok_or(UNCLEAR)?;
    check(query, select, &found)?;
    if reader.is_collated(query) {
        return Err("rows under a collation that may not be the database's".into());
    }
    let mut rows = Rows {
        reader,
        columns: Vec::new(),
        first: place.first,
        is_inner: place.is_inner,
        known: place.known,
        used: Vec::new(),
        aggregates: 0,
        is_distinct: matches!(select.distinct, Some(Distinct::Distinct)),
        later: Vec::new(),
        at_once: Vec::new(),
    };
    rows.choose(&found)?;
    let last = rows.last_text(query, select, &found)?;
    let shard = rows.shard_text(&found);
    Ok(Part {
        shard,
        columns: place.first..place.first + rows.columns.len().max(1),
        last,
        ships: Some(operator.into()),
        not_real: Vec::new(),
        exact: Vec::new(),
    })
}

/// A column that shards give.
enum Own {
    /// An expression of the text.
    Pieces(Range<usize>),
    /// A column that `*` stands for.
    Named(String),
}

struct Rows<'r, 'c> {
    reader: &'r mut Reader<'c>,
    columns: Vec<Own>,
    first: usize,
    is_inner: bool,
    known: &'r [Known],
    /// Where columns are used.
    used: Vec<Range<usize>>,
    aggregates: usize,
    is_distinct: bool,
    /// Conditions that rows are chosen by when the subqueries in them are known.
    later: Vec<Range<usize>>,
    /// Those that shards choose rows by.
    at_once: Vec<Range<usize>>,
}

impl Rows<'_, '_> {
    fn last_text(&mut self, query: &Query, select: &Select, found: &Clauses) -> Result<Template, Box<str>> {
        self.look(select, found, query)?;
        let is_grouped = self.aggregates > 0 || !found.groups.is_empty() || select.having.is_some();
        let mut text = Template::default();
        match &select.distinct {
            Some(Distinct::Distinct) => text.text("SELECT DISTINCT"),
            Some(Distinct::On(_)) => {
                text.text("SELECT DISTINCT ON (");
                for (place, range) in found.distinct_on.iter().enumerate() {
                    text.text(if place == 0 { "" } else { "," });
                    let key = self.key(range.clone(), select, found)?;
                    text.append(key);
                }
                text.text(")")
            }
            Some(Distinct::All) | None => text.text("SELECT"),
        };
        for (place, (item, range)) in select.projection.iter().zip(&found.items).enumerate() {
            text.text(if place == 0 { "" } else { "," });
            if is_wildcard(item) {
                self.star(item, is_grouped, &mut text)?;
                continue;
            }
            let range = item_range(self.reader.pieces, item, range.clone());
            match is_grouped || has_window(item) || self.has_known(&range) {
                true => text.append(self.replaced(range)?),
                // As it is, subqueries and all.
                false => {
                    let own = self.column(range);
                    text.text(own)
                }
            };
            match output_name(item) {
                Some(name) => text.text(format!("AS {}", quoted(&name))),
                None if self.is_inner => return Err(NAMELESS.into()),
                None => &mut text,
            };
        }
        // How many columns there are is known when all has been read.
        let mut tail = Template::default();
        self.clauses_after_from(select, found, &mut tail)?;
        text.from(self.first..self.first + self.columns.len().max(1));
        text.append(tail);
        Ok(text)
    }

    /// Which conditions of WHERE are for the shards.
    fn choose(&mut self, found: &Clauses) -> Result<(), Box<str>> {
        let pieces = self.reader.pieces;
        let condition = found.condition.clone().unwrap_or_default();
        let is_elsewhere = |known: &Known| {
            let at = known.range.start;
            (found.from..found.body_end).contains(&at) && !condition.contains(&at)
        };
        if self.known.iter().any(is_elsewhere) {
            return Err("a subquery within FROM".into());
        }
        let all = if condition.is_empty() {
            Vec::new()
        } else {
            conjuncts(pieces, condition)
        };
        (self.later, self.at_once) = all.into_iter().partition(|part| self.has_known(part));
        let is_known = |place: usize| self.known.iter().any(|known| known.range.contains(&place));
        let mut places = self.later.iter().cloned().flatten();
        match places.any(|place| !is_known(place) && lower(pieces, place) == "select") {
            true => Err("a subquery beside one that is not tied to the key".into()),
            false => Ok(()),
        }
    }

    fn has_known(&self, range: &Range<usize>) -> bool {
        self.known.iter().any(|known| range.contains(&known.range.start))
    }

    fn clauses_after_from(
        &mut self,
        select: &Select,
        found: &Clauses,
        text: &mut Template,
    ) -> Result<(), Box<str>> {
        for (place, range) in self.later.clone().into_iter().enumerate() {
            let condition = self.replaced(range)?;
            text.text(if place == 0 { "WHERE" } else { "AND" })
                .append(condition);
        }
        for (place, range) in found.groups.iter().enumerate() {
            text.text(if place == 0 { "GROUP BY" } else { "," });
            let group = self.group(range.clone(), select)?;
            text.append(group);
        }
        let two = [("HAVING", &found.having), ("WINDOW", &found.window)];
        behind_words(two, text, |range| self.replaced(range))?;
        for (place, range) in found.order.iter().enumerate() {
            text.text(if place == 0 { "ORDER BY" } else { "," });
            let expr = direction_off(self.reader.pieces, range.clone());
            let key = self.key(expr.clone(), select, found)?;
            text.append(key).pieces(expr.end..range.end);
        }
        let two = [("LIMIT", &found.limit), ("OFFSET", &found.offset)];
        behind_words(two, text, |range| self.replaced(range))?;
        Ok(())
    }

    fn shard_text(&self, found: &Clauses) -> Template {
        let mut text = Template::default();
        text.pieces(found.range.start..found.head);
        for (place, own) in self.columns.iter().enumerate() {
            text.text(if place == 0 { "" } else { "," });
            match own {
                Own::Pieces(range) => text.pieces(range.clone()),
                Own::Named(name) => text.text(name.as_str()),
            };
            text.text(format!("AS {}", column(self.first + place)));
        }
        if self.columns.is_empty() {
            text.text(format!("true AS {}", column(self.first)));
        }
        if self.later.is_empty() {
            text.pieces(found.from..found.body_end);
            return text;
        }
        let end = found
            .condition
            .as_ref()
            .map_or(found.body_end, |condition| condition.start - 1);
        text.pieces(found.from..end);
        for (place, range) in self.at_once.iter().enumerate() {
            text.text(if place == 0 { "WHERE" } else { "AND" })
                .pieces(range.clone());
        }
        text
    }

    /// Where columns are used, and whether all else may be done over rows in any order.
    fn look(&mut self, select: &Select, found: &Clauses, query: &Query) -> Result<(), Box<str>> {
        let known: Vec<usize> = self.known.iter().map(|known| known.query).collect();
        let mut uses = Uses::beside(&known, !select.named_window.is_empty());
        uses.find(&select.distinct)?;
        uses.find(&select.group_by)?;
        uses.find(&select.having)?;
        uses.find(&select.named_window)?;
        uses.find(&query.order_by)?;
        if !self.later.is_empty() {
            uses.find_in_condition(&select.selection)?;
        }
        let mut as_it_is = Vec::new();
        for (item, range) in select.projection.iter().zip(&found.items) {
            match has_window(item) || has_aggregate(item) || self.has_known(range) {
                true => uses.find(item)?,
                false => as_it_is.push(item),
            }
        }
        let is_by = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
        if uses.aggregates > 0 || is_by || select.having.is_some() {
            for item in as_it_is {
                uses.find(item)?;
            }
        }
        (self.used, self.aggregates) = (uses.used, uses.aggregates);
        Ok(())
    }

    /// A column of the shards, by what it is.
    fn column(&mut self, range: Range<usize>) -> String {
        for (place, own) in self.columns.iter().enumerate() {
            if let Own::Pieces(own) = own
                && same_text(self.reader, own.clone(), range.clone())
            {
                return column(self.first + place);
            }
        }
        self.columns.push(Own::Pieces(range));
        column(self.first + self.columns.len() - 1)
    }

    /// An expression with the columns in it replaced.
    fn replaced(&mut self, range: Range<usize>) -> Result<Template, Box<str>> {
        let pieces = self.reader.pieces;
        let mut text = Template::default();
        let mut place = range.start;
        while place < range.end {
            if let Some(used) = self.used.iter().find(|used| used.start == place).cloned() {
                self.check_column(&used)?;
                text.text(self.column(used.clone()));
                place = used.end;
                continue;
            }
            if let Some(known) = self.known.iter().find(|known| known.range.start == place) {
                text.append(known.last.clone());
                place = known.range.end;
                continue;
            }
            match pieces.all[place].2 {
                Kind::Parameter => {
                    text.parameter(pieces.text(place)[1..].parse().map_err(|_| UNCLEAR)?);
                }
                Kind::Word | Kind::Quoted | Kind::Literal(_) | Kind::Fixed | Kind::Mark | Kind::Operator => {
                    text.pieces(place..place + 1);
                }
            }
            place += 1;
        }
        Ok(text)
    }

    /// A name without a table might be an output's, or a whole row's.
    fn check_column(&self, used: &Range<usize>) -> Result<(), Box<str>> {
        let is_bare = used.len() == 1;
        match is_bare && self.knows_inputs() && !self.is_input(&name_of(self.reader.pieces, used.start)) {
            true => Err("a name that may be no column's".into()),
            false => Ok(()),
        }
    }

    fn knows_inputs(&self) -> bool {
        let mut entries = self.reader.top.entries.iter();
        entries.all(|entry| entry.outputs.is_complete)
    }

    /// An expression of GROUP BY. A column's name goes before an output's.
    fn group(&mut self, range: Range<usize>, select: &Select) -> Result<Template, Box<str>> {
        let pieces = self.reader.pieces;
        if range.len() == 1 && matches!(pieces.all[range.start].2, Kind::Word | Kind::Quoted) {
            let name = name_of(pieces, range.start);
            let is_alias = |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { alias, .. } if alias.value == name);
            if select.projection.iter().any(is_alias) && !self.is_input(&name) {
                return match self.knows_inputs() {
                    true => {
                        let mut text = Template::default();
                        text.text(quoted(&name));
                        Ok(text)
                    }
                    false => Err("GROUP BY a name that may be a column's or an output's".into()),
                };
            }
        }
        self.replaced(range)
    }

    fn is_input(&self, name: &str) -> bool {
        let env = Env {
            level: &self.reader.top,
            ..Env::EMPTY
        };
        env.is_own(&Expr::Identifier(sqlparser::ast::Ident::with_quote('"', name)))
    }

    /// A key of ORDER BY or DISTINCT ON. An output's name goes before a column's.
    fn key(&mut self, range: Range<usize>, select: &Select, found: &Clauses) -> Result<Template, Box<str>> {
        let pieces = self.reader.pieces;
        let has_star = select.projection.iter().any(is_wildcard);
        let mut text = Template::default();
        if range.len() == 1 && matches!(pieces.all[range.start].2, Kind::Word | Kind::Quoted) {
            let name = name_of(pieces, range.start);
            let named: Vec<usize> = (0..select.projection.len())
                .filter(|&place| output_name(&select.projection[place]).as_deref() == Some(&name))
                .collect();
            match named[..] {
                [place] if !has_star => {
                    text.text((place + 1).to_string());
                    return Ok(text);
                }
                [place] if item_name(&select.projection[place]).is_some() => {
                    text.text(quoted(&name));
                    return Ok(text);
                }
                [] if select
                    .projection
                    .iter()
                    .any(|item| !is_wildcard(item) && output_name(item).is_none()) =>
                {
                    return Err(NAMELESS.into());
                }
                [] => {}
                _ => return Err("ORDER BY a name two columns have".into()),
            }
        }
        // What is selected as it is must be recognized as the same.
        for (place, item) in select.projection.iter().enumerate() {
            let item_pieces = item_range(pieces, item, found.items[place].clone());
            if !has_star && same_text(self.reader, item_pieces, range.clone()) {
                text.text((place + 1).to_string());
                return Ok(text);
            }
        }
        self.replaced(range)
    }

    /// The columns that `*` stands for.
    fn star(&mut self, item: &SelectItem, is_grouped: bool, text: &mut Template) -> Result<(), Box<str>> {
        const UNKNOWN: &str = "* that stands for columns nobody knows";
        let top = self.reader.top.clone();
        let of: Vec<&Entry> = match item {
            SelectItem::Wildcard(options) if *options == Default::default() && top.merged.is_empty() => {
                top.entries.iter().collect()
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let alias = names(name).map_or("", |(_, name)| name.value.as_str());
                top.entries.iter().filter(|entry| entry.alias == alias).collect()
            }
            _ => return Err(UNKNOWN.into()),
        };
        let is_known = |entry: &&Entry| entry.outputs.is_complete && !entry.alias.is_empty();
        if is_grouped || self.is_distinct || of.is_empty() || !of.iter().all(is_known) {
            return Err(UNKNOWN.into());
        }
        let mut is_first = true;
        for entry in of {
            for (name, _) in &entry.outputs.columns {
                self.columns
                    .push(Own::Named(format!("{}.{}", quoted(&entry.alias), quoted(name))));
                let own = column(self.first + self.columns.len() - 1);
                text.text(format!(
                    "{}{own} AS {}",
                    if is_first { "" } else { ", " },
                    quoted(name)
                ));
                is_first = false;
            }
        }
        Ok(())
    }
}

/// Does an item call a function over a window?
fn has_window(item: &SelectItem) -> bool {
    let found = sqlparser::ast::visit_expressions(item, |expr| match expr {
        Expr::Function(Function { over: Some(_), .. }) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn has_aggregate(item: &SelectItem) -> bool {
    let mut calls = Calls::default();
    calls.add(item);
    !calls.aggregates.is_empty()
}
