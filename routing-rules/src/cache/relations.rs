//! What a database's relations lead to: from the rows of its catalog to "reading this reads these tables" and "writing
//! this changes these".

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::stable::is_told_by_the_key;
use super::text::{is_quiet, sets};

/// A relation's name, without its schema.
pub type Name = Arc<[u8]>;

/// A row of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A function that is not IMMUTABLE.
    Function {
        /// Its OID.
        oid: u32,
        /// Its name.
        name: Vec<u8>,
        /// Is it VOLATILE?
        is_volatile: bool,
        /// Did it come with the server?
        is_builtin: bool,
    },
    /// A table, a view, a materialized view.
    Relation {
        /// Its OID.
        oid: u32,
        /// Its name.
        name: Vec<u8>,
        /// `pg_class.relkind`
        kind: u8,
        /// Is it permanent, neither temporary nor unlogged?
        is_permanent: bool,
        /// Has it row security?
        has_row_security: bool,
        /// A view's: relations and functions its query names, by OID; `None`: the query cannot be looked through.
        reads: Option<(Vec<u32>, Vec<u32>)>,
    },
    /// `child` inherits from `parent`, or is a partition of it.
    Inherits {
        /// The parent's OID.
        parent: u32,
        /// The child's OID.
        child: u32,
    },
    /// Deleting from `parent`, or updating it, changes `child`.
    Cascades {
        /// The table referred to.
        parent: u32,
        /// The table with the foreign key.
        child: u32,
    },
    /// Writing to a table runs a trigger function.
    Trigger {
        /// The table's OID.
        table: u32,
        /// The function's name.
        function: Vec<u8>,
        /// Its body, if it is written in PL/pgSQL.
        body: Option<Vec<u8>>,
        /// Did it come with the server?
        is_builtin: bool,
        /// Does it run before a row is written, and may so change it?
        is_before: bool,
    },
    /// A column of a table that is made of others.
    Generated {
        /// The table's OID.
        table: u32,
        /// The column's name.
        column: Vec<u8>,
    },
    /// What the stream of writes tells of a row as it was: a column of the table's replica identity.
    Identity {
        /// The table's OID.
        table: u32,
        /// The column's name; `None`: all of them.
        column: Option<Vec<u8>>,
    },
    /// Writing to a table runs what nobody looks through: a rule, a default that calls a volatile function.
    Runs {
        /// The table's OID.
        table: u32,
    },
    /// Some role, or the database, begins transactions in another isolation than READ COMMITTED.
    IsolatesByDefault,
}

/// What is known of one name, over all schemas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Relation {
    /// The tables that reading it reads.
    pub reads: Vec<Name>,
    /// Why an answer that reads it is not kept.
    pub refused: Option<&'static str>,
    /// The tables that writing to it changes.
    pub writes: Vec<Name>,
    /// Writing to it may change anything.
    pub writes_anything: bool,
    /// It is a table, in whatever schema.
    pub is_table: bool,
    /// A row that is written to it may become another one: a trigger of the database runs before.
    pub rewrites: bool,
    /// Columns that are not what a statement sets them to.
    pub generated: Vec<Name>,
    /// Columns of a row that the stream tells when it is no longer so.
    pub identity: Identity,
}

/// The columns that the stream of writes tells of a row as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Identity {
    /// Nobody has said.
    #[default]
    Unknown,
    /// All.
    All,
    /// These.
    Columns(Vec<Name>),
}

impl Identity {
    /// Is this column among them?
    pub fn has(&self, column: &str) -> bool {
        match self {
            Identity::Unknown => false,
            Identity::All => true,
            Identity::Columns(columns) => columns.iter().any(|own| **own == *column.as_bytes()),
        }
    }

    /// Those that are in both.
    fn and(&mut self, other: &Identity) {
        match (&mut *self, other) {
            (_, Identity::All) => {}
            (Identity::All, other) => *self = other.clone(),
            (own, Identity::Unknown) => *own = Identity::Unknown,
            (Identity::Unknown, _) => {}
            (Identity::Columns(own), Identity::Columns(other)) => own.retain(|name| other.contains(name)),
        }
    }
}

/// How much a function that is not IMMUTABLE may differ from call to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// A builtin whose answer follows from the session's settings, role and database.
    ByKey,
    /// Another builtin.
    Builtin,
    /// A function of the database.
    Own,
}

/// What a database has that matters to the cache.
#[derive(Clone, Debug, Default)]
pub struct Relations {
    relations: HashMap<Name, Relation>,
    functions: HashMap<Box<[u8]>, Calls>,
    isolates_by_default: bool,
}

/// The rows by what they are, before names are made of them.
#[derive(Default)]
struct Graph {
    names: HashMap<u32, Name>,
    below: HashMap<u32, Vec<u32>>,
    views: HashMap<u32, Vec<u32>>,
    cascades: HashMap<u32, Vec<u32>>,
    loud: HashSet<u32>,
    others: HashSet<u32>,
    rewrites: HashSet<u32>,
    generated: HashMap<u32, Vec<Name>>,
    identities: HashMap<u32, Identity>,
}

