//! Tenants with a shard of their own, in a file that commands change while pgshunt runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use pgshunt::catalog::file::Entries;
use pgshunt::cli::demo::cluster::{Scratch, free_port};
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::proxy::pgshunt;
use pgshunt_tests::sharded::{RULES, Sharded};
use pgshunt_tests::{Proxy, until};
use routing_rules::{Key, KeyType};

const SHARDS: [&str; 4] = ["s0", "s1", "s2", "s3"];

/// A catalog, and the rules that name it.
struct Catalog {
    folder: Scratch,
}

impl Catalog {
    fn new(text: &str) -> Catalog {
        let folder = Scratch::new("catalog").expect("a folder");
        let catalog = Catalog { folder };
        catalog.write(text);
        catalog
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app.tenants")
    }

    /// As editors and copies do it: whole.
    fn write(&self, text: &str) {
        let new = self.folder.path().join("by hand");
        fs::write(&new, text).expect("written");
        fs::rename(new, self.path()).expect("in its place");
    }

    fn rules(&self) -> String {
        let named = format!("[sharding]\ncatalog = \"{}\"", self.path().display());
        RULES.replace("[sharding]\n", &format!("{named}\n"))
    }

    fn read(&self) -> Entries {
        Entries::read(&self.path(), KeyType::Integer, &SHARDS).expect("a sound file")
    }
}

const EMPTY: &str = "epoch = 0\nentries = 0\n";

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = pgshunt();
    command
        .env("PGSHUNT_CONTROL_PASSWORD", PASSWORD)
        .arg("tenant")
        .arg(arguments[0]);
    command
        .arg("-c")
        .arg(folder.join("pgshunt.toml"))
        .args(&arguments[1..]);
    command
}

fn tenant(proxy: &Proxy, arguments: &[&str]) -> (bool, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(proxy.folder(), arguments).output().expect("pgshunt");
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (status.success(), text.concat())
}

fn follows(proxy: &Proxy, row: &str) {
    let mut console = proxy.console().wire();
    until(row, || {
        console
            .rows("SHOW TENANTS")
            .iter()
            .any(|shown| shown.ends_with(row))
    });
}

#[test]
fn an_entry_wins_and_is_followed() {
    let sharded = Sharded::databases(4).filled();
    let catalog = Catalog::new(EMPTY);
    let proxy = sharded.config(&catalog.rules()).start();
    let (is_set, told) = tenant(&proxy, &["set", "9", "s2"]);
    assert!(
        is_set && told.contains("tenant 9 is on s2 from epoch 1 of "),
        "{told}"
    );
    follows(&proxy, "|9|s2|catalog|1");
    let mut wire = proxy.door(&sharded.first).wire();
    wire.run("INSERT INTO orders VALUES (1, 9, 1, 1, 'of nine')");
    assert_eq!(
        sharded
            .shard(2)
            .psql("SELECT note FROM orders WHERE tenant_id = 9"),
        "of nine"
    );
    assert_eq!(
        wire.value("SELECT note FROM orders WHERE tenant_id = 9"),
        "of nine"
    );
    let (_, told) = tenant(&proxy, &["where", "9"]);
    assert!(
        told.contains("shard    s2") && told.contains("in epoch 1 of "),
        "{told}"
    );
    let (_, told) = tenant(&proxy, &["list"]);
    assert!(told.contains("9  s2\n") && told.contains("epoch 1 of "), "{told}");
    let tenants = proxy.console().wire().rows("SHOW TENANTS");
    assert!(
        tenants
            .last()
            .is_some_and(|row| row.ends_with("|NULL|s0|list|NULL")),
        "all others: {tenants:?}"
    );
    let (is_the_same, told) = tenant(&proxy, &["set", "9", "s2"]);
    assert!(is_the_same && told.contains("nothing was changed"), "{told}");
    assert_eq!(catalog.read().epoch, 1);
    let (is_unset, told) = tenant(&proxy, &["unset", "9"]);
    assert!(
        !is_unset && told.contains("tenant 9 has rows in public.orders on s2"),
        "{told}"
    );
    wire.run("DELETE FROM orders WHERE tenant_id = 9");
    let (is_unset, told) = tenant(&proxy, &["unset", "9"]);
    assert!(
        is_unset && told.contains("tenant 9 is on s0 like all others from epoch 2"),
        "{told}"
    );
    until("all to be placed as before", || {
        proxy.console().wire().rows("SHOW TENANTS").len() == 4
    });
    assert_eq!(
        catalog.read(),
        Entries {
            epoch: 2,
            ..Entries::default()
        }
    );
}

