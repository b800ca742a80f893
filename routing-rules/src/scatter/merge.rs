//! ORDER BY, LIMIT and OFFSET over rows that only have to be brought together: each shard sorts and cuts, sort keys that are no
//! output are added to its answer.

use std::ops::Range;

use sqlparser::ast::{Expr, OrderByExpr, OrderByKind, OrderBySort, Query, Select, SelectItem, SetExpr};

use super::clauses::{Clauses, clauses, lower};
use super::template::Template;
use crate::keys::read::Reader;
use crate::keys::scope::{Outputs, strip};
use crate::sql::{Kind, Pieces, piece};

/// What to send and how to merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The text for each shard. Uses the parameters of the statement as they are.
    pub shard: Template,
    /// What the rows are sorted by, the most important first. Empty: any order.
    pub keys: Vec<SortKey>,
    /// So many columns at the end of each row are not the client's.
    pub hidden: usize,
    /// No more rows than this, `offset` not counted.
    pub limit: Option<Count>,
    /// So many rows are left out first.
    pub offset: Option<Count>,
}

/// One sort key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// Where it is.
    pub column: SortColumn,
    /// DESC?
    pub descending: bool,
    /// NULLS FIRST, said or by default?
    pub nulls_first: bool,
    /// How it sorts if its type is text.
    pub text: TextOrder,
}

/// Where a sort key is in a shard's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortColumn {
    /// A column of the client's, from 0.
    Output(usize),
    /// A hidden column, from 0, counted from the first hidden one.
    Hidden(usize),
}

/// The order of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextOrder {
    /// Byte by byte.
    C,
    /// The database's own.
    Database,
    /// Nobody knows.
    Unknown,
}

/// A number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A constant, by its place among them.
    Literal(u32),
    /// A parameter.
    Parameter(u16),
}

impl Count {
    /// The number, if it is a constant; `None` for a parameter or if it is no whole number.
    pub fn literal(self, pieces: &Pieces<'_>) -> Option<u64> {
        match self {
            Count::Literal(number) => pieces.value(number)?.parse().ok(),
            Count::Parameter(_) => None,
        }
    }
}

/// Plans it.
pub fn merge(
    reader: &mut Reader<'_>,
    query: &Query,
    range: Range<usize>,
    outputs: &Outputs,
) -> Result<Merge, Box<str>> {
    let found = clauses(reader.pieces, range).ok_or(UNCLEAR)?;
    let order = order_of(query).ok_or("ORDER BY ALL")?;
    if order.len() != found.order.len() {
        return Err(UNCLEAR.into());
    }
    if found.has_more {
        return Err("FETCH, FOR or WINDOW with ORDER BY or LIMIT".into());
    }
    let select = match &*query.body {
        SetExpr::Select(select) if !found.is_union => Some(&**select),
        _ if found.is_union => None,
        _ => return Err("a query in parentheses with ORDER BY or LIMIT".into()),
    };
    if let Some(select) = select
        && select.projection.len() != found.items.len()
    {
        return Err(UNCLEAR.into());
    }
    let (limit, offset) = (
        count(reader, found.limit.clone())?,
        count(reader, found.offset.clone())?,
    );
    let mut hidden = Vec::new();
    let mut keys = Vec::new();
    for (place, key) in order.iter().enumerate() {
        let expr = direction_off(reader.pieces, found.order[place].clone());
        let column = match select {
            Some(select) => column(reader, select, (&found, outputs), &key.expr, expr, &mut hidden)?,
            None => SortColumn::Output(
                named(reader, &key.expr, outputs).ok_or("ORDER BY an expression over UNION")?,
            ),
        };
        keys.push(sort_key(reader, query, key, column)?);
    }
    Ok(Merge {
        shard: shard_text(&found, &hidden),
        keys,
        hidden: hidden.len(),
        limit,
        offset,
    })
}

/// Both readings of the text disagree.
pub const UNCLEAR: &str = "a query whose clauses are not clear";

/// The keys of ORDER BY.
pub fn order_of(query: &Query) -> Option<&[OrderByExpr]> {
    match query.order_by.as_ref().map(|order| &order.kind) {
        None => Some(&[]),
        Some(OrderByKind::Expressions(list)) => Some(list),
        Some(OrderByKind::All(_)) => None,
    }
}

