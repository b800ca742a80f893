//! Where the tuples of a COPY in binary format end ("Binary Format" on the page of COPY).

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is not whole yet.
    More,
    /// The header, of so many bytes.
    Header(usize),
    /// A tuple of so many bytes.
    Tuple {
        /// With the number of its fields.
        whole: usize,
        /// Where the key stands; `None` is NULL.
        key: Option<std::ops::Range<usize>>,
    },
    /// The trailer, of two bytes.
    Trailer,
}

/// What PostgreSQL says of data that are none.
pub type Broken = &'static str;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Bits 16 to 31 must be known to whoever reads.
const CRITICAL: u32 = 0xffff_0000;

/// The header; `data` begins with it.
pub fn header(data: &[u8], is_end: bool) -> Result<Next, Broken> {
    let known = data.len().min(SIGNATURE.len());
    if data[..known] != SIGNATURE[..known] || (is_end && data.len() < SIGNATURE.len()) {
        return Err("COPY file signature not recognized");
    }
    let word = |at: usize| Some(u32::from_be_bytes(*data.get(at..)?.first_chunk()?));
    let (flags, extension) = match (word(11), word(15)) {
        (Some(flags), Some(extension)) => (flags, extension),
        (None, _) if is_end => return Err("invalid COPY file header (missing flags)"),
        (_, None) if is_end => return Err("invalid COPY file header (missing length)"),
        (_, _) => return Ok(Next::More),
    };
    if flags & CRITICAL != 0 {
        return Err("unrecognized critical flags in COPY file header");
    }
    let extension = i32::from_be_bytes(extension.to_be_bytes());
    let extension = usize::try_from(extension).map_err(|_| "invalid COPY file header (missing length)")?;
    let whole = 19 + extension;
    match (data.len() >= whole, is_end) {
        (true, _) => Ok(Next::Header(whole)),
        (false, true) => Err("invalid COPY file header (wrong length)"),
        (false, false) => Ok(Next::More),
    }
}

/// Reads one tuple after the other; remembers how far it has looked.
#[derive(Clone, Debug, Default)]
pub struct Tuples {
    /// Fields that are still to come, and where the next begins; `None` before a tuple.
    within: Option<(u16, usize)>,
    fields: u16,
    key: Option<std::ops::Range<usize>>,
}

impl Tuples {
    /// Looks at what there is of a tuple; `data` begins with its first byte.
    pub fn next(&mut self, data: &[u8], key: usize) -> Result<Next, Broken> {
        let (mut left, mut at) = match self.within {
            Some(within) => within,
            None => {
                let Some(count) = data.first_chunk() else {
                    return Ok(Next::More);
                };
                let count = i16::from_be_bytes(*count);
                if count == -1 {
                    return Ok(Next::Trailer);
                }
                let count = u16::try_from(count).map_err(|_| "unexpected field count")?;
                (self.fields, self.key) = (count, None);
                if key >= usize::from(count) {
                    return Err("row field count is too small");
                }
                (count, 2)
            }
        };
        while left > 0 {
            let field = usize::from(self.fields - left);
            self.within = Some((left, at));
            let Some(len) = data.get(at..).and_then(<[u8]>::first_chunk) else {
                return Ok(Next::More);
            };
            let len = i32::from_be_bytes(*len);
            let len = match len {
                -1 => None,
                len => Some(usize::try_from(len).map_err(|_| "invalid field size")?),
            };
            let end = at + 4 + len.unwrap_or(0);
            if field == key {
                self.key = len.map(|_| at + 4..end);
            }
            if end > data.len() {
                return Ok(Next::More);
            }
            (left, at) = (left - 1, end);
        }
        self.within = None;
        Ok(Next::Tuple {
            whole: at,
            key: self.key.take(),
        })
    }

    /// At least so many bytes of the present tuple are known to come, those that are there included.
    pub fn at_least(&self, data: &[u8]) -> usize {
        let within = self.within.and_then(|(_, at)| {
            let len = i32::from_be_bytes(*data.get(at..)?.first_chunk()?);
            Some(at.saturating_add(usize::try_from(len).unwrap_or(0)))
        });
        within.unwrap_or(0).max(data.len())
    }
}
