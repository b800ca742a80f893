//! The aggregates and windows of a query level, and whether all of them can be put together from the shards' partial results.

use std::ops::ControlFlow;

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Visit,
    Visitor,
};

use super::deviation::is_deviation;
use crate::keys::functions;
use crate::keys::scope::{names, strip};
use crate::sql::{address, outcome};

/// Collects them; ends at the first that can't be put together, with its name.
#[derive(Default)]
pub struct Aggregates<'i> {
    /// In the order of the text's clauses.
    pub found: Vec<Function>,
    /// Functions that are called over a window.
    pub windows: Vec<Function>,
    /// Subqueries that are answered beforehand.
    pub known: &'i [usize],
    depth: usize,
}

impl<'i> Aggregates<'i> {
    /// None yet.
    pub fn beside(known: &'i [usize]) -> Aggregates<'i> {
        Aggregates {
            known,
            ..Aggregates::default()
        }
    }

    /// Adds those in this.
    pub fn find<T: Visit>(&mut self, within: &T) -> Result<(), Box<str>> {
        outcome(within.visit(self))
    }
}

impl Visitor for Aggregates<'_> {
    type Break = Box<str>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Box<str>> {
        if self.depth == 0 && !self.known.contains(&address(query)) {
            return ControlFlow::Break("a subquery beside an aggregate".into());
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Box<str>> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Box<str>> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let kind = functions::kind(&function.name);
        if function.over.is_some() {
            if kind == functions::Kind::Unknown {
                return ControlFlow::Break(format!("{}() over a window", last_name(function)).into());
            }
            self.windows.push(function.clone());
            return ControlFlow::Continue(());
        }
        if kind != functions::Kind::Aggregate {
            return ControlFlow::Continue(());
        }
        match refusal(function) {
            Some(operator) => ControlFlow::Break(operator.into()),
            None => {
                self.found.push(function.clone());
                ControlFlow::Continue(())
            }
        }
    }
}

/// Why an aggregate can't be put together.
fn refusal(function: &Function) -> Option<String> {
    let name = last_name(function);
    if is_distinct(function) {
        let is_row = |expr: &Expr| matches!(strip(expr), Expr::Function(row) if last_name(row) == "row");
        return match argument(function) {
            Some(Some(expr)) if is_simple(function) && !is_row(expr) => None,
            Some(_) | None => Some(format!(
                "{name}() with DISTINCT of several values, ORDER BY or the like"
            )),
        };
    }
    let is_known = matches!(
        name,
        "count" | "sum" | "min" | "max" | "avg" | "bool_and" | "bool_or" | "every"
    );
    if !is_known && !is_deviation(name) {
        return Some(format!("{name}()"));
    }
    // Its argument is written three times.
    if is_deviation(name) && function.args.visit(&mut Calls).is_break() {
        return Some(format!(
            "{name}() of a function that may answer differently each time"
        ));
    }
    (!is_simple(function)).then(|| format!("{name}() with ORDER BY or the like"))
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

/// Is it an aggregate of each value once?
pub fn is_distinct(function: &Function) -> bool {
    matches!(&function.args, FunctionArguments::List(list) if list.duplicate_treatment == Some(DuplicateTreatment::Distinct))
}

/// The only argument of a function; `None` within: `*`.
pub fn argument(function: &Function) -> Option<Option<&Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match &list.args[..] {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => Some(Some(expr)),
        [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => Some(None),
        _ => None,
    }
}

fn is_simple(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    list.clauses.is_empty()
        && argument(function).is_some()
        && function.within_group.is_empty()
        && function.null_treatment.is_none()
        && matches!(function.parameters, FunctionArguments::None)
}

/// The name a function is called by, without its schema.
pub fn last_name(function: &Function) -> &str {
    names(&function.name).map_or("", |(_, name)| &name.value)
}
