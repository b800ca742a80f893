//! Reads a tree: finds every table in it and what its key is tied to. Queries are read here; equalities in `equal`, what
//! writes in `write`, whole statements in `statement`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, Visit, Visitor, WindowType};

use super::classes::{Class, Classes};
use super::reason::Reason;
use super::scope::{Env, Level, Outputs, names};
use super::spread::Node;
use super::{Bound, Context, InsertRows, Use};
use crate::place::KeyType;
use crate::sharding::{Named, Role};
use crate::sql::{Pieces, address, piece};
use crate::tables::{Table, TableKind};

/// What a name in FROM, INTO or the like is.
#[derive(Clone, Copy, Debug)]
pub enum Found<'c> {
    /// Of the system's catalogs.
    System,
    /// A temporary table of the session.
    Temporary,
    /// A table whose rows have a key.
    Keyed(&'c str, Option<&'c Table>),
    /// A table that is whole on every shard.
    Reference(Option<&'c Table>),
    /// A table on one shard.
    Home(&'c str, Option<&'c Table>),
}

/// Everything found so far.
pub struct Reader<'c> {
    pub context: &'c Context<'c>,
    pub pieces: &'c Pieces<'c>,
    pub classes: Classes,
    pub bounds: Vec<(Class, Bound)>,
    pub homes: Vec<Box<str>>,
    /// Every table, but catalogs and temporary ones.
    pub tables: Vec<Named>,
    pub has_local: bool,
    pub reads_reference: bool,
    pub writes_reference: bool,
    /// Constants whose value was looked at.
    pub looked_at: Vec<u32>,
    /// Names of columns that have a collation of their own.
    pub collated: HashSet<String>,
    /// The FROM of the outermost SELECT.
    pub top: Level,
    /// The rows of the last INSERT … VALUES.
    pub rows: Option<InsertRows>,
    /// How many INSERTs from arrays there were.
    pub from_arrays: usize,
    /// Queries that are answered beforehand, and what they give.
    pub answered: HashMap<usize, Outputs>,
    /// How deep the query is that is being read.
    pub depth: usize,
    relations: HashSet<usize>,
    queries: HashSet<usize>,
    steps: usize,
}

/// The most query levels read in one statement, those read again for each use of a WITH query included.
const STEPS_MAX: usize = 1000;

impl<'c> Reader<'c> {
    pub fn new(context: &'c Context<'c>, pieces: &'c Pieces<'c>) -> Self {
        Reader {
            context,
            pieces,
            classes: Classes::default(),
            bounds: Vec::new(),
            homes: Vec::new(),
            tables: Vec::new(),
            has_local: false,
            reads_reference: false,
            writes_reference: false,
            looked_at: Vec::new(),
            collated: HashSet::new(),
            top: Level::default(),
            rows: None,
            from_arrays: 0,
            answered: HashMap::new(),
            depth: 0,
            relations: HashSet::new(),
            queries: HashSet::new(),
            steps: 0,
        }
    }

    pub fn key_type(&self) -> KeyType {
        self.context.sharding.key_type
    }

    /// Notes that a query is read.
    pub fn enter(&mut self, query: &Query) -> Result<(), Reason> {
        self.queries.insert(address(query));
        self.step()
    }

    pub fn step(&mut self) -> Result<(), Reason> {
        self.steps += 1;
        match self.steps > STEPS_MAX {
            true => Err(Reason::Construct("a statement with so many queries")),
            false => Ok(()),
        }
    }

    pub fn has_read(&self, query: &Query) -> bool {
        self.queries.contains(&address(query))
    }

    /// Notes that a table's name is accounted for.
    pub fn account(&mut self, name: &ObjectName) {
        if let Some(place) = place(name) {
            self.relations.insert(place);
        }
    }

