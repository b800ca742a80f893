//! Tests of this module.

use super::*;

fn one(text: &str) -> Command {
    let mut commands = parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    assert_eq!(commands.len(), 1, "{text}");
    commands.remove(0)
}

const EVERY_VERB: [Verb; 14] = [
    Verb::Show,
    Verb::Driver,
    Verb::Set,
    Verb::Reload,
    Verb::Pause,
    Verb::Resume,
    Verb::Disable,
    Verb::Enable,
    Verb::Reconnect,
    Verb::Kill,
    Verb::KillClient,
    Verb::WaitClose,
    Verb::ClearCache,
    Verb::Shutdown,
];

#[test]
fn a_watcher_can_only_look() {
    for verb in EVERY_VERB {
        let looks = matches!(verb, Verb::Show | Verb::Driver);
        assert_eq!(verb.is_allowed(Role::Watcher), looks, "{verb:?}");
        assert!(verb.is_allowed(Role::Admin), "{verb:?}");
        let entries = COMMANDS.iter().filter(|entry| entry.verb == verb).count();
        assert_eq!(entries, 1, "{verb:?}");
    }
}

#[test]
fn a_watcher_can_run_no_command_but_show() {
    let commands = [
        "KILL",
        "KILL app",
        "KILL_CLIENT 7",
        "SHUTDOWN",
        "SHUTDOWN WAIT_FOR_CLIENTS",
        "RELOAD",
        "PAUSE",
        "RESUME app",
        "DISABLE app",
        "ENABLE app",
        "RECONNECT",
        "WAIT_CLOSE",
        "CLEAR_CACHE app",
        "SET default_pool_size = 5",
        "SET SESSION verbose TO 1",
    ];
    for text in commands {
        assert!(!one(text).verb().is_allowed(Role::Watcher), "{text}");
    }
    for show in Show::ALL {
        assert!(
            one(&format!("SHOW {}", show.word()))
                .verb()
                .is_allowed(Role::Watcher)
        );
    }
}

#[test]
fn shows_in_any_case() {
    for text in [
        "show pools",
        "SHOW POOLS;",
        " Show /* x */ pools ; -- y",
        "show \"pools\"",
        ";;show Pools;;",
    ] {
        assert_eq!(one(text), Command::Show(Show::Pools), "{text}");
    }
    let both = parse("show pools; show lists").expect("two commands");
    assert_eq!(both, [Command::Show(Show::Pools), Command::Show(Show::Lists)]);
    assert_eq!(parse(" ; -- nothing"), Ok(Vec::new()));
}

#[test]
fn what_drivers_say() {
    for (text, tag) in [
        ("BEGIN", "BEGIN"),
        ("BEGIN READ ONLY", "BEGIN"),
        ("begin transaction isolation level serializable", "BEGIN"),
        ("START TRANSACTION", "START TRANSACTION"),
        ("COMMIT", "COMMIT"),
        ("rollback;", "ROLLBACK"),
        ("SET client_encoding TO 'UTF8'", "SET"),
        ("SET datestyle = ISO, MDY", "SET"),
        ("set extra_float_digits = 3", "SET"),
        ("SET application_name = 'PostgreSQL JDBC Driver'", "SET"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET"),
        ("SET NAMES 'utf8'", "SET"),
        ("SET TIME ZONE 'UTC'", "SET"),
        ("DISCARD ALL", "DISCARD ALL"),
        ("CLOSE ALL", "CLOSE CURSOR"),
        ("UNLISTEN *", "UNLISTEN"),
        ("RESET ALL", "RESET"),
    ] {
        assert_eq!(one(text), Command::Nothing(tag), "{text}");
    }
    assert_eq!(one("SELECT 1"), Command::Select(vec![Constant::Number(1)]));
    assert_eq!(
        one("select pg_catalog.version()"),
        Command::Select(vec![Constant::Version])
    );
    assert!(
        matches!(one("SHOW TRANSACTION ISOLATION LEVEL"), Command::Setting(s) if s.value == "read committed")
    );
    assert!(matches!(one("show standard_conforming_strings"), Command::Setting(s) if s.value == "on"));
    assert_eq!(one("DEALLOCATE ALL"), Command::Deallocate(None));
    assert_eq!(
        one("DEALLOCATE \"_pg3_0\""),
        Command::Deallocate(Some("_pg3_0".into()))
    );
}

#[test]
fn commands_with_arguments() {
    assert_eq!(one("KILL \"my db\""), Command::Kill(Some("my db".into())));
    assert_eq!(one("kill_client 12"), Command::KillClient(12));
    assert_eq!(one("SHUTDOWN"), Command::Shutdown(Patience::None));
    assert_eq!(
        one("shutdown wait_for_servers"),
        Command::Shutdown(Patience::Transactions)
    );
}

#[test]
fn what_nobody_understands_is_a_syntax_error_with_a_hint() {
    for text in [
        "SHOW",
        "SHOW FISH",
        "SHOW POOLS NOW",
        "FROB",
        "DROP TABLE x",
        "KILL_CLIENT",
        "KILL_CLIENT x",
        "KILL_CLIENT -1",
        "KILL_CLIENT 99999999999999999999999",
        "DISABLE",
        "SHUTDOWN NOW",
        "SET",
        "SET x",
        "SET x =",
        "SELECT",
        "SELECT a",
        "SELECT 1,",
        "'SHOW' pools",
        "$1",
        "show pools; frob",
    ] {
        let fault = parse(text).expect_err(text);
        assert_eq!(fault.code, sqlstate::SYNTAX_ERROR, "{text}");
        assert!(
            fault.hint.is_some_and(|hint| hint.contains("SHOW HELP")),
            "{text}"
        );
    }
    assert!(parse("SHOW 'pools").is_err());
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?is)(show|set|select|kill_client|[a-z;'\"/*$=(),-]|.| ){0,12}") {
        let _ = parse(&text);
    }
}
