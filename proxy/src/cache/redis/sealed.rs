//! An answer as it lies in Redis: everything needed to know that it is ours, that it answers this question, and whether it
//! is still good. Pure. Whoever can write to Redis but does not have the secret can make nothing that opens.

use ring::hmac;

/// What makes and opens sealed answers. Shows nothing of its secret.
#[derive(Clone, Debug)]
pub struct Seal {
    key: hmac::Key,
}

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// How long an answer of its class lives in all, in milliseconds.
    pub life_ms: u64,
    /// What Redis said had changed of what it reads, before it was asked for.
    pub under: &'a [u8],
    /// Who asked.
    pub context: &'a [u8],
    /// What was asked.
    pub body: &'a [u8],
    /// RowDescription, or nothing.
    pub description: &'a [u8],
    /// DataRows and CommandComplete.
    pub rows: &'a [u8],
}

/// What a sealed answer takes beside what is sealed.
pub const SEALED_BYTES: usize = TAG_BYTES + 8 + PARTS * 4;

const TAG_BYTES: usize = 32;
const PARTS: usize = 5;

impl Seal {
    /// By this secret.
    pub fn new(secret: &[u8]) -> Self {
        Seal {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// The name under which the answer to a question lies. Tells nothing of the question.
    pub fn name(&self, place: &str, context: &[u8], body: &[u8]) -> Vec<u8> {
        let tag = self.hex(b"name", &[context, body]);
        format!("pgshunt:answer:{place}:{tag}").into_bytes()
    }

    /// What says that a mark is ours, and of this place.
    pub(super) fn mark(&self, place: &str, said: &str) -> String {
        self.hex(b"mark", &[place.as_bytes(), said.as_bytes()])
    }

    /// A sum of rights and definitions, as it may be shown.
    pub(super) fn sum(&self, sum: &[u8]) -> String {
        self.hex(b"sum", &[sum])
    }

    /// Seals an answer, for this name alone.
    pub fn seal(&self, name: &[u8], answer: &Answer<'_>) -> Vec<u8> {
        let mut sealed = vec![0; TAG_BYTES];
        sealed.extend_from_slice(&answer.life_ms.to_be_bytes());
        for part in [
            answer.under,
            answer.context,
            answer.body,
            answer.description,
            answer.rows,
        ] {
            add(&mut sealed, part);
        }
        let tag = self.tag(b"answer", &[name, &sealed[TAG_BYTES..]]);
        sealed[..TAG_BYTES].copy_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what lay under this name; `None`: it is not ours, or not whole.
    pub fn open<'a>(&self, name: &[u8], sealed: &'a [u8]) -> Option<Answer<'a>> {
        let (tag, inside) = sealed.split_at_checked(TAG_BYTES)?;
        hmac::verify(&self.key, &said(b"answer", &[name, inside]), tag).ok()?;
        let (life, mut rest) = inside.split_first_chunk()?;
        let mut part = || {
            let (length, after) = rest.split_first_chunk()?;
            let (part, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            rest = after;
            Some(part)
        };
        let answer = Answer {
            life_ms: u64::from_be_bytes(*life),
            under: part()?,
            context: part()?,
            body: part()?,
            description: part()?,
            rows: part()?,
        };
        rest.is_empty().then_some(answer)
    }

    fn hex(&self, what: &[u8], parts: &[&[u8]]) -> String {
        let tag = self.tag(what, parts);
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn tag(&self, what: &[u8], parts: &[&[u8]]) -> hmac::Tag {
        hmac::sign(&self.key, &said(what, parts))
    }
}

/// Parts with their lengths: no two lists of parts are the same bytes.
pub fn said(what: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    add(&mut bytes, what);
    for part in parts {
        add(&mut bytes, part);
    }
    bytes
}

fn add(bytes: &mut Vec<u8>, part: &[u8]) {
    // An answer and a question are bounded by the longest message, which is shorter than 4 GiB.
    bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Answer<'static> = Answer {
        life_ms: 60_000,
        under: b"1",
        context: b"who",
        body: b"what",
        description: b"",
        rows: b"rows",
    };

    #[test]
    fn what_was_sealed_opens_under_its_name_and_by_its_secret_alone() {
        let seal = Seal::new(b"secret");
        let sealed = seal.seal(b"name", &ANSWER);
        assert_eq!(seal.open(b"name", &sealed), Some(ANSWER));
        assert_eq!(seal.open(b"other", &sealed), None);
        assert_eq!(Seal::new(b"guess").open(b"name", &sealed), None);
        for cut in 0..sealed.len() {
            assert_eq!(seal.open(b"name", &sealed[..cut]), None, "{cut}");
            let mut bent = sealed.clone();
            bent[cut] ^= 1;
            assert_eq!(seal.open(b"name", &bent), None, "{cut}");
        }
        assert_eq!(sealed.len(), SEALED_BYTES + b"1whowhatrows".len());
    }

    #[test]
    fn names_differ_by_who_asks_what_and_where_and_show_none_of_it() {
        let seal = Seal::new(b"secret");
        let name = seal.name("p", b"ab", b"c");
        assert_ne!(name, seal.name("p", b"a", b"bc"));
        assert_ne!(name, seal.name("q", b"ab", b"c"));
        assert_ne!(name, Seal::new(b"other").name("p", b"ab", b"c"));
        assert!(!format!("{seal:?}").contains("secret"));
    }
}