#[test]
fn rows_elsewhere_are_not_lost_unless_that_is_wanted() {
    let sharded = Sharded::databases(4).filled();
    let catalog = Catalog::new(EMPTY);
    let proxy = sharded.config(&catalog.rules()).start();
    let (is_set, told) = tenant(&proxy, &["set", "2", "s3"]);
    assert!(!is_set, "{told}");
    for table in ["accounts", "items", "orders", "tenants"] {
        assert!(told.contains(&format!("public.{table} on s2")), "{told}");
    }
    assert_eq!(catalog.read(), Entries::default());
    let (is_set, told) = tenant(&proxy, &["set", "2", "s3", "--force"]);
    assert!(is_set, "{told}");
    follows(&proxy, "|2|s3|catalog|1");
    let (is_right, told) = tenant(&proxy, &["verify"]);
    assert!(!is_right && told.contains("of tenant 2 belong on s3"), "{told}");
    // By the rules' list its rows are where they belong.
    let (is_unset, told) = tenant(&proxy, &["unset", "2"]);
    assert!(is_unset && told.contains("tenant 2 is on s2"), "{told}");
    let (is_right, told) = tenant(&proxy, &["verify"]);
    assert!(is_right, "{told}");
}

#[test]
fn what_cannot_be_set_is_said() {
    let sharded = Sharded::databases(2).filled();
    let catalog = Catalog::new(EMPTY);
    let down = free_port();
    let rules = catalog.rules().replace("s3 = [\"3\"]\n", "") + "[sharding.tenants]\n5 = \"s0\"\n";
    let more = format!("[[database.shard]]\nname = \"s2\"\nservers = [\"127.0.0.1:{down}\"]\n");
    let proxy = sharded.config(&rules).section(&more).start();
    for (arguments, why) in [
        (&["set", "x", "s1"][..], "\"x\" is no integer"),
        (
            &["set", "9", "s9"],
            "there is no shard \"s9\": the database has s0, s1, s2",
        ),
        (
            &["set", "5", "s1"],
            "tenant 5 has an entry in [sharding.tenants] of the rules",
        ),
        (
            &["set", "9", "s1"],
            "nobody has looked whether the tenant has rows elsewhere: shard s2: ",
        ),
    ] {
        let (is_set, told) = tenant(&proxy, arguments);
        assert!(!is_set && told.contains(why), "{arguments:?}: {told}");
    }
    assert_eq!(catalog.read(), Entries::default());
    let without = sharded
        .config(&rules.replace("catalog", "#"))
        .section(&more)
        .start();
    let (is_set, told) = tenant(&without, &["set", "9", "s1"]);
    assert!(
        !is_set && told.contains("add catalog = \"FILE\" to [sharding]"),
        "{told}"
    );
}

#[test]
fn a_wrong_or_older_file_changes_nothing_and_says_why() {
    let sharded = Sharded::databases(4).filled();
    let five = "epoch = 5\nentries = 1\n[tenants]\n9 = \"s2\"\n";
    let catalog = Catalog::new(five);
    let proxy = sharded.config(&catalog.rules()).start();
    let mut console = proxy.console().wire();
    for (text, why) in [
        (
            "epoch = 6\nentries = 1\n[tenants]\n9 = \"s9\"\n",
            "app.tenants:4: there is no shard \"s9\" for tenant 9",
        ),
        (
            "epoch = 6\nentries = 2\n[tenants]\n9 = \"s1\"\n",
            "2 entries were written, and 1 are there",
        ),
        (
            "epoch = 6\nentries = 1\n[tenants]\n1 = \"s1\n",
            "app.tenants:4: not TOML",
        ),
        (
            "epoch = 4\nentries = 0\n",
            "is of epoch 4, and that of epoch 5 is in force",
        ),
        (
            "epoch = 5\nentries = 0\n",
            "has changed, and its epoch is 5 as before",
        ),
    ] {
        catalog.write(text);
        let told = console.query("RELOAD").join("\n");
        assert!(
            told.starts_with("E ERROR F0000 nothing was changed: ") && told.contains(why),
            "{text}: {told}"
        );
        assert!(
            console
                .rows("SHOW TENANTS")
                .iter()
                .any(|row| row.ends_with("|9|s2|catalog|5"))
        );
    }
    fs::remove_file(catalog.path()).expect("removed");
    let told = console.query("RELOAD").join("\n");
    assert!(told.contains("there is no such file"), "{told}");
    catalog.write("epoch = 6\nentries = 0\n");
    until("the next one to be followed", || {
        console.rows("SHOW TENANTS").len() == 4
    });
}

