//! Aggregates, GROUP BY, HAVING, DISTINCT, and windows over groups. Each shard gives its groups with partial results, for values that
//! count once one group for each of them; the last text puts them together.

use std::ops::Range;

use sqlparser::ast::{Distinct, Expr, Function, GroupByExpr, Query, Select, SelectItem, SetExpr};

use super::Place;
use super::aggregates::{Aggregates, argument, is_distinct, last_name};
use super::clauses::{Clauses, behind_words, clauses, closing, lower, split};
use super::deviation::{self, is_deviation};
use super::finish::Part;
use super::merge::{UNCLEAR, direction_off, is_wildcard, item_range, order_of, same_text};
use super::names::{name_of, output_name, quoted};
use super::template::{Template, column};
use crate::keys::read::Reader;
use crate::keys::scope::{Env, Outputs};
use crate::sql::Kind;

/// A subquery that is answered beforehand: where it stands, and the text it becomes.
#[derive(Clone, Debug)]
pub struct Known {
    /// The subquery in the tree.
    pub query: usize,
    /// Its pieces, without the parentheses around them.
    pub range: Range<usize>,
    /// What it gives.
    pub outputs: Outputs,
    /// What it becomes.
    pub last: Template,
}

/// An aggregate in the text.
pub(super) struct Call {
    pub range: Range<usize>,
    name_at: usize,
    name: String,
    /// Its first column of partial results, and how many it has.
    columns: (usize, usize),
    /// Is it the same as one before?
    is_again: bool,
    /// Of each value once.
    once: Option<Once>,
}

/// An aggregate of each value once: these are grouped by.
struct Once {
    /// The columns of its values.
    values: Vec<usize>,
    /// Are they several, in parentheses?
    is_row: bool,
    /// The column of FILTER's condition.
    condition: Option<usize>,
}

pub(super) struct Planner<'r, 'c> {
    pub reader: &'r mut Reader<'c>,
    pub calls: Vec<Call>,
    pub groups: Vec<Range<usize>>,
    pub known: &'r [Known],
    /// Pieces that stay as they are: functions over windows, and the windows' names.
    pub plain: Vec<usize>,
    /// Where windows are defined.
    pub windows: Vec<Range<usize>>,
    /// What is grouped by for values that count once.
    fine: Vec<Range<usize>>,
    first: usize,
    /// How many columns the shards give.
    columns: usize,
    is_inner: bool,
}

/// Plans it.
pub fn groups(
    reader: &mut Reader<'_>,
    query: &Query,
    range: Range<usize>,
    place: Place<'_>,
) -> Result<Part, Box<str>> {
    let SetExpr::Select(select) = &*query.body else {
        return Err("an aggregate over UNION".into());
    };
    let found = clauses(reader.pieces, range).ok_or(UNCLEAR)?;
    check(query, select, &found)?;
    let body = found.from..found.body_end;
    if place.known.iter().any(|known| body.contains(&known.range.start)) {
        return Err("a subquery that chooses rows".into());
    }
    if select.projection.iter().any(is_wildcard) {
        return Err("* with an aggregate or DISTINCT".into());
    }
    let mut planner = Planner {
        reader,
        calls: Vec::new(),
        groups: Vec::new(),
        known: place.known,
        plain: Vec::new(),
        windows: Vec::new(),
        fine: Vec::new(),
        first: place.first,
        columns: 0,
        is_inner: place.is_inner,
    };
    planner.plan(query, select, &found)
}

/// Do the tree and its pieces agree?
pub fn check(query: &Query, select: &Select, found: &Clauses) -> Result<(), Box<str>> {
    let order = order_of(query).ok_or("ORDER BY ALL")?;
    let by = match &select.group_by {
        GroupByExpr::Expressions(list, _) => list.len(),
        GroupByExpr::All(_) => return Err("GROUP BY ALL".into()),
    };
    let is_on = matches!(select.distinct, Some(Distinct::On(_)));
    if found.is_union
        || order.len() != found.order.len()
        || select.projection.len() != found.items.len()
        || by != found.groups.len()
        || select.having.is_some() != found.having.is_some()
        || select.named_window.is_empty() != found.window.is_none()
        || is_on == found.distinct_on.is_empty()
    {
        return Err(UNCLEAR.into());
    }
    if found.has_more || !query.locks.is_empty() {
        return Err("FETCH or FOR with an aggregate".into());
    }
    Ok(())
}