    /// What a table is.
    pub fn table(&mut self, name: &ObjectName) -> Result<Found<'c>, Reason> {
        self.account(name);
        let (schema, name) = names(name).ok_or(Reason::Construct("a computed table name"))?;
        let schema = schema.map(|schema| schema.value.as_str());
        let found = self.look_up(schema, &name.value)?;
        let table = match found {
            Found::System | Found::Temporary => return Ok(found),
            Found::Keyed(_, table) | Found::Reference(table) | Found::Home(_, table) => table,
        };
        self.note_collations(table);
        let named = Named {
            schema: table.map(|table| &*table.schema).or(schema).map(Into::into),
            name: name.value.as_str().into(),
        };
        if !self.tables.contains(&named) {
            self.tables.push(named);
        }
        Ok(found)
    }

    fn look_up(&self, schema: Option<&str>, name: &str) -> Result<Found<'c>, Reason> {
        let shown = || -> Box<str> { name.into() };
        match schema {
            Some("pg_catalog" | "information_schema" | "pg_toast") => return Ok(Found::System),
            Some(schema) if schema.starts_with("pg_temp") => return Ok(Found::Temporary),
            None if self.context.temporary.iter().any(|own| &**own == name) => return Ok(Found::Temporary),
            Some(_) | None => {}
        }
        let all = self.context.tables.map_or(&[][..], |tables| tables.named(name));
        let table = match schema {
            Some(schema) => all.iter().find(|table| &*table.schema == schema),
            None if name.starts_with("pg_") && all.is_empty() => return Ok(Found::System),
            None if name.starts_with("pg_") => return Err(Reason::Ambiguous(shown())),
            None => match all {
                [] => None,
                [only] => Some(only),
                _ => Some(self.on_path(all).ok_or_else(|| Reason::Ambiguous(shown()))?),
            },
        };
        match self.context.sharding.role(schema, name, table) {
            Role::Keyed(column) => Ok(Found::Keyed(column, table)),
            Role::Reference => Ok(Found::Reference(table)),
            Role::Home(shard) => Ok(Found::Home(shard, table)),
            Role::Unknown => match table.map(|table| table.kind) {
                Some(TableKind::View) => Err(Reason::View(shown())),
                Some(TableKind::Table | TableKind::Other) | None => Err(Reason::UnknownTable(shown())),
            },
        }
    }

    /// The first of these that the search path finds, if it is known.
    fn on_path(&self, all: &'c [Table]) -> Option<&'c Table> {
        let path = self.context.search_path?;
        path.iter()
            .find_map(|schema| all.iter().find(|table| *table.schema == **schema))
    }

    /// A table of this name is read: its columns, and how it spreads. `column` is its key.
    pub fn read_table(&mut self, found: Found<'c>, name: &ObjectName, used: Use) -> (Outputs, Node) {
        match found {
            Found::System | Found::Temporary => {
                self.has_local = true;
                (
                    Outputs::default(),
                    Node::Never("a system catalog or a temporary table"),
                )
            }
            Found::Reference(table) => {
                self.reads_reference = true;
                (columns(table, None), Node::Same)
            }
            Found::Home(shard, table) => {
                self.add_home(shard);
                (columns(table, None), Node::Never("a table that is on one shard"))
            }
            Found::Keyed(column, table) => {
                let class = self.bind(name, column, used);
                (columns(table, Some((column, class))), Node::Table(class))
            }
        }
    }

    pub fn add_home(&mut self, shard: &str) {
        if !self.homes.iter().any(|home| **home == *shard) {
            self.homes.push(shard.into());
        }
    }

    /// A use of a keyed table, and the class of its key.
    pub fn bind(&mut self, name: &ObjectName, column: &str, used: Use) -> Class {
        let class = self.classes.add();
        let table = names(name).map_or("", |(_, name)| name.value.as_str());
        let bound = Bound {
            table: table.into(),
            column: column.into(),
            used,
            piece: place(name),
            ties: Vec::new(),
        };
        self.bounds.push((class, bound));
        class
    }

    /// A use of a keyed table whose name stands elsewhere.
    pub fn bind_named(&mut self, table: &str, column: &str, used: Use) -> Class {
        let class = self.classes.add();
        let bound = Bound {
            table: table.into(),
            column: column.into(),
            used,
            piece: None,
            ties: Vec::new(),
        };
        self.bounds.push((class, bound));
        class
    }

    /// Classes of values that come from others but do not lead back to them.
    pub fn fresh(&mut self, outputs: Outputs) -> Outputs {
        let columns = outputs.columns.into_iter();
        let columns = columns.map(|(name, class)| {
            let own = class.map(|leader| {
                let class = self.classes.add();
                self.classes.follow(class, leader);
                class
            });
            (name, own)
        });
        Outputs {
            columns: columns.collect(),
            is_complete: outputs.is_complete,
        }
    }

    /// Reads the subqueries of an expression or whatever holds some, those in `handled` left out.
    pub fn subqueries<T: Visit>(
        &mut self,
        within: &T,
        env: &Env<'_>,
        nodes: &mut Vec<Node>,
        handled: &[usize],
    ) -> Result<(), Reason> {
        let mut subqueries = Subqueries {
            reader: self,
            env,
            nodes,
            handled,
            depth: 0,
        };
        match within.visit(&mut subqueries) {
            ControlFlow::Break(reason) => Err(reason),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// Was every table and every query of the tree read? If not, the tree has a part this reader does not know.
    pub fn is_complete<T: Visit>(&self, tree: &T) -> bool {
        let mut all = All {
            relations: HashSet::new(),
            queries: HashSet::new(),
            has_unplaced: false,
        };
        let _: ControlFlow<()> = tree.visit(&mut all);
        !all.has_unplaced && all.relations.is_subset(&self.relations) && all.queries.is_subset(&self.queries)
    }
}

/// The columns of a table, its key with its class.
pub fn columns(table: Option<&Table>, key: Option<(&str, Class)>) -> Outputs {
    match table {
        Some(table) => Outputs {
            columns: table
                .columns
                .iter()
                .map(|column| {
                    let class = key
                        .filter(|(name, _)| *name == &*column.name)
                        .map(|(_, class)| class);
                    (column.name.to_string(), class)
                })
                .collect(),
            is_complete: true,
        },
        None => Outputs {
            columns: key
                .into_iter()
                .map(|(name, class)| (name.to_owned(), Some(class)))
                .collect(),
            is_complete: false,
        },
    }
}

/// The piece a name's last part stands at.
pub fn place(name: &ObjectName) -> Option<usize> {
    piece(name.0.last()?.as_ident()?.span)
}

/// The outermost subqueries of something.
struct Subqueries<'r, 'c, 'e> {
    reader: &'r mut Reader<'c>,
    env: &'r Env<'e>,
    nodes: &'r mut Vec<Node>,
    handled: &'r [usize],
    depth: usize,
}

impl Visitor for Subqueries<'_, '_, '_> {
    type Break = Reason;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Reason> {
        let is_handled = self.handled.contains(&address(query));
        if self.depth == 0 && !is_handled {
            match self.reader.query(query, self.env) {
                Ok((_, node)) => self.nodes.push(node),
                Err(reason) => return ControlFlow::Break(reason),
            }
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Reason> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Every table name and every query in a tree.
struct All {
    relations: HashSet<usize>,
    queries: HashSet<usize>,
    has_unplaced: bool,
}

impl Visitor for All {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.queries.insert(address(query));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        match place(relation) {
            Some(place) => {
                self.relations.insert(place);
            }
            None => self.has_unplaced = true,
        }
        ControlFlow::Continue(())
    }
}

/// A window a function is called over.
#[derive(Debug)]
pub enum Over {
    /// What it is partitioned by.
    Own(Vec<Expr>),
    /// The window in WINDOW whose partitions it has.
    Named(String),
}

/// What functions a query level calls, subqueries left out.
#[derive(Debug, Default)]
pub struct Calls {
    /// Aggregates, with their arguments.
    pub aggregates: Vec<Expr>,
    /// Windows, by their own words or by name.
    pub windows: Vec<Over>,
    /// A function that is no builtin: it could be an aggregate.
    pub unknown: bool,
    depth: usize,
}

impl Calls {
    /// Adds the calls in this.
    pub fn add<T: Visit>(&mut self, within: &T) {
        let _: ControlFlow<()> = within.visit(self);
    }
}

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match &function.over {
            Some(WindowType::WindowSpec(spec)) => self.windows.push(match &spec.window_name {
                None => Over::Own(spec.partition_by.clone()),
                Some(name) => Over::Named(name.value.clone()),
            }),
            Some(WindowType::NamedWindow(name)) => self.windows.push(Over::Named(name.value.clone())),
            None => match super::functions::kind(&function.name) {
                super::functions::Kind::Aggregate => self.aggregates.push(expr.clone()),
                super::functions::Kind::Builtin => {}
                super::functions::Kind::Unknown => self.unknown = true,
            },
        }
        ControlFlow::Continue(())
    }
}
