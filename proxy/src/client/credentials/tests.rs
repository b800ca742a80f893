//! What `credentials` answers without asking anybody.

use super::*;
use crate::pool::settings::Settings;
use crate::snapshot::{
    Auth, Console, Control, Database, Limits, Listen, LogSettings, SecretText, Shard, Snapshot,
};

fn user(name: &str, password: Option<&str>, cert: Option<&str>) -> AuthUser {
    AuthUser {
        name: name.into(),
        credential: password.map(|password| snapshot::Credential::Password(SecretText::new(password))),
        cert: cert.map(str::to_owned),
    }
}

fn database(name: &str, has_control: bool) -> Database {
    Database {
        name: name.into(),
        shards: vec![Shard {
            name: "s0".into(),
            weights: Vec::new(),
            servers: Vec::new(),
            dbname: None,
            tls: Default::default(),
        }],
        control: has_control.then(|| Control {
            user: "pgshunt".into(),
            password: None,
            dbname: name.into(),
        }),
        pool: Settings::default(),
        users: Vec::new(),
        max_client_conn: 0,
        max_db_connections: 0,
        rules: None,
        split: Default::default(),
        cache: None,
        warm: Vec::new(),
        coordinator: None,
        sharding: None,
    }
}

fn snapshot(mode: AuthMode, users: Vec<AuthUser>, databases: Vec<Database>) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        redis: None,
        listen: Listen {
            clients: Vec::new(),
            admin: None,
            http: None,
        },
        tls: Default::default(),
        limits: Limits::default(),
        pool: Default::default(),
        databases,
        auth: Auth {
            mode,
            users,
            auth_query: String::new(),
        },
        console: Console::default(),
        threads: 1,
        log: LogSettings::default(),
    })
}

/// Asks through a door of its own.
async fn find(snapshot: &Arc<Snapshot>, who: &[&str]) -> Vec<Found> {
    let (lookup, questions) = Lookup::new();
    let asking = async {
        let mut found = Vec::new();
        for user in who {
            let (answer, told) = oneshot::channel();
            let question = Question {
                snapshot: snapshot.clone(),
                place: None,
                user: (*user).into(),
                what: What::Find(answer),
            };
            lookup.door.send(question).await.expect("a clerk");
            found.push(told.await.expect("an answer").expect("no fault"));
        }
        drop(lookup);
        found
    };
    let (found, ()) = tokio::join!(asking, serve(questions));
    found
}

/// Salt and iterations, as the client sees them.
fn seen(found: &Found) -> (Vec<u8>, u32) {
    match &found.credential {
        Credential::Verifier(verifier) | Credential::Unknown(verifier) => {
            (verifier.salt.clone(), verifier.iterations.get())
        }
        Credential::Md5Hash(_) | Credential::Trust | Credential::Reject => panic!("{found:?}"),
    }
}

#[tokio::test]
async fn a_role_that_is_not_there_looks_like_one_that_is() {
    let written = || vec![user("ann", Some("pencil"), None)];
    for mode in [AuthMode::Users, AuthMode::Passthrough] {
        let snapshot = snapshot(mode, written(), Vec::new());
        let found = find(&snapshot, &["ann", "bob", "ann", "bob"]).await;
        assert!(matches!(found[0].credential, Credential::Verifier(_)));
        assert!(matches!(found[1].credential, Credential::Unknown(_)));
        assert_eq!(seen(&found[0]), seen(&found[2]), "the same try after try");
        assert_eq!(seen(&found[1]), seen(&found[3]), "the same try after try");
        assert_ne!(seen(&found[0]).0, seen(&found[1]).0);
        assert_eq!(seen(&found[0]).1, seen(&found[1]).1);
        assert_eq!(seen(&found[0]).0.len(), seen(&found[1]).0.len());
    }
}

#[tokio::test]
async fn a_role_with_a_certificate_and_no_password() {
    let users = vec![user("ann", None, Some("ann.example"))];
    let snapshot = snapshot(AuthMode::Users, users, Vec::new());
    let found = find(&snapshot, &["ann"]).await;
    assert!(matches!(found[0].credential, Credential::Unknown(_)));
    assert_eq!(found[0].cert.as_deref(), Some("ann.example"));
}

#[test]
fn the_roles_of_no_database_are_those_of_the_first_that_can_be_asked() {
    let databases = vec![database("a", false), database("b", true), database("c", true)];
    let snapshot = snapshot(AuthMode::Passthrough, Vec::new(), databases);
    let asked = |name| asked(&snapshot, name).map(|database| database.name.clone());
    assert_eq!(asked("c").as_deref(), Some("c"));
    assert_eq!(asked("nowhere").as_deref(), Some("b"));
    assert_eq!(asked("a"), None, "nobody else is asked about a's roles");
}
