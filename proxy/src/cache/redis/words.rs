//! What is said to Redis of changes and answers, and what its replies mean. Pure.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use super::Found;
use super::resp::{self, Reply};
use super::sealed::said;
use crate::protocol::session::touched::Rows;
use crate::protocol::session::untold::Changes;

/// What is known of changes is forgotten by Redis after so long without one.
const CHANGES_LIFE_S: &[u8] = b"86400";

/// The field that is another one once anything may have changed: nobody makes the same twice.
const EPOCH: &[u8] = b"epoch";

/// The field that says up to where all changes have been told.
const MARK: &[u8] = b"mark";

/// By what a connection sees that Redis still knows all it was told: a number of its own, raised with each telling. A Redis
/// that has forgotten, or gone back to what it knew before, has another one.
#[derive(Debug)]
pub(super) struct Tally {
    /// Where it lies.
    pub(super) field: String,
    /// What it must be.
    pub(super) count: i64,
}

impl Tally {
    /// Where nobody else's lies.
    pub(super) fn field() -> String {
        format!("link:{}", random())
    }

    /// One that lies there.
    pub(super) fn new(field: &str) -> Self {
        Tally {
            field: field.to_owned(),
            count: anew(),
        }
    }
}

/// A number to count from, hardly the same as any before.
fn anew() -> i64 {
    // Room is left above it to count.
    (RandomState::new().build_hasher().finish() >> 2) as i64
}

/// The fields by which rows are known to be as they were: as in `Generations`, one raised by each change of the table, one by
/// those of which nobody knows whose rows they are of, one for each number of tenants.
fn fields(rows: &Rows) -> Vec<Vec<u8>> {
    let field = |kind: &str| [kind.as_bytes(), &*rows.table].concat();
    match rows.of {
        None => vec![field("any:")],
        Some(bucket) => vec![field("all:"), field(&format!("{bucket}:"))],
    }
}

/// The fields that a change raises.
fn raised(rows: &Rows) -> Vec<Vec<u8>> {
    let field = |kind: &str| [kind.as_bytes(), &*rows.table].concat();
    match rows.of {
        None => vec![field("any:"), field("all:")],
        Some(bucket) => vec![field("any:"), field(&format!("{bucket}:"))],
    }
}

/// Says that anything may have changed, and begins to count. Gives back how many replies that will have.
pub(super) fn make_old(out: &mut Vec<u8>, changes: &[u8], tally: &mut Tally) -> usize {
    tally.count = anew();
    let (epoch, count) = (random(), tally.count.to_string());
    let words = [EPOCH, epoch.as_bytes(), tally.field.as_bytes(), count.as_bytes()];
    resp::command(out, &[&[&b"HSET"[..], changes][..], &words].concat());
    resp::command(out, &[b"EXPIRE", changes, CHANGES_LIFE_S]);
    2
}

/// Says what has changed. Gives back how many replies that will have; the last one must be the tally's count.
pub(super) fn tell(out: &mut Vec<u8>, changes: &[u8], what: &Changes, tally: &mut Tally) -> usize {
    if what.is_empty() {
        return 0;
    }
    let mut fields: Vec<Vec<u8>> = what.rows.iter().flat_map(raised).collect();
    fields.sort_unstable();
    fields.dedup();
    let mut replies = 2;
    if what.anything {
        resp::command(out, &[b"HSET", changes, EPOCH, random().as_bytes()]);
        replies += 1;
    } else {
        for field in &fields {
            resp::command(out, &[b"HINCRBY", changes, field, b"1"]);
        }
        replies += fields.len();
    }
    resp::command(out, &[b"EXPIRE", changes, CHANGES_LIFE_S]);
    tally.count += 1;
    resp::command(out, &[b"HINCRBY", changes, tally.field.as_bytes(), b"1"]);
    replies
}

/// Asks for an answer and what it is to be judged by, in one moment of Redis: six replies.
pub(super) fn find(
    out: &mut Vec<u8>,
    (changes, name): (&[u8], &[u8]),
    rows: &[Rows],
    tally: &Tally,
    bulk_max: usize,
) {
    resp::command(out, &[b"MULTI"]);
    // Where it is gone, all that lies there is old: nobody makes the same number twice.
    resp::command(out, &[b"HSETNX", changes, EPOCH, random().as_bytes()]);
    resp::command(out, &[b"PTTL", name]);
    resp::command(
        out,
        &[b"GETRANGE", name, b"0", (bulk_max - 1).to_string().as_bytes()],
    );
    let fields: Vec<Vec<u8>> = rows.iter().flat_map(fields).collect();
    let mut words: Vec<&[u8]> = vec![b"HMGET", changes, tally.field.as_bytes(), EPOCH];
    words.extend(fields.iter().map(Vec::as_slice));
    resp::command(out, &words);
    resp::command(out, &[b"EXEC"]);
}

/// How many replies [`find`] has.
pub(super) const FIND_REPLIES: usize = 6;

/// 128 bits nobody has had before.
pub(super) fn random() -> String {
    let half = || RandomState::new().build_hasher().finish();
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!(
        "{:x}{:x}{:x}",
        half(),
        half(),
        nanos.unwrap_or_default().as_nanos()
    )
}

/// What Redis says to a question.
#[derive(Debug)]
pub(super) enum Said {
    /// What lies there, and what it is to be judged by.
    This(Found),
    /// It does not know all it was told.
    Forgotten,
    /// What makes no sense.
    Nothing,
}

