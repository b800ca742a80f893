//! Reads FROM: tables, joins, subqueries, and what WITH names.

use std::ops::Range;

use sqlparser::ast::{
    Cte, Expr, Join, JoinConstraint, JoinOperator, ObjectName, SetExpr, SetOperator, TableAlias, TableFactor,
    TableWithJoins,
};

use super::Use;
use super::query::{Read, is_limited};
use super::read::Reader;
use super::reason::Reason;
use super::scope::{Entry, Env, Level, NOTHING, Outputs, names};
use super::spread::{Node, Side};

impl Reader<'_> {
    /// A table with its joins, added to the level.
    pub fn join_tree(
        &mut self,
        tree: &TableWithJoins,
        level: &mut Level,
        env: &Env<'_>,
        nodes: &mut Vec<Node>,
    ) -> Result<Node, Reason> {
        let first = level.entries.len();
        let mut node = self.factor(&tree.relation, level, env, nodes)?;
        for join in &tree.joins {
            node = self.join(join, (first, node), level, env, nodes)?;
        }
        Ok(node)
    }

    fn join(
        &mut self,
        join: &Join,
        (first, left): (usize, Node),
        level: &mut Level,
        env: &Env<'_>,
        nodes: &mut Vec<Node>,
    ) -> Result<Node, Reason> {
        let middle = level.entries.len();
        let right = self.factor(&join.relation, level, env, nodes)?;
        let last = level.entries.len();
        let (side, constraint) = match &join.join_operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
                (Side::Neither, on)
            }
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (Side::Left, on),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (Side::Right, on),
            JoinOperator::FullOuter(on) => (Side::Both, on),
            _ => return Err(Reason::Construct("a join of another database")),
        };
        // A condition of an outer join says nothing of the rows it keeps.
        let bound = match side {
            Side::Neither => first..last,
            Side::Left => middle..last,
            Side::Right => first..middle,
            Side::Both => 0..0,
        };
        match constraint {
            JoinConstraint::On(condition) => {
                let mut handled = Vec::new();
                let here = env.with(level);
                self.condition(condition, &here, bound, nodes, &mut handled)?;
                self.subqueries(condition, &here, nodes, &handled)?;
            }
            JoinConstraint::Using(columns) => {
                for column in columns {
                    let name = names(column)
                        .ok_or(Reason::Construct("a computed column name"))?
                        .1;
                    self.merge(&name.value, side, first..middle, middle..last, level);
                }
            }
            JoinConstraint::Natural => return Err(Reason::Construct("NATURAL JOIN")),
            JoinConstraint::None => {}
        }
        Ok(Node::Join(side, Box::new(left), Box::new(right)))
    }

    /// USING: one column for both sides.
    fn merge(&mut self, name: &str, side: Side, left: Range<usize>, right: Range<usize>, level: &mut Level) {
        let part = |range: Range<usize>| Level {
            entries: level.entries[range.clone()].to_vec(),
            merged: level
                .merged
                .iter()
                .filter(|(_, entry, _)| range.contains(entry))
                .map(|(name, entry, class)| (name.clone(), entry - range.start, *class))
                .collect(),
        };
        let expr = Expr::Identifier(name.into());
        let class = |level: Level| {
            Env {
                level: &level,
                ..Env::EMPTY
            }
            .column(&expr)
            .map(|column| column.class)
        };
        let (one, other) = (class(part(left.clone())), class(part(right.clone())));
        if let (Some(one), Some(other)) = (one, other) {
            match side {
                Side::Neither => self.classes.unite(one, other),
                Side::Left => self.classes.follow(other, one),
                Side::Right => self.classes.follow(one, other),
                Side::Both => {}
            }
        }
        let (entry, class) = match side {
            Side::Neither => (left.start, one.or(other)),
            Side::Left => (left.start, one),
            Side::Right => (right.start, other),
            Side::Both => (left.start, None),
        };
        level.merged.push((name.to_owned(), entry, class));
    }

    /// One item of FROM, added to the level.
    pub fn factor(
        &mut self,
        factor: &TableFactor,
        level: &mut Level,
        env: &Env<'_>,
        nodes: &mut Vec<Node>,
    ) -> Result<Node, Reason> {
        self.step()?;
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                sample,
                json_path: None,
                version: None,
                ..
            } => {
                let (outputs, node) = self.named(name, env)?;
                let schema = match alias {
                    Some(_) => None,
                    None => names(name)
                        .and_then(|(schema, _)| schema)
                        .map(|schema| schema.value.clone()),
                };
                let own = names(name).map_or("", |(_, name)| name.value.as_str());
                level.entries.push(entry(alias.as_ref(), own, schema, outputs));
                Ok(match sample {
                    Some(_) => Node::Never("TABLESAMPLE"),
                    None => node,
                })
            }
            TableFactor::Table {
                name,
                alias,
                args: Some(_),
                ..
            }
            | TableFactor::Function { name, alias, .. } => {
                self.account(name);
                self.subqueries_of_factor(factor, level, env, nodes)?;
                let own = names(name).map_or("", |(_, name)| name.value.as_str());
                level
                    .entries
                    .push(entry(alias.as_ref(), own, None, Outputs::default()));
                Ok(Node::Same)
            }
            TableFactor::UNNEST { alias, .. }
            | TableFactor::XmlTable { alias, .. }
            | TableFactor::JsonTable { alias, .. } => {
                self.subqueries_of_factor(factor, level, env, nodes)?;
                level
                    .entries
                    .push(entry(alias.as_ref(), "", None, Outputs::default()));
                Ok(Node::Same)
            }
            TableFactor::Derived {
                lateral,
                subquery,
                alias,
                sample: None,
            } => {
                let (outputs, node) = match lateral {
                    true => {
                        let seen = level.clone();
                        self.query(subquery, &env.with(&seen))?
                    }
                    false => self.query(subquery, env)?,
                };
                level.entries.push(entry(alias.as_ref(), "", None, outputs));
                Ok(node)
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => self.join_tree(table_with_joins, level, env, nodes),
            _ => Err(Reason::Construct("an item of FROM")),
        }
    }

    fn subqueries_of_factor(
        &mut self,
        factor: &TableFactor,
        level: &Level,
        env: &Env<'_>,
        nodes: &mut Vec<Node>,
    ) -> Result<(), Reason> {
        let seen = level.clone();
        self.subqueries(factor, &env.with(&seen), nodes, &[])
    }

    /// A name in FROM: of WITH, or of a table.
    fn named(&mut self, name: &ObjectName, env: &Env<'_>) -> Read {
        if let [part] = &name.0[..]
            && let Some(ident) = part.as_ident()
            && let Some((home, place)) = env.cte(&ident.value)
        {
            self.account(name);
            return self.cte(home, place);
        }
        let found = self.table(name)?;
        Ok(self.read_table(found, name, Use::Read))
    }

    /// A query of WITH, read again for each use: what one use is tied to says nothing of another.
    pub fn cte(&mut self, home: &Env<'_>, place: usize) -> Read {
        self.step()?;
        let cte = &home.ctes[place];
        if let Some((own, outputs)) = home.recursion
            && own == place
        {
            return Ok((outputs.clone(), Node::Never("WITH RECURSIVE")));
        }
        if place >= home.visible {
            return Err(Reason::Construct("WITH RECURSIVE that looks ahead"));
        }
        if let Some(Some((outputs, node))) = home.done.get(place) {
            return Ok((outputs.clone(), node.clone()));
        }
        let env = Env {
            level: &NOTHING,
            visible: if home.is_recursive { place + 1 } else { place },
            recursion: None,
            ..*home
        };
        let (outputs, node) = match home.is_recursive {
            true => self.recursive(cte, place, &env)?,
            false => self.query(&cte.query, &env)?,
        };
        Ok((outputs.renamed(Some(&cte.alias)), node))
    }

    /// A query of WITH RECURSIVE. A column that each step takes over from the row before keeps the values it began with.
    fn recursive(&mut self, cte: &Cte, place: usize, env: &Env<'_>) -> Read {
        let query = &cte.query;
        let SetExpr::SetOperation {
            left,
            right,
            op: SetOperator::Union,
            ..
        } = &*query.body
        else {
            return self.query(
                query,
                &Env {
                    visible: place,
                    ..*env
                },
            );
        };
        if query.with.is_some() || query.order_by.is_some() || is_limited(query) {
            return Err(Reason::Construct("WITH RECURSIVE with more than UNION in it"));
        }
        self.enter(query)?;
        let (first, _) = self.set_expr(
            left,
            &Env {
                visible: place,
                ..*env
            },
        )?;
        let step = Outputs {
            columns: first
                .columns
                .iter()
                .map(|(name, class)| (name.clone(), class.map(|_| self.classes.add())))
                .collect(),
            is_complete: first.is_complete,
        };
        let own = step.clone().renamed(Some(&cte.alias));
        let inner = Env {
            recursion: Some((place, &own)),
            ..*env
        };
        let (next, _) = self.set_expr(right, &inner)?;
        let mut outputs = Outputs {
            columns: Vec::new(),
            is_complete: step.is_complete && next.is_complete,
        };
        for (column, (name, class)) in step.columns.iter().enumerate() {
            let kept = match (class, next.at(column), first.columns[column].1) {
                (Some(class), Some(next), Some(first))
                    if self.classes.find(*class) == self.classes.find(next) =>
                {
                    self.classes.follow(*class, first);
                    Some(*class)
                }
                _ => None,
            };
            outputs.columns.push((name.clone(), kept));
        }
        Ok((self.fresh(outputs), Node::Never("WITH RECURSIVE")))
    }
}

fn entry(alias: Option<&TableAlias>, own: &str, schema: Option<String>, outputs: Outputs) -> Entry {
    Entry {
        alias: alias.map_or_else(|| own.to_owned(), |alias| alias.name.value.clone()),
        schema,
        outputs: outputs.renamed(alias),
    }
}
