//! A PostgreSQL of a few statements: states, names, errors and skipping as the real one has them, and no data.
//!
//! PostgreSQL: `PostgresMain` in `postgres.c`.

use std::collections::{BTreeMap, HashMap};

use super::notation::frames;
use crate::protocol::frame;
use crate::protocol::message::{Bind, Named, Parse, cstr, query_text};
use crate::protocol::reply::{self, ErrorFields};
use crate::protocol::sqlstate::SqlState;

type Texts = HashMap<Vec<u8>, String>;

/// One server process.
#[derive(Default)]
pub(super) struct Postgres {
    /// Everything it was sent, frame by frame.
    pub(super) heard: Vec<u8>,
    /// What the session has set.
    pub(super) settings: BTreeMap<String, String>,
    /// Named and unnamed statements.
    pub(super) prepared: Texts,
    inbox: Vec<u8>,
    before: Option<BTreeMap<String, String>>,
    portals: Texts,
    status: Status,
    skips: bool,
    copies: Option<Copies>,
    listens: bool,
    /// The TimeZone last reported, if not the default it began with.
    reported: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Idle,
    Within,
    Failed,
}

impl Status {
    fn byte(self) -> u8 {
        match self {
            Status::Idle => b'I',
            Status::Within => b'T',
            Status::Failed => b'E',
        }
    }
}

/// Who began a COPY FROM STDIN.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    Simple,
    Extended,
}

/// A SQLSTATE.
type Fails<T> = Result<T, &'static str>;

