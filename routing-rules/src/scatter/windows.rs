//! Windows over groups: their functions and names stay as they are, what they are over is rewritten.

use sqlparser::ast::{Function, NamedWindowDefinition, NamedWindowExpr, Select, WindowType};

use super::clauses::{Clauses, closing, lower};
use super::groups::Planner;
use super::merge::UNCLEAR;
use crate::sql::piece;

impl Planner<'_, '_> {
    /// Where functions over windows stand, and the windows they name.
    pub(super) fn note_windows(
        &mut self,
        select: &Select,
        windows: &[Function],
        found: &Clauses,
    ) -> Result<(), Box<str>> {
        let pieces = self.reader.pieces;
        for function in windows {
            let (names, mut end) = self.place_of(function)?;
            self.plain.extend(names.clone());
            let start = end;
            if lower(pieces, end) == "filter" {
                end = closing(pieces, end + 1).ok_or(UNCLEAR)? + 1;
            }
            if lower(pieces, end) != "over" {
                return Err(UNCLEAR.into());
            }
            let name = match &function.over {
                Some(WindowType::WindowSpec(spec)) => {
                    end = closing(pieces, end + 1).ok_or(UNCLEAR)? + 1;
                    spec.window_name.as_ref()
                }
                Some(WindowType::NamedWindow(name)) => {
                    end += 2;
                    Some(name)
                }
                None => None,
            };
            self.plain.extend(name.and_then(|name| piece(name.span)));
            self.windows.push(start..end);
        }
        for NamedWindowDefinition(name, window) in &select.named_window {
            self.plain.extend(piece(name.span));
            if let NamedWindowExpr::WindowSpec(spec) = window
                && let Some(base) = &spec.window_name
            {
                self.plain.extend(piece(base.span));
            }
        }
        self.windows.extend(found.window.clone());
        Ok(())
    }
}
