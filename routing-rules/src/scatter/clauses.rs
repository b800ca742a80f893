//! Where the clauses of a query stand in its pieces. The tree says what they are, the pieces where; both must agree.

use std::ops::Range;

use super::template::Template;
use crate::sql::{Kind, Pieces};

/// The clauses of the outermost query.
#[derive(Clone, Debug, Default)]
pub struct Clauses {
    /// All of it.
    pub range: Range<usize>,
    /// Behind SELECT.
    pub head: usize,
    /// The expressions of DISTINCT ON.
    pub distinct_on: Vec<Range<usize>>,
    /// The first piece behind SELECT, DISTINCT or ALL.
    pub items_at: usize,
    /// The items of the select list.
    pub items: Vec<Range<usize>>,
    /// Where FROM and WHERE begin, or where they would.
    pub from: usize,
    /// WHERE's condition.
    pub condition: Option<Range<usize>>,
    /// Where they end.
    pub body_end: usize,
    /// The expressions of GROUP BY.
    pub groups: Vec<Range<usize>>,
    /// HAVING's condition.
    pub having: Option<Range<usize>>,
    /// The keys of ORDER BY, with their direction.
    pub order: Vec<Range<usize>>,
    /// Where ORDER BY begins, or LIMIT, or the end.
    pub tail: usize,
    /// LIMIT's number, or FETCH's.
    pub limit: Option<Range<usize>>,
    /// OFFSET's number.
    pub offset: Option<Range<usize>>,
    /// Is there FOR, or a FETCH that is more than LIMIT?
    pub has_more: bool,
    /// What WINDOW defines.
    pub window: Option<Range<usize>>,
    /// Is it several SELECTs?
    pub is_union: bool,
}

/// Writes those of two clauses that there are, each behind its word.
pub fn behind_words(
    two: [(&str, &Option<Range<usize>>); 2],
    text: &mut Template,
    mut write: impl FnMut(Range<usize>) -> Result<Template, Box<str>>,
) -> Result<(), Box<str>> {
    for (word, range) in two {
        if let Some(range) = range {
            text.text(word).append(write(range.clone())?);
        }
    }
    Ok(())
}

/// Finds the clauses of the query in this range.
pub fn clauses(pieces: &Pieces<'_>, range: Range<usize>) -> Option<Clauses> {
    let marks = marks(pieces, range.clone());
    let mut clauses = Clauses {
        range: range.clone(),
        ..Clauses::default()
    };
    let selects = marks.iter().filter(|(word, _)| *word == "select").count();
    clauses.is_union = selects != 1 || marks.iter().any(|(word, _)| *word == "union");
    let end_of = |at: usize| {
        marks
            .iter()
            .map(|(_, place)| *place)
            .find(|&place| place > at)
            .unwrap_or(range.end)
    };
    let find = |word: &str| {
        marks
            .iter()
            .rfind(|(own, _)| *own == word)
            .map(|(_, place)| *place)
    };
    let content = |at: usize, skip: usize| (at + skip..end_of(at)).start.min(end_of(at))..end_of(at);
    clauses.has_more = find("for").is_some();
    clauses.window = find("window").map(|at| content(at, 1));
    clauses.order = find("order").map_or_else(Vec::new, |at| split(pieces, content(at, 2)));
    clauses.limit = find("limit").map(|at| content(at, 1));
    clauses.offset = find("offset").map(|at| {
        let content = content(at, 1);
        let is_rows = content.len() > 1 && matches!(&*lower(pieces, content.end - 1), "row" | "rows");
        content.start..content.end - usize::from(is_rows)
    });
    if let Some(at) = find("fetch") {
        let fetched = fetched(pieces, content(at, 1));
        clauses.has_more |= fetched.is_none() || clauses.limit.is_some();
        clauses.limit = clauses.limit.or(fetched);
    }
    let tails = ["order", "limit", "offset", "fetch"]
        .iter()
        .filter_map(|word| find(word));
    clauses.tail = tails.min().unwrap_or(range.end);
    if clauses.is_union {
        return Some(clauses);
    }
    let select = find("select")?;
    let mut items = content(select, 1);
    clauses.head = items.start;
    if matches!(&*lower(pieces, items.start), "distinct" | "all") {
        items.start += 1;
    }
    if items.start > clauses.head && lower(pieces, items.start) == "on" {
        let close = closing(pieces, items.start + 1)?;
        clauses.distinct_on = split(pieces, items.start + 2..close);
        items.start = close + 1;
    }
    clauses.items_at = items.start;
    clauses.items = split(pieces, items.clone());
    clauses.from = items.end;
    let after = ["group", "having", "window"].iter().filter_map(|word| find(word));
    clauses.body_end = after.min().unwrap_or(clauses.tail).min(clauses.tail);
    clauses.groups = find("group").map_or_else(Vec::new, |at| split(pieces, content(at, 2)));
    clauses.having = find("having").map(|at| content(at, 1));
    clauses.condition = find("where").map(|at| content(at, 1));
    Some(clauses)
}

