//! Queries within a query: where each of them can be put together, and what is around them reads no sharded table else, they become
//! tables of one statement that is the client's own. Subqueries beside aggregates become values of the last text.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{Expr, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins, Visit, Visitor};

use super::clauses::closing;
use super::finish::{Finish, Part};
use super::groups::Known;
use super::names::{output_name, quoted};
use super::template::{Template, column};
use super::uses::is_free_of_order;
use super::{Place, part};
use crate::keys::query::is_limited;
use crate::keys::read::Reader;
use crate::keys::scope::{Env, Outputs, names};
use crate::keys::spread::{Node, Spread, spread};
use crate::sql::{Kind, Pieces, address, piece};

/// Plans the queries within it; `None`: that is not enough.
pub fn inner(reader: &mut Reader<'_>, query: &Query, range: Range<usize>) -> Option<Finish> {
    let ctes = query.with.as_ref().map_or(&[][..], |with| &with.cte_tables);
    let is_strange = query.with.as_ref().is_some_and(|with| with.recursive)
        || ctes.iter().any(|cte| !reads(&cte.query.body))
        || query.visit(&mut Locks).is_break();
    if is_strange || reader.is_collated(query) {
        return None;
    }
    around(reader, query, range.clone()).or_else(|| beside(reader, query, range))
}

fn reads(body: &SetExpr) -> bool {
    matches!(body, SetExpr::Select(_) | SetExpr::SetOperation { .. })
}

/// A query whose sharded tables are all in queries within it.
fn around(reader: &mut Reader<'_>, query: &Query, range: Range<usize>) -> Option<Finish> {
    let mut found = Search::new(reader, query);
    found.query(query, found.ctes.len())?;
    let Search { parts, mut known, .. } = found;
    if parts.is_empty() {
        return None;
    }
    let (rest, _, node) = rest(reader, query, &Env::EMPTY, &known)?;
    let addresses: Vec<usize> = known.iter().map(|known| known.query).collect();
    if !matches!(spread(&node, &rest.classes), Spread::Same) || !is_free_of_order(query, &addresses) {
        return None;
    }
    known.sort_by_key(|known| known.range.start);
    let mut text = Template::default();
    let mut at = range.start;
    for known in known {
        copy(reader.pieces, at..known.range.start, &mut text)?;
        text.append(known.last);
        at = known.range.end;
    }
    copy(reader.pieces, at..range.end, &mut text)?;
    Some(Finish::around(parts, text))
}

/// A query whose tables are at their keys, but for subqueries that are values.
fn beside(reader: &mut Reader<'_>, query: &Query, range: Range<usize>) -> Option<Finish> {
    let mut found = Search::new(reader, query);
    let visible = found.ctes.len();
    let last = found.beside(query, range, visible, false).ok()?;
    Some(Finish::around(found.parts, last))
}

/// Reads a query again, now that these are known.
fn rest<'c>(
    reader: &Reader<'c>,
    query: &Query,
    env: &Env<'_>,
    known: &[Known],
) -> Option<(Reader<'c>, Outputs, Node)> {
    let mut rest = Reader::new(reader.context, reader.pieces);
    let answered = known.iter().map(|known| (known.query, known.outputs.clone()));
    rest.answered = answered.collect();
    let (outputs, node) = rest.query(query, env).ok()?;
    (!rest.has_local && rest.homes.is_empty()).then_some((rest, outputs, node))
}

/// Pieces as they are, but for parameters.
fn copy(pieces: &Pieces<'_>, range: Range<usize>, text: &mut Template) -> Option<()> {
    let mut at = range.start;
    for place in range.clone() {
        if pieces.all[place].2 == Kind::Parameter {
            text.pieces(at..place)
                .parameter(pieces.text(place)[1..].parse().ok()?);
            at = place + 1;
        }
    }
    text.pieces(at..range.end);
    Some(())
}

/// Finds the queries within one, those that can be put together as a whole first.
struct Search<'r, 'c, 'q> {
    reader: &'r mut Reader<'c>,
    ctes: &'q [sqlparser::ast::Cte],
    parts: Vec<Part>,
    known: Vec<Known>,
    /// Those of WITH that are used.
    used: HashSet<usize>,
}

impl<'r, 'c, 'q> Search<'r, 'c, 'q> {
    fn new(reader: &'r mut Reader<'c>, query: &'q Query) -> Self {
        Search {
            reader,
            ctes: query.with.as_ref().map_or(&[][..], |with| &with.cte_tables),
            parts: Vec::new(),
            known: Vec::new(),
            used: HashSet::new(),
        }
    }

    /// What a query reads. So many queries of WITH can be seen.
    fn query(&mut self, query: &Query, visible: usize) -> Option<()> {
        self.set(&query.body, visible)?;
        self.values(&query.order_by, visible);
        Some(())
    }