impl Planner<'_, '_> {
    fn plan(&mut self, query: &Query, select: &Select, found: &Clauses) -> Result<Part, Box<str>> {
        let known: Vec<usize> = self.known.iter().map(|known| known.query).collect();
        let mut finder = Aggregates::beside(&known);
        finder.find(&select.projection)?;
        finder.find(&select.having)?;
        finder.find(&select.named_window)?;
        finder.find(&query.order_by)?;
        self.note_windows(select, &finder.windows, found)?;
        let is_distinct = matches!(select.distinct, Some(Distinct::Distinct));
        let is_grouped = !finder.found.is_empty() || !found.groups.is_empty() || select.having.is_some();
        // DISTINCT of plain rows: each shard gives its own.
        let is_plain = is_distinct && !is_grouped;
        if is_plain {
            for (item, range) in select.projection.iter().zip(&found.items) {
                let item = item_range(self.reader.pieces, item, range.clone());
                self.check_apart(&item)?;
                self.groups.push(item);
            }
        } else {
            for range in &found.groups {
                let group = self.group(range.clone(), select, found)?;
                self.check_apart(&group)?;
                self.groups.push(group);
            }
        }
        self.check_collations(query, select, &finder)?;
        for call in &finder.found {
            let call = self.call(call)?;
            self.calls.push(call);
        }
        self.number_columns();
        let shard = self.shard_text(found, is_plain);
        let last = self.last_text(select, found, is_distinct, is_plain)?;
        let plain = || self.calls.iter().filter(|call| call.once.is_none());
        let not_real = plain()
            .filter(|call| call.name == "avg")
            .map(|call| call.columns.0);
        let exact = plain().filter(|call| is_deviation(&call.name));
        Ok(Part {
            shard,
            columns: self.first..self.first + self.columns,
            last,
            ships: (!self.fine.is_empty()).then(|| "an aggregate of each value once".into()),
            not_real: not_real.collect(),
            exact: exact.map(|call| call.columns.0 + 1).collect(),
        })
    }

    /// The order and the extremes of texts are those of the database's collation.
    fn check_collations(
        &self,
        query: &Query,
        select: &Select,
        finder: &Aggregates<'_>,
    ) -> Result<(), Box<str>> {
        let compares = |call: &Function| matches!(last_name(call), "min" | "max") || is_distinct(call);
        let sorts = query.order_by.is_some()
            || !self.groups.is_empty()
            || select.having.is_some()
            || !finder.windows.is_empty()
            || finder.found.iter().any(compares);
        let reader = &self.reader;
        let may_differ = || {
            reader.is_collated(&select.projection)
                || reader.is_collated(&select.from)
                || reader.is_collated(&select.group_by)
                || reader.is_collated(&select.having)
        };
        match sorts && may_differ() {
            true => Err("groups or extremes under a collation that may not be the database's".into()),
            false => Ok(()),
        }
    }

    /// The pieces of a function's name, and where its arguments end.
    pub(super) fn place_of(&self, function: &Function) -> Result<(Range<usize>, usize), Box<str>> {
        let place = |at: usize| {
            function
                .name
                .0
                .get(at)
                .and_then(|part| crate::sql::piece(part.as_ident()?.span))
        };
        let (Some(first), Some(name_at)) = (place(0), place(function.name.0.len() - 1)) else {
            return Err(UNCLEAR.into());
        };
        let end = closing(self.reader.pieces, name_at + 1).ok_or(UNCLEAR)? + 1;
        Ok((first..name_at + 1, end))
    }

