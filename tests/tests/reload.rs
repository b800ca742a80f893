//! The configuration changes while pgshunt runs: all of it or nothing, and nobody notices who is not meant.

use std::fs;

use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::load::under_load;
use pgshunt_tests::{Config, Database, Door, Proxy, cluster, programs, until};

/// Changes the file, and does not tell pgshunt.
#[track_caller]
fn edit(proxy: &Proxy, from: &str, to: &str) {
    let file = proxy.folder().join("pgshunt.toml");
    let text = fs::read_to_string(&file).expect("a file");
    assert!(text.contains(from), "no {from} in {text}");
    // As editors do it: whole, or not at all.
    let new = file.with_extension("new");
    fs::write(&new, text.replace(from, to)).expect("written");
    fs::rename(new, file).expect("in its place");
}

/// Changes the file and has the console read it.
#[track_caller]
fn change(proxy: &Proxy, from: &str, to: &str) {
    edit(proxy, from, to);
    assert_eq!(proxy.console().wire().query("RELOAD"), ["C RELOAD", "Z I"]);
}

fn is_reloaded(proxy: &Proxy, by: &str, times: usize) -> bool {
    let line = format!("configuration reloaded asked_by=\"{by}\"");
    proxy.log().matches(&line).count() == times
}

#[test]
fn a_hundred_times_under_load_without_an_error() {
    let database = cluster::database();
    database.door().pgbench("-i -q -s 1");
    let other = cluster::database();
    let proxy = Config::new(&database).pool("size = 4").section("# more").start();
    let more = format!(
        "# more\n[[database]]\nname = \"{}\"\ncontrol = \"postgres://postgres@/postgres\"\n[[database.shard]]\nservers = [\"127.0.0.1:{}\"]\n",
        other.name, other.cluster.port
    );
    let arguments = [
        "-n -S -M prepared -c 4 -t 100",
        "-n -b simple-update -M simple -c 4 -t 20",
    ];
    under_load(&proxy.door(&database), &arguments, |load| {
        for round in 0..25 {
            change(&proxy, "size = 4", "size = 2\nserver_lifetime = \"1h\"");
            change(&proxy, "# more", &more);
            change(&proxy, "size = 2\nserver_lifetime = \"1h\"", "size = 4");
            change(&proxy, &more, "# more");
            assert!(load.goes_on(), "round {round}");
        }
    });
    assert!(is_reloaded(&proxy, "the console", 100));
}

#[test]
fn a_pool_grows_and_shrinks() {
    let database = cluster::database();
    let proxy = Proxy::sized(&database, 1);
    let door = proxy.door(&database);
    let mut first = door.wire();
    first.run("BEGIN");
    first.run("SELECT 1");
    let waiting = std::thread::spawn({
        let door = door.clone();
        move || door.wire().value("SELECT 'served'")
    });
    let mut console = proxy.console().wire();
    until("a client to wait", || {
        let pools = console.rows("SHOW POOLS");
        pools.iter().any(|row| row.split('|').nth(3) == Some("1"))
    });
    change(&proxy, "size = 1", "size = 4");
    assert_eq!(waiting.join().expect("no panic"), "served");
    let mut others = [door.wire(), door.wire(), door.wire()];
    for wire in &mut others {
        wire.run("BEGIN");
        wire.run("SELECT 1");
    }
    assert_eq!(database.servers(), 4);
    others.iter_mut().for_each(|wire| wire.run("COMMIT"));
    change(&proxy, "size = 4", "size = 2");
    until("free servers to go", || database.servers() == 2);
    // One is held; the lowered limit waits for it.
    change(&proxy, "size = 2", "size = 1");
    until("the free server to go", || database.servers() == 1);
    let held = first.server_pid();
    first.run("COMMIT");
    assert_eq!(others[0].server_pid(), held);
}