/// The number in LIMIT or OFFSET.
fn count(reader: &Reader<'_>, range: Option<Range<usize>>) -> Result<Option<Count>, Box<str>> {
    let Some(range) = range else {
        return Ok(None);
    };
    let pieces = reader.pieces;
    let range = cast_off(pieces, range);
    match (range.len(), pieces.all.get(range.start).map(|piece| piece.2)) {
        (1, Some(Kind::Literal(number))) => Ok(Some(Count::Literal(number))),
        (1, Some(Kind::Parameter)) => match pieces.text(range.start)[1..].parse() {
            Ok(number) => Ok(Some(Count::Parameter(number))),
            Err(_) => Err(UNCLEAR.into()),
        },
        (1, Some(Kind::Word)) if matches!(&*lower(pieces, range.start), "all" | "null") => Ok(None),
        _ => Err("a computed LIMIT or OFFSET".into()),
    }
}

/// A parameter without a cast to a whole number, which some programs give it.
fn cast_off(pieces: &Pieces<'_>, range: Range<usize>) -> Range<usize> {
    let is_parameter = pieces.all.get(range.start).map(|piece| piece.2) == Some(Kind::Parameter);
    if !is_parameter || !(2..=4).contains(&range.len()) {
        return range;
    }
    let cast: String = (range.start + 1..range.end)
        .map(|place| lower(pieces, place))
        .collect();
    // Words of the grammar, whatever types there are.
    match matches!(&*cast, "::integer" | "::int" | "::bigint" | "::smallint") {
        true => range.start..range.start + 1,
        false => range,
    }
}

/// A key of ORDER BY without ASC, DESC and NULLS.
pub fn direction_off(pieces: &Pieces<'_>, range: Range<usize>) -> Range<usize> {
    let mut end = range.end;
    let word = |end: usize, back: usize| match end.checked_sub(back) {
        Some(place) if place > range.start => lower(pieces, place),
        Some(_) | None => String::new(),
    };
    if matches!(&*word(end, 1), "first" | "last") && word(end, 2) == "nulls" {
        end -= 2;
    }
    if matches!(&*word(end, 1), "asc" | "desc") {
        end -= 1;
    }
    range.start..end
}

fn column(
    reader: &mut Reader<'_>,
    select: &Select,
    (found, outputs): (&Clauses, &Outputs),
    key: &Expr,
    range: Range<usize>,
    hidden: &mut Vec<Range<usize>>,
) -> Result<SortColumn, Box<str>> {
    let is_plain = !select.projection.iter().any(is_wildcard);
    if let Expr::Value(_) = strip(key) {
        let place: Option<usize> = reader.look_at(key).and_then(|text| text.parse().ok());
        return match place {
            Some(place) if is_plain && (1..=select.projection.len()).contains(&place) => {
                Ok(SortColumn::Output(place - 1))
            }
            // Where all columns are known, so is what * stands for.
            Some(place) if outputs.is_complete && (1..=outputs.columns.len()).contains(&place) => {
                Ok(SortColumn::Output(place - 1))
            }
            Some(_) | None => Err("ORDER BY a place among the columns of *".into()),
        };
    }
    let by_name: Vec<usize> = match key {
        Expr::Identifier(name) => {
            let is_it = |item: &SelectItem| item_name(item).as_deref() == Some(&name.value);
            (0..select.projection.len())
                .filter(|&place| is_it(&select.projection[place]))
                .collect()
        }
        _ => Vec::new(),
    };
    let by_text: Option<usize> = (0..found.items.len()).find(|&place| {
        same_text(
            reader,
            item_range(
                reader.pieces,
                &select.projection[place],
                found.items[place].clone(),
            ),
            range.clone(),
        )
    });
    let mut hide = |range: Range<usize>| {
        hidden.push(range);
        Ok(SortColumn::Hidden(hidden.len() - 1))
    };
    match (&by_name[..], by_text) {
        ([_, _, ..], _) => Err("ORDER BY a name two columns have".into()),
        ([place], _) if is_plain => Ok(SortColumn::Output(*place)),
        ([], Some(place)) if is_plain => Ok(SortColumn::Output(place)),
        _ if select.distinct.is_some() => Err("DISTINCT sorted by what is not selected".into()),
        ([place], _) => hide(item_range(
            reader.pieces,
            &select.projection[*place],
            found.items[*place].clone(),
        )),
        ([], _) => hide(range),
    }
}

