//! What a client says before it is a client: TLS, GSS or cancel requests and the startup packet.
//! Not for what follows it (`auth::messages`).
//!
//! PostgreSQL: `ProcessStartupPacket` in `backend_startup.c`.

use std::fmt;

use super::options::{self, Setting};
use super::sqlstate::{self, SqlState};

/// The longest opening packet, its own length included (`MAX_STARTUP_PACKET_LENGTH`).
pub const PACKET_BYTES_MAX: usize = 10_000;
/// The newest minor version of protocol 3 spoken here.
pub const MINOR_NEWEST: u16 = 2;
/// The longest cancel secret (protocol 3.2; 3.0 has 4 bytes).
pub const CANCEL_SECRET_BYTES_MAX: usize = 256;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// The whole packet's length, from its first four bytes: 8 to [`PACKET_BYTES_MAX`], the four included.
pub fn packet_len(first4: [u8; 4]) -> Result<usize, StartupError> {
    let length = u32::from_be_bytes(first4);
    match usize::try_from(length) {
        Ok(n) if (8..=PACKET_BYTES_MAX).contains(&n) => Ok(n),
        _ => Err(StartupError::Length(length)),
    }
}

/// The first thing a client sends.
#[derive(PartialEq, Eq)]
pub enum Opening {
    /// It asks for TLS; the answer is one byte.
    Ssl,
    /// It asks for GSSAPI encryption; the answer is `N`.
    Gss,
    /// It asks to cancel another connection's statement; there is no answer.
    Cancel {
        /// The process id of that connection.
        pid: i32,
        /// The secret it was given, 4 to [`CANCEL_SECRET_BYTES_MAX`] bytes.
        secret: Vec<u8>,
    },
    /// It wants to log in.
    Startup(Startup),
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opening::Ssl => f.write_str("Ssl"),
            Opening::Gss => f.write_str("Gss"),
            Opening::Cancel { pid, .. } => write!(f, "Cancel {{ pid: {pid}, secret: … }}"),
            Opening::Startup(startup) => startup.fmt(f),
        }
    }
}

/// A startup packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// The minor version of protocol 3 asked for.
    pub minor: u16,
    /// The role, never empty.
    pub user: String,
    /// The database; the user's name where none was given.
    pub database: String,
    /// `options` as it was written.
    pub options: Vec<u8>,
    /// The settings in `options`, in order. PostgreSQL applies them before [`Startup::params`].
    pub settings: Vec<Setting>,
    /// `options` holds something other than `-c name=value` and `--name=value`.
    pub unknown_options: bool,
    /// All other parameters in order, `application_name`, `client_encoding` and `replication` among them.
    pub params: Vec<Setting>,
    /// Names that begin with `_pq_.`: protocol extensions, none of which is known here.
    pub protocol_options: Vec<Vec<u8>>,
}

impl Startup {
    /// The last value of a parameter, or none.
    pub fn param(&self, name: &[u8]) -> Option<&[u8]> {
        self.params
            .iter()
            .rev()
            .find_map(|(n, value)| (n == name).then_some(value.as_slice()))
    }

    /// How long the cancel key is that the client is given: protocol 3.2 made them longer, 3.0 knows 4 bytes.
    pub fn cancel_secret_bytes(&self) -> usize {
        match self.minor {
            0 | 1 => 4,
            2.. => 32,
        }
    }

    /// Must the client hear NegotiateProtocolVersion?
    pub fn needs_negotiation(&self) -> bool {
        self.minor > MINOR_NEWEST || !self.protocol_options.is_empty()
    }
}

/// Why an opening packet was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartupError {
    /// The length field is below 8 or above the limit.
    Length(u32),
    /// A cancel request of the wrong size.
    CancelLength(usize),
    /// Not protocol 3.
    Version {
        /// The major version asked for.
        major: u16,
        /// The minor version asked for.
        minor: u16,
    },
    /// No zero byte at the end, or something after it.
    Layout,
    /// No user named.
    NoUser,
    /// A user or database name that is not UTF-8: pgshunt could not tell it apart from another one in its log.
    NotUtf8(&'static str),
}