    fn set(&mut self, body: &SetExpr, visible: usize) -> Option<()> {
        match body {
            SetExpr::Select(select) => self.select(select, visible),
            SetExpr::SetOperation { left, right, .. } => {
                self.set(left, visible)?;
                self.set(right, visible)
            }
            SetExpr::Query(query) => self.table(query, visible),
            _ => Some(()),
        }
    }

    fn select(&mut self, select: &Select, visible: usize) -> Option<()> {
        for tree in &select.from {
            self.from(tree, visible)?;
        }
        self.values(&select.projection, visible);
        self.values(&select.selection, visible);
        self.values(&select.having, visible);
        Some(())
    }

    fn from(&mut self, tree: &TableWithJoins, visible: usize) -> Option<()> {
        self.factor(&tree.relation, visible)?;
        for join in &tree.joins {
            self.factor(&join.relation, visible)?;
        }
        Some(())
    }

    fn factor(&mut self, factor: &TableFactor, visible: usize) -> Option<()> {
        match factor {
            TableFactor::Derived {
                lateral: false,
                subquery,
                ..
            } => self.table(subquery, visible),
            TableFactor::Table { name, args: None, .. } => {
                let own = match (&name.0[..], names(name)) {
                    ([_], Some((_, name))) => &name.value,
                    _ => return Some(()),
                };
                let ctes = self.ctes;
                match ctes[..visible]
                    .iter()
                    .rposition(|cte| cte.alias.name.value == *own)
                {
                    Some(place) if self.used.insert(place) => self.table(&ctes[place].query, place),
                    Some(_) | None => Some(()),
                }
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.from(table_with_joins, visible),
            _ => Some(()),
        }
    }

    /// A query that is read as a table: it is put together, or those in it are.
    fn table(&mut self, query: &Query, visible: usize) -> Option<()> {
        let address = address(query);
        match self.plan(query, address, visible, false) {
            Ok(()) => Some(()),
            // What can be seen in it would have to be known too.
            Err(()) if query.with.is_some() => None,
            Err(()) => self.query(query, visible),
        }
    }

    /// Subqueries that are values. One that can't be known beforehand stays where it is.
    fn values<T: Visit>(&mut self, within: &T, visible: usize) {
        let mut found = Subqueries::default();
        let _: ControlFlow<()> = within.visit(&mut found);
        for (address, query) in &found.found {
            let _: Result<(), ()> = self.plan(query, *address, visible, true);
        }
    }

    /// Plans a query, if it reads sharded tables.
    fn plan(&mut self, query: &Query, address: usize, visible: usize, is_value: bool) -> Result<(), ()> {
        let mut own = Reader::new(self.reader.context, self.reader.pieces);
        let env = self.env(visible);
        let (outputs, node) = own.query(query, &env).map_err(|_| ())?;
        if own.bounds.is_empty() && !own.has_local && own.homes.is_empty() {
            return Ok(());
        }
        if own.has_local || !own.homes.is_empty() || is_value && !is_apart(query, &own) {
            return Err(());
        }
        let range = range(self.reader.pieces, query).ok_or(())?;
        let place = self.place(&[], true);
        let is_rows = matches!(spread(&node, &own.classes), Spread::Parts(_)) && !is_limited(query);
        let part = match is_rows && query.order_by.is_none() {
            true => all_rows(query, &outputs, range.clone(), place).ok_or(()),
            false => part(&mut own, query, range.clone(), &node, WITHIN, place)
                .unwrap_or(Err(WITHIN.into()))
                .map_err(|_| ()),
        };
        let last = match part {
            Ok(part) => self.add(query, part, &own, visible)?,
            Err(()) if is_value => return Err(()),
            Err(()) => self.beside(query, range.clone(), visible, true)?,
        };
        let columns = outputs.columns.into_iter().map(|(name, _)| (name, None));
        self.known.push(Known {
            query: address,
            range,
            outputs: Outputs {
                columns: columns.collect(),
                is_complete: outputs.is_complete,
            },
            last,
        });
        Ok(())
    }

    /// Plans a query whose tables are at their keys, once the subqueries that are values in it are known.
    fn beside(
        &mut self,
        query: &Query,
        range: Range<usize>,
        visible: usize,
        is_inner: bool,
    ) -> Result<Template, ()> {
        let SetExpr::Select(select) = &*query.body else {
            return Err(());
        };
        if is_inner && query.with.is_some() {
            return Err(());
        }
        let before = (self.parts.len(), self.known.len());
        let done = self.with_values(query, select, range, visible, is_inner);
        // What was found for it alone belongs to its own text, or to none.
        let known = self.known.split_off(before.1);
        if done.is_err() || known.is_empty() {
            self.parts.truncate(before.0);
            return Err(());
        }
        done
    }

    fn with_values(
        &mut self,
        query: &Query,
        select: &Select,
        range: Range<usize>,
        visible: usize,
        is_inner: bool,
    ) -> Result<Template, ()> {
        let first = self.known.len();
        self.values(&select.projection, visible);
        self.values(&select.selection, visible);
        self.values(&select.having, visible);
        self.values(&query.order_by, visible);
        let env = match is_inner {
            true => self.env(visible),
            false => Env::EMPTY,
        };
        let (mut own, _, node) = rest(self.reader, query, &env, &self.known[first..]).ok_or(())?;
        let place = self.place(&self.known[first..], is_inner);
        let part = part(&mut own, query, range, &node, WITHIN, place)
            .ok_or(())?
            .map_err(|_| ())?;
        self.add(query, part, &own, if is_inner { visible } else { 0 })
    }

    /// Adds a part; its text over the shards' columns.
    fn add(
        &mut self,
        query: &Query,
        mut part: Part,
        own: &Reader<'_>,
        visible: usize,
    ) -> Result<Template, ()> {
        if let Some(mut with) = self.with(query, own, visible)? {
            with.append(part.shard);
            part.shard = with;
        }
        self.reader.note(&own.looked_at);
        let last = part.last.clone();
        self.parts.push(part);
        Ok(last)
    }

    fn env(&self, visible: usize) -> Env<'q> {
        Env {
            ctes: self.ctes,
            visible,
            ..Env::EMPTY
        }
    }