impl Relations {
    /// Makes sense of the catalog's rows. `is_safe` says whether the user vouches for a function.
    pub fn new(rows: &[Found], is_safe: impl Fn(&[u8]) -> bool) -> Relations {
        let mut made = Relations::default();
        let mut unstable = HashSet::new();
        for row in rows {
            made.function(row, &mut unstable);
        }
        let mut graph = Graph::default();
        let mut refused = HashMap::new();
        for row in rows {
            graph.add(row, &made, &is_safe);
            if let Found::Relation { oid, .. } = row
                && let Some(why) = refusal(row, &unstable)
            {
                refused.insert(*oid, why);
            }
        }
        for (&oid, name) in &graph.names {
            let reads = graph.reach(oid, &[&graph.below, &graph.views]);
            let writes = graph.reach(oid, &[&graph.below, &graph.views, &graph.cascades]);
            let of_all = Relation {
                is_table: true,
                identity: Identity::All,
                ..Relation::default()
            };
            let relation = made.relations.entry(name.clone()).or_insert(of_all);
            relation.is_table &= !graph.others.contains(&oid);
            let none = Identity::Unknown;
            relation.identity.and(graph.identities.get(&oid).unwrap_or(&none));
            for one in &reads {
                relation.rewrites |= graph.rewrites.contains(one);
                let generated = graph.generated.get(one).into_iter().flatten();
                relation.generated.extend(generated.cloned());
                relation.refused = relation.refused.or(refused.get(one).copied());
                relation.reads.extend(graph.names.get(one).cloned());
            }
            for one in &writes {
                relation.writes_anything |= graph.loud.contains(one);
                relation.writes.extend(graph.names.get(one).cloned());
            }
            for list in [&mut relation.reads, &mut relation.writes] {
                list.sort();
                list.dedup();
            }
        }
        made
    }

    fn function(&mut self, row: &Found, unstable: &mut HashSet<u32>) {
        match row {
            Found::Function {
                oid,
                name,
                is_volatile,
                is_builtin,
            } => {
                let calls = match is_builtin {
                    true if !is_volatile && is_told_by_the_key(name) => Calls::ByKey,
                    true => Calls::Builtin,
                    false => Calls::Own,
                };
                if calls != Calls::ByKey {
                    unstable.insert(*oid);
                }
                let known = self.functions.entry(name.clone().into()).or_insert(calls);
                if *known == Calls::ByKey || calls == Calls::Own {
                    *known = calls;
                }
            }
            Found::IsolatesByDefault => self.isolates_by_default = true,
            Found::Relation { .. }
            | Found::Inherits { .. }
            | Found::Cascades { .. }
            | Found::Trigger { .. }
            | Found::Generated { .. }
            | Found::Identity { .. }
            | Found::Runs { .. } => {}
        }
    }

    /// Is nothing known?
    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }

    /// May a BEGIN that says nothing of isolation begin something else than READ COMMITTED?
    pub fn isolates_by_default(&self) -> bool {
        self.isolates_by_default
    }

    pub(super) fn relation(&self, name: &[u8]) -> Option<(&Name, &Relation)> {
        self.relations.get_key_value(name)
    }

    pub(super) fn calls(&self, name: &[u8]) -> Option<Calls> {
        self.functions.get(name).copied()
    }
}

impl Graph {
    fn add(&mut self, row: &Found, made: &Relations, is_safe: impl Fn(&[u8]) -> bool) {
        match row {
            Found::Relation {
                oid,
                name,
                kind,
                reads,
                ..
            } => {
                self.names.insert(*oid, name.as_slice().into());
                if let Some((relations, _)) = reads {
                    self.views.entry(*oid).or_default().extend(relations);
                }
                if *kind == b'f' {
                    self.loud.insert(*oid);
                }
                if !matches!(kind, b'r' | b'p') {
                    self.others.insert(*oid);
                }
            }
            Found::Inherits { parent, child } => self.below.entry(*parent).or_default().push(*child),
            Found::Cascades { parent, child } => self.cascades.entry(*parent).or_default().push(*child),
            Found::Trigger {
                table,
                function,
                body,
                is_builtin,
                is_before,
            } => {
                if *is_before && !is_builtin {
                    match body.as_deref().and_then(sets) {
                        Some(columns) => self.generated.entry(*table).or_default().extend(columns),
                        None => drop(self.rewrites.insert(*table)),
                    }
                }
                // The user's word for a function is that it writes nothing.
                let is_own = |name: &[u8]| made.calls(name) == Some(Calls::Own);
                let writes_nothing = |body: &Vec<u8>| is_quiet(body, is_own);
                let is_quiet = *is_builtin || is_safe(function) || body.as_ref().is_some_and(writes_nothing);
                if !is_quiet {
                    self.loud.insert(*table);
                }
            }
            Found::Runs { table } => {
                self.loud.insert(*table);
            }
            Found::Generated { table, column } => {
                let generated = self.generated.entry(*table).or_default();
                generated.push(column.as_slice().into());
            }
            Found::Identity { table, column } => {
                let known = self.identities.entry(*table);
                let known = known.or_insert_with(|| Identity::Columns(Vec::new()));
                match (known, column) {
                    (known, None) => *known = Identity::All,
                    (Identity::Columns(columns), Some(column)) => columns.push(column.as_slice().into()),
                    (Identity::Unknown | Identity::All, Some(_)) => {}
                }
            }
            Found::Function { .. } | Found::IsolatesByDefault => {}
        }
    }

