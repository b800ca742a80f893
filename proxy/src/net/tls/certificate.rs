//! What SCRAM binds to: `tls-server-end-point`, a hash of the server's certificate (RFC 5929, section 4.1).

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
