//! What `login` does, case by case.

use std::num::NonZeroU32;

use super::super::messages::SaslInitial;
use super::super::server::{AwaitingClientFirst, Channel};
use super::super::verifier::Verifier;
use super::*;

fn login(secret: Secret) -> Login {
    Login {
        user: "ann".into(),
        secret,
        private: false,
        end_point: None,
        nonce: "nonce".into(),
    }
}

fn begin(secret: Secret) -> Conversation {
    Conversation::new(login(secret))
}

fn pencil() -> Secret {
    Secret::Password("pencil".into())
}

fn request(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out.split_off(5)
}

fn ok() -> Vec<u8> {
    request(messages::authentication_ok)
}

fn sent(step: Result<Step, LoginError>) -> Vec<u8> {
    match step.unwrap() {
        Step::Send(out) => out,
        Step::Wait | Step::Ready(_) => panic!("nothing was sent"),
    }
}

fn error(step: Result<Step, LoginError>) -> LoginError {
    match step {
        Err(e) => e,
        Ok(_) => panic!("it went on"),
    }
}

fn scram_offer() -> Vec<u8> {
    request(|out| messages::authentication_sasl(out, &[scram::SCRAM_PLUS, scram::SCRAM]))
}

/// A conversation after the offer, and what pgshunt's own SCRAM server makes of it.
fn after_proof(talk: &mut Conversation, channel: Channel) -> Vec<u8> {
    let verifier = Verifier::from_password("pencil", b"salt".to_vec(), NonZeroU32::MIN);
    let initial = sent(talk.on_message(b'R', &scram_offer()));
    let initial = SaslInitial::parse(&initial[5..]).unwrap();
    let first = initial.data.unwrap();
    let (server_first, server) = AwaitingClientFirst::new(verifier, channel)
        .step(first, "s")
        .unwrap();
    let challenge = request(|out| messages::authentication_sasl_continue(out, &server_first));
    let proof = sent(talk.on_message(b'R', &challenge));
    server.step(&proof[5..]).unwrap().server_final
}

#[test]
fn scram_then_the_greeting() {
    let mut talk = begin(pencil());
    let last = after_proof(&mut talk, Channel::Offered);
    let last = request(|out| messages::authentication_sasl_final(out, &last));
    assert!(matches!(talk.on_message(b'R', &last), Ok(Step::Wait)));
    assert!(matches!(talk.on_message(b'R', &ok()), Ok(Step::Wait)));
    assert!(matches!(talk.on_message(b'S', b"a\0b\0"), Ok(Step::Wait)));
    assert!(matches!(talk.on_message(b'N', b""), Ok(Step::Wait)));
    assert!(matches!(talk.on_message(b'K', b"\0\0\0\x07abcd"), Ok(Step::Wait)));
    match talk.on_message(b'Z', b"I").unwrap() {
        Step::Ready(w) => {
            assert_eq!((w.pid, w.cancel_secret), (7, b"abcd".to_vec()));
            assert_eq!(w.parameters, [(b"a".to_vec(), b"b".to_vec())]);
        }
        Step::Wait | Step::Send(_) => panic!("not ready"),
    }
}

#[test]
fn plus_is_taken_when_it_can_be() {
    let mut talk = Conversation::new(Login {
        end_point: Some(vec![3; 32]),
        ..login(pencil())
    });
    after_proof(&mut talk, Channel::Bound(vec![3; 32]));
}

#[test]
fn ok_before_the_signature_is_refused() {
    let mut early = begin(pencil());
    sent(early.on_message(b'R', &scram_offer()));
    assert_eq!(error(early.on_message(b'R', &ok())), LoginError::Unexpected(b'R'));

    let mut late = begin(pencil());
    after_proof(&mut late, Channel::Offered);
    assert_eq!(error(late.on_message(b'R', &ok())), LoginError::Unexpected(b'R'));
    assert_eq!(error(late.on_message(b'R', &ok())), LoginError::Unexpected(b'R'));
    assert_eq!(error(late.on_message(b'Z', b"I")), LoginError::Unexpected(b'Z'));
}

#[test]
fn a_wrong_signature_ends_the_login() {
    let mut talk = begin(pencil());
    after_proof(&mut talk, Channel::Offered);
    let forged = format!("v={}", scram::encode(&[0; 32]));
    let forged = request(|out| messages::authentication_sasl_final(out, forged.as_bytes()));
    let expected = LoginError::Scram(ScramError::WrongSignature);
    assert_eq!(error(talk.on_message(b'R', &forged)), expected);
    assert_eq!(error(talk.on_message(b'R', &ok())), LoginError::Unexpected(b'R'));
}

