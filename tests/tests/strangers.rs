//! Who is turned away learns nothing: not which roles there are, not which databases. And what servers say of a role is
//! known soon.

use std::time::{Duration, Instant};

use pgshunt::protocol::auth::login::{Conversation, Login, Step};
use pgshunt::protocol::auth::{Secret, messages, scram};
use pgshunt_tests::{Config, Database, Door, Frame, Wire, cluster, until};

/// Everything a server says to a login that fails, and how long it took.
fn refused(door: &Door) -> (Vec<Frame>, Duration) {
    let began = Instant::now();
    let mut wire = Wire::connect(door).expect("a connection");
    let mut opening = Vec::new();
    messages::startup_message(&mut opening, &door.user, &door.database, &[]);
    wire.send_bytes(&opening);
    let mut conversation = Conversation::new(Login {
        user: door.user.clone(),
        secret: Secret::Password(door.password.clone()),
        private: true,
        end_point: None,
        nonce: scram::nonce(&[7; scram::NONCE_BYTES]),
    });
    let mut heard = Vec::new();
    while let Some(frame) = wire.try_read().expect("a message") {
        if let Ok(Step::Send(answer)) = conversation.on_message(frame.kind, &frame.body) {
            wire.send_bytes(&answer);
        }
        heard.push(frame);
    }
    (heard, began.elapsed())
}

/// What can be seen of it, without what differs from one try to the next.
fn appearance(frames: &[Frame], user: &str) -> Vec<String> {
    let shown = frames.iter().map(|frame| match frame.kind {
        b'R' => {
            let text = String::from_utf8_lossy(&frame.body[4..]).into_owned();
            let lengths = text
                .split(',')
                .map(|part| format!("{}:{}", &part[..part.len().min(2)], part.len()));
            format!("R {} {}", frame.body[3], lengths.collect::<Vec<_>>().join(","))
        }
        _ => frame.to_string().replace(user, "…"),
    });
    shown.collect()
}

fn wrong(door: Door) -> Door {
    Door {
        password: "wrong".into(),
        ..door
    }
}

/// A wrong password, a role that is not there, a database that is not there: a known role in it and an unknown one.
fn strangers(proxy: &pgshunt_tests::Proxy, database: &Database) -> [Door; 4] {
    let door = wrong(proxy.door(database));
    let nowhere = Door {
        database: format!("{}_nowhere", database.name),
        ..door.clone()
    };
    // Names of the same length, so that messages are.
    let unknown = format!("{}x", &database.name[..database.name.len() - 1]);
    [
        door.clone(),
        door.as_user(&unknown),
        nowhere.clone(),
        nowhere.as_user(&unknown),
    ]
}

fn look_alike(proxy: &pgshunt_tests::Proxy, database: &Database) {
    let doors = strangers(proxy, database);
    let seen = doors
        .each_ref()
        .map(|door| appearance(&refused(door).0, &door.user));
    assert!(
        seen[0]
            .last()
            .expect("an error")
            .contains("28P01 password authentication failed"),
        "{seen:?}"
    );
    for other in &seen[1..] {
        assert_eq!(&seen[0], other);
    }
    // The best of many tries: what the work itself takes, whatever else the machine does.
    let mut best = [Duration::MAX; 4];
    for _ in 0..30 {
        for (best, door) in best.iter_mut().zip(&doors) {
            *best = (*best).min(refused(door).1);
        }
    }
    let (shortest, longest) = (best.iter().min(), best.iter().max());
    let spread = *longest.expect("four") - *shortest.expect("four");
    assert!(spread < Duration::from_millis(3), "{best:?}");
}

#[test]
fn unknown_user_unknown_database_and_wrong_password_look_and_time_alike() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    look_alike(&proxy, &database);
}

