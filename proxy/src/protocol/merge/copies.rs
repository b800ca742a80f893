//! The results of COPY TO of several shards as one: one header, one trailer.

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines, the first of each shard being a header or not.
    Lines {
        /// HEADER?
        has_header: bool,
    },
    /// PostgreSQL's binary format.
    Binary,
}

/// What of a CopyData message goes on. `is_first`: it is its shard's first; `is_leader`: that shard is the first of all.
/// A trailer never does: see [`TRAILER`].
pub fn kept(form: Form, data: &[u8], is_first: bool, is_leader: bool) -> &[u8] {
    match form {
        Form::Lines { has_header: true } if is_first && !is_leader => b"",
        Form::Lines { .. } => data,
        Form::Binary => {
            let start = if is_first && !is_leader {
                HEADER.min(data.len())
            } else {
                0
            };
            let has_rows = match is_first {
                true => data.len() != HEADER + TRAILER.len(),
                // A row's number of fields is never -1.
                false => data != TRAILER,
            };
            match (has_rows, is_first) {
                (true, _) => &data[start..],
                (false, true) => &data[start..HEADER],
                (false, false) => b"",
            }
        }
    }
}

/// The last two bytes of a result in binary.
pub const TRAILER: [u8; 2] = [0xff, 0xff];

/// Signature, flags and the length of an empty extension.
const HEADER: usize = 11 + 4 + 4;

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

    #[test]
    fn one_header_and_no_trailer() {
        let lines = Form::Lines { has_header: true };
        assert_eq!(kept(lines, b"a,b\n", true, true), b"a,b\n");
        assert_eq!(kept(lines, b"a,b\n", true, false), b"");
        assert_eq!(kept(lines, b"1,2\n", false, false), b"1,2\n");
        let row = [SIGNED, b"\0\x01\0\0\0\x01x"].concat();
        assert_eq!(kept(Form::Binary, &row, true, true), row);
        assert_eq!(kept(Form::Binary, &row, true, false), b"\0\x01\0\0\0\x01x");
        assert_eq!(kept(Form::Binary, &TRAILER, false, true), b"");
        let empty = [SIGNED, &TRAILER].concat();
        assert_eq!(kept(Form::Binary, &empty, true, true), SIGNED);
        assert_eq!(kept(Form::Binary, &empty, true, false), b"");
        assert_eq!(kept(Form::Binary, b"PG", true, false), b"");
    }
}
