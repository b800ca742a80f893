//! Aggregates, GROUP BY, HAVING and DISTINCT over all shards. Each shard gives its groups with partial results; one statement
//! over these, the arrays of all shards' columns being its parameters, makes the answer. Sums, quotients, formats and the
//! order of groups are PostgreSQL's own, nothing is computed here.

use std::ops::Range;

use sqlparser::ast::{Distinct, Expr, Function, Query, Select, SelectItem, SetExpr};

use super::aggregates::{Aggregates, last_name};
use super::clauses::{Clauses, clauses, lower};
use super::deviation::{self, is_deviation};
use super::merge::{UNCLEAR, direction_off, is_wildcard, item_range, order_of, same_text};
use super::template::Template;
use crate::keys::functions;
use crate::keys::read::Reader;
use crate::keys::scope::{Env, strip};
use crate::sql::{Kind, Pieces};

/// What to send, and how to make the answer of what comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The text for each shard. Uses the parameters of the statement as they are, though maybe not all of them: their types must
    /// be given.
    pub shard: Template,
    /// How many columns it gives.
    pub columns: usize,
    /// The parameters of the statement that the last text uses, in its order.
    pub parameters: Vec<u16>,
    /// Columns that may not be `real`: an avg of them would be rounded too early.
    not_real: Vec<usize>,
    /// Columns that must be `bigint` or `numeric`.
    exact: Vec<usize>,
    last: Template,
}

/// Why partial results of such types can't be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongType {
    /// Arrays of arrays are not told apart.
    Array,
    /// avg(real): it adds up in double precision, sum(real) does not.
    Real,
    /// stddev() and variance() of `real` and `double precision`.
    Float,
}

impl Finish {
    /// The statement that makes the answer, given the SQL names of the types of the shards' columns (as `format_type` writes
    /// them). Its first [`Finish::columns`] parameters are arrays of these types: each column of all shards' rows. Behind
    /// them come those of [`Finish::parameters`].
    pub fn last(&self, pieces: &Pieces<'_>, types: &[&str]) -> Result<String, WrongType> {
        if types.iter().any(|name| name.ends_with(']')) {
            return Err(WrongType::Array);
        }
        if self
            .not_real
            .iter()
            .any(|&column| types.get(column).is_some_and(|name| *name == "real"))
        {
            return Err(WrongType::Real);
        }
        let is_exact = |column: &usize| matches!(types.get(*column), Some(&"bigint" | &"numeric") | None);
        if !self.exact.iter().all(is_exact) {
            return Err(WrongType::Float);
        }
        let arrays: Vec<String> = types
            .iter()
            .enumerate()
            .map(|(place, name)| format!("${}::{name}[]", place + 1))
            .collect();
        let columns: Vec<String> = (0..self.columns).map(column).collect();
        let text = self.last.render_with(pieces, types, self.columns);
        let from = format!(
            "FROM unnest({}) AS pgshunt_partial ({})",
            arrays.join(", "),
            columns.join(", ")
        );
        Ok(text.replacen(FROM, &from, 1))
    }
}

/// Where FROM goes in the last text: no text of a client has a NUL.
const FROM: &str = "\0";

pub(super) fn column(place: usize) -> String {
    format!("pgshunt_{place}")
}

/// An aggregate in the text.
struct Call {
    range: Range<usize>,
    name_at: usize,
    name: String,
    /// Its first column of partial results, and how many it has.
    columns: (usize, usize),
    /// Is it the same as one before?
    is_again: bool,
}

struct Planner<'r, 'c> {
    reader: &'r mut Reader<'c>,
    calls: Vec<Call>,
    groups: Vec<Range<usize>>,
    parameters: Vec<u16>,
}

/// Plans it.
pub fn finish(reader: &mut Reader<'_>, query: &Query, range: Range<usize>) -> Result<Finish, Box<str>> {
    let SetExpr::Select(select) = &*query.body else {
        return Err("an aggregate over UNION".into());
    };
    let found = clauses(reader.pieces, range).ok_or(UNCLEAR)?;
    let order = order_of(query).ok_or("ORDER BY ALL")?;
    let by = match &select.group_by {
        sqlparser::ast::GroupByExpr::Expressions(list, _) => list.len(),
        sqlparser::ast::GroupByExpr::All(_) => return Err("GROUP BY ALL".into()),
    };
    if found.is_union
        || order.len() != found.order.len()
        || select.projection.len() != found.items.len()
        || by != found.groups.len()
        || select.having.is_some() != found.having.is_some()
    {
        return Err(UNCLEAR.into());
    }
    if found.has_more || found.has_window {
        return Err("FETCH, FOR or WINDOW with an aggregate".into());
    }
    if select.projection.iter().any(is_wildcard) {
        return Err("* with an aggregate or DISTINCT".into());
    }
    let mut planner = Planner {
        reader,
        calls: Vec::new(),
        groups: Vec::new(),
        parameters: Vec::new(),
    };
    planner.plan(query, select, &found)
}

