//! Performs plays at PostgreSQL and through pgshunt, and compares what was heard.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use pgshunt::protocol::auth::verifier::Verifier;

use super::masks::masked;
use super::play::{Message, Play, Turn};
use super::sql::{LEAVES, RESET, SETUP};
use crate::cluster::{self, Database, PASSWORD};
use crate::door::Door;
use crate::frame::Frame;
use crate::proxy::{Config, Proxy};
use crate::wire::Wire;

/// Two databases alike, and pgshunt in front of one of them.
pub struct Stage {
    direct: Door,
    through: Door,
    /// Who brings back the tables before each play.
    keepers: [Wire; 2],
    rivals: [Wire; 2],
    /// A session at PostgreSQL that another play has left as good as new, and how often.
    spare: Option<(Wire, usize)>,
    /// The last play may have left something in the tables.
    is_used: bool,
    /// What everybody else left behind counts too, so a play never begins on servers as new as its session.
    acts: usize,
    /// How many plays differed in what is known to.
    pub known: usize,
    // Dropped last, in this order.
    _proxy: Option<Proxy>,
    _databases: [Database; 2],
}

/// A session is as good as new after DISCARD ALL, as far as plays can tell; now and then one is new.
const PLAYS_OF_A_SESSION: usize = 20;
/// A server that says nothing for so long says nothing more.
const QUIET: Duration = Duration::from_millis(8);
/// The same while something is owed.
const QUIET_OWED: Duration = Duration::from_millis(50);
/// How long pgshunt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything a session heard.
#[derive(Default)]
struct Heard {
    frames: Vec<Frame>,
    /// How many of them belong to each turn.
    counts: Vec<usize>,
    /// What was last reported, turn by turn.
    reported: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// The other side closed.
    ended: bool,
}

impl Stage {
    /// Databases of its own, and a pgshunt of its own with a pool of two.
    pub fn new() -> Stage {
        let through = cluster::database();
        let config = Config::new(&through).threads(1).pool("size = 2");
        let proxy = config.start();
        Stage::before(through, proxy)
    }

    fn before(through: Database, proxy: Proxy) -> Stage {
        let other = format!("{}_other", through.name);
        through
            .superuser()
            .psql(&format!("CREATE ROLE {other}; GRANT {other} TO {}", through.name));
        let direct = Database {
            cluster: through.cluster.clone(),
            name: format!("{}_direct", through.name),
        };
        cheaply(&through);
        let make = format!("CREATE DATABASE {} OWNER {}", direct.name, through.name);
        through.cluster.superuser().psql(&make);
        let direct_door = Door {
            database: direct.name.clone(),
            ..through.door()
        };
        let keepers = [direct_door.wire(), through.door().wire()];
        let door = proxy.door(&through);
        let rivals = [door.wire(), door.wire()];
        let mut stage = Stage {
            direct: direct_door,
            through: door,
            keepers,
            rivals,
            spare: None,
            is_used: true,
            acts: 0,
            known: 0,
            _proxy: Some(proxy),
            _databases: [direct, through],
        };
        let setup = SETUP.replace("OTHER", &other);
        stage.keepers.iter_mut().for_each(|keeper| keeper.run(&setup));
        stage
            .rivals
            .iter_mut()
            .for_each(|rival| rival.run(RIVAL_SETTINGS));
        stage
    }

    /// Performs it twice. What differed, in words.
    pub fn perform(&mut self, play: &Play) -> Option<String> {
        self.acts += 1;
        if std::mem::replace(&mut self.is_used, play.speaks_of(LEAVES)) {
            self.reset();
        }
        let expected = self.perform_directly(play);
        let seen = self.perform_through(play, &expected);
        let difference = difference(&expected, &seen)?;
        self.known += usize::from(difference.is_none());
        difference
    }

    /// Brings back the tables, once those who had them last have let go.
    fn reset(&mut self) {
        for keeper in &mut self.keepers {
            let seen = keeper.query(RESET);
            if let Some(error) = seen.iter().find(|line| line.starts_with("E ")) {
                let others = keeper.query(OTHERS);
                panic!("the tables are not given back: {error}: {others:#?}");
            }
        }
    }

    /// At PostgreSQL. A new session costs more than all else there is to do, so one serves several plays.
    fn perform_directly(&mut self, play: &Play) -> Heard {
        let (mut wire, used) = self.spare.take().unwrap_or_else(|| (self.direct.wire(), 0));
        let heard = listen(&mut wire, play);
        if !heard.ended && used < PLAYS_OF_A_SESSION && wire.query("DISCARD ALL") == ["C DISCARD ALL", "Z I"]
        {
            self.spare = Some((wire, used + 1));
        }
        heard
    }

