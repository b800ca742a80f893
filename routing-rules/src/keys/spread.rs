//! Does a query's answer over all rows fall apart into its answers over each shard's rows? Decided when everything about
//! equal keys is known: until then a query is a tree of nodes.

use super::classes::{Class, Classes};

/// A query, as far as its spreading goes.
#[derive(Clone, Debug)]
pub enum Node {
    /// The same on every shard: no sharded table in it.
    Same,
    /// A sharded table, by the class of its key.
    Table(Class),
    /// A join.
    Join(Side, Box<Node>, Box<Node>),
    /// One query level.
    Level(Box<LevelNode>),
    /// UNION and its kin.
    Union {
        /// UNION ALL?
        keeps_all: bool,
        /// Both sides.
        sides: Box<(Node, Node)>,
        /// Columns that have a class on both sides: that of the result, and theirs.
        keys: Vec<(Class, Class, Class)>,
        /// A class for a result without a key.
        otherwise: Class,
    },
    /// Rows of a query, inserted into a table with this key.
    Insert(Box<Node>, Class),
    /// What does not spread, whatever is in it.
    Never(&'static str),
    /// What is done to all rows of it at once.
    Whole(Box<Node>, &'static str),
}

/// Which side of a join keeps its rows without a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Neither.
    Neither,
    /// LEFT JOIN.
    Left,
    /// RIGHT JOIN.
    Right,
    /// FULL JOIN.
    Both,
}

/// One query level.
#[derive(Clone, Debug)]
pub struct LevelNode {
    /// FROM.
    pub from: Node,
    /// Subqueries in its expressions.
    pub subqueries: Vec<Node>,
    /// GROUP BY and aggregates: the classes grouped by.
    pub groups: Option<Vec<Class>>,
    /// DISTINCT: the classes among what is distinct.
    pub distinct: Option<Vec<Class>>,
    /// The classes each window is partitioned by.
    pub windows: Vec<Vec<Class>>,
    /// Anything else that needs all rows.
    pub whole: Option<&'static str>,
}

/// How a query spreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The same on every shard.
    Same,
    /// The answer is the shards' answers together; rows with one value of this class are on one shard.
    Parts(Class),
    /// It is right only where it is asked for one value of this class at a time; the operator that makes it so.
    PerKey(Class, &'static str),
    /// Not at all: the operator.
    No(&'static str),
}

/// How a node spreads.
pub fn spread(node: &Node, classes: &Classes) -> Spread {
    match node {
        Node::Same => Spread::Same,
        Node::Never(operator) => Spread::No(operator),
        Node::Insert(source, class) => match spread(source, classes) {
            Spread::Parts(base) if classes.is_aligned(*class, base) => Spread::Parts(base),
            Spread::Parts(_) | Spread::Same => Spread::No("INSERT of rows that belong on other shards"),
            Spread::PerKey(_, operator) | Spread::No(operator) => Spread::No(operator),
        },
        Node::Table(class) => Spread::Parts(*class),
        Node::Join(side, left, right) => join(*side, spread(left, classes), spread(right, classes), classes),
        Node::Level(level) => self::level(level, classes),
        Node::Union {
            keeps_all,
            sides,
            keys,
            otherwise,
        } => {
            let (left, right) = (spread(&sides.0, classes), spread(&sides.1, classes));
            union(*keeps_all, (left, right), keys, *otherwise, classes)
        }
        Node::Whole(inner, operator) => match spread(inner, classes) {
            Spread::Same => Spread::Same,
            Spread::Parts(class) => Spread::PerKey(class, operator),
            other @ (Spread::PerKey(..) | Spread::No(_)) => other,
        },
    }
}

/// How a level's rows spread before GROUP BY, DISTINCT and windows.
pub fn body(level: &LevelNode, classes: &Classes) -> Spread {
    let mut whole = spread(&level.from, classes);
    for node in &level.subqueries {
        let inner = spread(node, classes);
        whole = match (whole, inner) {
            (whole, Spread::Same) => whole,
            (Spread::No(operator), _) | (_, Spread::No(operator)) => Spread::No(operator),
            (
                Spread::Parts(base) | Spread::PerKey(base, _),
                Spread::Parts(class) | Spread::PerKey(class, _),
            ) if classes.is_aligned(class, base) => whole,
            // It may be tied to a level around this one.
            (Spread::Same, Spread::Parts(class) | Spread::PerKey(class, _)) => {
                Spread::PerKey(class, SUBQUERY)
            }
            (Spread::Parts(_) | Spread::PerKey(..), Spread::Parts(_) | Spread::PerKey(..)) => {
                Spread::No(SUBQUERY)
            }
        };
    }
    whole
}

const SUBQUERY: &str = "a subquery that is not tied to the key around it";
const JOIN: &str = "a join that is not on the key";
const OUTER: &str = "an outer join that keeps rows of an unsharded table";

fn level(level: &LevelNode, classes: &Classes) -> Spread {
    let base = match body(level, classes) {
        Spread::Parts(base) => base,
        other @ (Spread::Same | Spread::PerKey(..) | Spread::No(_)) => return other,
    };
    // A class that only follows the base may be NULL in an outer join: its rows without a match are on all shards.
    let has = |list: &[Class]| {
        list.iter()
            .any(|&class| classes.find(class) == classes.find(base))
    };
    if let Some(operator) = level.whole {
        return Spread::PerKey(base, operator);
    }
    if level.groups.as_ref().is_some_and(|groups| !has(groups)) {
        return Spread::PerKey(base, "an aggregate that is not grouped by the key");
    }
    if level.windows.iter().any(|window| !has(window)) {
        return Spread::PerKey(base, "a window that is not partitioned by the key");
    }
    if level.distinct.as_ref().is_some_and(|distinct| !has(distinct)) {
        return Spread::PerKey(base, "DISTINCT without the key");
    }
    Spread::Parts(base)
}

fn join(side: Side, left: Spread, right: Spread, classes: &Classes) -> Spread {
    match (left, right) {
        (Spread::No(operator), _) | (_, Spread::No(operator)) => Spread::No(operator),
        (Spread::Same, Spread::Same) => Spread::Same,
        (Spread::Same, sharded) => match side {
            Side::Neither | Side::Right => sharded,
            Side::Left | Side::Both => Spread::No(OUTER),
        },
        (sharded, Spread::Same) => match side {
            Side::Neither | Side::Left => sharded,
            Side::Right | Side::Both => Spread::No(OUTER),
        },
        (_, _) if side == Side::Both => Spread::No("FULL JOIN"),
        (Spread::Parts(one), Spread::Parts(other)) => {
            // With LEFT JOIN the right side follows the left, so that the left's key is everybody's.
            let (kept, led) = match side {
                Side::Neither | Side::Left | Side::Both => (one, other),
                Side::Right => (other, one),
            };
            if classes.is_aligned(led, kept) {
                Spread::Parts(kept)
            } else if side == Side::Neither && classes.is_aligned(kept, led) {
                Spread::Parts(led)
            } else {
                Spread::No(JOIN)
            }
        }
        (Spread::Parts(base), Spread::PerKey(class, operator)) => {
            match classes.is_aligned(class, base) && side != Side::Right {
                true => Spread::Parts(base),
                false => Spread::No(operator),
            }
        }
        (Spread::PerKey(class, operator), Spread::Parts(base)) => {
            match classes.is_aligned(class, base) && side == Side::Right {
                true => Spread::Parts(base),
                false => Spread::No(operator),
            }
        }
        (Spread::PerKey(one, operator), Spread::PerKey(other, _)) => match classes.is_aligned(other, one) {
            true => Spread::PerKey(one, operator),
            false => Spread::No(operator),
        },
    }
}

fn union(
    keeps_all: bool,
    sides: (Spread, Spread),
    keys: &[(Class, Class, Class)],
    otherwise: Class,
    classes: &Classes,
) -> Spread {
    let (left, right) = match sides {
        (Spread::Same, Spread::Same) => return Spread::Same,
        (Spread::No(operator), _) | (_, Spread::No(operator)) => return Spread::No(operator),
        (Spread::Parts(left), Spread::Parts(right)) => (left, right),
        (Spread::PerKey(class, operator), Spread::PerKey(other, _) | Spread::Parts(other))
        | (Spread::Parts(other), Spread::PerKey(class, operator)) => {
            return match classes.is_aligned(other, class) || classes.is_aligned(class, other) {
                true if classes.find(class) == classes.find(other) => Spread::PerKey(class, operator),
                true | false => Spread::No(operator),
            };
        }
        (Spread::Same, Spread::Parts(_) | Spread::PerKey(..))
        | (Spread::Parts(_) | Spread::PerKey(..), Spread::Same) => {
            return Spread::No("UNION, INTERSECT or EXCEPT of a sharded and an unsharded query");
        }
    };
    let is_key = |output: Class, base: Class| classes.find(output) == classes.find(base);
    let key = keys
        .iter()
        .find(|(_, one, other)| is_key(*one, left) && is_key(*other, right));
    match (key, keeps_all) {
        (Some((class, ..)), _) => Spread::Parts(*class),
        (None, true) => Spread::Parts(otherwise),
        (None, false) => Spread::No("UNION, INTERSECT or EXCEPT without the key in one column"),
    }
}
