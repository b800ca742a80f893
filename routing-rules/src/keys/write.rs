//! Reads what writes: INSERT, UPDATE, DELETE and MERGE. Rows must come with their key, and keep it.

use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Insert, Merge, MergeAction, MergeClauseKind,
    MergeInsertExpr, MergeInsertKind, MergeUpdateKind, ObjectName, OnConflictAction, OnInsert, SelectItem,
    SetExpr, Statement, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind, Values,
};

use super::classes::Class;
use super::query::Read;
use super::read::{Found, Reader};
use super::reason::Reason;
use super::scope::{Entry, Env, Level, Outputs, names, strip};
use super::spread::{LevelNode, Node, Side};
use super::{InsertRows, Use};
use crate::sql::piece;

/// The table that is written: what it is, the class of its key, and its name.
struct Target<'c> {
    found: Found<'c>,
    class: Option<Class>,
    name: Box<str>,
}

impl<'c> Reader<'c> {
    /// Reads a statement that writes.
    pub fn write(&mut self, statement: &Statement, env: &Env<'_>) -> Read {
        self.step()?;
        match statement {
            Statement::Insert(insert) => self.insert(insert, env),
            Statement::Update(update) => self.update(update, env),
            Statement::Delete(delete) => self.delete(delete, env),
            Statement::Merge(merge) => self.merge_into(merge, env),
            _ => Err(Reason::Construct("a statement within a query")),
        }
    }

    /// The table written, added to the level.
    fn target(
        &mut self,
        name: &ObjectName,
        alias: Option<&str>,
        used: Use,
        level: &mut Level,
    ) -> Result<(Target<'c>, Node), Reason> {
        let found = self.table(name)?;
        let (outputs, node) = self.read_table(found, name, used);
        let own = names(name).map_or("", |(_, name)| name.value.as_str());
        let class = match found {
            Found::Keyed(..) => self.bounds.last().map(|(class, _)| *class),
            Found::Reference(_) => {
                self.writes_reference = true;
                None
            }
            Found::System | Found::Temporary | Found::Home(..) => None,
        };
        level.entries.push(Entry {
            alias: alias.unwrap_or(own).to_owned(),
            schema: None,
            outputs,
        });
        let name = own.into();
        Ok((Target { found, class, name }, node))
    }

    fn insert(&mut self, insert: &Insert, env: &Env<'_>) -> Read {
        let is_strange = insert.or.is_some()
            || insert.ignore
            || insert.overwrite
            || insert.partitioned.is_some()
            || !insert.after_columns.is_empty()
            || !insert.assignments.is_empty()
            || insert.replace_into
            || insert.insert_alias.is_some()
            || insert.multi_table_insert_type.is_some()
            || insert.output.is_some();
        let TableObject::TableName(name) = &insert.table else {
            return Err(Reason::Construct("INSERT of another database"));
        };
        if is_strange {
            return Err(Reason::Construct("INSERT of another database"));
        }
        let mut level = Level::default();
        let alias = insert
            .table_alias
            .as_ref()
            .map(|alias| alias.alias.value.as_str());
        let (target, own) = self.target(name, alias, Use::Insert, &mut level)?;
        let source = match &insert.source {
            Some(source) => Some(self.query(source, env)?),
            None => None,
        };
        let node = match (target.found, target.class) {
            (Found::Keyed(column, table), Some(class)) => {
                let listed = insert.columns.iter().position(|name| last(name) == column);
                let at = match insert.columns.is_empty() {
                    true => table.and_then(|table| table.column(column)),
                    false => listed,
                };
                let at = at.ok_or_else(|| Reason::KeyMissing(target.name.clone()))?;
                let body = insert.source.as_ref().map(|source| &*source.body);
                match (body, source) {
                    (Some(SetExpr::Values(values)), Some((_, node))) => {
                        self.insert_values(values, at, class, &target, node)?
                    }
                    (_, Some((outputs, node))) => {
                        let query = insert.source.as_deref();
                        match query.and_then(|query| self.arrays(query, at)) {
                            Some((arrays, slots)) => {
                                self.classes.tie(class, slots.clone());
                                self.from_arrays += 1;
                                self.rows = Some(InsertRows {
                                    rows: Vec::new(),
                                    slots,
                                    arrays: Some(Box::new(arrays)),
                                });
                            }
                            None => {
                                let output = outputs.at(at);
                                let output =
                                    output.ok_or_else(|| Reason::KeyComputed(target.name.clone()))?;
                                self.classes.unite(class, output);
                            }
                        }
                        Node::Insert(Box::new(node), class)
                    }
                    (_, None) => return Err(Reason::KeyMissing(target.name)),
                }
            }
            _ => match source {
                Some((_, node)) => Node::Join(Side::Neither, Box::new(own), Box::new(node)),
                None => own,
            },
        };
        let columns = level.entries[0].outputs.clone();
        level.entries.push(Entry {
            alias: "excluded".to_owned(),
            schema: None,
            outputs: columns,
        });
        let mut nodes = Vec::new();
        {
            let here = env.with(&level);
            self.subqueries(&insert.on, &here, &mut nodes, &[])?;
            match &insert.on {
                None => {}
                Some(OnInsert::OnConflict(conflict)) => {
                    if let OnConflictAction::DoUpdate(update) = &conflict.action {
                        self.assignments(&update.assignments, &target, &here, &mut nodes)?;
                    }
                }
                Some(_) => return Err(Reason::Construct("INSERT of another database")),
            }
        }
        level.entries.pop();
        let outputs = self.returning(&insert.returning, &level, env, &mut nodes)?;
        Ok((outputs, level_node(node, nodes)))
    }