impl StartupError {
    /// The SQLSTATE PostgreSQL answers with.
    pub fn code(&self) -> SqlState {
        match self {
            StartupError::Length(_) | StartupError::CancelLength(_) | StartupError::Layout => {
                sqlstate::PROTOCOL_VIOLATION
            }
            StartupError::Version { .. } => sqlstate::FEATURE_NOT_SUPPORTED,
            StartupError::NoUser | StartupError::NotUtf8(_) => sqlstate::INVALID_AUTHORIZATION,
        }
    }
}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartupError::Length(_) => f.write_str("invalid length of startup packet"),
            StartupError::CancelLength(_) => f.write_str("invalid length of cancel request packet"),
            StartupError::Version { major, minor } => write!(
                f,
                "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR_NEWEST}"
            ),
            StartupError::Layout => {
                f.write_str("invalid startup packet layout: expected terminator as last byte")
            }
            StartupError::NoUser => f.write_str("no PostgreSQL user name specified in startup packet"),
            StartupError::NotUtf8(what) => write!(f, "{what} name in startup packet is not valid UTF-8"),
        }
    }
}

impl std::error::Error for StartupError {}

/// Reads an opening packet: everything after its length.
pub fn opening(body: &[u8]) -> Result<Opening, StartupError> {
    let Some((code, rest)) = body.split_first_chunk::<4>() else {
        return Err(StartupError::Length(4));
    };
    match (u32::from_be_bytes(*code), rest) {
        (SSL, []) => Ok(Opening::Ssl),
        (GSS, []) => Ok(Opening::Gss),
        (CANCEL, rest) => match rest.split_first_chunk::<4>() {
            Some((pid, secret)) if (4..=CANCEL_SECRET_BYTES_MAX).contains(&secret.len()) => {
                Ok(Opening::Cancel {
                    pid: i32::from_be_bytes(*pid),
                    secret: secret.to_vec(),
                })
            }
            _ => Err(StartupError::CancelLength(body.len())),
        },
        (version, rest) => {
            let [a, b, c, d] = version.to_be_bytes();
            match (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])) {
                (3, minor) => startup(minor, rest).map(Opening::Startup),
                (major, minor) => Err(StartupError::Version { major, minor }),
            }
        }
    }
}

fn startup(minor: u16, mut rest: &[u8]) -> Result<Startup, StartupError> {
    let mut found = Startup {
        minor,
        ..Startup::default()
    };
    let (mut user, mut database) = (&[][..], &[][..]);
    loop {
        let name = until_nul(&mut rest).ok_or(StartupError::Layout)?;
        if name.is_empty() {
            break;
        }
        let value = until_nul(&mut rest).ok_or(StartupError::Layout)?;
        match name {
            b"user" => user = value,
            b"database" => database = value,
            b"options" => found.options = value.to_vec(),
            _ if name.starts_with(b"_pq_.") => found.protocol_options.push(name.to_vec()),
            _ => found.params.push((name.to_vec(), value.to_vec())),
        }
    }
    if !rest.is_empty() {
        return Err(StartupError::Layout);
    }
    if user.is_empty() {
        return Err(StartupError::NoUser);
    }
    let database = if database.is_empty() { user } else { database };
    let text = |bytes: &[u8], what| {
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| StartupError::NotUtf8(what))
    };
    found.user = text(user, "user")?;
    found.database = text(database, "database")?;
    (found.settings, found.unknown_options) = options::settings(&found.options);
    Ok(found)
}

