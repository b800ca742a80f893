//! Reads whole texts: cuts them into statements, settles those whose first word says it all, and parses the others.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{Expr, ObjectName, ObjectNamePart, Statement, TableFactor, Visit, Visitor};

use super::functions;
use super::read::Reader;
use super::reason::Reason;
use super::scope::Env;
use super::slot::Slot;
use super::spread::{Node, Spread, spread};
use super::{Context, Kind, Reading, Use};
use crate::scatter::{self, Plan};
use crate::sql::{self, Kind as Piece, Pieces};

/// What was learned of one statement.
struct One {
    kind: Kind,
    node: Node,
    copy_key: Option<usize>,
}

impl Reading {
    /// Reads a text. What can't be placed is in [`Reading::refused`].
    pub fn new(pieces: &Pieces<'_>, context: &Context<'_>) -> Reading {
        let mut reader = Reader::new(context, pieces);
        let mut reading = Reading {
            kind: Kind::Session,
            statements: 0,
            bounds: Vec::new(),
            homes: Vec::new(),
            tables: Vec::new(),
            names_system_column: false,
            has_local: false,
            reads_reference: false,
            writes_reference: false,
            opaque: None,
            whole: None,
            plan: None,
            rows: None,
            copy_key: None,
            only_keys: Vec::new(),
            looked_at: Vec::new(),
            refused: None,
        };
        for range in pieces.statements() {
            reading.statements += 1;
            match reader.statement(range, &mut reading) {
                Ok(one) => reading.add(one, &reader),
                Err(reason) => reading.refuse(reason),
            }
        }
        reading.finish(reader);
        reading
    }

    fn add(&mut self, one: One, reader: &Reader<'_>) {
        if self.statements > 1 && (self.kind, one.kind) != (Kind::Session, Kind::Session) {
            self.plan = None;
            self.whole = Some("more than one statement in a text".into());
        } else if let Spread::No(operator) | Spread::PerKey(_, operator) = spread(&one.node, &reader.classes)
        {
            self.whole = Some(operator.into());
        }
        self.kind = match (self.kind, one.kind) {
            (Kind::Session, kind) | (kind, Kind::Session) => kind,
            (one, other) if one == other => one,
            (Kind::Read, Kind::Write) | (Kind::Write, Kind::Read) => Kind::Write,
            (_, other) => {
                self.refuse(Reason::Construct("a text that mixes kinds of statements"));
                other
            }
        };
        self.copy_key = one.copy_key;
    }

    fn refuse(&mut self, reason: Reason) {
        self.refused.get_or_insert(reason);
    }

    fn finish(&mut self, reader: Reader<'_>) {
        let Reader {
            classes,
            bounds,
            homes,
            tables,
            has_local,
            reads_reference,
            writes_reference,
            looked_at,
            rows,
            from_arrays,
            pieces,
            ..
        } = reader;
        self.bounds = bounds
            .into_iter()
            .map(|(class, mut bound)| {
                bound.ties = classes.all_ties(class);
                bound
            })
            .collect();
        (self.homes, self.has_local, self.tables) = (homes, has_local, tables);
        self.names_system_column = (0..pieces.all.len()).any(|place| {
            let name = pieces.text(place).trim_matches('"').to_ascii_lowercase();
            SYSTEM_COLUMNS.contains(&name.as_str())
        });
        (self.reads_reference, self.writes_reference) = (reads_reference, writes_reference);
        let value = |literal: u32| (literal, pieces.value(literal).unwrap_or_default());
        self.looked_at = looked_at.into_iter().map(value).collect();
        self.rows =
            rows.filter(|_| self.statements == 1 && self.kind == Kind::Write && self.bounds.len() == 1);
        // INVARIANT: whoever is placed by an array of keys has its other arrays' lengths looked at.
        let looked_at = self.rows.iter().filter(|rows| rows.arrays.is_some()).count();
        if from_arrays > looked_at {
            self.refuse(Reason::Construct("an INSERT from arrays among other statements"));
        }
        self.only_keys = only_keys(pieces, &self.bounds);
        if self.writes_reference && !self.bounds.is_empty() {
            self.refuse(Reason::Reference("what is read from sharded tables".into()));
        }
        if self.writes_reference && self.has_local {
            self.refuse(Reason::Reference(
                "what is read from catalogs or temporary tables".into(),
            ));
        }
    }
}