    /// INSERT … VALUES: each row says by itself where it belongs.
    fn insert_values(
        &mut self,
        values: &Values,
        at: usize,
        class: Class,
        target: &Target<'_>,
        node: Node,
    ) -> Result<Node, Reason> {
        let mut slots = Vec::new();
        let mut rows = Vec::new();
        for row in &values.rows {
            let value = row.content.get(at).map(strip);
            let value = value.ok_or_else(|| Reason::KeyMissing(target.name.clone()))?;
            match self.slot(value) {
                Some(slot) => slots.push(slot),
                None if is_default(value) => return Err(Reason::KeyMissing(target.name.clone())),
                None => return Err(Reason::KeyComputed(target.name.clone())),
            }
            rows.push((piece(row.opening_token.0.span), piece(row.closing_token.0.span)));
        }
        self.classes.tie(class, slots.clone());
        let rows: Option<Vec<(usize, usize)>> = rows
            .into_iter()
            .map(|(first, last)| Some((first?, last?)))
            .collect();
        self.rows = rows.map(|rows| InsertRows {
            rows,
            slots,
            arrays: None,
        });
        Ok(match node {
            Node::Level(level) if level.subqueries.is_empty() => Node::Insert(Box::new(Node::Same), class),
            _ => {
                self.rows = None;
                Node::Never("INSERT of rows with subqueries")
            }
        })
    }

