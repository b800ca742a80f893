//! A text made of pieces of another and of words of our own; it fits every text of the same shape.

use crate::sql::Pieces;

/// Parts of a text, joined by blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// From one piece to another, both included.
    Pieces(usize, usize),
    /// Words of our own.
    Text(Box<str>),
    /// The type of a column of partial results, as a cast.
    Cast(usize),
    /// A parameter, by its place among those the text uses.
    Parameter(usize),
}

impl Template {
    /// Adds pieces of the text, up to but without `end`.
    pub fn pieces(&mut self, range: std::ops::Range<usize>) -> &mut Self {
        if !range.is_empty() {
            self.0.push(Part::Pieces(range.start, range.end - 1));
        }
        self
    }

    /// Adds words.
    pub fn text(&mut self, text: impl Into<Box<str>>) -> &mut Self {
        self.0.push(Part::Text(text.into()));
        self
    }

    /// Adds a cast to the type of a column.
    pub fn cast(&mut self, column: usize) -> &mut Self {
        self.0.push(Part::Cast(column));
        self
    }

    /// Adds a parameter.
    pub fn parameter(&mut self, place: usize) -> &mut Self {
        self.0.push(Part::Parameter(place));
        self
    }

    /// Adds all of another.
    pub fn append(&mut self, other: Template) -> &mut Self {
        self.0.extend(other.0);
        self
    }

    /// The text, for one that needs neither types nor parameters of its own.
    pub fn render(&self, pieces: &Pieces<'_>) -> String {
        self.render_with(pieces, &[], 0)
    }

    /// The text with the columns' types; parameters begin behind `before` others.
    pub fn render_with(&self, pieces: &Pieces<'_>, types: &[&str], before: usize) -> String {
        let mut out = String::new();
        for part in &self.0 {
            if !out.is_empty() {
                out.push(' ');
            }
            match part {
                Part::Pieces(first, last) => out.push_str(pieces.range(*first, *last)),
                Part::Text(text) => out.push_str(text),
                Part::Cast(column) => {
                    out.push_str("::");
                    out.push_str(types.get(*column).copied().unwrap_or("text"));
                }
                Part::Parameter(place) => out.push_str(&format!("${}", before + place + 1)),
            }
        }
        out
    }
}
