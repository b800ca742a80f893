//! One value changed while pgshunt runs, by the rules of the file.

use std::path::Path;

use toml::de::DeTable;

use super::check;
use super::import;
use super::keys::{self, Keys};
use super::mistake::{Findings, Mistake, Wrong, closest};
use super::pool;
use super::raw::Section;
use crate::pool::settings::Settings;
use crate::snapshot::{Limits, Snapshot};

/// The configuration with another value of a key of `[pool]`, in every pool, or of `[limits]`. PgBouncer's names will
/// do, and `database.NAME.pool.KEY` is about the pools of one database.
///
/// # Errors
/// There is no such key, or this is no value for it.
pub fn set(snapshot: &Snapshot, key: &str, value: &str) -> Result<Snapshot, Vec<Mistake>> {
    let place = Path::new("SET");
    let (database, plain) = match key
        .strip_prefix("database.")
        .and_then(|rest| rest.split_once(".pool."))
    {
        Some((database, plain)) => (Some(database), plain),
        None => (None, key),
    };
    let wrong = |wrong: Wrong| {
        vec![Mistake {
            file: place.into(),
            line: None,
            what: wrong.what,
            hint: wrong.hint,
        }]
    };
    let is_of = |keys: &Keys| keys.known.contains(&plain) || keys::meant(keys.section, plain).is_some();
    let section = match database {
        Some(_) | None if is_of(&keys::POOL) => "pool",
        None if is_of(&keys::LIMITS) => "limits",
        None | Some(_) => return Err(wrong(unknown(key))),
    };
    if database.is_some_and(|name| snapshot.databases.iter().all(|each| each.name != name)) {
        return Err(wrong(unknown(key)));
    }
    let value = literal(value).ok_or_else(|| wrong(Wrong::new(format!("{key} can't have this value"))))?;
    let text = format!("[{section}]\n{plain} = {value}\n");
    let findings = Findings::new(place, &text);
    let (document, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        return Err(wrong(Wrong::new(format!("{key} can't have this value"))));
    }
    let mut changed = snapshot.clone();
    let root = Section::open(&keys::ROOT, &document, &findings);
    if let Some(section) = root.section("pool", &keys::POOL) {
        if database.is_none() {
            changed.pool = pool::narrowed(&changed.pool, &section);
        }
        let meant = changed.databases.iter_mut();
        for each in meant.filter(|each| database.is_none_or(|name| each.name == name)) {
            let narrow = |settings: &mut Settings| *settings = pool::narrowed(settings, &section);
            narrow(&mut each.pool);
            each.users.iter_mut().for_each(|user| narrow(&mut user.pool));
        }
    }
    if let Some(section) = root.section("limits", &keys::LIMITS) {
        changed.limits = check::limits(&snapshot.limits, &section);
        inherit(&mut changed, &snapshot.limits);
    }
    match findings.into_mistakes() {
        none if none.is_empty() => Ok(changed),
        // There is but one line.
        mistakes => Err(mistakes
            .into_iter()
            .map(|mistake| Mistake {
                line: None,
                ..mistake
            })
            .collect()),
    }
}

/// Databases and roles without a limit of their own have the new one.
fn inherit(snapshot: &mut Snapshot, before: &Limits) {
    let after = &snapshot.limits;
    let follow = |own: &mut usize, before: usize, after: usize| {
        if *own == before {
            *own = after;
        }
    };
    for database in &mut snapshot.databases {
        follow(
            &mut database.max_client_conn,
            before.max_db_client_connections,
            after.max_db_client_connections,
        );
        follow(
            &mut database.max_db_connections,
            before.max_db_connections,
            after.max_db_connections,
        );
    }
}

/// A number as it is, anything else as a text.
fn literal(value: &str) -> Option<String> {
    let is_number = !value.is_empty() && value.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    match is_number && value.parse::<f64>().is_ok() {
        true => Some(value.to_owned()),
        false => (!value.contains(|c: char| c == '\'' || c.is_control())).then(|| format!("'{value}'")),
    }
}