    fn place<'k>(&self, known: &'k [Known], is_inner: bool) -> Place<'k> {
        Place {
            first: self.parts.last().map_or(0, |part| part.columns.end),
            known,
            is_inner,
        }
    }

    /// WITH as far as a query uses it.
    fn with(&self, query: &Query, own: &Reader<'_>, visible: usize) -> Result<Option<Template>, ()> {
        let Some(last) = self.ctes[..visible]
            .iter()
            .rposition(|cte| own.has_read(&cte.query))
        else {
            return Ok(None);
        };
        let first = piece(self.ctes[0].alias.name.span).ok_or(())?;
        let end = piece(self.ctes[last].closing_paren_token.0.span).ok_or(())?;
        if query.with.is_some() || self.reader.pieces.text(end) != ")" {
            return Err(());
        }
        let mut text = Template::default();
        text.text("WITH").pieces(first..end + 1);
        Ok(Some(text))
    }
}

/// Why all rows of a query are needed.
const WITHIN: &str = "a query over the rows of all shards within another";

/// Rows as they are.
fn all_rows(query: &Query, outputs: &Outputs, range: Range<usize>, place: Place<'_>) -> Option<Part> {
    if !outputs.is_complete || outputs.columns.is_empty() {
        return None;
    }
    let items: &[SelectItem] = match &*query.body {
        SetExpr::Select(select) if select.projection.len() == outputs.columns.len() => &select.projection,
        _ => &[],
    };
    let columns = place.first..place.first + outputs.columns.len();
    let mut last = Template::default();
    let mut own = Vec::new();
    for (at, (name, _)) in outputs.columns.iter().enumerate() {
        let name = match &**name {
            "" => output_name(items.get(at)?)?,
            name => name.to_owned(),
        };
        let word = if at == 0 { "SELECT" } else { "," };
        own.push(column(place.first + at));
        last.text(format!("{word} {} AS {}", own[at], quoted(&name)));
    }
    last.from(columns.clone());
    let mut shard = Template::default();
    shard
        .text("SELECT * FROM (")
        .pieces(range)
        .text(format!(") AS pgshunt_rows ({})", own.join(", ")));
    Some(Part {
        shard,
        columns,
        last,
        ships: Some(WITHIN.into()),
        not_real: Vec::new(),
        exact: Vec::new(),
    })
}

/// The pieces of a query in parentheses, without these.
fn range(pieces: &Pieces<'_>, query: &Query) -> Option<Range<usize>> {
    let mut body = &*query.body;
    let start = match &query.with {
        Some(with) => piece(with.with_token.0.span)?,
        None => loop {
            match body {
                SetExpr::Select(select) => break piece(select.select_token.0.span)?,
                SetExpr::SetOperation { left, .. } => body = left,
                _ => return None,
            }
        },
    };
    let open = start.checked_sub(1)?;
    match pieces.text(open) {
        "(" => Some(start..closing(pieces, open)?),
        _ => None,
    }
}

/// Is a subquery certain to use nothing of what is around it?
fn is_apart(query: &Query, own: &Reader<'_>) -> bool {
    let mut within = Subqueries::default();
    let _: ControlFlow<()> = query.body.visit(&mut within);
    let env = Env {
        level: &own.top,
        ..Env::EMPTY
    };
    let strange = sqlparser::ast::visit_expressions(query, |expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) if !env.is_own(expr) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    within.found.is_empty() && query.with.is_none() && strange.is_continue()
}

/// The outermost queries in something, and where they are in the tree.
#[derive(Default)]
struct Subqueries {
    found: Vec<(usize, Query)>,
    depth: usize,
}

impl Visitor for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 0 {
            self.found.push((address(query), query.clone()));
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Breaks at FOR UPDATE and its kin.
struct Locks;

impl Visitor for Locks {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        match query.locks.is_empty() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }
}
