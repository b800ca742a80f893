//! Protocol versions: 3.0, 3.2 and what is newer; long cancel keys; cancel requests inside TLS.

use std::time::Instant;

use pgshunt::protocol::auth::login::{Conversation, Login, Step};
use pgshunt::protocol::auth::{Secret, scram};
use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::{Config, Door, Frame, Messages, PATIENCE, Wire, cluster, until, wire};

/// Logs in with a minor version and protocol options; everything the server says until it is ready, and the line.
fn log_in(door: &Door, minor: u16, options: &[&str]) -> (Vec<Frame>, Wire) {
    let mut body = [&3u16.to_be_bytes()[..], &minor.to_be_bytes()].concat();
    let mut pairs = vec![("user", &door.user[..]), ("database", &door.database)];
    pairs.extend(options.iter().map(|option| (*option, "on")));
    for (name, value) in pairs {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    let mut wire = Wire::connect(door).expect("a connection");
    wire.send_bytes(&[&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat());
    let mut conversation = Conversation::new(Login {
        user: door.user.clone(),
        secret: Secret::Password(door.password.clone()),
        private: true,
        end_point: None,
        nonce: scram::nonce(&[3; scram::NONCE_BYTES]),
    });
    let mut heard = Vec::new();
    loop {
        let frame = wire.read();
        let step = conversation.on_message(frame.kind, &frame.body);
        heard.push(frame);
        match step.unwrap_or_else(|error| panic!("{error}: {heard:?}")) {
            Step::Wait => {}
            Step::Send(answer) => wire.send_bytes(&answer),
            Step::Ready(welcome) => {
                wire.welcome = welcome;
                return (heard, wire);
            }
        }
    }
}

fn negotiated(heard: &[Frame]) -> Option<Vec<u8>> {
    let frame = heard.iter().find(|frame| frame.kind == b'v')?;
    assert_eq!(heard[0].kind, b'v', "it comes first");
    Some(frame.body.clone())
}

#[test]
fn versions_options_and_keys() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    let door = proxy.door(&database);
    let grease = [
        &196_610u32.to_be_bytes()[..],
        &1u32.to_be_bytes(),
        b"_pq_.grease\0",
    ]
    .concat();
    let newest = [&196_610u32.to_be_bytes()[..], &0u32.to_be_bytes()].concat();
    for (minor, options, expected, key_bytes) in [
        (0, &[][..], None, 4),
        (2, &[][..], None, 32),
        (0, &["_pq_.grease"][..], Some(&grease), 4),
        (2, &["_pq_.grease"][..], Some(&grease), 32),
        (9999, &[][..], Some(&newest), 32),
    ] {
        let (heard, mut wire) = log_in(&door, minor, options);
        assert_eq!(negotiated(&heard).as_ref(), expected, "3.{minor} {options:?}");
        assert_eq!(wire.welcome.cancel_secret.len(), key_bytes, "3.{minor}");
        assert_eq!(wire.value("SELECT 1"), "1");
        assert!(!heard.iter().any(|frame| frame.kind == b'E'));
    }
}

#[test]
fn a_long_key_cancels_and_a_part_of_it_does_not() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    let door = proxy.door(&database);
    let (_, mut wire) = log_in(&door, 2, &[]);
    wire.send(&Messages::new().query("SELECT pg_sleep(60)"));
    let mut watcher = database.superuser().wire();
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE 'SELECT pg_sleep%' AND state = 'active'",
        database.name
    );
    until("the query to run", || watcher.value(&running) == "1");
    let (pid, secret) = (wire.welcome.pid, wire.welcome.cancel_secret.clone());
    let mut other = secret.clone();
    other[31] ^= 1;
    for wrong in [&secret[..4], &secret[..31], &other, &[&secret[..], b"x"].concat()] {
        wire::cancel(&door, pid, wrong);
    }
    assert_eq!(watcher.value(&running), "1");
    let began = Instant::now();
    wire::cancel(&door, pid, &secret);
    let heard = wire.until_ready();
    assert!(
        heard
            .iter()
            .any(|frame| frame.kind == b'E' && frame.sqlstate() == "57014"),
        "{heard:?}"
    );
    assert!(began.elapsed() < PATIENCE / 2);
}

/// A client that insists on TLS sends its cancel request inside TLS too.
#[test]
fn a_cancel_request_inside_tls() {
    let database = cluster::database();
    let files = Certificates::new(&[]);
    let proxy = Config::new(&database)
        .section(&files.towards_clients("require"))
        .start();
    let mut psql = proxy.door(&database).program("psql");
    // psql prints its key nowhere; a session over TLS of our own does not exist here: the console knows the process id.
    psql.args(["-XqAt", "-c", "SELECT pg_sleep(60)"])
        .env("PGSSLMODE", "require");
    let psql = psql.stderr(std::process::Stdio::piped()).spawn().expect("psql");
    let mut watcher = database.superuser().wire();
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE 'SELECT pg_sleep%' AND state = 'active'",
        database.name
    );
    until("the query to run", || watcher.value(&running) == "1");
    // libpq 15 cancels in the clear, which is heard although sessions must speak TLS.
    pgshunt_tests::programs::signal(psql.id(), "INT");
    let output = psql.wait_with_output().expect("psql");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("canceling statement due to user request"),
        "{errors}"
    );
    // And inside TLS, by a newer libpq's way: `openssl s_client` makes the line, the request goes through it.
    let mut client = std::process::Command::new("openssl");
    client.args(["s_client", "-quiet", "-starttls", "postgres", "-connect"]);
    client.arg(format!("127.0.0.1:{}", proxy.port()));
    client
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut client = client
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl");
    let request = [
        &16u32.to_be_bytes()[..],
        &80_877_102u32.to_be_bytes(),
        &7u32.to_be_bytes(),
        b"abcd",
    ]
    .concat();
    let mut stdin = client.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, &request).expect("sent");
    let output = client
        .wait_with_output()
        .expect("it ends: pgshunt closes the line");
    assert_eq!(output.stdout, b"", "a cancel request has no answer");
}
