//! What `handshake` does, case by case.

use super::*;
use tokio::io::AsyncReadExt;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn ssl() -> Vec<u8> {
    written(messages::ssl_request)
}

const GSS: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];

fn startup() -> Vec<u8> {
    written(|out| messages::startup_message(out, "ann", "shop", &[]))
}

/// What is heard of these bytes, what stays unread, and what the client gets for an answer.
async fn heard(bytes: &[u8], asked: Asked) -> (Result<Heard, Ended>, Vec<u8>, Vec<u8>) {
    let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
    theirs.write_all(bytes).await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut inbox = Inbox::default();
    let result = hear(&mut ours, &mut inbox, asked).await;
    drop(ours);
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    (result, inbox.into_rest(), answer)
}

#[tokio::test]
async fn what_a_client_sends_ahead_is_kept() {
    let bytes = [startup(), b"p\0\0\0\x04more".to_vec()].concat();
    let (result, rest, answer) = heard(&bytes, Asked::offering(false)).await;
    assert!(matches!(result, Ok(Heard::Startup(s)) if s.user == "ann" && s.database == "shop"));
    assert_eq!(
        (rest.as_slice(), answer.as_slice()),
        (&b"p\0\0\0\x04more"[..], &b""[..])
    );
}

#[tokio::test]
async fn bytes_behind_an_encryption_request_are_an_attack() {
    for request in [ssl(), GSS.to_vec()] {
        for offers in [true, false] {
            let bytes = [&request[..], &startup()].concat();
            let (result, _, answer) = heard(&bytes, Asked::offering(offers)).await;
            let Err(Ended::Refused(fault)) = result else {
                panic!("{result:?}");
            };
            assert_eq!(fault.code, sqlstate::PROTOCOL_VIOLATION);
            assert!(fault.message.starts_with("received unencrypted data after "));
            assert_eq!(answer[0], b'E');
        }
    }
}

#[tokio::test]
async fn requests_are_answered_with_a_byte_each() {
    let (result, _, answer) = heard(&ssl(), Asked::offering(true)).await;
    assert!(matches!(result, Ok(Heard::Tls)));
    assert_eq!(answer, b"S");
    let (result, _, answer) = heard(&ssl(), Asked::offering(false)).await;
    assert!(matches!(result, Err(Ended::Gone(None))));
    assert_eq!(answer, b"N");
}

#[tokio::test]
async fn gss_then_tls_then_plain() {
    let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
    let client = async {
        let mut answers = Vec::new();
        for request in [GSS.to_vec(), ssl()] {
            theirs.write_all(&request).await.unwrap();
            answers.push(theirs.read_u8().await.unwrap());
        }
        theirs.write_all(&startup()).await.unwrap();
        answers
    };
    let mut inbox = Inbox::default();
    let (result, answers) = tokio::join!(hear(&mut ours, &mut inbox, Asked::offering(false)), client);
    assert!(matches!(result, Ok(Heard::Startup(_))));
    assert_eq!(answers, b"NN");
}

#[tokio::test]
async fn each_request_may_come_once() {
    for (request, number) in [(ssl(), "1234.5679"), (GSS.to_vec(), "1234.5680")] {
        let (result, _, answer) = heard(&request, Asked::ENCRYPTED).await;
        let Err(Ended::Refused(fault)) = result else {
            panic!("{result:?}");
        };
        assert!(fault.message.contains(number), "{fault}");
        assert_eq!(answer[0], b'E');
    }
}

#[tokio::test]
async fn garbage_hears_nothing_and_silence_is_no_fault() {
    let (result, _, answer) = heard(b"GET / HTTP/1.1\r\n\r\n", Asked::offering(true)).await;
    assert!(matches!(result, Err(Ended::Refused(_))));
    assert!(answer.is_empty());
    let (result, _, _) = heard(b"", Asked::offering(true)).await;
    assert!(matches!(result, Err(Ended::Gone(None))));
    let (result, _, _) = heard(b"\0\0\0", Asked::offering(true)).await;
    assert!(matches!(result, Err(Ended::Gone(Some(_)))));
    let (result, _, answer) = heard(b"\0\0\0\x09\0\x02\0\0\0", Asked::offering(true)).await;
    assert!(matches!(result, Err(Ended::Refused(f)) if f.code == sqlstate::FEATURE_NOT_SUPPORTED));
    assert_eq!(answer[0], b'E');
}

#[tokio::test]
async fn a_cancel_request_is_passed_on() {
    let request = written(|out| messages::cancel_request(out, 9, b"secret"));
    let (result, _, answer) = heard(&request, Asked::offering(true)).await;
    assert!(matches!(result, Ok(Heard::Cancel { pid: 9, secret }) if secret == b"secret"));
    assert!(answer.is_empty());
}