#[test]
fn a_server_may_not_ask_twice() {
    let mut talk = begin(pencil());
    let md5 = request(|out| messages::authentication_md5(out, *b"salt"));
    sent(talk.on_message(b'R', &md5));
    assert_eq!(error(talk.on_message(b'R', &md5)), LoginError::Unexpected(b'R'));
}

#[test]
fn cleartext_needs_a_private_line() {
    let cleartext = request(messages::authentication_cleartext);
    let open = error(begin(pencil()).on_message(b'R', &cleartext));
    assert_eq!(open, LoginError::CleartextInTheOpen);
    let mut private = Conversation::new(Login {
        private: true,
        ..login(pencil())
    });
    assert_eq!(sent(private.on_message(b'R', &cleartext)), b"p\0\0\0\x0bpencil\0");
}

#[test]
fn each_secret_answers_what_it_can() {
    let md5 = request(|out| messages::authentication_md5(out, *b"salt"));
    let hash = md5::md5_hash(b"pencil", "ann");
    let by_hash = sent(begin(Secret::Md5Hash(hash.clone())).on_message(b'R', &md5));
    let by_password = sent(begin(pencil()).on_message(b'R', &md5));
    assert_eq!(by_hash, by_password);
    let keys = Secret::ScramKeys {
        client_key: [0; 32],
        server_key: [0; 32],
    };
    let cases = [
        (keys.clone(), &md5, LoginError::CannotProve("md5")),
        (
            keys,
            &request(messages::authentication_cleartext),
            LoginError::CannotProve("a cleartext password"),
        ),
        (
            Secret::Md5Hash(hash),
            &scram_offer(),
            LoginError::Scram(ScramError::CannotProve),
        ),
        (
            Secret::None,
            &scram_offer(),
            LoginError::Scram(ScramError::CannotProve),
        ),
        (
            pencil(),
            &request(|out| messages::authentication_sasl(out, &["OAUTHBEARER"])),
            LoginError::Mechanisms,
        ),
        (pencil(), &vec![0, 0, 0, 7], LoginError::Method(7)),
        (pencil(), &vec![0, 0], LoginError::Malformed(b'R')),
    ];
    for (secret, body, expected) in cases {
        assert_eq!(error(begin(secret).on_message(b'R', body)), expected);
    }
}

#[test]
fn messages_out_of_place_end_the_login() {
    for kind in [b'Z', b'S', b'K', b'D', b'T', 0] {
        assert_eq!(
            error(begin(pencil()).on_message(kind, b"I")),
            LoginError::Unexpected(kind)
        );
    }
    let greeted = || {
        let mut talk = begin(pencil());
        talk.on_message(b'R', &ok()).unwrap();
        talk
    };
    let cases: [(u8, &[u8], LoginError); 8] = [
        (b'R', &ok(), LoginError::Unexpected(b'R')),
        (b'D', b"", LoginError::Unexpected(b'D')),
        (b'v', b"", LoginError::Unexpected(b'v')),
        (b'S', b"a\0b", LoginError::Malformed(b'S')),
        (b'S', b"a\0b\0c\0", LoginError::Malformed(b'S')),
        (b'K', b"\0\0\0\x01abc", LoginError::Malformed(b'K')),
        (b'K', &[0; 261], LoginError::Malformed(b'K')),
        (b'Z', b"T", LoginError::Malformed(b'Z')),
    ];
    for (kind, body, expected) in cases {
        assert_eq!(error(greeted().on_message(kind, body)), expected);
    }
}

#[test]
fn a_login_has_an_end() {
    let mut many = begin(pencil());
    for _ in 0..MESSAGES_MAX {
        many.on_message(b'N', b"").unwrap();
    }
    assert_eq!(error(many.on_message(b'N', b"")), LoginError::TooMuch);
    let mut large = begin(pencil());
    large.on_message(b'N', &vec![0; BYTES_MAX]).unwrap();
    assert_eq!(error(large.on_message(b'N', b"x")), LoginError::TooMuch);
}

#[test]
fn the_servers_own_words_come_back() {
    let refused = error(begin(pencil()).on_message(b'E', b"SFATAL\0C3D000\0Mno such\0\0"));
    assert_eq!(refused.to_string(), "FATAL 3D000: no such");
}

proptest::proptest! {
    #[test]
    fn no_bytes_of_a_server_panic(
        messages in proptest::collection::vec(
            (proptest::sample::select(b"RRRRESKZNv".to_vec()), proptest::collection::vec(0u8..16, 0..24)),
            0..12,
        ),
    ) {
        let mut talk = begin(pencil());
        for (kind, mut body) in messages {
            if kind == b'R' {
                body.splice(0..0, [0, 0, 0]);
            }
            let _ = talk.on_message(kind, &body);
        }
    }
}