#[test]
fn a_wrong_file_is_refused_at_the_start() {
    let sharded = Sharded::databases(4).filled();
    let catalog = Catalog::new(EMPTY);
    let proxy = sharded.config(&catalog.rules()).start();
    let check = |text: &str| {
        catalog.write(text);
        let mut serve = pgshunt();
        serve
            .arg("serve")
            .arg("-c")
            .arg(proxy.folder().join("pgshunt.toml"));
        let output = serve.output().expect("pgshunt");
        assert_eq!(output.status.code(), Some(2), "{text}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = check("epoch = 1\nentries = 1\n[tenants]\nx = \"s1\"\n");
    assert!(
        told.contains("app.tenants:4: tenant \"x\" is no integer"),
        "{told}"
    );
    let told = check("");
    assert!(
        told.contains("app.tenants: epoch is missing\n  hint: a new one holds two lines"),
        "{told}"
    );
    catalog.write(EMPTY);
}

/// So many commands at once, each for a tenant of its own.
fn spawn(folder: &Path, tenants: impl Iterator<Item = u64>) -> Vec<Child> {
    let spawned = tenants.map(|number| {
        let (number, shard) = (number.to_string(), SHARDS[number as usize % 4]);
        let mut command = command(folder, &["set", &number, shard, "--force"]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgshunt")
    });
    spawned.collect()
}

#[test]
fn writers_at_once_lose_nothing() {
    let sharded = Sharded::databases(4);
    let catalog = Catalog::new(EMPTY);
    let proxy = sharded.config(&catalog.rules()).start();
    let children = spawn(proxy.folder(), 100..124);
    for mut child in children {
        assert!(child.wait().expect("an end").success());
    }
    let entries = catalog.read();
    assert_eq!((entries.epoch, entries.tenants.len()), (24, 24));
    follows(&proxy, "|123|s3|catalog|24");
}

#[test]
fn a_crash_leaves_the_old_file_or_the_new_one() {
    let sharded = Sharded::databases(4);
    let many = (1000..4000).map(|number| (Key::Integer(number), "s1".into()));
    let full = Entries {
        epoch: 1,
        tenants: many.collect(),
    };
    let catalog = Catalog::new(&full.to_string());
    let proxy = sharded.config(&catalog.rules()).start();
    let (mut before, mut killed) = (1, 0);
    for round in 0..40 {
        let mut child = spawn(proxy.folder(), round..round + 1).pop().expect("one");
        // Somewhere between its start and its end; what is asserted holds wherever that is.
        std::thread::sleep(Duration::from_micros(round * 700));
        let _ = child.kill();
        killed += usize::from(!child.wait().expect("an end").success());
        let now = catalog.read();
        assert!(
            now.epoch == before || now.epoch == before + 1,
            "{} after {before}",
            now.epoch
        );
        assert_eq!(now.tenants.len() as u64, 2999 + now.epoch, "one for each epoch");
        before = now.epoch;
    }
    assert!(killed > 0, "some were killed");
    let (is_set, told) = tenant(&proxy, &["set", "99", "s1", "--force"]);
    assert!(is_set, "what a crash left is no hindrance: {told}");
    let left = fs::read_dir(catalog.folder.path()).expect("a folder").count();
    assert_eq!(left, 1, "nothing else is left");
}