/// Takes the bytes before the next NUL, and the NUL.
fn until_nul<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let at = rest.iter().position(|&b| b == 0)?;
    let (text, after) = (&rest[..at], &rest[at + 1..]);
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(minor: u16, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut body = vec![0, 3];
        body.extend(minor.to_be_bytes());
        for (name, value) in pairs {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        body
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Startup, StartupError> {
        match opening(&packet(0, pairs))? {
            Opening::Startup(startup) => Ok(startup),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(packet_len(8u32.to_be_bytes()), Ok(8));
        assert_eq!(packet_len(10_000u32.to_be_bytes()), Ok(10_000));
        for bad in [0, 4, 7, 10_001, u32::MAX, 0x8000_0000] {
            assert_eq!(packet_len(bad.to_be_bytes()), Err(StartupError::Length(bad)));
        }
    }

    #[test]
    fn the_short_requests_are_known_by_code_and_size() {
        assert_eq!(opening(&SSL.to_be_bytes()), Ok(Opening::Ssl));
        assert_eq!(opening(&GSS.to_be_bytes()), Ok(Opening::Gss));
        let long = [&SSL.to_be_bytes()[..], b"x"].concat();
        let version = StartupError::Version {
            major: 1234,
            minor: 5679,
        };
        assert_eq!(opening(&long), Err(version));
        assert_eq!(opening(b"abc"), Err(StartupError::Length(4)));
    }

    #[test]
    fn a_cancel_request_carries_four_to_256_bytes_of_secret() {
        let cancel =
            |n: usize| opening(&[&CANCEL.to_be_bytes()[..], &7i32.to_be_bytes(), &vec![9; n]].concat());
        for n in [4, 32, 256] {
            let secret = vec![9; n];
            assert_eq!(cancel(n), Ok(Opening::Cancel { pid: 7, secret }));
        }
        for n in [0, 3, 257] {
            assert_eq!(cancel(n), Err(StartupError::CancelLength(n + 8)));
        }
        assert_eq!(opening(&CANCEL.to_be_bytes()), Err(StartupError::CancelLength(4)));
    }

    #[test]
    fn the_database_is_the_user_unless_given() {
        assert_eq!(read(&[("user", "ann")]).unwrap().database, "ann");
        assert_eq!(
            read(&[("user", "ann"), ("database", "")]).unwrap().database,
            "ann"
        );
        assert_eq!(read(&[("user", "ann"), ("database", "x")]).unwrap().database, "x");
    }

    #[test]
    fn parameters_keep_their_order_and_the_last_one_counts() {
        let s = read(&[
            ("a", "1"),
            ("user", "u"),
            ("_pq_.x", "y"),
            ("b", ""),
            ("a", "2"),
            ("user", "v"),
        ])
        .unwrap();
        let names: Vec<_> = s.params.iter().map(|(n, _)| n.as_slice()).collect();
        assert_eq!(names, [b"a", b"b", b"a"]);
        assert_eq!(s.param(b"a"), Some(&b"2"[..]));
        assert_eq!(s.user, "v");
        assert_eq!(s.protocol_options, [b"_pq_.x".to_vec()]);
        assert!(s.needs_negotiation());
    }

    #[test]
    fn a_packet_must_end_with_its_terminator() {
        let good = packet(0, &[("user", "u"), ("x", "y")]);
        for end in 4..good.len() {
            assert_eq!(opening(&good[..end]), Err(StartupError::Layout), "cut at {end}");
        }
        let more = [&good[..], b"z\0"].concat();
        assert_eq!(opening(&more), Err(StartupError::Layout));
    }

    #[test]
    fn refusals_use_postgresqls_words() {
        let refusal = |body: &[u8]| {
            let e = opening(body).unwrap_err();
            format!("{} {e}", e.code())
        };
        assert_eq!(
            refusal(&[0, 2, 0, 0, 0]),
            "0A000 unsupported frontend protocol 2.0: server supports 3.0 to 3.2"
        );
        assert_eq!(
            refusal(&packet(0, &[("database", "x")])),
            "28000 no PostgreSQL user name specified in startup packet"
        );
        assert_eq!(
            refusal(b"\0\x03\0\0user\0\xff\0\0"),
            "28000 user name in startup packet is not valid UTF-8"
        );
    }

    #[test]
    fn minor_versions() {
        for (minor, negotiates, secret_bytes) in
            [(0, false, 4), (1, false, 4), (2, false, 32), (9999, true, 32)]
        {
            let startup = match opening(&packet(minor, &[("user", "u")])).unwrap() {
                Opening::Startup(startup) => startup,
                other => panic!("{other:?}"),
            };
            assert_eq!(startup.needs_negotiation(), negotiates, "3.{minor}");
            assert_eq!(startup.cancel_secret_bytes(), secret_bytes, "3.{minor}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(
            code in proptest::sample::select(vec![SSL, GSS, CANCEL, 196_608, 196_610, 0]),
            text in "[a-z_.=\\\\ \0-]{0,60}",
        ) {
            let _ = opening(&[&code.to_be_bytes()[..], text.as_bytes()].concat());
            let options = [&196_608u32.to_be_bytes()[..], b"user\0u\0options\0", text.as_bytes(), b"\0\0"];
            let _ = opening(&options.concat());
        }
    }
}
