//! The names of outputs, as PostgreSQL gives them.

use sqlparser::ast::{Expr, SelectItem};

use super::aggregates::last_name;
use super::clauses::lower;
use crate::keys::scope::strip;
use crate::sql::{Kind, Pieces};

/// The name PostgreSQL gives an output (`FigureColname` of `parse_target.c`); `None` where its rule is not known here.
pub fn output_name(item: &SelectItem) -> Option<String> {
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

/// The name a piece is.
pub fn name_of(pieces: &Pieces<'_>, place: usize) -> String {
    match pieces.all[place].2 {
        Kind::Quoted => pieces.text(place).trim_matches('"').replace("\"\"", "\""),
        _ => lower(pieces, place),
    }
}

/// A name in quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
