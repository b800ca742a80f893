//! Reads queries: WITH, UNION, SELECT and what is in FROM.

use sqlparser::ast::{
    Cte, Distinct, Expr, Fetch, GroupByExpr, LimitClause, NamedWindowDefinition, NamedWindowExpr, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, Values,
};

use super::classes::Class;
use super::read::{Calls, Over, Reader};
use super::reason::Reason;
use super::scope::{Env, Level, NOTHING, Outputs, names, strip};
use super::spread::{LevelNode, Node, Side};
use crate::sql::address;

/// What a query gives and how it spreads.
pub type Read = Result<(Outputs, Node), Reason>;

/// An aggregate in a subquery that runs over the rows around it.
const OF_OUTER: &str = "an aggregate of the query around";
/// What needs all rows at once.
pub const SETS: &str = "GROUPING SETS, ROLLUP or CUBE";
/// So does this.
pub const ON: &str = "DISTINCT ON";
/// How deep queries may be nested, uses of WITH queries included.
const DEPTH_MAX: usize = 64;

impl Reader<'_> {
    /// Reads a query that sees `outer`.
    pub fn query(&mut self, query: &Query, outer: &Env<'_>) -> Read {
        self.enter(query)?;
        if let Some(outputs) = self.answered.get(&address(query)) {
            return Ok((outputs.clone(), Node::Same));
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Reason::Construct("a query nested so deep"));
        }
        let read = self.query_within(query, outer);
        self.depth -= 1;
        read
    }

    fn query_within(&mut self, query: &Query, outer: &Env<'_>) -> Read {
        let is_strange = query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if is_strange {
            return Err(Reason::Construct("a query of another database"));
        }
        let ctes = query.with.as_ref().map_or(&[][..], |with| &with.cte_tables);
        let is_recursive = query.with.as_ref().is_some_and(|with| with.recursive);
        let mut done: Vec<Option<(Outputs, Node)>> = Vec::new();
        for (place, cte) in ctes.iter().enumerate() {
            let env = Env {
                outer: Some(outer),
                ctes,
                visible: place,
                done: &done,
                is_recursive,
                ..Env::EMPTY
            };
            let read = match is_write(&cte.query.body) {
                true => Some(self.writing_cte(cte, &env)?),
                false => None,
            };
            done.push(read);
        }
        let env = Env {
            outer: Some(outer),
            level: &NOTHING,
            ctes,
            visible: ctes.len(),
            done: &done,
            is_recursive,
            recursion: None,
        };
        let (outputs, node) = self.body(query, &env)?;
        for (place, cte) in ctes.iter().enumerate() {
            if !self.has_read(&cte.query) {
                self.cte(&env, place)?;
            }
        }
        let node = match done.iter().any(Option::is_some) {
            true => Node::Never("WITH that writes"),
            false => node,
        };
        Ok((outputs, node))
    }

    /// The body of a query, its ORDER BY and its LIMIT.
    fn body(&mut self, query: &Query, env: &Env<'_>) -> Read {
        let mut tail = Vec::new();
        self.subqueries(&query.order_by, env, &mut tail, &[])?;
        self.subqueries(&query.limit_clause, env, &mut tail, &[])?;
        self.subqueries(&query.fetch, env, &mut tail, &[])?;
        let (outputs, node) = match &*query.body {
            SetExpr::Select(select) => self.select(select, env, Some(query))?,
            other => self.set_expr(other, env)?,
        };
        let node = match tail.is_empty() {
            true => node,
            false => Node::Never("a subquery in ORDER BY or LIMIT"),
        };
        match is_limited(query) {
            true => Ok((
                self.fresh(outputs),
                Node::Whole(Box::new(node), "LIMIT or OFFSET in a subquery"),
            )),
            false => Ok((outputs, node)),
        }
    }

    pub fn set_expr(&mut self, body: &SetExpr, env: &Env<'_>) -> Read {
        match body {
            SetExpr::Select(select) => self.select(select, env, None),
            SetExpr::Query(query) => self.query(query, env),
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => {
                self.step()?;
                let left = self.set_expr(left, env)?;
                let right = self.set_expr(right, env)?;
                self.union(*op, *set_quantifier, left, right)
            }
            SetExpr::Values(values) => self.values(values, env),
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => {
                let outputs = self.write(statement, env)?.0;
                Ok((self.fresh(outputs), Node::Never("WITH that writes")))
            }
            SetExpr::Table(_) => Err(Reason::Construct("TABLE as a query")),
        }
    }

    fn union(
        &mut self,
        op: SetOperator,
        quantifier: SetQuantifier,
        left: (Outputs, Node),
        right: (Outputs, Node),
    ) -> Read {
        let keeps_all = match (op, quantifier) {
            (SetOperator::Union, SetQuantifier::All) => true,
            (
                SetOperator::Union | SetOperator::Intersect | SetOperator::Except,
                SetQuantifier::None | SetQuantifier::Distinct,
            )
            | (SetOperator::Intersect | SetOperator::Except, SetQuantifier::All) => false,
            (SetOperator::Minus, _)
            | (_, SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName) => {
                return Err(Reason::Construct("a set operation of another database"));
            }
        };
        let mut outputs = Outputs {
            columns: Vec::new(),
            is_complete: left.0.is_complete && right.0.is_complete,
        };
        let mut keys = Vec::new();
        if outputs.is_complete {
            for ((name, one), (_, other)) in left.0.columns.iter().zip(&right.0.columns) {
                let class = match (one, other) {
                    (Some(one), Some(other)) => {
                        let class = self.classes.add();
                        self.classes.follow(*one, class);
                        self.classes.follow(*other, class);
                        keys.push((class, *one, *other));
                        Some(class)
                    }
                    (Some(_) | None, None) | (None, Some(_)) => None,
                };
                outputs.columns.push((name.clone(), class));
            }
        }
        let node = Node::Union {
            keeps_all,
            sides: Box::new((left.1, right.1)),
            keys,
            otherwise: self.classes.add(),
        };
        Ok((outputs, node))
    }

    /// VALUES: each column is one of its constants.
    fn values(&mut self, values: &Values, env: &Env<'_>) -> Read {
        let mut nodes = Vec::new();
        self.subqueries(values, env, &mut nodes, &[])?;
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let mut columns = Vec::new();
        for place in 0..width {
            let slots = values
                .rows
                .iter()
                .map(|row| row.content.get(place).and_then(|expr| self.slot(expr)));
            let class = slots.collect::<Option<Vec<_>>>().map(|slots| {
                let class = self.classes.add();
                self.classes.tie(class, slots);
                class
            });
            columns.push((format!("column{}", place + 1), class));
        }
        let level = LevelNode {
            from: Node::Same,
            subqueries: nodes,
            groups: None,
            distinct: None,
            windows: Vec::new(),
            whole: None,
        };
        let outputs = Outputs {
            columns,
            is_complete: true,
        };
        Ok((outputs, Node::Level(Box::new(level))))
    }

    /// A SELECT; `query` is the query it is the body of, for its ORDER BY.
    fn select(&mut self, select: &Select, env: &Env<'_>, query: Option<&Query>) -> Read {
        self.step()?;
        check(select)?;
        let mut level = Level::default();
        let mut nodes = Vec::new();
        let mut from = Node::Same;
        for tree in &select.from {
            let node = self.join_tree(tree, &mut level, env, &mut nodes)?;
            from = Node::Join(Side::Neither, Box::new(from), Box::new(node));
        }
        if self.depth == 1 {
            self.top = level.clone();
        }
        let here = env.with(&level);
        let mut handled = Vec::new();
        if let Some(condition) = &select.selection {
            self.condition(condition, &here, 0..level.entries.len(), &mut nodes, &mut handled)?;
        }
        self.subqueries(&select.selection, &here, &mut nodes, &handled)?;
        self.subqueries(&select.projection, &here, &mut nodes, &[])?;
        self.subqueries(&select.group_by, &here, &mut nodes, &[])?;
        self.subqueries(&select.having, &here, &mut nodes, &[])?;
        self.subqueries(&select.named_window, &here, &mut nodes, &[])?;
        let mut outputs = Outputs {
            columns: Vec::new(),
            is_complete: true,
        };
        for item in &select.projection {
            self.output(item, &here, &mut outputs);
        }
        let shape = self.shape(select, &here, &outputs, query);
        let leads_back = shape.windows.is_empty() && shape.whole.is_none();
        if shape.whole == Some(OF_OUTER) {
            return Ok((self.fresh(outputs), Node::Never(OF_OUTER)));
        }
        let node = Node::Level(Box::new(LevelNode {
            from,
            subqueries: nodes,
            ..shape
        }));
        match leads_back {
            true => Ok((outputs, node)),
            false => Ok((self.fresh(outputs), node)),
        }
    }

    /// What a SELECT does to its rows beyond choosing them. FROM and subqueries are left out.
    fn shape(
        &mut self,
        select: &Select,
        here: &Env<'_>,
        outputs: &Outputs,
        query: Option<&Query>,
    ) -> LevelNode {
        let class = |expr: &Expr| {
            here.column(expr)
                .filter(|column| column.is_own)
                .map(|column| column.class)
        };
        let mut calls = Calls::default();
        calls.add(&select.projection);
        calls.add(&select.having);
        if let Some(query) = query {
            calls.add(&query.order_by);
        }
        let (by, mut whole) = match &select.group_by {
            GroupByExpr::Expressions(list, modifiers) if modifiers.is_empty() => (&list[..], None),
            GroupByExpr::Expressions(..) | GroupByExpr::All(_) => (&[][..], Some(SETS)),
        };
        if by
            .iter()
            .any(|expr| matches!(expr, Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_)))
        {
            whole = Some(SETS);
        }
        let mut groups = Vec::new();
        for expr in by {
            groups.extend(self.group_key(expr, here, select, outputs));
        }
        let is_grouped = !by.is_empty() || select.having.is_some() || !calls.aggregates.is_empty();
        if !is_grouped && calls.unknown {
            whole = Some("a function that may be an aggregate");
        }
        if here.outer.is_some_and(|outer| has_tables(outer))
            && calls.aggregates.iter().any(|call| is_of_outer(call, here))
        {
            whole = Some(OF_OUTER);
        }
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => None,
            Some(Distinct::Distinct) => {
                Some(outputs.columns.iter().filter_map(|(_, class)| *class).collect())
            }
            Some(Distinct::On(list)) => {
                whole = Some(ON);
                Some(list.iter().filter_map(class).collect::<Vec<Class>>())
            }
        };
        let windows = calls.windows.iter().map(|over| {
            let by = partitions(over, &select.named_window);
            by.unwrap_or_default().iter().filter_map(class).collect()
        });
        LevelNode {
            from: Node::Same,
            subqueries: Vec::new(),
            groups: is_grouped.then_some(groups),
            distinct,
            windows: windows.collect(),
            whole,
        }
    }

    /// The class of an expression in GROUP BY: a column, an output's name or its place.
    fn group_key(
        &mut self,
        expr: &Expr,
        here: &Env<'_>,
        select: &Select,
        outputs: &Outputs,
    ) -> Option<Class> {
        if let Some(column) = here.column(expr) {
            return column.is_own.then_some(column.class);
        }
        let is_simple = outputs.is_complete && outputs.columns.len() == select.projection.len();
        match strip(expr) {
            Expr::Value(_) if is_simple => {
                let place: usize = self.look_at(expr)?.parse().ok()?;
                outputs.columns.get(place.checked_sub(1)?)?.1
            }
            Expr::Identifier(name) if is_simple && !here.is_own(expr) => {
                let mut found = outputs.columns.iter().filter(|(output, _)| *output == name.value);
                match (found.next(), found.next()) {
                    (Some((_, class)), None) => *class,
                    (Some(_) | None, _) => None,
                }
            }
            _ => None,
        }
    }

    pub fn output(&mut self, item: &SelectItem, here: &Env<'_>, outputs: &mut Outputs) {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = match strip(expr) {
                    Expr::Identifier(name) => name.value.clone(),
                    Expr::CompoundIdentifier(parts) => {
                        parts.last().map_or_else(String::new, |name| name.value.clone())
                    }
                    _ => String::new(),
                };
                outputs.columns.push((name, self.value_class(expr, here)));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                outputs
                    .columns
                    .push((alias.value.clone(), self.value_class(expr, here)));
            }
            SelectItem::Wildcard(_) => {
                outputs.is_complete &= here.level.merged.is_empty();
                for entry in &here.level.entries {
                    outputs.is_complete &= entry.outputs.is_complete;
                    outputs.columns.extend(entry.outputs.columns.iter().cloned());
                }
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let alias = names(name).map_or("", |(_, name)| name.value.as_str());
                match here.level.entries.iter().find(|entry| entry.alias == alias) {
                    Some(entry) => {
                        outputs.is_complete &= entry.outputs.is_complete;
                        outputs.columns.extend(entry.outputs.columns.iter().cloned());
                    }
                    None => outputs.is_complete = false,
                }
            }
            SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => {
                outputs.is_complete = false
            }
        }
    }

    /// The class of a value: a column's, or a new one for a constant.
    pub fn value_class(&mut self, expr: &Expr, env: &Env<'_>) -> Option<Class> {
        if let Some(column) = env.column(expr) {
            return Some(column.class);
        }
        let slot = self.slot(expr)?;
        let class = self.classes.add();
        self.classes.tie(class, vec![slot]);
        Some(class)
    }

    fn writing_cte(&mut self, cte: &Cte, env: &Env<'_>) -> Read {
        let (outputs, node) = self.query(&cte.query, env)?;
        Ok((outputs.renamed(Some(&cte.alias)), node))
    }
}