fn unknown(key: &str) -> Wrong {
    let wrong = Wrong::new(format!("{key} is not a key of [pool] or [limits]"));
    let known = keys::POOL.known.iter().chain(keys::LIMITS.known).copied();
    if let Some(why) = import::no_meaning(key) {
        return wrong.hint(format!("PgBouncer's {key} has no meaning here: {why}"));
    }
    match closest(key, known) {
        Some(known) => wrong.hint(format!("did you mean \"{known}\"?")),
        None => wrong.hint("change the file, then RELOAD"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests_read;
    use std::time::Duration;

    fn base() -> Snapshot {
        let text = "[limits]\nmax_db_client_connections = 7\n[auth]\nmode = \"trust\"\n\
                    [[database]]\nname = \"a\"\n[[database.shard]]\nservers = [\"h\"]\n\
                    [[database]]\nname = \"b\"\nmax_client_conn = 3\n[[database.shard]]\nservers = [\"h\"]\n\
                    [[database.user]]\nname = \"u\"\npool = { size = 9 }\n";
        tests_read(Path::new("f.toml"), text)
    }

    #[test]
    fn pools_and_limits_by_both_names() {
        let set = |key, value| set(&base(), key, value).unwrap_or_else(|wrong| panic!("{key}: {wrong:?}"));
        let all = set("default_pool_size", "5");
        assert!(all.databases.iter().all(|database| database.pool.size == 5));
        assert_eq!(all.databases[1].users[0].pool.size, 5);
        let one = set("database.b.pool.size", "5");
        assert_eq!((one.databases[0].pool.size, one.databases[1].pool.size), (20, 5));
        let time = |value| {
            set("query_wait_timeout", value).databases[0]
                .pool
                .query_wait_timeout
        };
        assert_eq!(time("1.5"), Duration::from_millis(1500));
        assert_eq!(time("500ms"), Duration::from_millis(500));
        let limits = set("max_db_client_connections", "8");
        assert_eq!(limits.limits.max_db_client_connections, 8);
        let own = limits.databases.iter().map(|database| database.max_client_conn);
        assert_eq!(own.collect::<Vec<_>>(), [8, 3]);
        assert_eq!(set("max_client_conn", "11").limits.max_client_conn, 11);
        // A client's limit by PgBouncer's name, by the one of before, and what every pool has.
        let of_users = |key| set(key, "6").limits.max_user_client_connections;
        assert_eq!(
            (
                of_users("max_user_client_connections"),
                of_users("max_client_conn_per_user")
            ),
            (6, 6)
        );
        assert_eq!((all.pool.size, one.pool.size), (5, 20));
        assert!(
            set("server_fast_close", "1").databases[1].users[0]
                .pool
                .server_fast_close
        );
        let seconds = |key| set(key, "2").limits;
        assert_eq!(seconds("dns_max_ttl").tcp.dns_max_ttl, Duration::from_secs(2));
        assert_eq!(
            seconds("autodb_idle_timeout").autodb_idle_timeout,
            Duration::from_secs(2)
        );
    }

    #[test]
    fn what_is_no_key_or_no_value() {
        for (key, value, what) in [
            ("siez", "5", "did you mean \"size\"?"),
            ("listen_port", "5", "change the file"),
            ("database.c.pool.size", "5", "not a key"),
            ("database.a.pool.max_client_conn", "5", "not a key"),
            ("size", "0", "must be between"),
            ("size", "many", "must be a whole number"),
            ("size", "5\nmode = 1", "can't have"),
            ("size", "1.2.3", "must be a whole number"),
            ("mode", "fish", "mode in [pool]"),
            ("min_size", "21", "above size"),
            ("query_timeout", "it's", "can't have"),
            ("suspend_timeout", "1", "there is no SUSPEND"),
            ("server_fast_close", "2", "must be between 0 and 1"),
        ] {
            let mistakes = set(&base(), key, value).expect_err(key);
            let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            assert!(told.join("\n").contains(what), "{key} = {value}: {told:?}");
        }
    }
}