#[test]
fn a_wrong_file_changes_nothing_and_says_why() {
    let database = cluster::database();
    let proxy = Config::new(&database).pool("size = 3").start();
    let mut client = proxy.door(&database).wire();
    let before = client.server_pid();
    edit(&proxy, "size = 3", "sizee = 5\nmode = \"fish\"");
    let text = fs::read_to_string(proxy.folder().join("pgshunt.toml")).expect("a file");
    let line = 1 + text
        .lines()
        .position(|line| line.contains("sizee"))
        .expect("there");
    let mut console = proxy.console().wire();
    let told = console.query("RELOAD").join("\n");
    assert!(
        told.starts_with("E ERROR F0000 nothing was changed: ") && told.ends_with("\nZ I"),
        "{told}"
    );
    assert!(told.contains(&format!(":{line}: ")), "{told}");
    assert!(told.contains("did you mean \"size\"?"), "{told}");
    let log = proxy.log();
    assert!(log.contains(&format!(":{line}: ")), "{log}");
    assert!(log.contains(&format!(":{}: ", line + 1)), "every mistake: {log}");
    assert_eq!(client.server_pid(), before);
    let config = console.rows("SHOW CONFIG").join("\n");
    let key = format!("database.{}.pool.size|3|", database.name);
    assert!(config.contains(&key), "{config}");

    // A file that is right but names one that can't be used is no better.
    let certificates = Certificates::new(&[]);
    fs::write(certificates.file("server.crt"), "no certificate").expect("written");
    let tls = certificates.towards_clients("prefer");
    edit(
        &proxy,
        "sizee = 5\nmode = \"fish\"",
        &format!("size = 9\n{tls}\n[limits]"),
    );
    edit(&proxy, "[limits]\n\n[pool]", "[pool]");
    let told = console.query("RELOAD").join("\n");
    assert!(told.starts_with("E ERROR F0000 nothing was changed: "), "{told}");
    assert!(told.contains("server.crt"), "{told}");
    let config = console.rows("SHOW CONFIG").join("\n");
    assert!(config.contains(&key), "{config}");
    assert!(!proxy.log().contains("configuration reloaded"));
}

#[test]
fn pools_that_are_not_meant_keep_their_servers() {
    let database = cluster::database();
    let proxy = Config::new(&database).pool("size = 3").section("# more").start();
    let (mut free, mut busy) = (proxy.door(&database).wire(), proxy.door(&database).wire());
    busy.run("BEGIN");
    let (busy_pid, free_pid) = (busy.server_pid(), free.server_pid());
    change(
        &proxy,
        "size = 3",
        "size = 4\nserver_idle_timeout = \"5min\"\nquery_wait_timeout = 7",
    );
    assert_eq!(free.server_pid(), free_pid);
    // Another name for the same server is another server; one that is lent stays until it is given back.
    change(&proxy, "servers = [\"127.0.0.1:", "servers = [\"localhost:");
    assert_ne!(free.server_pid(), free_pid);
    assert_eq!(busy.server_pid(), busy_pid);
    busy.run("COMMIT");
    assert_ne!(busy.server_pid(), busy_pid);
    until("the old servers to go", || {
        let old = format!("SELECT count(*) FROM pg_stat_activity WHERE pid IN ({busy_pid}, {free_pid})");
        database.superuser().psql(&old) == "0"
    });
}

#[test]
fn changed_times_apply_to_clients_that_are_here() {
    let database = cluster::database();
    let proxy = Config::new(&database).pool("size = 1").start();
    let mut client = proxy.door(&database).wire();
    client.run("SELECT 1");
    change(&proxy, "size = 1", "size = 1\nclient_idle_timeout = \"100ms\"");
    let last = client.until_end();
    assert_eq!(
        last.last().expect("a last word").to_string(),
        "E FATAL 57P05 terminating connection due to idle-session timeout"
    );
}

#[test]
fn databases_come_and_go() {
    let database = cluster::database();
    let other = cluster::database();
    let proxy = Config::new(&database).section("# more").start();
    let door = Door {
        user: other.name.clone(),
        database: other.name.clone(),
        ..proxy.door(&database)
    };
    assert!(door.refusal().contains(" 3D000 "), "{}", door.refusal());
    let more = format!(
        "[[database]]\nname = \"{}\"\ncontrol = \"postgres://postgres@/postgres\"\n[[database.shard]]\n\
         servers = [\"127.0.0.1:{}\"]\n# end",
        other.name, other.cluster.port
    );
    change(&proxy, "# more", &more);
    let (mut idle, mut busy) = (door.wire(), door.wire());
    idle.run("SELECT 1");
    busy.run("BEGIN");
    busy.run("SELECT 1");
    change(&proxy, &more, "# more");
    let gone = "E FATAL 57P01 terminating connection due to administrator command";
    assert_eq!(idle.until_end().last().expect("a last word").to_string(), gone);
    assert_eq!(busy.value("SELECT 'still here'"), "still here");
    assert!(door.refusal().contains(" 3D000 "), "{}", door.refusal());
    busy.run("COMMIT");
    assert_eq!(busy.until_end().last().expect("a last word").to_string(), gone);
    until("its servers to go", || other.servers() == 0);
    change(&proxy, "# more", &more);
    assert_eq!(door.wire().value("SELECT 'back'"), "back");
}