/// What Redis says to a question.
pub(super) fn found(reply: Reply, rows: &[Rows], tally: &Tally) -> Said {
    let read = || {
        let [_, left, sealed, counts] = <[Reply; 4]>::try_from(list(reply)?).ok()?;
        Some((left, sealed, values(counts)?))
    };
    let Some((left, sealed, counts)) = read() else {
        return Said::Nothing;
    };
    let fields: Vec<Vec<u8>> = rows.iter().flat_map(fields).collect();
    let Some((count, counts)) = counts.split_first().filter(|_| counts.len() == fields.len() + 2) else {
        return Said::Nothing;
    };
    if *count != tally.count.to_string().into_bytes() {
        return Said::Forgotten;
    }
    if counts[0].is_empty() {
        return Said::Nothing;
    }
    let parts: Vec<&[u8]> = counts.iter().chain(&fields).map(Vec::as_slice).collect();
    let sealed = match (sealed, left) {
        (Reply::Bulk(Some(sealed)), Reply::Integer(left)) if !sealed.is_empty() && left > 0 => {
            Some((sealed, Duration::from_millis(left.unsigned_abs())))
        }
        _ => None,
    };
    Said::This(Found {
        under: said(b"under", &parts).into(),
        sealed,
    })
}

/// Says up to where all changes have been told: one reply, a number.
pub(super) fn mark(out: &mut Vec<u8>, changes: &[u8], mark: &[u8]) {
    resp::command(out, &[b"HSET", changes, MARK, mark]);
}

/// Asks up to where all changes have been told.
pub(super) fn ask_mark(out: &mut Vec<u8>, changes: &[u8]) {
    resp::command(out, &[b"HGET", changes, MARK]);
}

/// Asks the same, and whether who says so still knows that Redis has all of it; and begins to count, in one moment: five
/// replies. What Redis forgets of it from here on the tally shows.
pub(super) fn join(out: &mut Vec<u8>, changes: &[u8], other: &str, tally: &mut Tally) {
    tally.count = anew();
    resp::command(out, &[b"MULTI"]);
    resp::command(out, &[b"HMGET", changes, MARK, other.as_bytes()]);
    let count = tally.count.to_string();
    resp::command(out, &[b"HSET", changes, tally.field.as_bytes(), count.as_bytes()]);
    resp::command(out, &[b"EXPIRE", changes, CHANGES_LIFE_S]);
    resp::command(out, &[b"EXEC"]);
}

/// How many replies [`join`] has.
pub(super) const JOIN_REPLIES: usize = 5;

/// The mark and the other's tally, as the last reply to [`join`] has them.
pub(super) fn joined(reply: Reply) -> Option<(Vec<u8>, Vec<u8>)> {
    let told = list(reply)?.into_iter().next()?;
    let [mark, count] = <[Vec<u8>; 2]>::try_from(values(told)?).ok()?;
    Some((mark, count))
}

fn list(reply: Reply) -> Option<Vec<Reply>> {
    match reply {
        Reply::Array(list) => list,
        Reply::Status(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Bulk(_) => None,
    }
}

/// Strings; an empty one where there is none.
fn values(reply: Reply) -> Option<Vec<Vec<u8>>> {
    let value = |reply| match reply {
        Reply::Bulk(value) => Some(value.unwrap_or_default()),
        Reply::Status(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Array(_) => None,
    };
    list(reply)?.into_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(Some(text.into()))
    }

    #[test]
    fn a_redis_that_has_forgotten_is_found_out() {
        let tally = Tally {
            field: "link:a".into(),
            count: 7,
        };
        let rows = [Rows::all(&b"t"[..].into())];
        let reply = |counts: Vec<Reply>| {
            let answer = [
                Reply::Integer(0),
                Reply::Integer(5),
                bulk("x"),
                Reply::Array(Some(counts)),
            ];
            found(Reply::Array(Some(answer.to_vec())), &rows, &tally)
        };
        let Said::This(found) = reply(vec![bulk("7"), bulk("e"), Reply::Bulk(None)]) else {
            panic!("all is known")
        };
        assert_eq!(found.sealed, Some((b"x".to_vec(), Duration::from_millis(5))));
        for forgotten in [Reply::Bulk(None), bulk("6"), bulk("8"), bulk("")] {
            let said = reply(vec![forgotten, bulk("e"), bulk("1")]);
            assert!(matches!(said, Said::Forgotten), "{said:?}");
        }
        for nonsense in [
            vec![],
            vec![bulk("7"), bulk("e")],
            vec![bulk("7"), bulk(""), bulk("1")],
            vec![bulk("7"), bulk("e"), Reply::Integer(1)],
        ] {
            assert!(matches!(reply(nonsense), Said::Nothing));
        }
    }

    #[test]
    fn what_is_told_is_counted_last() {
        let mut tally = Tally::new("link:a");
        let (before, mut out) = (tally.count, Vec::new());
        assert_eq!(tell(&mut out, b"c", &Changes::default(), &mut tally), 0);
        assert!(out.is_empty() && tally.count == before);
        let mut changes = Changes::default();
        changes.rows.insert(Rows::all(&b"t"[..].into()));
        assert_eq!(tell(&mut out, b"c", &changes, &mut tally), 4);
        assert_eq!(tally.count, before + 1);
        assert!(out.ends_with(b"link:a\r\n$1\r\n1\r\n"));
    }
}
