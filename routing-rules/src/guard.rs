//! `guard = "rewrite"`: ties a statement to its session's tenant by words put into its text. The new text is read again, and is
//! taken only if every sharded table in it is then tied to the tenant; so nothing depends on the words being well chosen.

use std::ops::Range;

use crate::Lex;
use crate::keys::{Bound, Context, Reading, Reason, Use, Values};
use crate::place::Key;
use crate::sql::{Kind, Pieces, cut};

/// Words to be put in front of a piece, or behind the last.
struct Insertion {
    before: usize,
    text: String,
}

/// A text with words put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The text.
    pub text: String,
    /// What was put in.
    pub inserted: Inserted,
}

/// Where words were put into a text: ranges of characters of the text with them, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inserted(Vec<Range<usize>>);

impl Inserted {
    /// Where a character of the text is in the text without the words, both counted from 1 as PostgreSQL does; `None`: it is in
    /// none of its own.
    pub fn position(&self, position: usize) -> Option<usize> {
        let at = position.checked_sub(1)?;
        let before = self.0.iter().take_while(|words| words.start <= at);
        let mut put_in = 0;
        for words in before {
            if words.contains(&at) {
                return None;
            }
            put_in += words.len();
        }
        position.checked_sub(put_in)
    }
}

/// The text tied to the tenant; `None` if it is so as it stands. Refuses where a table is tied to another tenant, or where words
/// don't help.
pub fn rewrite(
    reading: &Reading,
    values: &Values<'_>,
    lex: Lex,
    context: &Context<'_>,
    tenant: &Key,
) -> Result<Option<Rewritten>, Reason> {
    let sharding = context.sharding;
    match reading.guard(sharding, values, tenant) {
        Ok(()) => return Ok(None),
        Err(Reason::Guard(_)) => {}
        Err(other) => return Err(other),
    }
    let pieces = values.pieces;
    let mut insertions = Vec::new();
    // A query of WITH is read once for each use of it.
    let mut seen = Vec::new();
    for bound in reading.bounds.iter().filter(|bound| bound.ties.is_empty()) {
        let refused = || Reason::Guard(bound.table.clone());
        let at = bound.piece.ok_or_else(refused)?;
        if seen.contains(&at) {
            continue;
        }
        seen.push(at);
        match bound.used {
            Use::Read => insertions.extend(wrapped(pieces, bound, at, tenant)),
            Use::Update | Use::Delete => insertions.extend(filtered(pieces, bound, at, tenant)),
            // Its rows come from a query, which gets tied.
            Use::Insert | Use::Assign => {}
        }
    }
    let rewritten = inserted(pieces, insertions);
    let again = cut(rewritten.text.as_bytes(), lex)?;
    let second = Reading::new(&again, context);
    let values = Values {
        pieces: &again,
        parameters: values.parameters,
        only_keys: &second.only_keys,
    };
    if second.kind != reading.kind || second.bounds.len() != reading.bounds.len() {
        return Err(Reason::Construct("a statement that can't be tied to the tenant"));
    }
    second.guard(sharding, &values, tenant)?;
    Ok(Some(rewritten))
}

/// `t` becomes `(SELECT * FROM t WHERE key = tenant) AS t`.
fn wrapped(pieces: &Pieces<'_>, bound: &Bound, at: usize, tenant: &Key) -> [Insertion; 2] {
    let mut first = at;
    while first >= 2 && pieces.text(first - 1) == "." {
        first -= 2;
    }
    let alias = match alias(pieces, at) {
        Some(_) => String::new(),
        None => format!(" AS {}", pieces.text(at)),
    };
    [
        Insertion {
            before: first,
            text: "(SELECT * FROM ".to_owned(),
        },
        Insertion {
            before: at + 1,
            text: format!(" WHERE {} = {}){alias} ", quoted(&bound.column), constant(tenant)),
        },
    ]
}

/// `WHERE condition` becomes `WHERE (condition) AND t.key = tenant`.
fn filtered(pieces: &Pieces<'_>, bound: &Bound, at: usize, tenant: &Key) -> Vec<Insertion> {
    let table = alias(pieces, at).unwrap_or(at);
    let condition = format!(
        "{}.{} = {}",
        pieces.text(table),
        quoted(&bound.column),
        constant(tenant)
    );
    let (mut depth, mut filter, mut end) = (0_usize, None, pieces.all.len());
    for place in at..pieces.all.len() {
        let is_word = pieces.all[place].2 == Kind::Word && !matches!(pieces.text(place - 1), ".");
        match &*pieces.text(place).to_ascii_lowercase() {
            "(" => depth += 1,
            ")" if depth > 0 => depth -= 1,
            ")" | ";" if depth == 0 => {
                end = place;
                break;
            }
            "where" if depth == 0 && is_word => filter = filter.or(Some(place)),
            "returning" if depth == 0 && is_word => {
                end = place;
                break;
            }
            _ => {}
        }
    }
    match filter {
        Some(place) => vec![
            Insertion {
                before: place + 1,
                text: "(".to_owned(),
            },
            Insertion {
                before: end,
                text: format!(") AND {condition} "),
            },
        ],
        None => vec![Insertion {
            before: end,
            text: format!(" WHERE {condition} "),
        }],
    }
}

/// The piece that is the alias of the table whose name ends at `at`.
fn alias(pieces: &Pieces<'_>, at: usize) -> Option<usize> {
    let &(.., kind) = pieces.all.get(at + 1)?;
    let next = pieces.text(at + 1).to_ascii_lowercase();
    match kind {
        Kind::Quoted => Some(at + 1),
        Kind::Word if next == "as" => Some(at + 2),
        Kind::Word if NO_ALIAS.split_ascii_whitespace().all(|word| word != next) => Some(at + 1),
        Kind::Word | Kind::Parameter | Kind::Literal(_) | Kind::Fixed | Kind::Mark | Kind::Operator => None,
    }
}

/// Words that follow a table and are no alias of it. TO of COPY is not among them: a query in its place has no alias.
const NO_ALIAS: &str = "on using join inner left right full cross natural where group having order limit offset fetch for union \
    intersect except window tablesample returning set when";

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The tenant as a constant of no type yet, that means the same whatever the settings are.
pub(crate) fn constant(tenant: &Key) -> String {
    format!(
        "E'{}'",
        tenant.to_string().replace('\\', "\\\\").replace('\'', "''")
    )
}

fn inserted(pieces: &Pieces<'_>, mut insertions: Vec<Insertion>) -> Rewritten {
    insertions.sort_by_key(|insertion| insertion.before);
    let mut out = String::new();
    let (mut written, mut characters) = (0, 0);
    let mut ranges = Vec::new();
    for insertion in insertions {
        let to = match pieces.all.get(insertion.before) {
            Some(&(from, ..)) => from as usize,
            // Behind the last piece, in front of a comment that may follow.
            None => pieces.all.last().map_or(0, |&(_, to, _)| to as usize),
        };
        let own = &pieces.text[written..to.max(written)];
        let from = characters + own.chars().count();
        characters = from + insertion.text.chars().count();
        ranges.push(from..characters);
        out.push_str(own);
        out.push_str(&insertion.text);
        written = to.max(written);
    }
    out.push_str(&pieces.text[written..]);
    Rewritten {
        text: out,
        inserted: Inserted(ranges),
    }
}