impl Planner<'_, '_> {
    fn plan(&mut self, query: &Query, select: &Select, found: &Clauses) -> Result<Finish, Box<str>> {
        let mut finder = Aggregates::default();
        finder.find(&select.projection)?;
        finder.find(&select.having)?;
        finder.find(&query.order_by)?;
        let is_distinct = matches!(select.distinct, Some(Distinct::Distinct));
        let is_plain = finder.found.is_empty() && found.groups.is_empty() && select.having.is_none();
        match (is_distinct, is_plain) {
            (true, false) => return Err("DISTINCT with an aggregate or GROUP BY".into()),
            (true, true) => {
                for (item, range) in select.projection.iter().zip(&found.items) {
                    self.groups
                        .push(item_range(self.reader.pieces, item, range.clone()));
                }
            }
            (false, _) => {
                for range in &found.groups {
                    let group = self.group(range.clone(), select, found)?;
                    self.groups.push(group);
                }
            }
        }
        let sorts = query.order_by.is_some() || !self.groups.is_empty() || select.having.is_some();
        let compares = finder
            .found
            .iter()
            .any(|call| matches!(last_name(call), "min" | "max"));
        if self.reader.has_collation && (sorts || compares) {
            return Err("groups or extremes under a collation that may not be the database's".into());
        }
        let mut columns = self.groups.len();
        for call in &finder.found {
            let mut call = self.call(call, columns)?;
            for before in 0..self.calls.len() {
                if same_text(self.reader, self.calls[before].range.clone(), call.range.clone()) {
                    (call.columns, call.is_again) = (self.calls[before].columns, true);
                    break;
                }
            }
            if !call.is_again {
                columns += call.columns.1;
            }
            self.calls.push(call);
        }
        let shard = self.shard_text(found, is_distinct && is_plain);
        let last = self.last_text(select, found, is_distinct && is_plain)?;
        let not_real = self
            .calls
            .iter()
            .filter(|call| call.name == "avg")
            .map(|call| call.columns.0)
            .collect();
        let exact = self.calls.iter().filter(|call| is_deviation(&call.name));
        let exact = exact.map(|call| call.columns.0 + 1).collect();
        Ok(Finish {
            shard,
            columns,
            parameters: std::mem::take(&mut self.parameters),
            not_real,
            exact,
            last,
        })
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

    /// Where an aggregate stands, if it is one of those that are put together.
    fn call(&self, function: &Function, column: usize) -> Result<Call, Box<str>> {
        let pieces = self.reader.pieces;
        let name = last_name(function).to_owned();
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
        let mut end = closing(pieces, name_at + 1).ok_or(UNCLEAR)? + 1;
        if function.filter.is_some() {
            if lower(pieces, end) != "filter" {
                return Err(UNCLEAR.into());
            }
            end = closing(pieces, end + 1).ok_or(UNCLEAR)? + 1;
        }
        let count = match &*name {
            "avg" => 2,
            name if is_deviation(name) => 3,
            _ => 1,
        };
        Ok(Call {
            range: first..end,
            name_at,
            name,
            columns: (column, count),
            is_again: false,
        })
    }

    fn shard_text(&self, found: &Clauses, is_distinct: bool) -> Template {
        let mut text = Template::default();
        text.pieces(found.range.start..found.items_at);
        let mut count = 0;
        for range in &self.groups {
            text.text(if count == 0 { "" } else { "," }).pieces(range.clone());
            text.text(format!("AS {}", column(count)));
            count += 1;
        }
        let groups = count;
        for call in self.calls.iter().filter(|call| !call.is_again) {
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
                text.text(format!("AS {}", column(count)));
                count += 1;
            }
        }
        text.pieces(found.from..found.body_end);
        if groups > 0 && !is_distinct {
            let places: Vec<String> = (1..=groups).map(|place| place.to_string()).collect();
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
    ) -> Result<Template, Box<str>> {
        let mut text = Template::default();
        text.text(if is_distinct { "SELECT DISTINCT" } else { "SELECT" });
        let mut outputs = Vec::new();
        for (place, (item, range)) in select.projection.iter().zip(&found.items).enumerate() {
            let range = item_range(self.reader.pieces, item, range.clone());
            let name =
                output_name(item).ok_or("an output expression that needs a name: give it one with AS")?;
            text.text(if place == 0 { "" } else { "," });
            text.append(self.rewritten(range)?);
            text.text(format!("AS \"{}\"", name.replace('"', "\"\"")));
            outputs.push(name);
        }
        text.text(FROM);
        if !self.groups.is_empty() && !is_distinct {
            let columns: Vec<String> = (0..self.groups.len()).map(column).collect();
            text.text(format!("GROUP BY {}", columns.join(", ")));
        }
        if let Some(having) = &found.having {
            let having = self.rewritten(having.clone())?;
            text.text("HAVING").append(having);
        }
        for (place, range) in found.order.iter().enumerate() {
            text.text(if place == 0 { "ORDER BY" } else { "," });
            let expr = direction_off(self.reader.pieces, range.clone());
            let key = self.order_key(expr.clone(), select, found, &outputs, is_distinct)?;
            text.append(key).pieces(expr.end..range.end);
        }
        for (word, range) in [("LIMIT", &found.limit), ("OFFSET", &found.offset)] {
            if let Some(range) = range {
                let count = self.rewritten(range.clone())?;
                text.text(word).append(count);
            }
        }
        Ok(text)
    }

    /// A key of ORDER BY: an output's place or name, else an expression.
    fn order_key(
        &mut self,
        range: Range<usize>,
        select: &Select,
        found: &Clauses,
        outputs: &[String],
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
                        .filter(|&place| outputs[place] == name)
                        .collect();
                    match found[..] {
                        [place] => {
                            text.text((place + 1).to_string());
                            return Ok(text);
                        }
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

    /// An expression over groups and aggregates as one over the columns of partial results.
    fn rewritten(&mut self, range: Range<usize>) -> Result<Template, Box<str>> {
        let pieces = self.reader.pieces;
        let mut text = Template::default();
        let mut place = range.start;
        while place < range.end {
            if let Some(call) = self.calls.iter().find(|call| call.range.start == place) {
                total(call, &mut text);
                place = call.range.end;
                continue;
            }
            if let Some((group, len)) = self.group_at(place, &range) {
                text.text(column(group));
                place += len;
                continue;
            }
            match pieces.all[place].2 {
                Kind::Word if self.is_harmless(place) => {
                    text.pieces(place..place + 1);
                }
                Kind::Parameter => {
                    let number = pieces.text(place)[1..].parse().map_err(|_| UNCLEAR)?;
                    let known = self.parameters.iter().position(|&own| own == number);
                    let at = known.unwrap_or_else(|| {
                        self.parameters.push(number);
                        self.parameters.len() - 1
                    });
                    text.parameter(at);
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

    /// Is a word part of the syntax, a type behind a cast, or a builtin function that is called?
    fn is_harmless(&self, place: usize) -> bool {
        let pieces = self.reader.pieces;
        let word = lower(pieces, place);
        let is_type = place > 0 && pieces.text(place - 1) == "::" || TYPE_PARTS.contains(&&*word);
        let is_call = pieces.text(place + 1) == "(" && {
            let name = sqlparser::ast::ObjectName::from(vec![sqlparser::ast::Ident::new(word.clone())]);
            functions::kind(&name) == functions::Kind::Builtin
        };
        is_type || is_call || SYNTAX.split_ascii_whitespace().any(|known| known == word)
    }
}

/// What an expression is left with that is neither a group nor an aggregate.
const LEFT: &str = "an expression that is more than aggregates and what is grouped by";
/// Words of types that have several.
const TYPE_PARTS: [&str; 2] = ["precision", "varying"];
const SYNTAX: &str = "and or not is null true false case when then else end between in like ilike distinct from asc desc nulls first last";

const SQUARES: &str = "pg_catalog.sum(";

/// The last step of an aggregate over its partial results.
fn total(call: &Call, text: &mut Template) {
    let second = (call.name == "avg").then(|| column(call.columns.0 + 1));
    let first = column(call.columns.0);
    if is_deviation(&call.name) {
        text.text(deviation::total(&call.name, call.columns.0));
        return;
    }
    match (&*call.name, second) {
        ("count", _) => {
            text.text(format!("(pg_catalog.sum({first})::pg_catalog.int8)"));
        }
        ("every", _) => {
            text.text(format!("pg_catalog.bool_and({first})"));
        }
        ("sum", _) => {
            text.text(format!("(pg_catalog.sum({first})"))
                .cast(call.columns.0)
                .text(")");
        }
        (_, Some(second)) => {
            text.text(format!("(pg_catalog.sum({first}) / pg_catalog.sum({second}))"));
        }
        (name, None) => {
            text.text(format!("pg_catalog.{name}({first})"));
        }
    }
}

/// The name PostgreSQL gives an output; `None` where its rule is not known here.
fn output_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(expr) => expr_name(expr),
        _ => None,
    }
}

fn expr_name(expr: &Expr) -> Option<String> {
    match strip(expr) {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.clone()),
        Expr::Function(function) => Some(last_name(function).to_owned()),
        Expr::Cast { expr, .. } if matches!(strip(expr), Expr::Function(_) | Expr::Identifier(_)) => {
            expr_name(expr)
        }
        Expr::BinaryOp { .. } | Expr::UnaryOp { .. } | Expr::Value(_) => Some("?column?".to_owned()),
        _ => None,
    }
}

fn name_of(pieces: &Pieces<'_>, place: usize) -> String {
    match pieces.all[place].2 {
        Kind::Quoted => pieces.text(place).trim_matches('"').replace("\"\"", "\""),
        _ => lower(pieces, place),
    }
}

/// The piece that closes the parenthesis at `open`.
fn closing(pieces: &Pieces<'_>, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for place in open..pieces.all.len() {
        match pieces.text(place) {
            "(" => depth += 1,
            ")" => depth = depth.checked_sub(1)?,
            _ if depth == 0 => return None,
            _ => {}
        }
        if depth == 0 {
            return Some(place);
        }
    }
    None
}
