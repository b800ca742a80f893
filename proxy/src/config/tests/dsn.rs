//! Connection strings, as libpq reads them.

use std::time::Duration;

use super::super::dsn::parse;
use super::*;
use crate::server::address::SslMode;
use crate::snapshot::AuthMode;

/// The string, and `servers|user|password|dbname`.
const RIGHT: &[(&str, &str)] = &[
    ("postgres://", "|-|-|-"),
    ("postgresql://h", "h:5432|-|-|-"),
    ("postgres://u:p@h:1/d", "h:1|u|p|d"),
    ("postgres://u@h1:1,h2,[::1]:3/d", "h1:1 h2:5432 [::1]:3|u|-|d"),
    ("postgres://u%40x:p%2F%3a%25@h/d%20e", "h:5432|u@x|p/:%|d e"),
    ("postgres://u:p@ss@h/d", "h:5432|u|p@ss|d"),
    ("postgres://u@%2Frun%2Fpg:6/d", "unix:/run/pg:6|u|-|d"),
    ("postgres:///d?host=/run/pg&user=u", "unix:/run/pg:5432|u|-|d"),
    ("postgres:///d?host=a,b&port=7", "a:7 b:7|-|-|d"),
    ("postgres://u@/d", "|u|-|d"),
    ("host=h port=1 user=u dbname=d password=p", "h:1|u|p|d"),
    (
        "host = h  user='o\\'x y' password = 'a\\\\b'",
        "h:5432|o'x y|a\\b|-",
    ),
    ("host=a,b port=1,2 password=a\\ b", "a:1 b:2|-|a b|-"),
    ("host=::1 dbname=''", "[::1]:5432|-|-|-"),
    ("host=h application_name=x options='-c a=b'", "h:5432|-|-|-"),
    ("", "|-|-|-"),
];

#[test]
fn connection_strings() {
    for (written, meant) in RIGHT {
        let dsn = parse(written).unwrap_or_else(|wrongs| panic!("{written}: {wrongs:?}"));
        let servers: Vec<String> = dsn.servers.iter().map(ToString::to_string).collect();
        let text = |part: Option<&str>| part.unwrap_or("-").to_owned();
        let parts = [
            servers.join(" "),
            text(dsn.user.as_deref()),
            text(dsn.password.as_ref().map(SecretText::expose)),
            text(dsn.dbname.as_deref()),
        ];
        assert_eq!(parts.join("|"), *meant, "{written}");
    }
}

/// The string, and what is wrong with it.
const WRONG: &[(&str, &str)] = &[
    ("mysql://h/d", "this is not a connection string"),
    (
        "postgres://h:0/d",
        "the port of host 1 is not a number between 1 and 65535",
    ),
    (
        "postgres://a:1,b:x/d",
        "the port of host 2 is not a number between 1 and 65535",
    ),
    ("host=a,b,c port=1,2", "there are 3 hosts and 2 ports"),
    ("postgres://[::1/d", "an IPv6 address lacks its closing bracket"),
    ("postgres://a,/d", "host 2 has no valid name"),
    ("postgres://h/%", "there is a bad percent sign"),
    ("postgres://h/%4", "there is a bad percent sign"),
    ("postgres://h/%00", "there is a bad percent sign"),
    ("postgres://h/%ff", "there is a bad percent sign"),
    ("postgres://h/%+1", "there is a bad percent sign"),
    ("postgres://h/d?x", "a parameter after \"?\" has no value"),
    ("postgres://h/d?sslmod=x", "unknown parameter \"sslmod\""),
    ("postgres://h/d?sslmode=x", "sslmode cannot be \"x\""),
    (
        "postgres://h/d?connect_timeout=x",
        "connect_timeout is not a number of seconds",
    ),
    (
        "postgres://h/d?channel_binding=require",
        "channel_binding is not supported by this version",
    ),
    ("host='h", "a quoted value lacks its closing quote"),
    ("host=h port", "this is not a connection string"),
];

#[test]
fn what_is_no_connection_string() {
    for (written, said) in WRONG {
        let wrongs = parse(written).expect_err(written);
        assert_eq!(wrongs[0].what, *said, "{written}");
    }
}

#[test]
fn a_connection_string_is_a_whole_configuration() {
    let dsn = "postgres://app:pw@h1,h2/shop?sslmode=require&connect_timeout=3";
    let overrides = Overrides {
        clients: vec!["*:7000".into(), "unix:/run".into()],
        admin: Some("localhost".into()),
        http: Some("127.0.0.1".into()),
        threads: Some(2),
    };
    let snapshot = from_dsn::snapshot(dsn, &overrides, &silence()).expect("right");
    let clients: Vec<String> = snapshot.listen.clients.iter().map(ToString::to_string).collect();
    assert_eq!(clients, ["0.0.0.0:7000", "[::]:7000", "unix:/run:6432"]);
    assert_eq!(
        snapshot.listen.admin.map(|a| a.to_string()).as_deref(),
        Some("127.0.0.1:6433")
    );
    assert_eq!(
        snapshot.listen.http.map(|a| a.to_string()).as_deref(),
        Some("127.0.0.1:9432")
    );
    assert_eq!(snapshot.threads, 2);
    assert_eq!(snapshot.auth.mode, AuthMode::Passthrough);
    assert_eq!(snapshot.console.admins, ["app"]);
    let any = &snapshot.databases[0];
    assert!(any.is_wildcard());
    assert_eq!(any.pool.server_connect_timeout, Duration::from_secs(3));
    assert_eq!(any.shards[0].tls.mode, SslMode::Require);
    assert_eq!((any.shards[0].servers.len(), &any.shards[0].dbname), (2, &None));
    let control = any.control.as_ref().expect("the string's role");
    assert_eq!((control.user.as_str(), control.dbname.as_str()), ("app", "shop"));
}

#[test]
fn what_a_connection_string_leaves_out_comes_from_the_environment() {
    let environment = Environment {
        user: Some("me".into()),
        password: Some(SecretText::new("pw")),
        ..silence()
    };
    let snapshot = from_dsn::snapshot("postgres://h", &Overrides::default(), &environment).expect("right");
    let control = snapshot.databases[0]
        .control
        .as_ref()
        .expect("the environment's role");
    assert_eq!((control.user.as_str(), control.dbname.as_str()), ("me", "me"));
    assert_eq!(control.password.as_ref().map(SecretText::expose), Some("pw"));
}

#[test]
fn mistakes_of_the_command_line_come_together() {
    let overrides = Overrides {
        clients: vec!["::1".into()],
        http: Some("unix:/run".into()),
        ..Overrides::default()
    };
    let dsn = "postgres:///d?sslmode=verify-full&sslcert=no.crt";
    let mistakes = from_dsn::snapshot(dsn, &overrides, &silence()).expect_err("wrong");
    assert_eq!(
        shown(&mistakes),
        "--listen: \"::1\" is not an address\n  hint: write an IPv6 address in brackets: \"[::1]:5432\"\n\
         --http: must be a TCP address\n\
         --to: names no server\n  hint: write postgres://user@host:5432/dbname\n\
         --to: names no role, and PGUSER is not set\n\
         --to: sslcert is given but no sslkey"
    );
}
