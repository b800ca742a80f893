//! The aggregates of a query level, and whether all of them can be put together from the shards' partial results.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Visit, Visitor,
};

use super::deviation::is_deviation;
use crate::keys::functions;
use crate::keys::scope::names;

/// Collects them; ends at the first that can't be put together, with its name.
#[derive(Default)]
pub struct Aggregates {
    /// In the order of the text's clauses.
    pub found: Vec<Function>,
}

impl Aggregates {
    /// Adds those in this.
    pub fn find<T: Visit>(&mut self, within: &T) -> Result<(), Box<str>> {
        match within.visit(self) {
            ControlFlow::Break(operator) => Err(operator),
            ControlFlow::Continue(()) => Ok(()),
        }
    }
}

impl Visitor for Aggregates {
    type Break = Box<str>;

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<Box<str>> {
        ControlFlow::Break("a subquery beside an aggregate".into())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Box<str>> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        if functions::kind(&function.name) != functions::Kind::Aggregate {
            return ControlFlow::Continue(());
        }
        let name = last_name(function);
        let is_known = matches!(
            name,
            "count" | "sum" | "min" | "max" | "avg" | "bool_and" | "bool_or" | "every"
        );
        let is_deviation = is_deviation(name);
        if !is_known && !is_deviation {
            return ControlFlow::Break(format!("{name}()").into());
        }
        // Its argument is written three times.
        if is_deviation && function.args.visit(&mut Calls).is_break() {
            return ControlFlow::Break(
                format!("{name}() of a function that may answer differently each time").into(),
            );
        }
        if !is_simple(function) {
            return ControlFlow::Break(format!("{name}() with DISTINCT, ORDER BY or the like").into());
        }
        self.found.push(function.clone());
        ControlFlow::Continue(())
    }
}

/// Breaks at a function that is not known to answer the same each time.
struct Calls;

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function)
                if functions::kind(&function.name) != functions::Kind::Builtin
                    || functions::is_unstable(&function.name) =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn is_simple(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    let is_plain = list.duplicate_treatment.is_none() && list.clauses.is_empty();
    let is_one = matches!(
        &list.args[..],
        [FunctionArg::Unnamed(
            FunctionArgExpr::Expr(_) | FunctionArgExpr::Wildcard
        )]
    );
    is_plain
        && is_one
        && function.over.is_none()
        && function.within_group.is_empty()
        && function.null_treatment.is_none()
        && matches!(function.parameters, FunctionArguments::None)
}

/// The name a function is called by, without its schema.
pub fn last_name(function: &Function) -> &str {
    names(&function.name).map_or("", |(_, name)| &name.value)
}
