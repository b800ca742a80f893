//! The frames of authentication, written and read, both directions. Not the startup packet's own parsing (`startup`).
//!
//! PostgreSQL, "Message Formats". Writers append one whole message to `out`.

use crate::protocol::reply::{cstr, frame};

/// Protocol 3.0.
const VERSION: u32 = 3 << 16;
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;

/// A message without a type byte; the length is patched afterwards.
fn untyped(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    frame(out, 0, write);
    out.remove(at);
}

/// `StartupMessage` of protocol 3.0, `user` and `database` first.
pub fn startup_message(out: &mut Vec<u8>, user: &str, database: &str, params: &[(Vec<u8>, Vec<u8>)]) {
    untyped(out, |out| {
        out.extend_from_slice(&VERSION.to_be_bytes());
        let fixed = [
            (&b"user"[..], user.as_bytes()),
            (b"database", database.as_bytes()),
        ];
        let others = params.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
        for (name, value) in fixed.into_iter().chain(others) {
            cstr(out, name);
            cstr(out, value);
        }
        out.push(0);
    });
}

/// `SSLRequest`; the answer is one byte.
pub fn ssl_request(out: &mut Vec<u8>) {
    untyped(out, |out| out.extend_from_slice(&SSL.to_be_bytes()));
}

/// `CancelRequest`; there is no answer.
pub fn cancel_request(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    untyped(out, |out| {
        out.extend_from_slice(&CANCEL.to_be_bytes());
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// `PasswordMessage`: a cleartext password or an md5 response.
pub fn password_message(out: &mut Vec<u8>, password: &[u8]) {
    frame(out, b'p', |out| cstr(out, password));
}

/// `SASLInitialResponse`.
pub fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    frame(out, b'p', |out| {
        cstr(out, mechanism.as_bytes());
        out.extend_from_slice(&(data.len() as u32).to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// `SASLResponse`.
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    frame(out, b'p', |out| out.extend_from_slice(data));
}

fn authentication(out: &mut Vec<u8>, code: u32, data: &[u8]) {
    frame(out, b'R', |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// `AuthenticationOk`.
pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, 0, b"");
}

/// `AuthenticationCleartextPassword`.
pub fn authentication_cleartext(out: &mut Vec<u8>) {
    authentication(out, 3, b"");
}

/// `AuthenticationMD5Password`.
pub fn authentication_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    authentication(out, 5, &salt);
}

/// `AuthenticationSASL` with its mechanisms, the preferred one first.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    let mut list = Vec::new();
    mechanisms.iter().for_each(|m| cstr(&mut list, m.as_bytes()));
    list.push(0);
    authentication(out, 10, &list);
}

/// `AuthenticationSASLContinue`.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 11, data);
}

/// `AuthenticationSASLFinal`.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 12, data);
}

/// `BackendKeyData`: what a cancel request must repeat.
pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    frame(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// `NegotiateProtocolVersion`: the newest minor version spoken, and the `_pq_.` options that mean nothing here.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, newest_minor: u32, unrecognised: &[Vec<u8>]) {
    frame(out, b'v', |out| {
        // The manual says "minor version"; PostgreSQL sends, and libpq reads, major and minor in one number.
        out.extend_from_slice(&(VERSION | newest_minor).to_be_bytes());
        out.extend_from_slice(&(unrecognised.len() as u32).to_be_bytes());
        unrecognised.iter().for_each(|name| cstr(out, name));
    });
}

/// What a server asks for in an `Authentication…` message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthRequest<'a> {
    /// Nothing more: the login is done.
    Ok,
    /// The password as it is.
    Cleartext,
    /// The password hashed with this salt.
    Md5([u8; 4]),
    /// One of these SASL mechanisms.
    Sasl(Vec<&'a [u8]>),
    /// The next step of it.
    SaslContinue(&'a [u8]),
    /// Its last step.
    SaslFinal(&'a [u8]),
    /// Kerberos, GSSAPI, SSPI or a newer method: its code.
    Other(u32),
}

impl<'a> AuthRequest<'a> {
    /// Reads the body of an `R` message; `None` if it is malformed.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (code, data) = body.split_first_chunk::<4>()?;
        Some(match (u32::from_be_bytes(*code), data) {
            (0, []) => AuthRequest::Ok,
            (3, []) => AuthRequest::Cleartext,
            (5, data) => AuthRequest::Md5(data.try_into().ok()?),
            (10, data) => AuthRequest::Sasl(mechanisms(data)?),
            (11, data) => AuthRequest::SaslContinue(data),
            (12, data) => AuthRequest::SaslFinal(data),
            (0 | 3, _) => return None,
            (code, _) => AuthRequest::Other(code),
        })
    }
}

/// Zero-terminated names up to an empty one, with nothing behind it.
fn mechanisms(data: &[u8]) -> Option<Vec<&[u8]>> {
    let names = data.strip_suffix(b"\0")?;
    if names.is_empty() {
        return Some(Vec::new());
    }
    let names = names.strip_suffix(b"\0")?;
    let names: Vec<&[u8]> = names.split(|&b| b == 0).collect();
    names.iter().all(|n| !n.is_empty()).then_some(names)
}

/// A client's `SASLInitialResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaslInitial<'a> {
    /// The mechanism it chose.
    pub mechanism: &'a [u8],
    /// Its first message; `None` if it waits for an empty challenge.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitial<'a> {
    /// Reads the body of a client's first `p` message after AuthenticationSASL; `None` if it is malformed.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let end = body.iter().position(|&b| b == 0)?;
        let (length, data) = body[end + 1..].split_first_chunk::<4>()?;
        let data = match i32::from_be_bytes(*length) {
            -1 if data.is_empty() => None,
            n if usize::try_from(n) == Ok(data.len()) => Some(data),
            _ => return None,
        };
        Some(SaslInitial {
            mechanism: &body[..end],
            data,
        })
    }
}