#[test]
fn they_look_and_time_alike_for_roles_of_the_configuration() {
    let database = cluster::database();
    let folder = pgshunt_tests::certificates::Certificates::new(&[]);
    std::fs::write(folder.file("p.key"), cluster::PASSWORD).expect("written");
    let chmod = std::process::Command::new("chmod")
        .args(["600", &folder.path("p.key")])
        .status();
    assert!(chmod.expect("chmod").success());
    let users = format!(
        "[auth]\nmode = \"users\"\n[[auth.user]]\nname = \"{}\"\npassword_file = \"{}\"",
        database.name,
        folder.path("p.key")
    );
    let proxy = Config::new(&database).section(&users).start();
    look_alike(&proxy, &database);
}

#[test]
fn whether_a_database_exists_is_told_after_the_proof() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    let nowhere = Door {
        database: "nowhere".into(),
        ..proxy.door(&database)
    };
    assert_eq!(
        nowhere.refusal(),
        "E FATAL 3D000 database \"nowhere\" does not exist"
    );
    // One that pgshunt would serve and the server does not have.
    let any = pgshunt_tests::Proxy::to(&format!(
        "postgres://postgres@127.0.0.1:{}/postgres",
        database.cluster.port
    ));
    let nowhere = Door {
        database: "nowhere".into(),
        ..any.door(&database)
    };
    assert_eq!(
        nowhere.refusal(),
        "E FATAL 3D000 database \"nowhere\" does not exist"
    );
    assert!(wrong(nowhere).refusal().contains(" 28P01 "));
}

/// As soon as a proof fails the servers are asked again, at most once a second.
#[test]
fn a_changed_password_is_known_soon() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    let old = proxy.door(&database);
    let new = Door {
        password: "a new one".into(),
        ..old.clone()
    };
    old.wire();
    let change = format!("ALTER ROLE {} PASSWORD '{}'", database.name, new.password);
    database.superuser().psql(&change);
    let began = Instant::now();
    until("the new password to be good", || new.try_wire(&[]).is_ok());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(old.refusal().contains(" 28P01 "));
}

#[test]
fn valid_until_nologin_and_a_dropped_role_are_known_within_five_seconds() {
    let database = cluster::database();
    let proxy = Config::new(&database).start();
    let name = &database.name;
    for (away, back) in [
        ("VALID UNTIL 'yesterday'", "VALID UNTIL 'infinity'"),
        ("NOLOGIN", "LOGIN"),
        ("PASSWORD NULL", &format!("PASSWORD '{}'", cluster::PASSWORD)),
    ] {
        let door = proxy.door(&database);
        until("the role to be let in", || door.try_wire(&[]).is_ok());
        database.superuser().psql(&format!("ALTER ROLE {name} {away}"));
        let began = Instant::now();
        until(away, || door.try_wire(&[]).is_err());
        assert!(
            began.elapsed() < Duration::from_secs(7),
            "{away}: {:?}",
            began.elapsed()
        );
        assert!(
            door.refusal().contains(" 28P01 password authentication failed"),
            "{away}"
        );
        database.superuser().psql(&format!("ALTER ROLE {name} {back}"));
    }
    let log = proxy.log();
    for because in ["its password has expired", "it may not log in"] {
        assert!(log.contains(because), "{because}: {log}");
    }
}

#[test]
fn a_control_role_without_rights_lets_itself_in_and_says_what_to_do() {
    let database = cluster::database();
    let dsn = format!(
        "postgres://{0}@127.0.0.1:{1}/{0}",
        database.name, database.cluster.port
    );
    let proxy = pgshunt_tests::Proxy::to(&dsn);
    let own = proxy.door(&database);
    assert_eq!(own.wire().value("SELECT current_user"), database.name);
    assert!(wrong(own.clone()).refusal().contains(" 28P01 "));
    for other in [database.role("other"), "nobody".into()] {
        let refusal = own.as_user(&other).try_wire(&[]).err().expect("a refusal");
        assert_eq!(refusal.sqlstate(), "28000");
        assert!(refusal.field(b'H').contains("pgshunt setup"), "{refusal}");
    }
}
