//! What `authenticate` does, case by case.

use std::num::NonZeroU32;

use super::super::handshake::TlsFacts;
use super::*;
use crate::protocol::auth::login::{Conversation, Login, LoginError, Step};
use crate::protocol::startup::Startup;
use tokio::io::{AsyncReadExt, DuplexStream};

const MANY: NonZeroU32 = NonZeroU32::new(4096).unwrap();
const AHEAD: &[u8] = b"Q\0\0\0\x04";

fn verifier() -> Credential {
    Credential::Verifier(Verifier::from_password(
        "pencil",
        b"0123456789abcdef".to_vec(),
        MANY,
    ))
}

fn unknown() -> Credential {
    Credential::Unknown(Verifier::mock(&[1; 32], "ann", MANY))
}

fn arrived(end_point: Option<Vec<u8>>) -> (Arrived<DuplexStream>, DuplexStream) {
    let (stream, client) = tokio::io::duplex(1 << 16);
    let tls = end_point.map(|hash| TlsFacts {
        description: String::new(),
        end_point: Some(hash),
        common_name: None,
        names_roles: false,
    });
    let startup = Startup {
        user: "ann".into(),
        database: "shop".into(),
        ..Startup::default()
    };
    let arrived = Arrived {
        stream,
        startup,
        tls,
        inbox: Inbox::default(),
    };
    (arrived, client)
}

/// pgshunt's own login, as a client that sends a query ahead when it thinks it is in.
async fn log_in(
    mut stream: DuplexStream,
    secret: Secret,
    end_point: Option<Vec<u8>>,
) -> Result<(), LoginError> {
    let mut talk = Conversation::new(Login {
        user: "ann".into(),
        secret,
        private: true,
        end_point,
        nonce: "nonce".into(),
    });
    let mut inbox = Inbox::default();
    while let Ok((kind, body)) = inbox.message(&mut stream, 10_000).await {
        if let Step::Send(mut out) = talk.on_message(kind, &body)? {
            if kind == b'R' && body[3] != 10 {
                out.extend_from_slice(AHEAD);
            }
            stream.write_all(&out).await.unwrap();
        }
    }
    Ok(())
}

async fn meet(
    who: Credential,
    secret: Secret,
    (ours, theirs): (Option<Vec<u8>>, Option<Vec<u8>>),
) -> (Result<Secret, Ended>, Result<(), LoginError>, Vec<u8>) {
    let (mut arrived, client) = arrived(ours);
    let server = async move {
        let result = arrived.authenticate(who).await;
        (result, arrived.into_parts().2)
    };
    let ((result, rest), login) = tokio::join!(server, log_in(client, secret, theirs));
    (result, login, rest)
}

fn password(text: &str) -> Secret {
    Secret::Password(text.into())
}

fn refusal(result: Result<Secret, Ended>) -> String {
    match result {
        Err(Ended::Refused(fault)) => fault.to_string(),
        other => panic!("{other:?}"),
    }
}

const DENIED: &str = "FATAL 28P01: password authentication failed for user \"ann\"";

#[tokio::test]
async fn scram_with_and_without_binding() {
    let hash = || Some(vec![5; 32]);
    for (ours, theirs) in [(None, None), (hash(), None), (hash(), hash()), (None, hash())] {
        let (result, login, rest) = meet(verifier(), password("pencil"), (ours, theirs)).await;
        assert!(matches!(result, Ok(Secret::ScramKeys { .. })), "{result:?}");
        assert_eq!(login, Ok(()));
        assert_eq!(rest, AHEAD, "what was sent ahead is lost");
    }
}

