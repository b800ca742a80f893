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
    /// A parameter of the statement, by its number.
    Parameter(u16),
    /// FROM the columns from one to another, without the other; of the rows only those where this column is true.
    From(usize, usize, Option<usize>),
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

    /// Adds a parameter of the statement.
    pub fn parameter(&mut self, number: u16) -> &mut Self {
        self.0.push(Part::Parameter(number));
        self
    }

    /// Adds FROM these columns of the shards' rows, each an array.
    pub fn from(&mut self, columns: std::ops::Range<usize>) -> &mut Self {
        self.0.push(Part::From(columns.start, columns.end, None));
        self
    }

    /// Says which column marks the rows of those whose first column is this.
    pub fn mark(&mut self, marker: &dyn Fn(usize) -> Option<usize>) {
        for part in &mut self.0 {
            if let Part::From(first, _, own) = part {
                *own = marker(*first);
            }
        }
    }

    /// Adds all of another.
    pub fn append(&mut self, other: Template) -> &mut Self {
        self.0.extend(other.0);
        self
    }

    /// The numbers of its parameters, each once.
    pub fn parameters(&self) -> Vec<u16> {
        let mut numbers = Vec::new();
        for part in &self.0 {
            if let Part::Parameter(number) = part
                && !numbers.contains(number)
            {
                numbers.push(*number);
            }
        }
        numbers
    }

    /// The text, for one that has neither types nor parameters of its own.
    pub fn render(&self, pieces: &Pieces<'_>) -> String {
        self.render_with(pieces, &[], &[])
    }

    /// The text with the columns' types: their arrays are its first parameters, behind them come these of the statement.
    pub fn render_with(&self, pieces: &Pieces<'_>, types: &[&str], parameters: &[u16]) -> String {
        let type_of = |column: usize| types.get(column).copied().unwrap_or("text");
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
                    out.push_str(type_of(*column));
                }
                Part::Parameter(number) => {
                    let place = parameters.iter().position(|own| own == number);
                    out.push_str(&format!("${}", types.len() + place.unwrap_or(0) + 1));
                }
                Part::From(first, end, marker) => {
                    let array = |place: usize| format!("${}::{}[]", place + 1, type_of(place));
                    let places = || (*first..*end).chain(*marker);
                    let arrays: Vec<String> = places().map(array).collect();
                    let columns: Vec<String> = places().map(column).collect();
                    let (arrays, columns) = (arrays.join(", "), columns.join(", "));
                    let from = format!("FROM unnest({arrays}) AS pgshunt_partial ({columns})");
                    match marker {
                        None => out.push_str(&from),
                        Some(marker) => out.push_str(&format!(
                            "FROM (SELECT * {from} WHERE {}) AS pgshunt_partial",
                            column(*marker)
                        )),
                    }
                }
            }
        }
        out
    }
}

/// What a column of the shards' rows is called.
pub fn column(place: usize) -> String {
    format!("pgshunt_{place}")
}
