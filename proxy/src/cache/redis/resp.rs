//! Redis's protocol (RESP2), as much of it as the cache speaks. Pure, and bounded: an answer longer than was asked for is
//! no answer.

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Status(Vec<u8>),
    /// `-ERR …`.
    Error(Vec<u8>),
    /// `:1`.
    Integer(i64),
    /// `$3…`; `None`: there is none.
    Bulk(Option<Vec<u8>>),
    /// `*2…`; `None`: there is none.
    Array(Option<Vec<Reply>>),
}

/// The bytes are no reply, or a longer one than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReply;

/// A command and its arguments.
pub fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first reply among the bytes and how long it is; `None`: more must come.
///
/// # Errors
///
/// It is none, or one with a string of more than `bulk_max` bytes.
pub fn reply(bytes: &[u8], bulk_max: usize) -> Result<Option<(Reply, usize)>, NoReply> {
    nested(bytes, bulk_max, DEPTH_MAX)
}

/// Arrays within arrays.
const DEPTH_MAX: usize = 3;

/// The longest line: Redis's errors name what was wrong.
const LINE_MAX: usize = 4096;

/// The most replies in an array.
const ITEMS_MAX: usize = 65_536;

fn nested(bytes: &[u8], bulk_max: usize, depth: usize) -> Result<Option<(Reply, usize)>, NoReply> {
    let Some(end) = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        return match bytes.len() < LINE_MAX {
            true => Ok(None),
            false => Err(NoReply),
        };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(NoReply)?;
    let (kind, line) = line.split_first().ok_or(NoReply)?;
    let after = end + 1;
    match kind {
        b'+' => Ok(Some((Reply::Status(line.into()), after))),
        b'-' => Ok(Some((Reply::Error(line.into()), after))),
        b':' => Ok(Some((Reply::Integer(number(line)?), after))),
        b'$' => match length(line, bulk_max)? {
            None => Ok(Some((Reply::Bulk(None), after))),
            Some(length) => match bytes.get(after..after + length + 2) {
                None => Ok(None),
                Some(bulk) => {
                    let bulk = bulk.strip_suffix(b"\r\n").ok_or(NoReply)?;
                    Ok(Some((Reply::Bulk(Some(bulk.into())), after + length + 2)))
                }
            },
        },
        b'*' => {
            let Some(count) = length(line, ITEMS_MAX)? else {
                return Ok(Some((Reply::Array(None), after)));
            };
            let depth = depth.checked_sub(1).ok_or(NoReply)?;
            let (mut items, mut at) = (Vec::new(), after);
            for _ in 0..count {
                let Some((item, bytes)) = nested(&bytes[at..], bulk_max, depth)? else {
                    return Ok(None);
                };
                items.push(item);
                at += bytes;
            }
            Ok(Some((Reply::Array(Some(items)), at)))
        }
        _ => Err(NoReply),
    }
}

fn number(line: &[u8]) -> Result<i64, NoReply> {
    let text = std::str::from_utf8(line).map_err(|_| NoReply)?;
    text.parse().map_err(|_| NoReply)
}

/// A length within bounds; `None` for -1.
fn length(line: &[u8], max: usize) -> Result<Option<usize>, NoReply> {
    match number(line)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length <= max => Ok(Some(length)),
            _ => Err(NoReply),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let bytes = b"*4\r\n:-2\r\n$3\r\na\nb\r\n-WRONGTYPE x\r\n*2\r\n$-1\r\n+OK\r\nrest";
        let whole = Reply::Array(Some(vec![
            Reply::Integer(-2),
            Reply::Bulk(Some(b"a\nb".to_vec())),
            Reply::Error(b"WRONGTYPE x".to_vec()),
            Reply::Array(Some(vec![Reply::Bulk(None), Reply::Status(b"OK".to_vec())])),
        ]));
        let end = bytes.len() - 4;
        for cut in 0..end {
            assert_eq!(reply(&bytes[..cut], 3), Ok(None), "{cut}");
        }
        assert_eq!(reply(bytes, 3), Ok(Some((whole, end))));
        assert_eq!(
            reply(bytes, 2),
            Err(NoReply),
            "a longer string than was asked for"
        );
    }

    #[test]
    fn what_is_no_reply_is_none() {
        for bytes in [
            &b"HTTP/1.1 400\r\n"[..],
            b"$x\r\n",
            b"$-2\r\n",
            b":1\n",
            b"\r\n",
            b"$1\r\nabc",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        ] {
            assert_eq!(reply(bytes, 100), Err(NoReply), "{}", bytes.escape_ascii());
        }
        assert_eq!(reply(&[b'+'; LINE_MAX], 100), Err(NoReply));
    }

    #[test]
    fn commands_carry_any_bytes() {
        let mut out = Vec::new();
        command(&mut out, &[b"GET", b"a\r\n"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n");
    }
}