    /// Everything that can be come to from one relation, itself included.
    fn reach(&self, from: u32, ways: &[&HashMap<u32, Vec<u32>>]) -> HashSet<u32> {
        let mut reached = HashSet::from([from]);
        let mut next = vec![from];
        while let Some(one) = next.pop() {
            for way in ways {
                let further = way.get(&one).into_iter().flatten();
                next.extend(further.filter(|other| reached.insert(**other)));
            }
        }
        reached
    }
}

/// Why an answer that reads this relation itself is not kept.
fn refusal(row: &Found, unstable: &HashSet<u32>) -> Option<&'static str> {
    let Found::Relation {
        kind,
        is_permanent,
        has_row_security,
        reads,
        ..
    } = row
    else {
        return None;
    };
    match kind {
        b'f' => return Some("it is a foreign table"),
        b'S' => return Some("it is a sequence"),
        b'v' => match reads {
            None => return Some("its query asks for the time or a sample"),
            Some((relations, functions)) => {
                if relations.iter().any(|oid| *oid < FIRST_NORMAL_OID) {
                    return Some("it reads system catalogs");
                }
                if functions.iter().any(|oid| unstable.contains(oid)) {
                    return Some("it calls functions whose answers change");
                }
            }
        },
        _ => {}
    }
    if *has_row_security {
        return Some("it has row security");
    }
    (!is_permanent).then_some("it is temporary or unlogged")
}

/// `FirstNormalObjectId`: objects below it came with the server.
const FIRST_NORMAL_OID: u32 = 16384;

#[cfg(test)]
mod tests {
    use super::*;

    fn table(oid: u32, name: &str) -> Found {
        Found::Relation {
            oid,
            name: name.into(),
            kind: b'r',
            is_permanent: true,
            has_row_security: false,
            reads: None,
        }
    }

    fn names(list: &[Name]) -> Vec<String> {
        let text = |name: &Name| String::from_utf8_lossy(name).into_owned();
        list.iter().map(text).collect()
    }

    #[test]
    fn what_is_read_and_written_is_followed_through_the_catalog() {
        let view = Found::Relation {
            oid: 20_010,
            name: b"v".to_vec(),
            kind: b'v',
            is_permanent: true,
            has_row_security: false,
            reads: Some((vec![20_001], vec![])),
        };
        let rows = [
            table(20_001, "p"),
            table(20_002, "p_1"),
            table(20_003, "child"),
            table(20_004, "noisy"),
            view,
            Found::Inherits {
                parent: 20_001,
                child: 20_002,
            },
            Found::Cascades {
                parent: 20_001,
                child: 20_003,
            },
            Found::Trigger {
                table: 20_004,
                function: b"f".to_vec(),
                body: None,
                is_builtin: false,
                is_before: false,
            },
        ];
        let relations = Relations::new(&rows, |_| false);
        let look = |name: &[u8]| relations.relation(name).expect("a relation").1.clone();
        assert_eq!(names(&look(b"v").reads), ["p", "p_1", "v"]);
        assert_eq!(names(&look(b"p").writes), ["child", "p", "p_1"]);
        assert_eq!(names(&look(b"p_1").writes), ["p_1"]);
        assert!(look(b"noisy").writes_anything && !look(b"p").writes_anything);
        let vouched = Relations::new(&rows, |function| function == b"f");
        assert!(!vouched.relation(b"noisy").expect("a relation").1.writes_anything);
    }

    #[test]
    fn a_view_is_refused_for_what_is_under_it() {
        let secured = Found::Relation {
            oid: 20_001,
            name: b"t".to_vec(),
            kind: b'r',
            is_permanent: true,
            has_row_security: true,
            reads: None,
        };
        let view = |reads| Found::Relation {
            oid: 20_002,
            name: b"v".to_vec(),
            kind: b'v',
            is_permanent: true,
            has_row_security: false,
            reads,
        };
        for (reads, word) in [
            (Some((vec![20_001], vec![])), "row security"),
            (Some((vec![1259], vec![])), "catalogs"),
            (Some((vec![], vec![1299])), "answers change"),
            (None, "time"),
        ] {
            let now = Found::Function {
                oid: 1299,
                name: b"now".to_vec(),
                is_volatile: false,
                is_builtin: true,
            };
            let relations = Relations::new(&[secured.clone(), view(reads), now], |_| false);
            let why = relations.relation(b"v").expect("a view").1.refused;
            assert!(why.is_some_and(|why| why.contains(word)), "{why:?}");
        }
    }
}