/// The number in FETCH FIRST 5 ROWS ONLY; not where it is left out, nor WITH TIES.
fn fetched(pieces: &Pieces<'_>, range: Range<usize>) -> Option<Range<usize>> {
    let count = range.start + 1..range.end.checked_sub(2)?;
    let word = |place: usize| lower(pieces, place);
    let is_plain = !count.is_empty()
        && matches!(&*word(range.start), "first" | "next")
        && matches!(&*word(count.end), "row" | "rows")
        && word(count.end + 1) == "only";
    is_plain.then_some(count)
}

/// A piece in lower case.
pub fn lower(pieces: &Pieces<'_>, place: usize) -> String {
    pieces.text(place).to_ascii_lowercase()
}

/// The words outside of parentheses that begin clauses.
fn marks(pieces: &Pieces<'_>, range: Range<usize>) -> Vec<(&'static str, usize)> {
    let mut marks = Vec::new();
    let mut depth = 0_usize;
    for place in range.clone() {
        let (_, _, kind) = pieces.all[place];
        match (kind, pieces.text(place)) {
            (Kind::Mark, "(" | "[") => depth += 1,
            (Kind::Mark, ")" | "]") => depth = depth.saturating_sub(1),
            (Kind::Word, text) if depth == 0 => {
                let before = if place > range.start {
                    lower(pieces, place - 1)
                } else {
                    String::new()
                };
                let next = if place + 1 < range.end {
                    lower(pieces, place + 1)
                } else {
                    String::new()
                };
                let Some(word) = WORDS.iter().find(|word| word.eq_ignore_ascii_case(text)) else {
                    continue;
                };
                let is_clause = match *word {
                    "from" => before != "distinct",
                    "group" | "order" => next == "by",
                    _ => true,
                };
                if is_clause && before != "." && before != "as" {
                    marks.push((
                        if matches!(*word, "intersect" | "except") {
                            "union"
                        } else {
                            *word
                        },
                        place,
                    ));
                }
            }
            _ => {}
        }
    }
    marks
}

/// All of them are reserved: none can be a name without AS or a point in front.
const WORDS: [&str; 14] = [
    "select",
    "from",
    "where",
    "group",
    "having",
    "window",
    "union",
    "intersect",
    "except",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
];

/// The piece that closes the parenthesis at `open`.
pub fn closing(pieces: &Pieces<'_>, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for place in open..pieces.all.len() {
        match pieces.text(place) {
            "(" => depth += 1,
            ")" => depth = depth.checked_sub(1)?,
            _ if depth == 0 => return None,
            _ => {}
        }
        if depth == 0 {
            return Some(place);
        }
    }
    None
}

/// What AND joins in a condition; all of it, where that is not certain.
pub fn conjuncts(pieces: &Pieces<'_>, range: Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut cases, mut betweens) = (range.start, 0_usize, 0_usize, 0_usize);
    for place in range.clone() {
        let is_word = pieces.all[place].2 == Kind::Word;
        match &*lower(pieces, place) {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            _ if depth > 0 || !is_word => {}
            "case" => cases += 1,
            "end" => cases = cases.saturating_sub(1),
            _ if cases > 0 => {}
            "or" => return vec![range],
            "between" => betweens += 1,
            "and" if betweens > 0 => betweens -= 1,
            "and" => {
                parts.push(start..place);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(start..range.end);
    parts
}

/// Splits at commas outside of parentheses.
pub fn split(pieces: &Pieces<'_>, range: Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (range.start, 0_usize);
    for place in range.clone() {
        match pieces.text(place) {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "," if depth == 0 => {
                parts.push(start..place);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(start..range.end);
    parts
}