    /// Through pgshunt: for each turn, as many messages as PostgreSQL gave, and what else comes with the last.
    fn perform_through(&mut self, play: &Play, expected: &Heard) -> Heard {
        let mut wire = self.through.wire();
        let mut heard = Heard::default();
        let mut hung = false;
        for (at, turn) in play.turns.iter().enumerate() {
            let Some(&count) = expected.counts.get(at) else {
                break;
            };
            let mut rival = turn.rival.map(|rival| &mut self.rivals[rival]);
            if let Some(rival) = &mut rival {
                // Its settings reach the server each time; now and then it makes them again, and is asked what it left.
                if (self.acts + at).is_multiple_of(4) {
                    rival.run(RIVAL_SETTINGS);
                }
                rival.run(RIVAL_BEGINS);
            }
            send(&mut wire, turn);
            wire.set_patience(PATIENCE);
            let ends = expected.ended && at + 1 == expected.counts.len();
            hung |= !heard.hear(&mut wire, count, ends);
            if let Some(rival) = rival {
                rival.run("COMMIT");
            }
            if hung || heard.ended {
                break;
            }
        }
        if !hung && !heard.ended && expected.counts.len() > play.turns.len() {
            send(&mut wire, &last_turn());
            wire.set_patience(PATIENCE);
            heard.hear_end(&mut wire, PATIENCE);
        }
        wire.hang_up();
        heard
    }
}

/// Each play logs in twice: a verifier of one iteration makes that cost nothing.
fn cheaply(database: &Database) {
    let verifier = Verifier::from_password(PASSWORD, b"a play's salt".to_vec(), NonZeroU32::MIN);
    let name = &database.name;
    let alter = format!("ALTER ROLE {name} PASSWORD '{}'", verifier.to_text());
    database.superuser().psql(&alter);
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::new()
    }
}

/// At PostgreSQL: each turn's answers are all that come until it falls silent.
fn listen(wire: &mut Wire, play: &Play) -> Heard {
    let mut heard = Heard::default();
    for turn in &play.turns {
        send(wire, turn);
        heard.hear_until_quiet(wire, turn);
        if heard.ended {
            return heard;
        }
    }
    send(wire, &last_turn());
    heard.hear_end(wire, PATIENCE);
    heard
}

fn send(wire: &mut Wire, turn: &Turn) {
    // A connection closed meanwhile shows when it is read.
    let _ = io::Write::write_all(&mut wire.writer(), &turn.bytes());
}

/// Brings any session to its end and has it say what it has.
fn last_turn() -> Turn {
    Turn::new([
        Message::raw(b'f', b"the end\0"),
        Message::sync(),
        Message::query("ROLLBACK"),
        Message::query(super::sql::LEFT_BEHIND),
        Message::query(LAST_WORDS),
    ])
}

/// Who has what.
const OTHERS: &str = "SELECT pid, state, wait_event, backend_start::time, state_change::time, query FROM pg_stat_activity \
WHERE datname = current_database() AND backend_type = 'client backend'";

const LAST_WORDS: &str = "SELECT 'the very end of it'";

/// What a rival leaves behind if it can.
const RIVAL_SETTINGS: &str = "SET work_mem = '7MB'; SET search_path = pg_catalog; SET TIME ZONE 'Asia/Tokyo'; \
SET extra_float_digits = 0";
const RIVAL_BEGINS: &str = "BEGIN; SET LOCAL DateStyle = 'German'; SELECT 'rival'";