/// The place of an output of UNION.
fn named(reader: &mut Reader<'_>, key: &Expr, outputs: &Outputs) -> Option<usize> {
    if !outputs.is_complete {
        return None;
    }
    match strip(key) {
        Expr::Value(_) => reader.look_at(key)?.parse::<usize>().ok()?.checked_sub(1),
        Expr::Identifier(name) => {
            let mut found =
                (0..outputs.columns.len()).filter(|&place| outputs.columns[place].0 == name.value);
            match (found.next(), found.next()) {
                (Some(place), None) => Some(place),
                (Some(_) | None, _) => None,
            }
        }
        _ => None,
    }
}

fn sort_key(
    reader: &Reader<'_>,
    query: &Query,
    key: &OrderByExpr,
    column: SortColumn,
) -> Result<SortKey, Box<str>> {
    let descending = match &key.options.sort {
        None | Some(OrderBySort::Asc) => false,
        Some(OrderBySort::Desc) => true,
        Some(OrderBySort::Using(_)) => return Err("ORDER BY … USING".into()),
    };
    let text = match strip(&key.expr) {
        Expr::Collate { collation, .. } if matches!(&*collation.to_string(), "\"C\"" | "\"POSIX\"") => {
            TextOrder::C
        }
        // An output or a subquery may have a collation that its name does not show.
        _ if reader.is_collated(query) => TextOrder::Unknown,
        _ => TextOrder::Database,
    };
    Ok(SortKey {
        column,
        descending,
        nulls_first: key.options.nulls_first.unwrap_or(descending),
        text,
    })
}

/// The text for a shard: sort keys added, as many rows as LIMIT and OFFSET together ask for.
fn shard_text(found: &Clauses, hidden: &[Range<usize>]) -> Template {
    let mut text = Template::default();
    if hidden.is_empty() {
        text.pieces(found.range.start..found.tail);
    } else {
        text.pieces(found.range.start..found.from);
        for key in hidden {
            text.text(",").pieces(key.clone());
        }
        text.pieces(found.from..found.tail);
    }
    if let (Some(first), Some(last)) = (found.order.first(), found.order.last()) {
        text.text("ORDER BY").pieces(first.start..last.end);
    }
    match (&found.limit, &found.offset) {
        (Some(limit), Some(offset)) => {
            text.text("LIMIT (")
                .pieces(limit.clone())
                .text(")::bigint + (")
                .pieces(offset.clone())
                .text(")::bigint");
        }
        (Some(limit), None) => {
            text.text("LIMIT").pieces(limit.clone());
        }
        (None, Some(_) | None) => {}
    }
    text
}

/// Is it `*` or `t.*`?
pub fn is_wildcard(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. }
    )
}

/// The name of an output that is a column or has an alias.
pub fn item_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
            parts.last().map(|name| name.value.clone())
        }
        _ => None,
    }
}

/// An item without its alias.
pub fn item_range(pieces: &Pieces<'_>, item: &SelectItem, range: Range<usize>) -> Range<usize> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => {
            let alias = piece(alias.span)
                .filter(|place| range.contains(place))
                .unwrap_or(range.end);
            let has_as = alias > range.start && lower(pieces, alias - 1) == "as";
            range.start..alias - usize::from(has_as)
        }
        _ => range,
    }
}

/// Do two ranges say the same? Constants in them are looked at then.
pub fn same_text(reader: &mut Reader<'_>, one: Range<usize>, other: Range<usize>) -> bool {
    let pieces = reader.pieces;
    if one.len() != other.len() || one.is_empty() {
        return false;
    }
    let mut literals = Vec::new();
    for (one, other) in one.zip(other) {
        let (Some(&(.., kind)), Some(&(.., other_kind))) = (pieces.all.get(one), pieces.all.get(other))
        else {
            return false;
        };
        let is_same = match (kind, other_kind) {
            (Kind::Literal(first), Kind::Literal(second)) => {
                literals.extend([first, second]);
                pieces.text(one) == pieces.text(other)
            }
            (Kind::Word, Kind::Word) => pieces.text(one).eq_ignore_ascii_case(pieces.text(other)),
            (kind, other_kind) => kind == other_kind && pieces.text(one) == pieces.text(other),
        };
        if !is_same {
            // Where constants differ, another text of this shape may be the same.
            reader.note(&literals);
            return false;
        }
    }
    reader.note(&literals);
    true
}