impl Postgres {
    /// Takes bytes and gives the answer to what is whole of them.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.inbox.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(header) = frame::header(&self.inbox).expect("a length that can be") {
            if self.inbox.len() < header.total {
                break;
            }
            let whole: Vec<u8> = self.inbox.drain(..header.total).collect();
            self.heard.extend_from_slice(&whole);
            let (kind, body) = frames(&whole)[0];
            self.message(kind, body, &mut out);
        }
        out
    }

    fn message(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) {
        if self.copies.is_some() {
            return self.copying(kind, body, out);
        }
        if self.skips && !matches!(kind, b'S' | b'X') {
            return;
        }
        match kind {
            b'Q' => self.query(query_text(body).expect("well formed"), out),
            b'F' => {
                let done = self.call(out);
                self.settle_simple(done, out);
            }
            b'S' => {
                self.skips = false;
                self.unit_ends();
                self.ready(out);
            }
            b'P' | b'B' | b'D' | b'E' | b'C' => {
                if let Err(code) = self.extended(kind, body, out) {
                    self.fail(code, out);
                    self.skips = true;
                }
            }
            b'H' | b'd' | b'c' | b'f' | b'X' => {}
            other => panic!("a message {} nobody sent", char::from(other)),
        }
    }

    fn copying(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) {
        let by = self.copies.expect("in copy mode");
        let ended = match kind {
            b'd' if body == b"bad" => Err("22P04"),
            b'd' | b'H' | b'S' => return,
            b'c' => {
                reply::command_complete(out, "COPY 1");
                Ok(())
            }
            b'f' => Err("57014"),
            _ => Err("08P01"),
        };
        self.copies = None;
        match by {
            Copies::Simple => self.settle_simple(ended, out),
            Copies::Extended => {
                if let Err(code) = ended {
                    self.fail(code, out);
                    self.skips = true;
                }
            }
        }
    }

    fn call(&mut self, out: &mut Vec<u8>) -> Fails<()> {
        if self.status == Status::Failed {
            return Err("25P02");
        }
        reply::frame(out, b'V', |out| out.extend([0; 4]));
        Ok(())
    }

    fn query(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.prepared.remove(&b""[..]);
        let text = String::from_utf8_lossy(text).into_owned();
        let mut done = Ok(());
        if text.trim().is_empty() {
            reply::empty_query(out);
        }
        for statement in text.split(';').map(str::trim).filter(|s| !s.is_empty()) {
            done = self.run(statement, true, out);
            if self.copies.is_some() {
                self.copies = Some(Copies::Simple);
                return;
            }
            if done.is_err() {
                break;
            }
        }
        self.settle_simple(done, out);
    }

    fn settle_simple(&mut self, done: Fails<()>, out: &mut Vec<u8>) {
        if let Err(code) = done {
            self.fail(code, out);
        }
        self.unit_ends();
        self.ready(out);
    }

    fn extended(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) -> Fails<()> {
        match kind {
            b'P' => {
                let parse = Parse::read(body).ok_or("08P01")?;
                let text = String::from_utf8_lossy(parse.text).into_owned();
                if parse.name.is_empty() {
                    self.prepared.remove(&b""[..]);
                }
                self.may_run(&text)?;
                if text.contains("unparsable") {
                    return Err("42601");
                }
                if !parse.name.is_empty() && self.prepared.contains_key(parse.name) {
                    return Err("42P05");
                }
                self.prepared.insert(parse.name.to_vec(), text);
                reply::parse_complete(out);
            }
            b'B' => {
                let bind = Bind::read(body).ok_or("08P01")?;
                let text = self.prepared.get(bind.statement).ok_or("26000")?.clone();
                self.may_run(&text)?;
                self.portals.insert(bind.portal.to_vec(), text);
                reply::frame(out, b'2', |_| ());
            }
            b'D' => match Named::read(body).ok_or("08P01")? {
                Named::Statement(name) => {
                    let text = self.prepared.get(name).ok_or("26000")?.clone();
                    // A PostgreSQL describes what returns no rows in a failed transaction as well. pgshunt may have to
                    // prepare it anew for that, which fails; nobody is known to mind.
                    self.may_run(&text)?;
                    reply::frame(out, b't', |out| out.extend([0; 2]));
                    describe(&text, out);
                }
                Named::Portal(name) => describe(self.portals.get(name).ok_or("34000")?, out),
            },
            b'E' => {
                let portal = cstr(body).ok_or("08P01")?.0;
                let text = self.portals.get(portal).ok_or("34000")?.clone();
                if text.is_empty() {
                    reply::empty_query(out);
                    return Ok(());
                }
                self.run(&text, false, out)?;
                if self.copies.is_some() {
                    self.copies = Some(Copies::Extended);
                }
            }
            _ => {
                match Named::read(body).ok_or("08P01")? {
                    Named::Statement(name) => self.prepared.remove(name),
                    Named::Portal(name) => self.portals.remove(name),
                };
                reply::close_complete(out);
            }
        }
        Ok(())
    }

    fn may_run(&self, text: &str) -> Fails<()> {
        let ends = ["commit", "rollback"].contains(&text);
        match self.status {
            Status::Failed if !ends => Err("25P02"),
            _ => Ok(()),
        }
    }

    fn run(&mut self, text: &str, described: bool, out: &mut Vec<u8>) -> Fails<()> {
        self.may_run(text)?;
        self.before.get_or_insert_with(|| self.settings.clone());
        let words: Vec<&str> = text
            .split([' ', '=', '\'', '"'])
            .filter(|w| !w.is_empty())
            .collect();
        let tag = match words.as_slice() {
            ["begin"] => {
                self.status = Status::Within;
                "BEGIN"
            }
            ["commit"] if self.status == Status::Failed => {
                self.roll_back();
                "ROLLBACK"
            }
            ["commit"] => {
                (self.status, self.before) = (Status::Idle, None);
                "COMMIT"
            }
            ["rollback"] => {
                self.roll_back();
                "ROLLBACK"
            }
            ["set", name, value] => {
                self.set(name, value)?;
                "SET"
            }
            ["reset" | "RESET", rest @ ..] => {
                self.settings.remove(&rest.join("_").to_lowercase());
                "RESET"
            }
            ["show", name] => return self.rows(&self.value(name), described, "SHOW", out),
            ["listen", _] => {
                self.listens = true;
                "LISTEN"
            }
            ["discard", "all"] => {
                self.settings.clear();
                self.prepared.clear();
                self.listens = false;
                "DISCARD ALL"
            }
            ["deallocate", "all"] => {
                self.prepared.clear();
                "DEALLOCATE ALL"
            }
            ["deallocate", name] => {
                self.prepared.remove(name.as_bytes()).ok_or("26000")?;
                "DEALLOCATE"
            }
            ["copy", _, "from", "stdin"] => {
                self.copies = Some(Copies::Simple);
                reply::frame(out, b'G', |out| out.extend([0; 3]));
                return Ok(());
            }
            ["copy", _, "to", "stdout"] => {
                reply::frame(out, b'H', |out| out.extend([0; 3]));
                reply::frame(out, b'd', |out| out.extend(b"row"));
                reply::frame(out, b'c', |_| ());
                "COPY 1"
            }
            ["SELECT", "s", ..] => return self.report(text, out),
            ["SELECT", call, ..] if call.starts_with("pg_catalog.set_config") => {
                return self.set_all(text, out);
            }
            ["select", "broken"] => return Err("22012"),
            ["select", value] => return self.rows(value, described, "SELECT 1", out),
            other => panic!("a statement nobody taught: {other:?}"),
        };
        reply::command_complete(out, tag);
        Ok(())
    }

    fn value(&self, name: &str) -> String {
        self.settings
            .get(name)
            .cloned()
            .unwrap_or_else(|| "default".into())
    }

    fn rows(&self, value: &str, described: bool, tag: &str, out: &mut Vec<u8>) -> Fails<()> {
        if described {
            reply::row_description(out, &[]);
        }
        reply::data_row(out, [Some(value.as_bytes())].into_iter());
        reply::command_complete(out, tag);
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Fails<()> {
        if value == "ghost" {
            return Err("22023");
        }
        self.settings.insert(name.to_lowercase(), value.to_owned());
        Ok(())
    }

    /// `SELECT pg_catalog.set_config(E'name',E'value',false),…`
    fn set_all(&mut self, text: &str, out: &mut Vec<u8>) -> Fails<()> {
        for call in text.split("set_config(").skip(1) {
            let mut quoted = call.split('\'').skip(1).step_by(2);
            let (name, value) = (quoted.next().expect("a name"), quoted.next().expect("a value"));
            self.set(name, value)?;
        }
        self.rows("", true, "SELECT 1", out)
    }

    /// The answer to the probe.
    fn report(&self, text: &str, out: &mut Vec<u8>) -> Fails<()> {
        let mut row = |values: [&str; 3]| reply::data_row(out, values.iter().map(|v| Some(v.as_bytes())));
        row(["u", "session_authorization", "app"]);
        for (name, value) in &self.settings {
            let asked = text.contains(&format!("E'{name}'"));
            if !name.contains('.') || asked {
                row([if asked { "c" } else { "s" }, name, value]);
            }
        }
        if self.listens {
            row(["l", "", ""]);
        }
        reply::command_complete(out, "SELECT 1");
        Ok(())
    }

    fn fail(&mut self, code: &str, out: &mut Vec<u8>) {
        if self.status == Status::Within {
            self.status = Status::Failed;
        }
        if self.status == Status::Idle
            && let Some(before) = self.before.take()
        {
            self.settings = before;
        }
        reply::error_response(
            out,
            &ErrorFields {
                severity: "ERROR",
                code: SqlState(code.as_bytes().try_into().expect("five letters")),
                message: "no",
                detail: None,
                hint: None,
            },
        );
    }

    fn roll_back(&mut self) {
        self.status = Status::Idle;
        if let Some(before) = self.before.take() {
            self.settings = before;
        }
    }

    /// A Sync or the end of a Query ends an implicit transaction.
    fn unit_ends(&mut self) {
        if self.status == Status::Idle {
            self.before = None;
            self.portals.clear();
        }
    }

    fn ready(&mut self, out: &mut Vec<u8>) {
        let zone = self.value("timezone");
        if self.reported.as_ref() != Some(&zone) && (self.reported.is_some() || zone != "default") {
            reply::parameter_status(out, b"TimeZone", zone.as_bytes());
            self.reported = Some(zone);
        }
        reply::ready_for_query(out, self.status.byte());
    }
}

fn returns_rows(text: &str) -> bool {
    text.starts_with("select") || text.starts_with("show")
}

fn describe(text: &str, out: &mut Vec<u8>) {
    match returns_rows(text) {
        true => reply::row_description(out, &[]),
        false => reply::frame(out, b'n', |_| ()),
    }
}