impl Heard {
    /// Takes a frame in; false if it is only reported.
    fn take(&mut self, frame: Frame, reported: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
        if frame.kind == b'S' {
            let mut parts = frame.body.split(|&b| b == 0);
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                reported.insert(name.into(), value.into());
            }
            return false;
        }
        self.frames.push(masked(frame));
        true
    }

    fn begin(&mut self, wire: &Wire) -> BTreeMap<Vec<u8>, Vec<u8>> {
        match self.reported.last() {
            Some(before) => before.clone(),
            None => wire.welcome.parameters.iter().cloned().collect(),
        }
    }

    fn hear_until_quiet(&mut self, wire: &mut Wire, turn: &Turn) {
        let mut reported = self.begin(wire);
        let (mut count, mut units, mut copies) = (0, 0, false);
        loop {
            let is_done = units >= turn.units();
            if is_done && turn.ends_a_unit() {
                break;
            }
            wire.set_patience(if is_done || copies { QUIET } else { QUIET_OWED });
            match wire.try_read() {
                Ok(Some(frame)) => {
                    units += usize::from(frame.kind == b'Z');
                    copies = frame.kind == b'G';
                    count += usize::from(self.take(frame, &mut reported));
                }
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Err(error) if is_silence(&error) => break,
                Err(_) => {
                    self.ended = true;
                    break;
                }
            }
        }
        self.counts.push(count);
        self.reported.push(reported);
    }

    /// This many messages, and the end if it is to come. False: they do not come.
    fn hear(&mut self, wire: &mut Wire, count: usize, ends: bool) -> bool {
        let mut reported = self.begin(wire);
        let mut left = count;
        let mut came = true;
        while left > 0 || ends {
            match wire.try_read() {
                Ok(Some(frame)) => left = left.saturating_sub(usize::from(self.take(frame, &mut reported))),
                Err(error) if is_silence(&error) => {
                    came = false;
                    break;
                }
                Ok(None) | Err(_) => {
                    self.ended = true;
                    break;
                }
            }
        }
        self.counts.push(count - left);
        self.reported.push(reported);
        came
    }

    /// Everything up to the last words and the ReadyForQuery behind them.
    fn hear_end(&mut self, wire: &mut Wire, patience: Duration) {
        let mut reported = self.begin(wire);
        wire.set_patience(patience);
        let mut said = false;
        let before = self.frames.len();
        loop {
            match wire.try_read() {
                Ok(Some(frame)) => {
                    said |= frame.kind == b'D' && frame.row() == "the very end of it";
                    let is_end = said && frame.kind == b'Z';
                    self.take(frame, &mut reported);
                    if is_end {
                        break;
                    }
                }
                Ok(None) | Err(_) => {
                    self.ended = true;
                    break;
                }
            }
        }
        self.counts.push(self.frames.len() - before);
        self.reported.push(reported);
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// In a failed transaction a server that lacks a statement can't be given it: where PostgreSQL would tell the types of its
/// parameters, which nobody has asked for before, it is 25P02. In another one that takes its snapshot, and what sets its
/// isolation level comes too late. tests/README.md names both; what follows in a play follows from that.
fn is_known(expected: Option<&Frame>, seen: Option<&Frame>) -> bool {
    let is = |code: &str| seen.is_some_and(|frame| frame.kind == b'E' && frame.sqlstate() == code);
    let expects = |kind| expected.is_some_and(|frame| frame.kind == kind);
    // A client that says goodbye amid COPY data is not told that this was wrong.
    let is_goodbye =
        expected.is_some_and(|frame| frame.to_string().contains("message type 0x58 during COPY"));
    is("25P02") && expects(b't') || is("25001") && expects(b'C') || seen.is_none() && is_goodbye
}

/// What differs, in words; of what is known, none.
fn difference(expected: &Heard, seen: &Heard) -> Option<Option<String>> {
    let places = expected.frames.len().max(seen.frames.len());
    if let Some(at) = (0..places).find(|&at| expected.frames.get(at) != seen.frames.get(at)) {
        if is_known(expected.frames.get(at), seen.frames.get(at)) {
            return Some(None);
        }
        let around = |heard: &Heard| {
            let from = at.saturating_sub(4);
            let until = (at + 4).min(heard.frames.len());
            let frames = heard.frames.get(from..until).unwrap_or_default();
            let lines = frames.iter().enumerate().map(|(n, frame)| {
                let mark = if from + n == at { ">" } else { " " };
                format!("   {mark} {frame}")
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        let bytes = |heard: &Heard| {
            let body = heard.frames.get(at).map(|frame| frame.body.clone());
            String::from_utf8_lossy(&body.unwrap_or_default()).replace('\0', "·")
        };
        return Some(Some(format!(
            "  PostgreSQL{}:\n{}\n    = {}\n  pgshunt{}:\n{}\n    = {}",
            if expected.ended { " (ends)" } else { "" },
            around(expected),
            bytes(expected),
            if seen.ended { " (ends)" } else { "" },
            around(seen),
            bytes(seen),
        )));
    }
    if expected.ended != seen.ended {
        return Some(Some(format!(
            "  the connection ends: PostgreSQL {}, pgshunt {}",
            expected.ended, seen.ended
        )));
    }
    let last = (expected.reported.last(), seen.reported.last());
    (last.0 != last.1).then(|| {
        Some(format!(
            "  reported: PostgreSQL {:?}\n  pgshunt {:?}",
            Texts(last.0),
            Texts(last.1)
        ))
    })
}

struct Texts<'a>(Option<&'a BTreeMap<Vec<u8>, Vec<u8>>>);

impl std::fmt::Debug for Texts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = self.0.into_iter().flatten();
        pairs
            .map(|(name, value)| {
                format!(
                    "{}={} ",
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(value)
                )
            })
            .try_for_each(|pair| f.write_str(&pair))
    }
}