#[tokio::test]
async fn a_man_in_the_middle_is_found() {
    let channels = (Some(vec![5; 32]), Some(vec![6; 32]));
    let (result, _, _) = meet(verifier(), password("pencil"), channels).await;
    assert_eq!(refusal(result), "FATAL 28000: SCRAM channel binding check failed");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_hear_the_same() {
    for (who, secret) in [(verifier(), "pen"), (unknown(), "pencil"), (unknown(), "")] {
        let (result, login, _) = meet(who, password(secret), (None, None)).await;
        assert_eq!(refusal(result), DENIED);
        assert_eq!(login.unwrap_err().to_string(), DENIED);
    }
}

#[tokio::test]
async fn md5_right_and_wrong() {
    let hash = || Credential::Md5Hash(Secret::Md5Hash(md5::md5_hash(b"pencil", "ann")));
    let (result, login, rest) = meet(hash(), password("pencil"), (None, None)).await;
    assert!(matches!(result, Ok(Secret::Md5Hash(_))));
    assert_eq!((login, rest.as_slice()), (Ok(()), AHEAD));
    let (result, _, _) = meet(hash(), password("pen"), (None, None)).await;
    assert_eq!(refusal(result), DENIED);
    let wrong_kind = Credential::Md5Hash(Secret::None);
    let (result, _, _) = meet(wrong_kind, password("pencil"), (None, None)).await;
    assert_eq!(refusal(result), DENIED);
}

#[tokio::test]
async fn trust_and_reject_ask_nothing() {
    let (result, login, _) = meet(Credential::Trust, Secret::None, (None, None)).await;
    assert!(matches!(result, Ok(Secret::None)) && login.is_ok());
    let (result, _, _) = meet(Credential::Reject, Secret::None, (None, None)).await;
    let expected = "FATAL 28000: pgshunt rejects connection for user \"ann\", database \"shop\"";
    assert_eq!(refusal(result), expected);
}

/// What a client is told that sends all of this, whatever it hears.
async fn told(bytes: &[u8], who: Credential) -> Result<Secret, Ended> {
    let (mut arrived, mut client) = arrived(None);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let result = arrived.authenticate(who).await;
    drop(arrived);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard[0], b'R');
    result
}

#[tokio::test]
async fn malformed_messages_are_refused() {
    let sasl = |mechanism: &str, data: &[u8]| {
        let mut out = Vec::new();
        messages::sasl_initial_response(&mut out, mechanism, data);
        out
    };
    let long = [&b"p"[..], &8197u32.to_be_bytes(), &[0; 8200]].concat();
    let cases = [
        (
            b"Q\0\0\0\x05\0".to_vec(),
            "08P01: expected SASL response, got message type 81",
        ),
        (b"p\0\0\0\x03".to_vec(), "08P01: invalid message length"),
        (b"p\xff\xff\xff\xff".to_vec(), "08P01: invalid message length"),
        (long, "08P01: invalid message length"),
        (b"p\0\0\0\x05x".to_vec(), "08P01: malformed SASL response"),
        (
            sasl("PLAIN", b""),
            "08P01: client selected an invalid SASL authentication mechanism",
        ),
        (
            sasl("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=x"),
            "08P01: client selected an invalid SASL authentication mechanism",
        ),
        (
            sasl("SCRAM-SHA-256", b"n,,n=\0,r=\0"),
            "08P01: malformed SCRAM message",
        ),
        (
            sasl("SCRAM-SHA-256", b"n,a=root,n=,r=x"),
            "0A000: client uses authorization identity, but it is not supported",
        ),
        (
            [sasl("SCRAM-SHA-256", b"n,,n=,r=x"), b"p\0\0\0\x04".to_vec()].concat(),
            "08P01: malformed SCRAM message",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(
            refusal(told(&bytes, verifier()).await),
            format!("FATAL {expected}")
        );
        assert_eq!(
            refusal(told(&bytes, unknown()).await),
            format!("FATAL {expected}")
        );
    }
    let md5 = || Credential::Md5Hash(Secret::Md5Hash(md5::md5_hash(b"pencil", "ann")));
    let packet = refusal(told(b"p\0\0\0\x05x", md5()).await);
    assert_eq!(packet, "FATAL 08P01: invalid password packet size");
    assert_eq!(refusal(told(b"p\0\0\0\x05\0", md5()).await), DENIED);
    assert!(matches!(told(b"", verifier()).await, Err(Ended::Gone(None))));
    assert!(matches!(
        told(b"p\0", verifier()).await,
        Err(Ended::Gone(Some(_)))
    ));
}

#[tokio::test]
async fn an_initial_response_may_be_empty() {
    let empty = b"p\0\0\0\x16SCRAM-SHA-256\0\xff\xff\xff\xff";
    let bytes = [&empty[..], b"p\0\0\0\x0dn,,n=,r=x", b"p\0\0\0\x05x"].concat();
    let told = refusal(told(&bytes, verifier()).await);
    assert_eq!(told, "FATAL 08P01: malformed SCRAM message");
}