impl Reader<'_> {
    fn statement(&mut self, range: Range<usize>, reading: &mut Reading) -> Result<One, Reason> {
        let word = self.word(range.start);
        let simple = |kind: Kind| {
            Ok(One {
                kind,
                node: Node::Same,
                copy_key: None,
            })
        };
        match word.as_str() {
            word if is_parsed(word) => self.parsed(range, reading),
            "explain" => self.explain(range, reading),
            "declare" => self.declare(range, reading),
            "copy" => self.copy(range, reading),
            "create" | "alter" | "drop" => self.schema_change(range),
            "truncate" | "comment" | "grant" | "revoke" | "reindex" | "vacuum" | "analyze" | "analyse"
            | "cluster" | "refresh" | "lock" | "security" | "reassign" => match self.names_temporary(range) {
                true => self.local(),
                false => simple(Kind::Everywhere),
            },
            "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" | "set"
            | "reset" | "show" | "discard" | "listen" | "unlisten" | "notify" | "deallocate" | "close"
            | "fetch" | "move" | "checkpoint" | "load" => simple(Kind::Session),
            other => Err(Reason::Statement(other.to_uppercase().into())),
        }
    }

    /// A piece in lower case.
    fn word(&self, place: usize) -> String {
        self.pieces.text(place).to_ascii_lowercase()
    }

    fn local(&mut self) -> Result<One, Reason> {
        self.has_local = true;
        Ok(One {
            kind: Kind::Session,
            node: Node::Same,
            copy_key: None,
        })
    }

    fn names_temporary(&self, mut range: Range<usize>) -> bool {
        range.any(|place| {
            let text = self.word(place);
            self.context
                .temporary
                .iter()
                .any(|name| **name == *text.trim_matches('"'))
        })
    }

    /// CREATE, ALTER and DROP.
    fn schema_change(&mut self, range: Range<usize>) -> Result<One, Reason> {
        let words: Vec<String> = range.clone().take(8).map(|place| self.word(place)).collect();
        let has = |word: &str| words.iter().any(|own| own == word);
        let second = words.get(1).map_or("", String::as_str);
        if matches!(second, "database" | "tablespace" | "subscription" | "system") {
            return Err(Reason::Statement(
                format!("{} {second}", words[0]).to_uppercase().into(),
            ));
        }
        let is_table = matches!(
            second,
            "table" | "unlogged" | "temp" | "temporary" | "local" | "global"
        );
        let is_temporary = words[0] == "create"
            && words
                .iter()
                .take(3)
                .any(|word| word == "temp" || word == "temporary");
        let is_query = words[0] == "create"
            && is_table
            && !has("view")
            && !has("sequence")
            && self.is_create_as(range.clone());
        match (is_temporary, is_query) {
            (_, true) => Err(Reason::Statement("CREATE TABLE AS".into())),
            (true, false) => self.local(),
            (false, false) if self.names_temporary(range) => self.local(),
            (false, false) => Ok(One {
                kind: Kind::Everywhere,
                node: Node::Same,
                copy_key: None,
            }),
        }
    }

    /// Does a CREATE TABLE have a query or an EXECUTE behind AS?
    fn is_create_as(&self, mut range: Range<usize>) -> bool {
        range.any(|place| {
            let next = self.word(place + 1);
            self.word(place) == "as"
                && matches!(
                    next.as_str(),
                    "select" | "with" | "values" | "table" | "execute" | "("
                )
        })
    }

    fn explain(&mut self, range: Range<usize>, reading: &mut Reading) -> Result<One, Reason> {
        let mut at = range.start + 1;
        if self.pieces.text(at) == "(" {
            while at < range.end && self.pieces.text(at) != ")" {
                at += 1;
            }
            at += 1;
        }
        while matches!(self.word(at).as_str(), "analyze" | "analyse" | "verbose") {
            at += 1;
        }
        if at >= range.end || !is_parsed(&self.word(at)) {
            return Err(Reason::Statement("EXPLAIN".into()));
        }
        let one = self.parsed(at..range.end, reading)?;
        reading.plan = None;
        self.rows = None;
        Ok(One {
            kind: Kind::Explain,
            node: Node::Join(
                super::spread::Side::Neither,
                Box::new(one.node),
                Box::new(Node::Same),
            ),
            copy_key: None,
        })
    }

    /// DECLARE … CURSOR … FOR query.
    fn declare(&mut self, range: Range<usize>, reading: &mut Reading) -> Result<One, Reason> {
        let body = range
            .clone()
            .find(|&place| self.word(place) == "for")
            .map(|place| place + 1);
        match body {
            Some(body) if body < range.end => self.parsed(body..range.end, reading),
            Some(_) | None => Err(Reason::Statement("DECLARE".into())),
        }
    }

    /// COPY: its options are not looked at.
    fn copy(&mut self, range: Range<usize>, reading: &mut Reading) -> Result<One, Reason> {
        let mut at = range.start + 1;
        if self.pieces.text(at) == "(" {
            let end = self.closing(at, range.end).ok_or(Reason::Construct("COPY"))?;
            let one = self.parsed(at + 1..end, reading)?;
            reading.plan = match reading.plan.take() {
                Some(Ok(Plan::Merge(_) | Plan::Finish(_))) => {
                    Some(Err("COPY of what is sorted or put together".into()))
                }
                plan => plan,
            };
            let kind = match one.kind {
                Kind::Read => Kind::CopyOut,
                kind => {
                    return Err(Reason::Construct(if kind == Kind::Write {
                        "COPY of a statement that writes"
                    } else {
                        "COPY"
                    }));
                }
            };
            self.check_end(end + 1, "to", "stdout")?;
            return Ok(One { kind, ..one });
        }
        let mut parts = vec![self.name_at(at)?];
        at += 1;
        while self.pieces.text(at) == "." {
            parts.push(self.name_at(at + 1)?);
            at += 2;
        }
        let mut columns = Vec::new();
        if self.pieces.text(at) == "(" {
            let end = self.closing(at, range.end).ok_or(Reason::Construct("COPY"))?;
            for place in at + 1..end {
                if self.pieces.text(place) != "," {
                    columns.push(self.name_at(place)?.value);
                }
            }
            at = end + 1;
        }
        let name = ObjectName(parts.into_iter().map(ObjectNamePart::Identifier).collect());
        let (kind, used) = match self.word(at).as_str() {
            "from" => (Kind::CopyIn, Use::Insert),
            "to" => (Kind::CopyOut, Use::Read),
            _ => return Err(Reason::Construct("COPY")),
        };
        match kind {
            Kind::CopyIn => self.check_end(at, "from", "stdin")?,
            _ => self.check_end(at, "to", "stdout")?,
        }
        // COPY … WHERE may hold anything but a subquery.
        let (node, copy_key) = self.copied(&name, &columns, used)?;
        Ok(One { kind, node, copy_key })
    }

    fn check_end(&self, at: usize, direction: &str, stream: &str) -> Result<(), Reason> {
        match self.word(at) == direction && self.word(at + 1) == stream {
            true => Ok(()),
            false => Err(Reason::Statement("COPY with a file or a program".into())),
        }
    }

    fn name_at(&self, place: usize) -> Result<sqlparser::ast::Ident, Reason> {
        use sqlparser::tokenizer::{Location, Span};
        let text = self.pieces.text(place);
        let (value, quote) = match self.pieces.all.get(place).map(|piece| piece.2) {
            Some(Piece::Word) => (text.to_ascii_lowercase(), None),
            Some(Piece::Quoted) => (text[1..text.len() - 1].replace("\"\"", "\""), Some('"')),
            _ => return Err(Reason::Construct("COPY")),
        };
        let at = Location::new(1, place as u64 + 1);
        Ok(sqlparser::ast::Ident {
            value,
            quote_style: quote,
            span: Span::new(at, at),
        })
    }

    /// The piece that closes the parenthesis at `open`.
    fn closing(&self, open: usize, end: usize) -> Option<usize> {
        let mut depth = 0;
        (open..end).find(|&place| {
            match self.pieces.text(place) {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            depth == 0
        })
    }

    /// Is every table tied to the same constant or parameter? Then there is nothing to put together.
    fn is_for_one(&self) -> bool {
        let mut ties = self.bounds.iter().map(|(class, _)| self.classes.all_ties(*class));
        let Some(first) = ties.next() else {
            return true;
        };
        let one = first.iter().find(|tie| matches!(&tie[..], [slot] if !matches!(slot, Slot::ParameterArray(_) | Slot::LiteralArray(_))));
        one.is_some_and(|one| ties.all(|ties| ties.contains(one)))
    }

    /// A statement that is parsed.
    fn parsed(&mut self, range: Range<usize>, reading: &mut Reading) -> Result<One, Reason> {
        let tree = sql::parse(self.pieces, range.clone())?;
        let mut functions = Functions::default();
        let _: ControlFlow<()> = tree.visit(&mut functions);
        for name in &functions.called {
            let is_known = functions::kind(name) != functions::Kind::Unknown
                || super::scope::names(name).is_some_and(|(schema, name)| {
                    let schema = schema.map(|schema| schema.value.as_str());
                    self.context
                        .sharding
                        .functions
                        .iter()
                        .any(|named| named.is(schema, &name.value))
                });
            if !is_known {
                reading.opaque.get_or_insert_with(|| name.to_string().into());
            }
        }
        let (kind, node) = match &tree {
            Statement::Query(query) => {
                let (outputs, node) = self.query(query, &Env::EMPTY)?;
                if !self.is_for_one() {
                    reading.plan = Some(scatter::plan(self, query, range, &node, &outputs));
                }
                let writes = self.bounds.iter().any(|(_, bound)| bound.used != Use::Read)
                    || self.writes_reference
                    || functions.writes;
                (if writes { Kind::Write } else { Kind::Read }, node)
            }
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) | Statement::Merge(_) => {
                let (_, node) = self.write(&tree, &Env::EMPTY)?;
                (Kind::Write, node)
            }
            _ => return Err(Reason::Construct("this statement")),
        };
        if !matches!(tree, Statement::Insert(_)) {
            self.rows = None;
        }
        if !self.is_complete(&tree) {
            return Err(Reason::Construct("part of the statement"));
        }
        if self.writes_reference
            && let Some(name) = functions.called.iter().find(|name| functions::is_unstable(name))
        {
            return Err(Reason::Reference(format!("function {name}").into()));
        }
        Ok(One {
            kind,
            node,
            copy_key: None,
        })
    }
}

