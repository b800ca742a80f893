//! Names: of a transaction that spans shards, and of each shard's part of it.

use std::fmt;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// What the coordinator alone knows until it decides. Whoever sees a prepared transaction sees its id, and can't make the
/// secret of it: nobody else can decide for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A transaction's name, unique in the world: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

/// A prepared part: `pgshunt_<id>_<anchor>_<shard>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gid {
    /// The transaction.
    pub id: Id,
    /// The shard that holds the decision, as [`plain`] writes it.
    pub anchor: String,
    /// The shard whose part it is, as [`plain`] writes it.
    pub shard: String,
}

/// `GIDSIZE` of PostgreSQL, less the zero byte.
const GID_BYTES_MAX: usize = 199;
const ID_DIGITS: usize = 32;

impl Secret {
    /// A new one; `None` if the system has no randomness.
    pub fn new() -> Option<Secret> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Secret(hex(&bytes)))
    }

    /// The text itself, for `pgshunt.decide` alone.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What `left(encode(sha256(secret), 'hex'), 32)` is.
    pub fn id(&self) -> Id {
        let mut id = hex(digest(&SHA256, self.0.as_bytes()).as_ref());
        id.truncate(ID_DIGITS);
        Id(id)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Id {
    /// Reads 32 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Id> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == ID_DIGITS && text.bytes().all(is_digit)).then(|| Id(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Gid {
    /// The name of a shard's part; `None` if the shards' names are too long for PostgreSQL.
    pub fn new(id: &Id, anchor: &str, shard: &str) -> Option<Gid> {
        let gid = Gid {
            id: id.clone(),
            anchor: plain(anchor),
            shard: plain(shard),
        };
        (gid.to_string().len() <= GID_BYTES_MAX).then_some(gid)
    }

    /// Reads a name; `None` if it is not one of ours.
    pub fn parse(text: &str) -> Option<Gid> {
        let mut parts = text.strip_prefix("pgshunt_")?.split('_');
        let id = Id::parse(parts.next()?)?;
        let (anchor, shard) = (parts.next()?, parts.next()?);
        let is_plain = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        };
        (parts.next().is_none() && is_plain(anchor) && is_plain(shard)).then(|| Gid {
            id,
            anchor: anchor.to_owned(),
            shard: shard.to_owned(),
        })
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pgshunt_{}_{}_{}", self.id, self.anchor, self.shard)
    }
}

/// A shard's name in letters, digits and hyphens; every other byte as a point and two hexadecimal digits. Different names
/// stay different, and nothing in it ends a literal.
pub fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte.is_ascii_alphanumeric() || byte == b'-' {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!(".{byte:02x}")),
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_read_back() {
        let secret = Secret::new().expect("randomness");
        for (anchor, shard) in [
            ("s0", "s1"),
            ("eu_west", "eu.west"),
            ("日本", "a'b\\"),
            ("x", "x"),
        ] {
            let gid = Gid::new(&secret.id(), anchor, shard).expect("short names");
            let text = gid.to_string();
            assert!(text.is_ascii() && !text.contains(['\'', '\\', ' ']), "{text}");
            assert_eq!(Gid::parse(&text), Some(gid));
        }
        assert_ne!(plain("eu_west"), plain("eu.west"));
        assert_eq!(Gid::new(&secret.id(), &"x".repeat(90), &"y".repeat(90)), None);
    }

    #[test]
    fn names_of_others_are_not_ours() {
        let id = "0123456789abcdef0123456789abcdef";
        assert!(Gid::parse(&format!("pgshunt_{id}_a_b")).is_some());
        for text in [
            String::new(),
            "pgshunt_".into(),
            format!("pgshunt_{id}"),
            format!("pgshunt_{id}_a"),
            format!("pgshunt_{id}_a_"),
            format!("pgshunt_{id}__b"),
            format!("pgshunt_{id}_a_b_c"),
            format!("pgshunt_{}_a_b", id.to_uppercase()),
            format!("pgshunt_{}_a_b", &id[1..]),
            format!("pgshunt_{id}_a'_b"),
            format!("other_{id}_a_b"),
        ] {
            assert_eq!(Gid::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_shown_and_its_id_is_its_digest() {
        let secret = Secret("s".into());
        assert!(!format!("{secret:?}").contains('s'.to_string().repeat(2).as_str()));
        // echo -n s | sha256sum
        assert_eq!(secret.id().as_str(), "043a718774c572bd8a25adbeb1bfcd5c");
    }
}
