//! What is read of a certificate beside its signature: the hash SCRAM binds to (`tls-server-end-point`, RFC 5929, section
//! 4.1), and the name of the client it was made out to. Whether to trust it is rustls's to say.

use ring::digest;

/// The certificate's hash by the hash function of its own signature, SHA-256 in place of MD5 and SHA-1.
/// `None` where the signature has no hash function of its own (Ed25519) or names it in parameters (RSA-PSS).
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = match signature_algorithm(certificate)? {
        // md5, sha1 and sha256 WithRSAEncryption; ecdsa-with-SHA1 and -SHA256
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04 | 0x05 | 0x0b]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02] => &digest::SHA256,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03] => &digest::SHA384,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04] => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, … }, … }`: the OID's bytes.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const OID: u8 = 0x06;
    let (fields, _) = element(certificate, SEQUENCE)?;
    let (_, after_tbs) = element(fields, SEQUENCE)?;
    let (algorithm, _) = element(after_tbs, SEQUENCE)?;
    Some(element(algorithm, OID)?.0)
}

/// The first common name of the subject, as PostgreSQL reads it; `None` if there is none or it is no plain text.
///
/// `TBSCertificate ::= SEQUENCE { [0] version, serial, signature, issuer, validity, subject, … }` (RFC 5280, section 4.1).
pub fn common_name(certificate: &[u8]) -> Option<String> {
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    let (fields, _) = element(certificate, SEQUENCE)?;
    let (tbs, _) = element(fields, SEQUENCE)?;
    let after_version = element(tbs, 0xa0).map_or(tbs, |(_, rest)| rest);
    let (_, after_serial) = element(after_version, 0x02)?;
    let (_, after_signature) = element(after_serial, SEQUENCE)?;
    let (_, after_issuer) = element(after_signature, SEQUENCE)?;
    let (_, after_validity) = element(after_issuer, SEQUENCE)?;
    let (mut names, _) = element(after_validity, SEQUENCE)?;
    while !names.is_empty() {
        let (mut set, rest) = element(names, SET)?;
        names = rest;
        while !set.is_empty() {
            let (attribute, others) = element(set, SEQUENCE)?;
            set = others;
            let (kind, value) = element(attribute, 0x06)?;
            if kind == COMMON_NAME {
                return text(value);
            }
        }
    }
    None
}

/// `id-at-commonName`
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// A string of one of the kinds that are ASCII or UTF-8. A zero byte in it would make it another name for somebody else.
fn text(value: &[u8]) -> Option<String> {
    let kind = *value.first()?;
    // UTF8String, PrintableString, IA5String
    if !matches!(kind, 0x0c | 0x13 | 0x16) {
        return None;
    }
    let (bytes, rest) = element(value, kind)?;
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = rest.is_empty() && !text.is_empty() && !text.contains('\0');
    is_plain.then(|| text.to_owned())
}

/// A DER element of the tag given: its content and what follows it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [found, length, rest @ ..] = input else {
        return None;
    };
    if *found != tag {
        return None;
    }
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = bytes.iter().fold(0, |n, &b| n << 8 | usize::from(b));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(oid: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, parts: &[&[u8]]| {
            let body = parts.concat();
            [&[tag, 0x82, (body.len() >> 8) as u8, body.len() as u8][..], &body].concat()
        };
        let tbs = wrap(0x30, &[&[7; 300]]);
        let algorithm = wrap(0x30, &[&wrap(6, &[oid]), &[5, 0]]);
        wrap(0x30, &[&tbs, &algorithm, &[3, 1, 0]])
    }

    #[test]
    fn the_hash_follows_the_signature() {
        let rsa = |last| end_point(&certificate(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last]));
        let length = |last| rsa(last).map(|h| h.len());
        assert_eq!(
            [4, 5, 0x0b, 0x0c, 0x0d].map(length),
            [32, 32, 32, 48, 64].map(Some)
        );
        assert_eq!(length(0x0a), None, "RSA-PSS");
        assert_eq!(end_point(&certificate(&[0x2b, 0x65, 0x70])), None, "Ed25519");
        let sha1 = certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01]);
        let expected = digest::digest(&digest::SHA256, &sha1).as_ref().to_vec();
        assert_eq!(end_point(&sha1), Some(expected));
    }

    fn named(names: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let wrap = |tag: u8, body: &[u8]| [&[tag, body.len() as u8][..], body].concat();
        let mut subject = Vec::new();
        for (attribute, kind, name) in names {
            let oid = wrap(6, &[0x55, 4, *attribute]);
            let pair = wrap(0x30, &[oid, wrap(*kind, name)].concat());
            subject.extend(wrap(0x31, &pair));
        }
        let tbs = [
            wrap(0xa0, &[2, 1, 2]),
            wrap(2, &[9]),
            wrap(0x30, &[]),
            wrap(0x30, &[]),
            wrap(0x30, &[]),
            wrap(0x30, &subject),
        ];
        wrap(0x30, &wrap(0x30, &tbs.concat()))
    }

    #[test]
    fn the_first_common_name_is_the_name() {
        type Names<'a> = &'a [(u8, u8, &'a [u8])];
        let cases: &[(Names, Option<&str>)] = &[
            (&[(3, 0x0c, b"ann")], Some("ann")),
            (
                &[(10, 0x13, b"bmos"), (3, 0x13, b"ann"), (3, 0x13, b"bob")],
                Some("ann"),
            ),
            (&[(3, 0x0c, "\u{e4}nn".as_bytes())], Some("\u{e4}nn")),
            (&[(3, 0x0c, b"ann\0.example")], None),
            (&[(3, 0x0c, b"\xff")], None),
            (&[(3, 0x1e, b"\0a")], None),
            (&[(3, 0x0c, b"")], None),
            (&[(10, 0x13, b"bmos")], None),
            (&[], None),
        ];
        for (names, expected) in cases {
            let certificate = named(names);
            assert_eq!(common_name(&certificate).as_deref(), *expected, "{names:?}");
            for end in 0..certificate.len() {
                let _ = common_name(&certificate[..end]);
            }
        }
    }

    #[test]
    fn anything_else_has_none() {
        let good = certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]);
        assert!(end_point(&good).is_some());
        for end in 0..good.len() {
            assert_eq!(end_point(&good[..end]), None);
        }
        assert_eq!(end_point(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(end_point(&[0x30, 0x80]), None);
    }
}