    /// An expression of GROUP BY: its own pieces, or those of the item it names.
    fn group(
        &mut self,
        range: Range<usize>,
        select: &Select,
        found: &Clauses,
    ) -> Result<Range<usize>, Box<str>> {
        let pieces = self.reader.pieces;
        if range.len() != 1 {
            return Ok(range);
        }
        let item = |place: usize| item_range(pieces, &select.projection[place], found.items[place].clone());
        match pieces.all[range.start].2 {
            Kind::Literal(number) => {
                self.reader.note(&[number]);
                let place: Option<usize> = pieces.value(number).and_then(|text| text.parse().ok());
                match place {
                    Some(place) if (1..=found.items.len()).contains(&place) => Ok(item(place - 1)),
                    Some(_) | None => Err(UNCLEAR.into()),
                }
            }
            Kind::Word | Kind::Quoted => {
                let name = name_of(pieces, range.start);
                let is_alias = |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { alias, .. } if alias.value == name);
                match (0..select.projection.len()).find(|&place| is_alias(&select.projection[place])) {
                    // An input column goes before an output's name.
                    Some(_) if self.is_input(&name) => Ok(range),
                    Some(place) if self.knows_inputs() => Ok(item(place)),
                    Some(_) => Err("GROUP BY a name that may be a column's or an output's".into()),
                    None => Ok(range),
                }
            }
            Kind::Parameter | Kind::Fixed | Kind::Mark | Kind::Operator => Ok(range),
        }
    }

    fn is_input(&self, name: &str) -> bool {
        let env = Env {
            level: &self.reader.top,
            ..Env::EMPTY
        };
        env.is_own(&Expr::Identifier(sqlparser::ast::Ident::with_quote('"', name)))
    }

    fn knows_inputs(&self) -> bool {
        self.reader
            .top
            .entries
            .iter()
            .all(|entry| entry.outputs.is_complete)
    }

    /// Where an aggregate stands. Values that count once are grouped by.
    fn call(&mut self, function: &Function) -> Result<Call, Box<str>> {
        let pieces = self.reader.pieces;
        let (names, close) = self.place_of(function)?;
        let mut range = names.start..close;
        if function.filter.is_some() {
            if lower(pieces, close) != "filter" {
                return Err(UNCLEAR.into());
            }
            range.end = closing(pieces, close + 1).ok_or(UNCLEAR)? + 1;
        }
        self.check_apart(&range)?;
        let once = match is_distinct(function) {
            true => Some(self.once(function, names.end, close - 1, &range)?),
            false => None,
        };
        let name = last_name(function).to_owned();
        let count = match &*name {
            "avg" => 2,
            name if is_deviation(name) => 3,
            _ => 1,
        };
        Ok(Call {
            range,
            name_at: names.end - 1,
            name,
            columns: (0, count),
            is_again: false,
            once,
        })
    }

    /// What a shard computes has no subquery in it that is answered beforehand.
    fn check_apart(&self, range: &Range<usize>) -> Result<(), Box<str>> {
        match self.known.iter().any(|known| range.contains(&known.range.start)) {
            true => Err("a subquery within an aggregate or GROUP BY".into()),
            false => Ok(()),
        }
    }

    /// `open` and `close` are the parentheses around DISTINCT and the values; behind them is FILTER, if there is one.
    fn once(
        &mut self,
        function: &Function,
        open: usize,
        close: usize,
        range: &Range<usize>,
    ) -> Result<Once, Box<str>> {
        let pieces = self.reader.pieces;
        if lower(pieces, open + 1) != "distinct" {
            return Err(UNCLEAR.into());
        }
        let value = open + 2..close;
        let is_row = matches!(argument(function), Some(Some(Expr::Tuple(_))));
        let values = match is_row {
            true if pieces.text(value.start) == "(" => split(pieces, value.start + 1..value.end - 1),
            true => return Err(UNCLEAR.into()),
            false => vec![value],
        };
        // FILTER ( WHERE condition )
        let condition = (range.end > close + 1).then(|| close + 4..range.end - 1);
        Ok(Once {
            values: values.into_iter().map(|value| self.finer(value)).collect(),
            is_row,
            condition: condition.map(|condition| self.finer(condition)),
        })
    }

    /// The place of an expression among what is grouped by, where it is added if it is new.
    fn finer(&mut self, range: Range<usize>) -> usize {
        let mut by = self.groups.iter().chain(&self.fine);
        let found = by.position(|own| same_text(self.reader, own.clone(), range.clone()));
        found.unwrap_or_else(|| {
            self.fine.push(range);
            self.by() - 1
        })
    }

    /// How many expressions the shards group by.
    fn by(&self) -> usize {
        self.groups.len() + self.fine.len()
    }

    /// Gives each call its columns, behind those that are grouped by; the same call has the same.
    fn number_columns(&mut self) {
        self.columns = self.by();
        for place in 0..self.calls.len() {
            let (is_once, range) = (self.calls[place].once.is_some(), self.calls[place].range.clone());
            let mut before = 0..if is_once { 0 } else { place };
            let same = before.find(|&before| {
                let other = &self.calls[before];
                other.once.is_none() && same_text(self.reader, other.range.clone(), range.clone())
            });
            match same {
                Some(same) => {
                    (self.calls[place].columns, self.calls[place].is_again) =
                        (self.calls[same].columns, true);
                }
                None if is_once => {}
                None => {
                    self.calls[place].columns.0 = self.first + self.columns;
                    self.columns += self.calls[place].columns.1;
                }
            }
        }
    }

    fn shard_text(&self, found: &Clauses, is_plain: bool) -> Template {
        let mut text = Template::default();
        // DISTINCT of groups is for later.
        let head = if is_plain { found.items_at } else { found.head };
        text.pieces(found.range.start..head);
        let mut count = 0;
        for range in self.groups.iter().chain(&self.fine) {
            text.text(if count == 0 { "" } else { "," }).pieces(range.clone());
            text.text(format!("AS {}", column(self.first + count)));
            count += 1;
        }
        let by = count;
        for call in self
            .calls
            .iter()
            .filter(|call| !call.is_again && call.once.is_none())
        {
            let names = match &*call.name {
                "avg" => &["pg_catalog.sum", "pg_catalog.count"][..],
                name if is_deviation(name) => &["pg_catalog.count", "pg_catalog.sum", SQUARES][..],
                _ => &[""][..],
            };
            for name in names {
                text.text(if count == 0 { "" } else { "," });
                match *name {
                    "" => text.pieces(call.range.clone()),
                    SQUARES => self.squares(call, &mut text),
                    name => text.text(name).pieces(call.name_at + 1..call.range.end),
                };
                text.text(format!("AS {}", column(self.first + count)));
                count += 1;
            }
        }
        text.pieces(found.from..found.body_end);
        if by > 0 && !is_plain {
            let places: Vec<String> = (1..=by).map(|place| place.to_string()).collect();
            text.text(format!("GROUP BY {}", places.join(", ")));
        }
        text
    }

    /// The sum of the squares of an aggregate's argument.
    fn squares<'t>(&self, call: &Call, text: &'t mut Template) -> &'t mut Template {
        let open = call.name_at + 1;
        let close = closing(self.reader.pieces, open).unwrap_or(open);
        text.text(SQUARES)
            .pieces(open..close + 1)
            .text("::pg_catalog.numeric *")
            .pieces(open..close + 1)
            .text("::pg_catalog.numeric )")
            .pieces(close + 1..call.range.end)
    }

    fn last_text(
        &mut self,
        select: &Select,
        found: &Clauses,
        is_distinct: bool,
        is_plain: bool,
    ) -> Result<Template, Box<str>> {
        let mut text = Template::default();
        text.text(if is_distinct { "SELECT DISTINCT" } else { "SELECT" });
        let mut outputs = Vec::new();
        for (place, (item, range)) in select.projection.iter().zip(&found.items).enumerate() {
            let range = item_range(self.reader.pieces, item, range.clone());
            text.text(if place == 0 { "" } else { "," });
            text.append(self.rewritten(range)?);
            let name = output_name(item);
            match &name {
                Some(name) => text.text(format!("AS {}", quoted(name))),
                None if self.is_inner => return Err(NAMELESS.into()),
                None => &mut text,
            };
            outputs.push(name);
        }
        text.from(self.first..self.first + self.columns);
        if !self.groups.is_empty() && !is_plain {
            let columns: Vec<String> = (0..self.groups.len())
                .map(|place| column(self.first + place))
                .collect();
            text.text(format!("GROUP BY {}", columns.join(", ")));
        }
        let two = [("HAVING", &found.having), ("WINDOW", &found.window)];
        behind_words(two, &mut text, |range| self.rewritten(range))?;
        for (place, range) in found.order.iter().enumerate() {
            text.text(if place == 0 { "ORDER BY" } else { "," });
            let expr = direction_off(self.reader.pieces, range.clone());
            let key = self.order_key(expr.clone(), select, found, &outputs, is_distinct)?;
            text.append(key).pieces(expr.end..range.end);
        }
        let two = [("LIMIT", &found.limit), ("OFFSET", &found.offset)];
        behind_words(two, &mut text, |range| self.rewritten(range))?;
        Ok(text)
    }

    /// A key of ORDER BY: an output's place or name, else an expression.
    fn order_key(
        &mut self,
        range: Range<usize>,
        select: &Select,
        found: &Clauses,
        outputs: &[Option<String>],
        is_distinct: bool,
    ) -> Result<Template, Box<str>> {
        let pieces = self.reader.pieces;
        let mut text = Template::default();
        if range.len() == 1 {
            match pieces.all[range.start].2 {
                Kind::Literal(_) => {
                    text.pieces(range);
                    return Ok(text);
                }
                Kind::Word | Kind::Quoted => {
                    let name = name_of(pieces, range.start);
                    let found: Vec<usize> = (0..outputs.len())
                        .filter(|&place| outputs[place].as_ref() == Some(&name))
                        .collect();
                    match found[..] {
                        [place] => {
                            text.text((place + 1).to_string());
                            return Ok(text);
                        }
                        [] if outputs.contains(&None) => return Err(NAMELESS.into()),
                        [] => {}
                        _ => return Err("ORDER BY a name two columns have".into()),
                    }
                }
                Kind::Parameter | Kind::Fixed | Kind::Mark | Kind::Operator => {}
            }
        }
        if is_distinct {
            for (place, item) in select.projection.iter().enumerate() {
                let item = item_range(pieces, item, found.items[place].clone());
                if same_text(self.reader, item, range.clone()) {
                    text.text((place + 1).to_string());
                    return Ok(text);
                }
            }
            return Err("DISTINCT sorted by what is not selected".into());
        }
        self.rewritten(range)
    }

    /// The last step of an aggregate over its partial results.
    pub(super) fn total(&self, call: &Call, text: &mut Template) {
        if let Some(once) = &call.once {
            let columns: Vec<String> = once
                .values
                .iter()
                .map(|place| column(self.first + place))
                .collect();
            let columns = columns.join(", ");
            text.pieces(call.range.start..call.name_at + 1);
            text.text(match once.is_row {
                true => format!("(DISTINCT ({columns}))"),
                false => format!("(DISTINCT {columns})"),
            });
            if let Some(condition) = once.condition {
                text.text(format!("FILTER (WHERE {})", column(self.first + condition)));
            }
            return;
        }
        let (first, second) = (column(call.columns.0), column(call.columns.0 + 1));
        match &*call.name {
            name if is_deviation(name) => text.text(deviation::total(name, call.columns.0)),
            // A shard without rows has no groups to count, if values that count once make some.
            "count" if self.groups.is_empty() && !self.fine.is_empty() => {
                text.text(format!("COALESCE(pg_catalog.sum({first})::pg_catalog.int8, 0)"))
            }
            "count" => text.text(format!("(pg_catalog.sum({first})::pg_catalog.int8)")),
            "every" => text.text(format!("pg_catalog.bool_and({first})")),
            "sum" => text
                .text(format!("(pg_catalog.sum({first})"))
                .cast(call.columns.0)
                .text(")"),
            "avg" => text.text(format!("(pg_catalog.sum({first}) / pg_catalog.sum({second}))")),
            name => text.text(format!("pg_catalog.{name}({first})")),
        };
    }

    /// The column of a group.
    pub(super) fn group_column(&self, group: usize) -> String {
        column(self.first + group)
    }
}

/// What PostgreSQL calls an output is not known here, and it matters.
pub const NAMELESS: &str = "an output expression that needs a name: give it one with AS";
const SQUARES: &str = "pg_catalog.sum(";
