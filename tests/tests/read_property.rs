//! No text called a read is refused by a real hot standby: PostgreSQL's own regression statements, run through psql on a
//! primary, and each one that is called a read also on its replica at that moment.
//!
//! `PGSHUNT_REGRESS=…/src/test/regress cargo test -p pgshunt-tests --test read_property -- --ignored --nocapture` runs it;
//! the folder is PostgreSQL's source of the server's version, with `regress.so` built in it or beside it.
//! `PGSHUNT_REGRESS_ONLY=join,with` runs only these files, after the ones that set up.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use pgshunt::catalog::names::{NAMES_QUERY, read};
use pgshunt::cli::demo::cluster::Plan;
use pgshunt_tests::{Cluster, Door, Frame, Messages, Wire, cluster};
use routing_rules::{Access, Lex, Names, Why, access};

const FOLDER: &str = "PGSHUNT_REGRESS";
const ONLY: &str = "PGSHUNT_REGRESS_ONLY";
/// These make what the others use.
const SETUP: [&str; 2] = ["test_setup", "create_index"];

#[test]
#[ignore = "takes minutes and PostgreSQL's sources: PGSHUNT_REGRESS names their folder src/test/regress"]
fn no_read_is_refused_by_a_hot_standby() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        println!("skipped: {FOLDER} does not name PostgreSQL's folder src/test/regress");
        return;
    };
    let settings = [
        ("synchronous_standby_names", "*"),
        ("synchronous_commit", "remote_apply"),
        ("allow_in_place_tablespaces", "on"),
        ("max_standby_streaming_delay", "1s"),
    ];
    let hba = ["host all all 127.0.0.1/32 trust"];
    let plan = Plan {
        name: "primary",
        settings: &settings,
        hba: &hba,
    };
    let primary = cluster::private(&plan);
    let replica = primary
        .replica(&Plan {
            name: "replica",
            settings: &[("max_connections", "400"), ("allow_in_place_tablespaces", "on")],
            ..Plan::default()
        })
        .expect("a replica");
    let regression = |node| Door {
        database: "regression".into(),
        ..Cluster::of(node).superuser()
    };
    Cluster::of(&primary)
        .superuser()
        .psql("CREATE DATABASE regression TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    let tap = Tap::open(regression(&primary), regression(&replica));
    for file in files(&folder) {
        tap.run(&folder, &file);
    }
    tap.report();
}

/// The files of the schedule in its order.
fn files(folder: &Path) -> Vec<String> {
    let schedule = folder.join("parallel_schedule");
    let schedule =
        std::fs::read_to_string(&schedule).unwrap_or_else(|error| panic!("{}: {error}", schedule.display()));
    let only = std::env::var(ONLY).ok();
    let is_wanted = |file: &&str| match &only {
        Some(only) => SETUP.contains(file) || only.split(',').any(|name| name == *file),
        None => true,
    };
    let tests = schedule.lines().filter_map(|line| line.strip_prefix("test: "));
    let files = tests.flat_map(str::split_whitespace).filter(is_wanted);
    files.map(str::to_owned).collect()
}

/// A listener that psql takes for the primary.
struct Tap {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

/// What has been seen so far.
struct Seen {
    primary: Door,
    replica: Door,
    names: Names,
    /// Something may have been made since the names were read.
    is_stale: bool,
    file: String,
    texts: usize,
    reads: usize,
    done: usize,
    errors: BTreeMap<String, usize>,
    reasons: BTreeMap<String, usize>,
    refused: Vec<String>,
}

impl Tap {
    fn open(primary: Door, replica: Door) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let names = names(&primary);
        let seen = Arc::new(Mutex::new(Seen {
            primary,
            replica,
            names,
            is_stale: false,
            file: String::new(),
            texts: 0,
            reads: 0,
            done: 0,
            errors: BTreeMap::new(),
            reasons: BTreeMap::new(),
            refused: Vec::new(),
        }));
        let shared = seen.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let shared = shared.clone();
                let client = client.expect("psql");
                // A connection that ends amid an answer is one the script has ended.
                std::thread::spawn(move || drop(session(client, &shared)));
            }
        });
        Tap { port, seen }
    }

    /// Runs a file by psql; what fails in it, fails.
    fn run(&self, folder: &Path, file: &str) {
        let door = {
            let mut seen = self.seen.lock().expect("no panic");
            file.clone_into(&mut seen.file);
            Door {
                port: self.port,
                ..seen.primary.clone()
            }
        };
        let mut psql = door.program("psql");
        psql.args([
            "-Xaq",
            "-v",
            "HIDE_TABLEAM=on",
            "-v",
            "HIDE_TOAST_COMPRESSION=on",
            "-f",
        ])
        .arg(folder.join("sql").join(format!("{file}.sql")))
        .env("PG_ABS_SRCDIR", folder)
        .env("PG_ABS_BUILDDIR", folder)
        .env("PG_LIBDIR", folder)
        .env("PG_DLSUFFIX", ".so")
        .env("PGTZ", "PST8PDT")
        .env("PGDATESTYLE", "Postgres, MDY")
        .env("PGSSLMODE", "disable")
        .env("PGGSSENCMODE", "disable")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
        psql.status().expect("psql");
    }

    fn report(&self) {
        let seen = self.seen.lock().expect("no panic");
        println!(
            "{} texts, {} called reads, {} of these done by the replica, {} refused",
            seen.texts,
            seen.reads,
            seen.done,
            seen.refused.len()
        );
        println!("the replica's other errors: {:?}", seen.errors);
        println!("for the primary because: {:?}", seen.reasons);
        assert!(seen.reads > 500, "the statements did not run");
        assert!(seen.refused.is_empty(), "{}", seen.refused.join("\n"));
    }
}

