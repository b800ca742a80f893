//! Which columns of a query's rows are used, where the query itself is done over rows of several shards: in any order.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Query, Visit,
    Visitor, WindowType,
};

use super::aggregates::{is_distinct, last_name};
use super::merge::UNCLEAR;
use crate::keys::functions;
use crate::sql::{address, outcome, piece};

/// Finds the columns that are used; ends at what depends on more than the rows.
#[derive(Default)]
pub struct Uses<'k> {
    /// Where they stand.
    pub used: Vec<Range<usize>>,
    /// How many aggregates there are.
    pub aggregates: usize,
    known: &'k [usize],
    has_named: bool,
    is_condition: bool,
    depth: usize,
}

impl<'k> Uses<'k> {
    /// Nothing yet. These subqueries are answered beforehand; is there a WINDOW?
    pub fn beside(known: &'k [usize], has_named: bool) -> Uses<'k> {
        Uses {
            known,
            has_named,
            ..Uses::default()
        }
    }

    /// Looks through this.
    pub fn find<T: Visit>(&mut self, within: &T) -> Result<(), Box<str>> {
        outcome(within.visit(self))
    }

    /// Looks through a condition, of which part is for the shards: subqueries are left out.
    pub fn find_in_condition<T: Visit>(&mut self, within: &T) -> Result<(), Box<str>> {
        self.is_condition = true;
        let found = self.find(within);
        self.is_condition = false;
        found
    }
}

impl Visitor for Uses<'_> {
    type Break = Box<str>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Box<str>> {
        let is_known = self.known.contains(&address(query));
        if self.depth == 0 && !is_known && !self.is_condition {
            return ControlFlow::Break("a subquery beside an aggregate or a window".into());
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Box<str>> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Box<str>> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Identifier(name) => match piece(name.span) {
                Some(place) => self.used.push(place..place + 1),
                None => return ControlFlow::Break(UNCLEAR.into()),
            },
            Expr::CompoundIdentifier(parts) => match parts.first().and_then(|name| piece(name.span)) {
                Some(place) => self.used.push(place..place + 2 * parts.len() - 1),
                None => return ControlFlow::Break(UNCLEAR.into()),
            },
            Expr::Function(function) => return self.called(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Does a query use its tables' rows, those of the known subqueries, so that their order does not matter?
pub fn is_free_of_order(query: &Query, known: &[usize]) -> bool {
    let mut free = Free {
        uses: Uses::default(),
        known,
        depth: 0,
    };
    query.visit(&mut free).is_continue()
}

/// Ends at what depends on the order of rows, known subqueries left out.
struct Free<'k> {
    uses: Uses<'k>,
    known: &'k [usize],
    depth: usize,
}

impl Visitor for Free<'_> {
    type Break = Box<str>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Box<str>> {
        let is_known = self.known.contains(&address(query));
        self.depth += usize::from(self.depth > 0 || is_known);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Box<str>> {
        self.depth = self.depth.saturating_sub(1);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Box<str>> {
        match expr {
            Expr::Function(function) if self.depth == 0 => self.uses.called(function),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Uses<'_> {
    fn called(&mut self, function: &Function) -> ControlFlow<Box<str>> {
        let name = last_name(function);
        let kind = functions::kind(&function.name);
        let is_plain = |arg: &FunctionArg| {
            matches!(
                arg,
                FunctionArg::Unnamed(FunctionArgExpr::Expr(_) | FunctionArgExpr::Wildcard)
            )
        };
        let list = match &function.args {
            FunctionArguments::List(list) => Some(list),
            FunctionArguments::None | FunctionArguments::Subquery(_) => None,
        };
        if list.is_some_and(|list| !list.args.iter().all(is_plain)) {
            return ControlFlow::Break(format!("{name}() of whole rows, or with arguments by name").into());
        }
        let has_order = list.is_some_and(|list| {
            list.clauses
                .iter()
                .any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)))
        });
        let is_free = FREE.split_ascii_whitespace().any(|free| free == name);
        let is_ordered = ORDERED.split_ascii_whitespace().any(|ordered| ordered == name);
        match &function.over {
            _ if kind == functions::Kind::Unknown => {
                return ControlFlow::Break(format!("{name}() of rows of all shards").into());
            }
            Some(over) => {
                let has_order = match over {
                    WindowType::WindowSpec(spec) => !spec.order_by.is_empty(),
                    WindowType::NamedWindow(_) => self.has_named,
                };
                let is_sound = is_free || is_ordered && has_order || RANKS.contains(&name);
                if kind == functions::Kind::Aggregate && !is_sound {
                    return ControlFlow::Break(format!("{name}() over rows in any order").into());
                }
            }
            None if kind == functions::Kind::Aggregate => {
                self.aggregates += 1;
                let is_within = !function.within_group.is_empty();
                let is_sound = is_free || is_distinct(function) || is_within || is_ordered && has_order;
                if !is_sound {
                    return ControlFlow::Break(format!("{name}() of rows in any order").into());
                }
            }
            None => {}
        }
        ControlFlow::Continue(())
    }
}

/// Aggregates that are the same whatever the order of the rows.
const FREE: &str = "count sum avg min max bool_and bool_or every bit_and bit_or bit_xor grouping";
/// Those that are the same if the order of the rows is said.
const ORDERED: &str = "array_agg string_agg json_agg jsonb_agg";
/// Those that are something else over a window.
const RANKS: [&str; 4] = ["rank", "dense_rank", "percent_rank", "cume_dist"];
