//! What `gate` does, limit by limit.

use super::*;
use crate::pool::settings::Settings;
use crate::snapshot::{Auth, AuthMode, Console, Database, Listen, LogSettings, User};

fn limits() -> Limits {
    Limits {
        max_client_conn_per_address: 2,
        max_user_client_connections: 2,
        max_logins: 1,
        max_cancels_per_address: 2,
        ..Limits::default()
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        redis: None,
        listen: Listen {
            clients: Vec::new(),
            admin: None,
            http: None,
        },
        tls: Default::default(),
        limits: limits(),
        pool: Settings::default(),
        databases: vec![Database {
            name: "app".into(),
            shards: Vec::new(),
            control: None,
            pool: Settings::default(),
            users: vec![User {
                name: "vip".into(),
                pool: Settings::default(),
                tenant: None,
                max_client_conn: Some(3),
                max_user_client_connections: None,
                max_user_connections: None,
            }],
            max_client_conn: 4,
            max_db_connections: 0,
            rules: None,
            split: Default::default(),
            cache: None,
            warm: Vec::new(),
            coordinator: None,
            sharding: None,
        }],
        auth: Auth {
            mode: AuthMode::Trust,
            users: Vec::new(),
            auth_query: String::new(),
        },
        console: Console::default(),
        threads: 1,
        log: LogSettings::default(),
    }
}

fn met(gate: &Gate, limit: Limit) -> u64 {
    gate.met()[limit as usize].1
}

#[test]
fn an_address_has_places_and_a_few_more_for_cancels() {
    let gate = Arc::new(Gate::default());
    let here = "10.0.0.1".parse().ok();
    let mut inside: Vec<_> = (0..2).map(|_| gate.arrives(here, &limits())).collect();
    assert!(inside.iter().flatten().all(|arrival| arrival.refused.is_none()));
    inside.extend((0..TO_BE_HEARD).map(|_| gate.arrives(here, &limits())));
    assert!(
        inside[2..]
            .iter()
            .flatten()
            .all(|arrival| arrival.refused.is_some())
    );
    assert!(gate.arrives(here, &limits()).is_none());
    assert_eq!(met(&gate, Limit::MaxClientConnPerAddress), 1);
    let elsewhere = gate.arrives("10.0.0.2".parse().ok(), &limits()).expect("heard");
    assert!(elsewhere.refused.is_none());
    assert!(gate.arrives(None, &limits()).expect("heard").refused.is_none());
    inside.clear();
    assert!(gate.arrives(here, &limits()).expect("heard").refused.is_none());
}

#[test]
fn roles_and_databases_in_postgresqls_words() {
    let gate = Arc::new(Gate::default());
    let snapshot = snapshot();
    let enter = |user: &str| gate.admits(&snapshot, "app", user);
    let ann: Vec<_> = (0..2).map(|_| enter("ann").expect("a place")).collect();
    let refused = enter("ann").expect_err("full");
    assert_eq!(
        refused.to_string(),
        "FATAL 53300: too many connections for role \"ann\""
    );
    let vip: Vec<_> = (0..2).map(|_| enter("vip").expect("a place")).collect();
    let refused = enter("vip").expect_err("the database is full");
    assert_eq!(
        refused.to_string(),
        "FATAL 53300: too many connections for database \"app\""
    );
    drop(ann);
    let third = enter("vip").expect("its own limit is wider");
    assert!(enter("vip").expect_err("full").message.contains("role"));
    drop((vip, third));
    assert!(gate.inside().counts.is_empty(), "everything was given back");
    assert_eq!(met(&gate, Limit::MaxUserClientConnections), 1);
    assert_eq!(met(&gate, Limit::MaxClientConnOfUser), 1);
    assert_eq!(met(&gate, Limit::MaxDbClientConnections), 1);
}

#[test]
fn a_roles_own_limits_count_where_they_say() {
    let gate = Arc::new(Gate::default());
    let mut snapshot = snapshot();
    let mut other = snapshot.databases[0].clone();
    other.name = "other".into();
    other.users[0].max_client_conn = None;
    other.users[0].max_user_client_connections = Some(4);
    snapshot.databases[0].max_client_conn = 0;
    snapshot.databases.push(other);
    let enter = |database: &str| gate.admits(&snapshot, database, "vip");
    let here: Vec<_> = (0..3).map(|_| enter("app").expect("a place")).collect();
    assert!(enter("app").expect_err("three here").message.contains("role"));
    let there = enter("other").expect("the fourth of all");
    assert!(enter("other").expect_err("four in all").message.contains("role"));
    drop(here);
    let more: Vec<_> = (0..3).map(|_| enter("other").expect("no limit there")).collect();
    assert!(enter("app").expect_err("four in all").message.contains("role"));
    drop((there, more));
    assert!(gate.inside().counts.is_empty(), "everything was given back");
}

#[tokio::test]
async fn logins_wait_for_each_other() {
    let gate = Arc::new(Gate::default());
    let first = gate.begins_login(&limits()).await;
    let (second, third) = (gate.clone(), gate.clone());
    let second = tokio::spawn(async move { drop(second.begins_login(&limits()).await) });
    let third = tokio::spawn(async move { drop(third.begins_login(&limits()).await) });
    while met(&gate, Limit::MaxLogins) < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished() && !third.is_finished());
    drop(first);
    second.await.expect("its turn came");
    third.await.expect("its turn came");
}

#[test]
fn cancel_requests_are_counted_by_the_second() {
    let gate = Gate::default();
    let now = Instant::now();
    let here = "10.0.0.1".parse().ok();
    let may: Vec<bool> = (0..4).map(|_| gate.may_cancel(here, &limits(), now)).collect();
    assert_eq!(may, [true, true, false, false]);
    assert!(gate.may_cancel("::1".parse().ok(), &limits(), now));
    assert!(gate.may_cancel(None, &limits(), now));
    assert!(gate.may_cancel(here, &limits(), now + CANCEL_WINDOW));
    assert_eq!(met(&gate, Limit::MaxCancelsPerAddress), 2);
}