/// psql's first words in `verify-full`, or why it did not get there.
fn verified(door: &Door, ca: &str) -> Result<String, String> {
    let mut psql = door.program("psql");
    psql.args(["-XqAt", "-c", "SELECT 'in'"])
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", ca);
    let output = psql.output().expect("psql");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// With a certificate in `own.crt` and `own.key`, which tests replace.
fn with_certificate(database: &Database, certificates: &Certificates) -> Proxy {
    replace_certificate(certificates, "server");
    let section = format!(
        "[tls]\nmode = \"require\"\ncertificate = \"{}\"\nkey = \"{}\"",
        certificates.path("own.crt"),
        certificates.path("own.key")
    );
    Config::new(database).section(&section).start()
}

fn replace_certificate(certificates: &Certificates, with: &str) {
    for kind in ["key", "crt"] {
        let new = certificates.file(&format!("new.{kind}"));
        fs::copy(certificates.file(&format!("{with}.{kind}")), &new).expect("copied");
        fs::rename(new, certificates.file(&format!("own.{kind}"))).expect("in its place");
    }
}

#[test]
fn a_new_certificate_is_for_new_clients() {
    let database = cluster::database();
    let certificates = Certificates::new(&[]);
    let proxy = with_certificate(&database, &certificates);
    let door = proxy.door(&database);
    let (ca, other) = (certificates.path("ca.crt"), certificates.path("other.crt"));
    assert_eq!(verified(&door, &ca).as_deref(), Ok("in"));
    assert!(verified(&door, &other).is_err());
    replace_certificate(&certificates, "foreign");
    programs::signal(proxy.pid(), "HUP");
    until("SIGHUP to be heard", || is_reloaded(&proxy, "SIGHUP", 1));
    assert_eq!(verified(&door, &other).as_deref(), Ok("in"));
    assert!(verified(&door, &ca).is_err());
}

#[test]
fn changed_files_are_noticed() {
    let database = cluster::database();
    let certificates = Certificates::new(&[]);
    let proxy = with_certificate(&database, &certificates);
    edit(&proxy, "[pool]", "[pool]\nsize = 7");
    until("the file to be noticed", || {
        is_reloaded(&proxy, "a changed file", 1)
    });
    let config = proxy.console().psql("SHOW CONFIG");
    assert!(config.contains(".pool.size|7|20|yes"), "{config}");
    edit(&proxy, "size = 7", "size = -7");
    until("the mistake to be noticed", || {
        proxy.log().contains("asked_by=\"a changed file\"") && proxy.log().contains("must be between")
    });
    // The wrong file is looked at once, and a certificate that changes meanwhile has to wait for a right one.
    edit(&proxy, "size = -7", "size = 8");
    until("the right one to be noticed", || {
        is_reloaded(&proxy, "a changed file", 2)
    });
    replace_certificate(&certificates, "foreign");
    until("the certificate to be noticed", || {
        is_reloaded(&proxy, "a changed file", 3)
    });
    let door = proxy.door(&database);
    assert_eq!(
        verified(&door, &certificates.path("other.crt")).as_deref(),
        Ok("in")
    );
    assert_eq!(proxy.log().matches("nothing was changed").count(), 1);
}

#[test]
fn what_waits_for_a_restart_is_named_and_the_rest_is_followed() {
    let database = cluster::database();
    let proxy = Config::new(&database).pool("size = 3").start();
    edit(
        &proxy,
        &format!("clients = [\"127.0.0.1:{}\"]", proxy.port()),
        "clients = [\"127.0.0.1:1\"]",
    );
    edit(&proxy, "threads = 2", "threads = 3");
    edit(&proxy, "size = 3", "size = 5\n[log]\nformat = \"json\"");
    let mut console = proxy.console().wire();
    let told = console.query("RELOAD");
    assert_eq!(told[1..], ["C RELOAD", "Z I"]);
    for key in ["threads", "clients in [listen]", "format in [log]"] {
        assert!(told[0].contains(&format!("{key} has changed")), "{key}: {told:?}");
        let line = format!("WARN {key} has changed: pgshunt follows after a restart only");
        assert!(proxy.log().contains(&line), "{key}");
    }
    assert!(
        !told[0].contains("admin") && !told[0].contains("http"),
        "{told:?}"
    );
    assert_eq!(proxy.door(&database).wire().value("SELECT 1"), "1");
    let config = console.rows("SHOW CONFIG").join("\n");
    assert!(config.contains(&format!("listen.clients|127.0.0.1:{}|", proxy.port())));
    assert!(config.contains(".pool.size|5|"), "{config}");
}

#[test]
fn without_a_file_certificates_are_read_again() {
    let database = cluster::database();
    let port = database.cluster.port;
    let proxy = Proxy::to(&format!("postgres://postgres@127.0.0.1:{port}/postgres"));
    let mut client = proxy.door(&database).wire();
    let before = client.server_pid();
    assert_eq!(proxy.console().wire().query("RELOAD"), ["C RELOAD", "Z I"]);
    programs::signal(proxy.pid(), "HUP");
    until("SIGHUP to be heard", || is_reloaded(&proxy, "SIGHUP", 1));
    assert_eq!(client.server_pid(), before);
}

#[test]
fn the_level_of_the_log_is_followed() {
    let database = cluster::database();
    let proxy = Config::new(&database).section("[log]\nlevel = \"error\"").start();
    let refused = || {
        let door = proxy.door(&database).as_user("nobody_at_all");
        assert!(door.try_wire(&[]).is_err());
    };
    refused();
    assert_eq!(proxy.log(), "");
    change(&proxy, "level = \"error\"", "level = \"info\"");
    refused();
    until("the log to tell", || proxy.log().contains("a login was refused"));
    change(&proxy, "level = \"info\"", "level = \"error\"");
    let before = proxy.log();
    refused();
    assert_eq!(proxy.log(), before);
}

/// As in PgBouncer: from the next transaction on. What its modes left in servers is not found afterwards.
#[test]
fn another_mode_is_followed_between_transactions() {
    let database = cluster::database();
    let proxy = Config::new(&database)
        .threads(1)
        .pool("mode = \"session\"")
        .pool("size = 2")
        .start();
    let (mut idle, mut busy) = (proxy.door(&database).wire(), proxy.door(&database).wire());
    idle.run("SELECT 1");
    busy.run("BEGIN");
    busy.run("SELECT 1");
    assert_eq!(database.servers(), 2, "each has its own");
    change(&proxy, "mode = \"session\"", "mode = \"transaction\"");
    let pins = |count: usize| proxy.console().psql("SHOW PINS").lines().count() == count;
    until("the idle client's server to be free", || pins(0));
    assert_eq!(busy.value("SELECT 'goes on'"), "goes on");
    let inside = busy.server_pid();
    assert_eq!(busy.server_pid(), inside);
    busy.run("COMMIT");
    // Now both share what is there, and what is left in it.
    change(&proxy, "size = 2", "size = 1");
    until("one server to be left", || database.servers() == 1);
    idle.run("CREATE TEMP TABLE left_behind (x int)");
    assert_eq!(busy.value("SELECT count(*) FROM left_behind"), "0");
    change(&proxy, "mode = \"transaction\"", "mode = \"auto\"");
    assert_eq!(busy.sqlstate("SELECT * FROM left_behind"), "42P01");
    idle.run("SET work_mem = '77MB'");
    assert_ne!(busy.value("SHOW work_mem"), "77MB");
    assert_eq!(idle.value("SHOW work_mem"), "77MB", "it follows the client again");
    change(&proxy, "mode = \"auto\"", "mode = \"session\"");
    idle.run("SELECT 1");
    busy.send(&pgshunt_tests::Messages::new().query("SELECT 'served'"));
    assert_eq!(idle.value("SELECT 'mine'"), "mine");
    drop(idle);
    let answer = pgshunt_tests::wire::transcript(&busy.until_ready());
    assert!(answer.contains(&"D served".to_owned()), "{answer:?}");
}