fn names(primary: &Door) -> Names {
    let rows = primary.wire().rows(NAMES_QUERY);
    let columns = |row: &String| row.split('|').map(|value| Some(value.into())).collect();
    let rows: Vec<Vec<Option<Vec<u8>>>> = rows.iter().map(columns).collect();
    read(&rows).expect("an answer in the form expected")
}

/// Passes one connection of psql's on to the primary and looks at every text in it.
fn session(mut client: TcpStream, seen: &Mutex<Seen>) -> io::Result<()> {
    let (primary, replica) = {
        let seen = seen.lock().expect("no panic");
        (seen.primary.clone(), seen.replica.clone())
    };
    let mut server = TcpStream::connect(("127.0.0.1", primary.port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut lex = Lex::default();
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut startup)?;
    server.write_all(&[&length[..], &startup].concat())?;
    answer(&mut server, &mut client, &mut lex)?;
    let mut witness = witness(&replica);
    loop {
        let frame = take(&mut client)?;
        pass(&mut server, &frame)?;
        match frame.kind {
            b'Q' => {
                answer(&mut server, &mut client, &mut lex)?;
                look(&frame.body, lex, &mut witness, seen);
            }
            // Sync, and the calls of `\lo_import` and its like.
            b'S' | b'F' => answer(&mut server, &mut client, &mut lex)?,
            _ => {}
        }
    }
}

/// A session on the replica that never waits long.
fn witness(replica: &Door) -> Wire {
    let options = "-c statement_timeout=2s -c lock_timeout=100ms";
    replica.wire_with(&[("options", options)])
}

/// Passes an answer on, up to ReadyForQuery, and what COPY takes from the client.
fn answer(server: &mut TcpStream, client: &mut TcpStream, lex: &mut Lex) -> io::Result<()> {
    loop {
        let frame = take(server)?;
        pass(client, &frame)?;
        match frame.kind {
            b'Z' => return Ok(()),
            b'S' if frame.body.starts_with(b"standard_conforming_strings\0") => {
                lex.standard_conforming_strings = frame.body.ends_with(b"\0on\0");
            }
            b'G' => loop {
                let data = take(client)?;
                pass(server, &data)?;
                if matches!(data.kind, b'c' | b'f') {
                    break;
                }
            },
            _ => {}
        }
    }
}

fn take(from: &mut TcpStream) -> io::Result<Frame> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut body = vec![0; length - 4];
    from.read_exact(&mut body)?;
    Ok(Frame { kind: head[0], body })
}

fn pass(to: &mut TcpStream, frame: &Frame) -> io::Result<()> {
    to.write_all(&Messages::new().raw(frame.kind, &frame.body).bytes)
}

/// Judges a text that the primary has just done, and has the replica do it if it is called a read.
fn look(text: &[u8], lex: Lex, witness: &mut Wire, seen: &Mutex<Seen>) {
    let seen = &mut *seen.lock().expect("no panic");
    let lower = text.to_ascii_lowercase();
    seen.texts += 1;
    let has = |word: &[u8]| lower.windows(word.len()).any(|window| window == word);
    seen.is_stale |= has(b"create") || has(b"alter") || has(b"drop");
    match seen.judge(text, lex) {
        Access::Read => {
            seen.reads += 1;
            let Some(error) = ask(witness, text, &seen.replica) else {
                seen.done += 1;
                return;
            };
            let message = error.field(b'M');
            // "… conflict with recovery" is a replica's daily life: it would do the text another time.
            let is_refused = error.sqlstate() == "25006" || message.contains("during recovery");
            if error.sqlstate().starts_with("XX") {
                println!("{}: {}\n  {message}", seen.file, String::from_utf8_lossy(text));
            }
            *seen.errors.entry(error.sqlstate()).or_default() += 1;
            // Names that were behind are the reader's trouble, not the judge's.
            if is_refused {
                seen.refresh();
            }
            if is_refused && seen.judge(text, lex).is_read() {
                let text = String::from_utf8_lossy(text);
                seen.refused.push(format!("{}: {text}\n  {message}", seen.file));
            }
        }
        Access::Write(why) => {
            *seen.reasons.entry(kind(&why)).or_default() += 1;
            if lower.starts_with(b"set ") && !has(b"timeout") && !has(b"synchronous_commit") {
                ask(witness, text, &seen.replica);
            }
        }
    }
}

impl Seen {
    fn judge(&mut self, text: &[u8], lex: Lex) -> Access {
        let first = access(text, lex, Some(&self.names));
        match first {
            Access::Write(Why::Unknown(_)) if self.refresh() => access(text, lex, Some(&self.names)),
            first => first,
        }
    }

    /// Reads the names again if they may have changed.
    fn refresh(&mut self) -> bool {
        let was_stale = std::mem::take(&mut self.is_stale);
        if was_stale {
            self.names = names(&self.primary);
        }
        was_stale
    }
}

/// The replica's error, if it answers with one. A session that ends is made anew.
fn ask(witness: &mut Wire, text: &[u8], replica: &Door) -> Option<Frame> {
    witness.send(&Messages::new().raw(b'Q', text));
    let mut first = None;
    loop {
        match witness.try_read() {
            Ok(Some(frame)) if frame.kind == b'Z' => return first,
            Ok(Some(frame)) if frame.kind == b'E' => first = first.or(Some(frame)),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                *witness = self::witness(replica);
                return first;
            }
        }
    }
}

/// A reason without its names.
fn kind(why: &Why) -> String {
    format!("{why:?}")
        .split('(')
        .next()
        .unwrap_or_default()
        .to_owned()
}
