//! Reads conditions: which columns equal which, and what they are tied to. A condition that is not certain to hold for every
//! row that matters says nothing.

use std::ops::Range;

use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CharacterLength, DataType, Expr, UnaryOperator, Value, ValueWithSpan,
};

use super::read::Reader;
use super::reason::Reason;
use super::scope::{Column, Env, strip};
use super::slot::Slot;
use super::spread::Node;
use crate::place::KeyType;
use crate::sql::{Kind, Literal, piece};

impl Reader<'_> {
    /// Reads a condition that holds for every row that matters of the entries in `bound`. Subqueries it has read are added to
    /// `handled`.
    pub fn condition(
        &mut self,
        condition: &Expr,
        env: &Env<'_>,
        bound: Range<usize>,
        nodes: &mut Vec<Node>,
        handled: &mut Vec<usize>,
    ) -> Result<(), Reason> {
        for part in chain(condition, &BinaryOperator::And) {
            match part {
                Expr::BinaryOp {
                    left,
                    op: BinaryOperator::Eq,
                    right,
                } => self.equality(left, right, env, &bound),
                Expr::InSubquery {
                    expr,
                    subquery,
                    negated: false,
                } => {
                    let (outputs, node) = self.query(subquery, env)?;
                    handled.push(std::ptr::from_ref(&**subquery).addr());
                    nodes.push(node);
                    let columns = match strip(expr) {
                        Expr::Tuple(columns) => &columns[..],
                        column => std::slice::from_ref(column),
                    };
                    for (place, column) in columns.iter().enumerate() {
                        let column = env
                            .column(column)
                            .filter(|column| column.is_own && bound.contains(&column.entry));
                        if let (Some(column), Some(output)) = (column, outputs.at(place)) {
                            self.classes.unite(column.class, output);
                        }
                    }
                    continue;
                }
                _ => {}
            }
            for (column, slots) in self.ties(part, env) {
                if column.is_own && bound.contains(&column.entry) {
                    self.classes.tie(column.class, slots);
                }
            }
        }
        Ok(())
    }

    fn equality(&mut self, left: &Expr, right: &Expr, env: &Env<'_>, bound: &Range<usize>) {
        if let (Expr::Tuple(left), Expr::Tuple(right)) = (strip(left), strip(right)) {
            for (left, right) in left.iter().zip(right) {
                self.equality(left, right, env, bound);
            }
            return;
        }
        let (Some(left), Some(right)) = (env.column(left), env.column(right)) else {
            return;
        };
        let is_bound = |column: Column| column.is_own && bound.contains(&column.entry);
        match (is_bound(left), is_bound(right)) {
            (true, true) => self.classes.unite(left.class, right.class),
            (true, false) => self.classes.follow(left.class, right.class),
            (false, true) => self.classes.follow(right.class, left.class),
            (false, false) => {}
        }
    }

    /// What columns are tied to by a condition that holds.
    fn ties(&self, condition: &Expr, env: &Env<'_>) -> Vec<(Column, Vec<Slot>)> {
        match strip(condition) {
            Expr::BinaryOp {
                op: BinaryOperator::And,
                ..
            } => {
                let parts = chain(condition, &BinaryOperator::And);
                parts.into_iter().flat_map(|part| self.ties(part, env)).collect()
            }
            Expr::BinaryOp {
                op: BinaryOperator::Or,
                ..
            } => self.either(condition, env),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } => self.constant(left, right, env),
            Expr::InList {
                expr,
                list,
                negated: false,
            } => self.listed(expr, list, env),
            Expr::AnyOp {
                left,
                compare_op: BinaryOperator::Eq,
                right,
                ..
            } => match (env.column(left), self.array(right)) {
                (Some(column), Some(slots)) => vec![(column, slots)],
                (Some(_) | None, _) => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// OR: a column is tied if every branch ties it.
    fn either(&self, condition: &Expr, env: &Env<'_>) -> Vec<(Column, Vec<Slot>)> {
        let mut branches = chain(condition, &BinaryOperator::Or).into_iter();
        let mut all = branches
            .next()
            .map_or_else(Vec::new, |branch| self.ties(branch, env));
        for branch in branches {
            let ties = self.ties(branch, env);
            all = all
                .into_iter()
                .filter_map(|(column, mut slots)| {
                    let (_, other) = ties.iter().find(|(other, _)| other.class == column.class)?;
                    slots.extend(other.iter().cloned());
                    Some((column, slots))
                })
                .collect();
        }
        all
    }

    fn constant(&self, left: &Expr, right: &Expr, env: &Env<'_>) -> Vec<(Column, Vec<Slot>)> {
        if let (Expr::Tuple(left), Expr::Tuple(right)) = (strip(left), strip(right)) {
            let pairs = left.iter().zip(right);
            return pairs
                .flat_map(|(left, right)| self.constant(left, right, env))
                .collect();
        }
        let one_way = |column: &Expr, value: &Expr| Some((env.column(column)?, vec![self.slot(value)?]));
        one_way(left, right)
            .or_else(|| one_way(right, left))
            .into_iter()
            .collect()
    }

    fn listed(&self, expr: &Expr, list: &[Expr], env: &Env<'_>) -> Vec<(Column, Vec<Slot>)> {
        let tied = |column: &Expr, values: Option<Vec<Slot>>| Some((env.column(column)?, values?));
        match strip(expr) {
            Expr::Tuple(columns) => {
                let value = |row: &Expr, place: usize| match strip(row) {
                    Expr::Tuple(values) => values.get(place).and_then(|value| self.slot(value)),
                    _ => None,
                };
                let columns = columns.iter().enumerate();
                columns
                    .filter_map(|(place, column)| {
                        tied(column, list.iter().map(|row| value(row, place)).collect())
                    })
                    .collect()
            }
            column => {
                let values = list.iter().map(|value| self.slot(value)).collect();
                tied(column, values).into_iter().collect()
            }
        }
    }

    /// The slots of what stands in ANY (…).
    pub fn array(&self, expr: &Expr) -> Option<Vec<Slot>> {
        match strip(expr) {
            Expr::Array(array) => array.elem.iter().map(|element| self.slot(element)).collect(),
            Expr::Value(value) => Some(vec![self.array_value(value)?]),
            Expr::Cast { expr, data_type, .. } => {
                let inner = match data_type {
                    DataType::Array(ArrayElemTypeDef::SquareBracket(inner, None)) => inner,
                    _ => return None,
                };
                match (is_type(inner, self.key_type()), strip(expr)) {
                    (true, Expr::Value(value)) => Some(vec![self.array_value(value)?]),
                    (true, Expr::Array(_) | Expr::Cast { .. }) => self.array(expr),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    pub fn array_value(&self, value: &ValueWithSpan) -> Option<Slot> {
        match (&value.value, self.literal(value)) {
            (Value::Placeholder(name), _) => Some(Slot::ParameterArray(number(name)?)),
            (Value::SingleQuotedString(_), Some((literal, _))) => Some(Slot::LiteralArray(literal)),
            (Value::Null, _) => Some(Slot::Null),
            _ => None,
        }
    }

    /// The slot an expression is, if it is a constant or a parameter that PostgreSQL compares with a key as we do.
    pub fn slot(&self, expr: &Expr) -> Option<Slot> {
        match strip(expr) {
            Expr::Value(value) => match (&value.value, self.literal(value)) {
                (Value::Placeholder(name), _) => Some(Slot::Parameter(number(name)?)),
                (Value::Null, _) => Some(Slot::Null),
                (Value::Number(..) | Value::SingleQuotedString(_), Some((literal, _))) => {
                    Some(Slot::Literal(literal))
                }
                _ => None,
            },
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => match strip(expr) {
                Expr::Value(value) => {
                    let (literal, kind) = self.literal(value)?;
                    (kind == Literal::Number).then_some(Slot::Negative(literal))
                }
                _ => None,
            },
            Expr::Cast { expr, data_type, .. } if is_type(data_type, self.key_type()) => {
                let slot = self.slot(expr)?;
                let is_number = match slot {
                    Slot::Literal(literal) => {
                        self.pieces.literals.get(literal as usize)?.1 == Literal::Number
                    }
                    Slot::Negative(_) => true,
                    Slot::Null | Slot::Parameter(_) | Slot::LiteralArray(_) | Slot::ParameterArray(_) => {
                        false
                    }
                };
                // A number cast to text is written anew: 05 becomes 5.
                (!is_number || self.key_type() == KeyType::Integer).then_some(slot)
            }
            Expr::TypedString(typed) if is_type(&typed.data_type, self.key_type()) => {
                Some(Slot::Literal(self.literal(&typed.value)?.0))
            }
            _ => None,
        }
    }

    /// The constant a value stands for.
    fn literal(&self, value: &ValueWithSpan) -> Option<(u32, Literal)> {
        let &(.., kind) = self.pieces.all.get(piece(value.span)?)?;
        match kind {
            Kind::Literal(number) => Some((number, self.pieces.literals.get(number as usize)?.1)),
            Kind::Word | Kind::Quoted | Kind::Parameter | Kind::Fixed | Kind::Mark | Kind::Operator => None,
        }
    }

    /// The value of a constant, which then is part of what the tree means.
    pub fn look_at(&mut self, expr: &Expr) -> Option<String> {
        let Expr::Value(value) = strip(expr) else {
            return None;
        };
        let (literal, _) = self.literal(value)?;
        self.note(&[literal]);
        self.pieces.value(literal)
    }

    /// Notes that these constants were looked at.
    pub fn note(&mut self, literals: &[u32]) {
        for literal in literals {
            if !self.looked_at.contains(literal) {
                self.looked_at.push(*literal);
            }
        }
    }
}

/// What a chain of one operator joins, without parentheses around it.
fn chain<'e>(expr: &'e Expr, joint: &BinaryOperator) -> Vec<&'e Expr> {
    let mut parts = Vec::new();
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match strip(expr) {
            Expr::BinaryOp { left, op, right } if op == joint => {
                open.push(right);
                open.push(left);
            }
            part => parts.push(part),
        }
    }
    parts
}

/// The number of `$1`.
fn number(name: &str) -> Option<u16> {
    name.strip_prefix('$')?.parse().ok().filter(|number| *number > 0)
}

/// Is a cast to this type one to the key's type, that leaves the value as it is?
fn is_type(data_type: &DataType, kind: KeyType) -> bool {
    let whole = |length: &Option<CharacterLength>| length.is_none();
    match (kind, data_type) {
        (KeyType::Uuid, DataType::Uuid) => true,
        (
            KeyType::Integer,
            DataType::SmallInt(None) | DataType::Int2(None) | DataType::Int(None) | DataType::Int4(None),
        ) => true,
        (KeyType::Integer, DataType::Integer(None) | DataType::BigInt(None) | DataType::Int8(None)) => true,
        (KeyType::Text | KeyType::Char, DataType::Text) => true,
        (KeyType::Text | KeyType::Char, DataType::Varchar(length) | DataType::CharacterVarying(length)) => {
            whole(length)
        }
        _ => false,
    }
}
