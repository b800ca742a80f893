//! PostgreSQL's extended hash functions and its hash partition rule, bit for bit as a little-endian server computes them
//! (`common/hashfn.c`, `partitioning/partbounds.c`). Not for hash tables of our own.

/// `HASH_PARTITION_SEED` of `partbounds.c`.
const PARTITION_SEED: u64 = 0x7A5B_2236_7996_DCFD;

/// The row hash of a partition key of one column with this hash value: `compute_partition_hash_value` combines it with 0.
fn row_hash(column: u64) -> u64 {
    column.wrapping_add(0x49a0_f4dd_15e5_a8e3)
}

/// The row hash of a key whose hash is taken of its bytes: text, varchar, uuid.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    row_hash(bytes_extended(bytes, PARTITION_SEED))
}

/// The row hash of an integer key. The same number hashes alike as int2, int4 and int8 (`hashint8extended`).
pub fn of_integer(value: i64) -> u64 {
    let low = value as u32;
    let high = (value >> 32) as u32;
    let folded = low ^ if value >= 0 { high } else { !high };
    row_hash(word_extended(folded, PARTITION_SEED))
}

/// The state of Bob Jenkins' lookup3.
struct State {
    a: u32,
    b: u32,
    c: u32,
}

impl State {
    /// As `hash_bytes_extended` begins: a seed other than 0 is mixed in first.
    fn new(len: usize, seed: u64) -> State {
        let start = 0x9e37_79b9_u32.wrapping_add(len as u32).wrapping_add(3_923_095);
        let mut state = State {
            a: start,
            b: start,
            c: start,
        };
        if seed != 0 {
            state.a = state.a.wrapping_add((seed >> 32) as u32);
            state.b = state.b.wrapping_add(seed as u32);
            state.mix();
        }
        state
    }

    fn mix(&mut self) {
        let State { a, b, c } = self;
        *a = a.wrapping_sub(*c) ^ c.rotate_left(4);
        *c = c.wrapping_add(*b);
        *b = b.wrapping_sub(*a) ^ a.rotate_left(6);
        *a = a.wrapping_add(*c);
        *c = c.wrapping_sub(*b) ^ b.rotate_left(8);
        *b = b.wrapping_add(*a);
        *a = a.wrapping_sub(*c) ^ c.rotate_left(16);
        *c = c.wrapping_add(*b);
        *b = b.wrapping_sub(*a) ^ a.rotate_left(19);
        *a = a.wrapping_add(*c);
        *c = c.wrapping_sub(*b) ^ b.rotate_left(4);
        *b = b.wrapping_add(*a);
    }

    fn finish(mut self) -> u64 {
        let State { a, b, c } = &mut self;
        *c = (*c ^ *b).wrapping_sub(b.rotate_left(14));
        *a = (*a ^ *c).wrapping_sub(c.rotate_left(11));
        *b = (*b ^ *a).wrapping_sub(a.rotate_left(25));
        *c = (*c ^ *b).wrapping_sub(b.rotate_left(16));
        *a = (*a ^ *c).wrapping_sub(c.rotate_left(4));
        *b = (*b ^ *a).wrapping_sub(a.rotate_left(14));
        *c = (*c ^ *b).wrapping_sub(b.rotate_left(24));
        (u64::from(*b) << 32) | u64::from(*c)
    }
}

/// `hash_bytes_extended`.
fn bytes_extended(bytes: &[u8], seed: u64) -> u64 {
    let mut state = State::new(bytes.len(), seed);
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        state.a = state.a.wrapping_add(word(&block[..4]));
        state.b = state.b.wrapping_add(word(&block[4..8]));
        state.c = state.c.wrapping_add(word(&block[8..]));
        state.mix();
    }
    let tail = blocks.remainder();
    let (a, rest) = tail.split_at(tail.len().min(4));
    let (b, c) = rest.split_at(rest.len().min(4));
    state.a = state.a.wrapping_add(word(a));
    state.b = state.b.wrapping_add(word(b));
    // The lowest byte of c is the length's.
    state.c = state.c.wrapping_add(word(c) << 8);
    state.finish()
}

/// `hash_bytes_uint32_extended`.
fn word_extended(value: u32, seed: u64) -> u64 {
    let mut state = State::new(4, seed);
    state.a = state.a.wrapping_add(value);
    state.finish()
}

/// Up to four bytes, little-endian.
fn word(bytes: &[u8]) -> u32 {
    let mut padded = [0; 4];
    padded[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(padded)
}