fn is_write(body: &SetExpr) -> bool {
    matches!(
        body,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    )
}

/// Has it a LIMIT, an OFFSET or a FETCH?
pub fn is_limited(query: &Query) -> bool {
    let limits = match &query.limit_clause {
        Some(LimitClause::LimitOffset {
            limit,
            offset,
            limit_by,
        }) => limit.is_some() || offset.is_some() || !limit_by.is_empty(),
        Some(LimitClause::OffsetCommaLimit { .. }) => true,
        None => false,
    };
    limits || matches!(&query.fetch, Some(Fetch { .. }))
}

/// Refuses what PostgreSQL does not have, and INTO.
fn check(select: &Select) -> Result<(), Reason> {
    let is_strange = select.top.is_some()
        || select.exclude.is_some()
        || select.select_modifiers.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || select.qualify.is_some()
        || select.value_table_mode.is_some();
    if is_strange {
        return Err(Reason::Construct("a query of another database"));
    }
    match select.into {
        Some(_) => Err(Reason::Statement("SELECT INTO".into())),
        None => Ok(()),
    }
}

fn has_tables(env: &Env<'_>) -> bool {
    !env.level.entries.is_empty() || env.outer.is_some_and(has_tables)
}

/// Could an aggregate belong to the query around? It does if it uses columns, and all of them are from there.
fn is_of_outer(call: &Expr, here: &Env<'_>) -> bool {
    use std::ops::ControlFlow;
    let mut columns = 0;
    let mut own = 0;
    let _: ControlFlow<()> = sqlparser::ast::visit_expressions(call, |expr| {
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            columns += 1;
            own += usize::from(here.is_own(expr));
        }
        ControlFlow::Continue(())
    });
    columns > 0 && own == 0
}

/// What a window is partitioned by. One that builds on another has the other's partitions.
fn partitions<'a>(over: &'a Over, named: &'a [NamedWindowDefinition]) -> Option<&'a [Expr]> {
    let mut name = match over {
        Over::Own(by) => return Some(by),
        Over::Named(name) => name,
    };
    for _ in 0..=named.len() {
        let NamedWindowDefinition(_, window) = named.iter().find(|window| window.0.value == *name)?;
        match window {
            NamedWindowExpr::WindowSpec(spec) => match &spec.window_name {
                None => return Some(&spec.partition_by),
                Some(base) => name = &base.value,
            },
            NamedWindowExpr::NamedWindow(_) => return None,
        }
    }
    None
}