/// Does a statement with this first word go to the parser?
fn is_parsed(word: &str) -> bool {
    matches!(
        word,
        "select" | "with" | "insert" | "update" | "delete" | "merge" | "values" | "table" | "("
    )
}

/// Parameters that stand in the text as often as they tie a key.
fn only_keys(pieces: &Pieces<'_>, bounds: &[super::Bound]) -> Vec<u16> {
    let mut uses: BTreeMap<u16, usize> = BTreeMap::new();
    for place in 0..pieces.all.len() {
        if pieces.all[place].2 == Piece::Parameter
            && let Ok(number) = pieces.text(place)[1..].parse()
        {
            *uses.entry(number).or_default() += 1;
        }
    }
    let is_key = |number: u16| {
        let ties = bounds.iter().flat_map(|bound| bound.ties.iter().flatten());
        ties.into_iter()
            .any(|slot| *slot == Slot::Parameter(number) || *slot == Slot::ParameterArray(number))
    };
    // A parameter that stands once, and ties a key, stands there.
    uses.into_iter()
        .filter(|&(number, uses)| uses == 1 && is_key(number))
        .map(|(number, _)| number)
        .collect()
}

/// `SysAtt` of `heap.c`.
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"];

/// All functions of a tree.
#[derive(Default)]
struct Functions {
    called: Vec<ObjectName>,
    writes: bool,
}

impl Visitor for Functions {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.called.push(function.name.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name, args: Some(_), ..
            }
            | TableFactor::Function { name, .. } => self.called.push(name.clone()),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &sqlparser::ast::Query) -> ControlFlow<()> {
        self.writes |= !query.locks.is_empty();
        ControlFlow::Continue(())
    }
}