/// A client's password: everything before the one terminator; `None` if it is malformed.
pub fn password(body: &[u8]) -> Option<&[u8]> {
    body.strip_suffix(b"\0").filter(|p| !p.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::startup::{Opening, opening, packet_len};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn what_is_written_to_a_server_can_be_read_as_an_opening() {
        let params = [(b"a".to_vec(), b"b".to_vec())];
        let read = |bytes: Vec<u8>| {
            let first = *bytes.first_chunk().unwrap();
            assert_eq!(packet_len(first), Ok(bytes.len()));
            opening(&bytes[4..]).unwrap()
        };
        assert_eq!(read(written(ssl_request)), Opening::Ssl);
        let cancel = read(written(|out| cancel_request(out, -5, b"abcd")));
        assert_eq!(
            cancel,
            Opening::Cancel {
                pid: -5,
                secret: b"abcd".to_vec()
            }
        );
        match read(written(|out| startup_message(out, "u", "d", &params))) {
            Opening::Startup(s) => assert_eq!(
                (s.user, s.database, s.params),
                ("u".into(), "d".into(), params.into())
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_written_are_requests_read() {
        let read = |bytes: &[u8]| AuthRequest::parse(&bytes[5..]).map(|r| format!("{r:?}"));
        let expect = |request: AuthRequest<'_>| Some(format!("{request:?}"));
        assert_eq!(read(&written(authentication_ok)), expect(AuthRequest::Ok));
        assert_eq!(
            read(&written(authentication_cleartext)),
            expect(AuthRequest::Cleartext)
        );
        let md5 = written(|out| authentication_md5(out, *b"salt"));
        assert_eq!(read(&md5), expect(AuthRequest::Md5(*b"salt")));
        let sasl = written(|out| authentication_sasl(out, &["A", "B"]));
        assert_eq!(read(&sasl), expect(AuthRequest::Sasl(vec![b"A", b"B"])));
        let next = written(|out| authentication_sasl_continue(out, b"x"));
        assert_eq!(read(&next), expect(AuthRequest::SaslContinue(b"x")));
        let last = written(|out| authentication_sasl_final(out, b"y"));
        assert_eq!(read(&last), expect(AuthRequest::SaslFinal(b"y")));
    }

    #[test]
    fn malformed_requests_are_refused() {
        let bad: [&[u8]; 8] = [
            b"",
            b"\0\0\0",
            b"\0\0\0\0x",
            b"\0\0\0\x03x",
            b"\0\0\0\x05abc",
            b"\0\0\0\x05abcde",
            b"\0\0\0\x0aSCRAM\0",
            b"\0\0\0\x0aSCRAM\0\0\0",
        ];
        for body in bad {
            assert_eq!(AuthRequest::parse(body), None, "{}", body.escape_ascii());
        }
        assert_eq!(AuthRequest::parse(b"\0\0\0\x07"), Some(AuthRequest::Other(7)));
        assert_eq!(
            AuthRequest::parse(b"\0\0\0\x0a\0"),
            Some(AuthRequest::Sasl(vec![]))
        );
    }

    #[test]
    fn a_clients_answers_are_read_exactly() {
        let sent = written(|out| sasl_initial_response(out, "M", b"data"));
        let read = SaslInitial::parse(&sent[5..]).unwrap();
        assert_eq!((read.mechanism, read.data), (&b"M"[..], Some(&b"data"[..])));
        assert_eq!(SaslInitial::parse(b"M\0\xff\xff\xff\xff").unwrap().data, None);
        let bad: [&[u8]; 6] = [
            b"",
            b"M",
            b"M\0\0\0\0",
            b"M\0\0\0\0\x05data",
            b"M\0\x7f\xff\xff\xffdata",
            b"M\0\xff\xff\xff\xfedata",
        ];
        for body in bad {
            assert_eq!(SaslInitial::parse(body), None, "{}", body.escape_ascii());
        }
        assert_eq!(password(b"secret\0"), Some(&b"secret"[..]));
        assert_eq!(password(b"secret"), None);
        assert_eq!(password(b"a\0b\0"), None);
        assert_eq!(password(b""), None);
    }

    #[test]
    fn negotiation_names_what_it_does_not_know() {
        let out = written(|out| negotiate_protocol_version(out, 0, &[b"_pq_.x".to_vec()]));
        assert_eq!(out, b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0");
    }
}