    fn update(&mut self, update: &Update, env: &Env<'_>) -> Read {
        let from = match &update.from {
            None => &[][..],
            Some(UpdateTableFromKind::AfterSet(from)) => from,
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return Err(Reason::Construct("UPDATE of another database"));
            }
        };
        if update.or.is_some()
            || update.output.is_some()
            || !update.order_by.is_empty()
            || update.limit.is_some()
        {
            return Err(Reason::Construct("UPDATE of another database"));
        }
        let mut level = Level::default();
        let (target, mut node) = self.plain_target(&update.table, Use::Update, &mut level)?;
        let mut nodes = Vec::new();
        node = self.others(from, node, &mut level, env, &mut nodes)?;
        self.filter(&update.selection, &level, env, &mut nodes)?;
        let here = env.with(&level);
        self.subqueries(&update.assignments, &here, &mut nodes, &[])?;
        self.assignments(&update.assignments, &target, &here, &mut nodes)?;
        let outputs = self.returning(&update.returning, &level, env, &mut nodes)?;
        Ok((outputs, level_node(node, nodes)))
    }

    fn delete(&mut self, delete: &Delete, env: &Env<'_>) -> Read {
        let FromTable::WithFromKeyword(tables) = &delete.from else {
            return Err(Reason::Construct("DELETE of another database"));
        };
        let is_strange = !delete.tables.is_empty()
            || delete.output.is_some()
            || !delete.order_by.is_empty()
            || delete.limit.is_some();
        let ([table], false) = (&tables[..], is_strange) else {
            return Err(Reason::Construct("DELETE of another database"));
        };
        let mut level = Level::default();
        let (_, mut node) = self.plain_target(table, Use::Delete, &mut level)?;
        let mut nodes = Vec::new();
        let using = delete.using.as_deref().unwrap_or(&[]);
        node = self.others(using, node, &mut level, env, &mut nodes)?;
        self.filter(&delete.selection, &level, env, &mut nodes)?;
        let outputs = self.returning(&delete.returning, &level, env, &mut nodes)?;
        Ok((outputs, level_node(node, nodes)))
    }

    fn plain_target(
        &mut self,
        table: &TableWithJoins,
        used: Use,
        level: &mut Level,
    ) -> Result<(Target<'c>, Node), Reason> {
        match (&table.relation, &table.joins[..]) {
            (
                TableFactor::Table {
                    name,
                    alias,
                    args: None,
                    sample: None,
                    ..
                },
                [],
            ) => {
                let alias = alias.as_ref().map(|alias| alias.name.value.as_str());
                self.target(name, alias, used, level)
            }
            _ => Err(Reason::Construct("a write to more than a table")),
        }
    }

    /// FROM of UPDATE, USING of DELETE.
    fn others(
        &mut self,
        trees: &[TableWithJoins],
        target: Node,
        level: &mut Level,
        env: &Env<'_>,
        nodes: &mut Vec<Node>,
    ) -> Result<Node, Reason> {
        let mut node = target;
        for tree in trees {
            let other = self.join_tree(tree, level, env, nodes)?;
            node = Node::Join(Side::Neither, Box::new(node), Box::new(other));
        }
        Ok(node)
    }

    fn filter(
        &mut self,
        condition: &Option<Expr>,
        level: &Level,
        env: &Env<'_>,
        nodes: &mut Vec<Node>,
    ) -> Result<(), Reason> {
        let here = env.with(level);
        let mut handled = Vec::new();
        if let Some(condition) = condition {
            self.condition(condition, &here, 0..level.entries.len(), nodes, &mut handled)?;
        }
        self.subqueries(condition, &here, nodes, &handled)
    }

    /// SET: the key may be set to itself, or to a constant that then must be on the same shard.
    fn assignments(
        &mut self,
        list: &[Assignment],
        target: &Target<'_>,
        here: &Env<'_>,
        nodes: &mut Vec<Node>,
    ) -> Result<(), Reason> {
        let (Found::Keyed(column, _), Some(class)) = (target.found, target.class) else {
            return Ok(());
        };
        for assignment in list {
            let is_key = match &assignment.target {
                AssignmentTarget::ColumnName(name) => name
                    .0
                    .iter()
                    .any(|part| part.as_ident().is_none_or(|part| part.value == column)),
                AssignmentTarget::Tuple(names) if names.iter().any(|name| last(name) == column) => {
                    return Err(Reason::KeyUpdated(target.name.clone()));
                }
                AssignmentTarget::Tuple(_) => false,
            };
            if !is_key {
                continue;
            }
            if here
                .column(&assignment.value)
                .is_some_and(|column| column.is_own && column.class == class)
            {
                continue;
            }
            let slot = self
                .slot(&assignment.value)
                .ok_or_else(|| Reason::KeyUpdated(target.name.clone()))?;
            let assigned = self.bind_named(&target.name, column, Use::Assign);
            self.classes.tie(assigned, vec![slot]);
            nodes.push(Node::Never("UPDATE of the key"));
        }
        Ok(())
    }

    fn returning(
        &mut self,
        items: &Option<Vec<SelectItem>>,
        level: &Level,
        env: &Env<'_>,
        nodes: &mut Vec<Node>,
    ) -> Result<Outputs, Reason> {
        let here = env.with(level);
        self.subqueries(items, &here, nodes, &[])?;
        let mut outputs = Outputs {
            columns: Vec::new(),
            is_complete: true,
        };
        for item in items.iter().flatten() {
            self.output(item, &here, &mut outputs);
        }
        Ok(outputs)
    }

    fn merge_into(&mut self, merge: &Merge, env: &Env<'_>) -> Read {
        if merge.output.is_some() {
            return Err(Reason::Construct("MERGE with RETURNING"));
        }
        let mut level = Level::default();
        let mut nodes = Vec::new();
        let source = self.factor(&merge.source, &mut level, env, &mut nodes)?;
        let first = level.entries.len();
        let TableFactor::Table {
            name,
            alias,
            args: None,
            sample: None,
            ..
        } = &merge.table
        else {
            return Err(Reason::Construct("a write to more than a table"));
        };
        let alias = alias.as_ref().map(|alias| alias.name.value.as_str());
        let (target, node) = self.target(name, alias, Use::Update, &mut level)?;
        // Rows of the target matter where they match, unless something is done to those that don't.
        let is_bound = !merge
            .clauses
            .iter()
            .any(|clause| clause.clause_kind == MergeClauseKind::NotMatchedBySource);
        let bound = if is_bound { first..first + 1 } else { 0..0 };
        let here = env.with(&level);
        let mut handled = Vec::new();
        self.condition(&merge.on, &here, bound, &mut nodes, &mut handled)?;
        self.subqueries(&*merge.on, &here, &mut nodes, &handled)?;
        self.subqueries(&merge.clauses, &here, &mut nodes, &[])?;
        let mut node = Node::Join(Side::Left, Box::new(source), Box::new(node));
        for clause in &merge.clauses {
            match &clause.action {
                MergeAction::Insert(insert) => {
                    if let Some(class) = self.merge_insert(insert, &target, &here)? {
                        node = Node::Insert(Box::new(node), class);
                    }
                }
                MergeAction::Update(update) => match &update.kind {
                    MergeUpdateKind::Set(list) => self.assignments(list, &target, &here, &mut nodes)?,
                    MergeUpdateKind::Wildcard => return Err(Reason::Construct("MERGE of another database")),
                },
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
            }
        }
        Ok((Outputs::default(), level_node(node, nodes)))
    }

    /// INSERT in a MERGE: the class of the key inserted, if the table has one.
    fn merge_insert(
        &mut self,
        insert: &MergeInsertExpr,
        target: &Target<'_>,
        here: &Env<'_>,
    ) -> Result<Option<Class>, Reason> {
        let Found::Keyed(column, table) = target.found else {
            return Ok(None);
        };
        let MergeInsertKind::Values(values) = &insert.kind else {
            return Err(Reason::KeyMissing(target.name.clone()));
        };
        let at = match insert.columns.is_empty() {
            true => table.and_then(|table| table.column(column)),
            false => insert.columns.iter().position(|name| last(name) == column),
        };
        let value = at.and_then(|at| values.rows.first()?.content.get(at));
        let value = value.ok_or_else(|| Reason::KeyMissing(target.name.clone()))?;
        let value = self
            .value_class(value, here)
            .ok_or_else(|| Reason::KeyComputed(target.name.clone()))?;
        let class = self.bind_named(&target.name, column, Use::Insert);
        self.classes.unite(class, value);
        Ok(Some(class))
    }

    /// Reads `COPY table`: what it is, and the place of its key among the columns that come.
    pub fn copied(
        &mut self,
        name: &ObjectName,
        listed: &[String],
        used: Use,
    ) -> Result<(Node, Option<usize>), Reason> {
        let found = self.table(name)?;
        if used == Use::Insert && matches!(found, Found::Reference(_)) {
            self.writes_reference = true;
        }
        let (_, node) = self.read_table(found, name, used);
        let Found::Keyed(column, table) = found else {
            return Ok((node, None));
        };
        // Generated columns are not copied.
        let all = table.map_or(&[][..], |table| &table.columns);
        let mut copied = all.iter().filter(|own| !own.is_generated);
        let at = match listed.is_empty() {
            true => copied.position(|own| &*own.name == column),
            false => listed.iter().position(|name| name == column),
        };
        match (used, at) {
            (Use::Insert, None) => Err(Reason::KeyMissing(
                names(name).map_or("", |(_, name)| &name.value).into(),
            )),
            (_, at) => Ok((node, at)),
        }
    }
}

fn level_node(from: Node, subqueries: Vec<Node>) -> Node {
    Node::Level(Box::new(LevelNode {
        from,
        subqueries,
        groups: None,
        distinct: None,
        windows: Vec::new(),
        whole: None,
    }))
}

fn last(name: &ObjectName) -> &str {
    name.0
        .last()
        .and_then(|part| part.as_ident())
        .map_or("", |part| &part.value)
}

fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(name) if name.quote_style.is_none() && name.value == "default")
}
