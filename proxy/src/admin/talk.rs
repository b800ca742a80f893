//! A conversation at the console, message by message: the simple protocol, and the extended one without parameters.
//!
//! There are no transactions, so ReadyForQuery always says idle. After an error in the extended protocol everything up
//! to Sync is skipped, as PostgreSQL does.

use std::collections::HashMap;
use std::rc::Rc;

use super::command::{Command, Role, parse};
use super::driver::Asker;
use super::lookout::Lookout;
use super::run::{Answer, columns, run};
use super::table::{Column, Row, write_row};
use crate::fault::{Fault, Severity};
use crate::protocol::message::{Bind, Named, Parse, cstr, query_text};
use crate::protocol::reply;
use crate::protocol::sqlstate::{self, SqlState};

/// The most prepared statements, and the most portals, of one guest.
const NAMES_MAX: usize = 256;

/// What is to be done after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Listen,
    /// The answer is to be written.
    Write,
    /// It is to be written, and that was the last.
    End,
}

/// What one guest has said.
pub struct Talk {
    lookout: Rc<Lookout>,
    user: String,
    database: String,
    role: Role,
    /// `None`: an empty statement.
    statements: HashMap<Vec<u8>, Option<Command>>,
    portals: HashMap<Vec<u8>, Portal>,
    is_skipping: bool,
    /// What a PAUSE that is waited for has paused.
    pausing: Option<Option<String>>,
    /// Answers that have not been written.
    pub out: Vec<u8>,
}

/// A bound statement, and what is left of its answer.
struct Portal {
    command: Option<Command>,
    formats: Vec<u16>,
    columns: Vec<Column>,
    left: Option<(std::vec::IntoIter<Row>, &'static str)>,
}

impl Portal {
    fn format(formats: &[u16]) -> impl Fn(usize) -> u16 {
        move |place| match formats {
            [] => 0,
            [all] => *all,
            each => each.get(place).copied().unwrap_or(0),
        }
    }
}

impl Talk {
    /// A conversation that begins.
    pub fn new(lookout: Rc<Lookout>, user: String, database: String, role: Role) -> Self {
        Talk {
            lookout,
            user,
            database,
            role,
            statements: HashMap::new(),
            portals: HashMap::new(),
            is_skipping: false,
            pausing: None,
            out: Vec::new(),
        }
    }

    /// Answers one message.
    pub async fn hear(&mut self, kind: u8, body: &[u8]) -> Next {
        if self.is_skipping && !matches!(kind, b'S' | b'X') {
            return Next::Listen;
        }
        let result = match kind {
            b'Q' => return self.query(body).await,
            b'S' => {
                self.is_skipping = false;
                self.portals.clear();
                reply::ready_for_query(&mut self.out, b'I');
                return Next::Write;
            }
            b'X' => return Next::End,
            b'H' => return Next::Write,
            b'P' => self.parse(body),
            b'B' => self.bind(body),
            b'D' => self.describe(body),
            b'E' => self.execute(body).await,
            b'C' => self.close(body),
            b'F' => {
                let text = "the console has no functions";
                Fault::error(sqlstate::FEATURE_NOT_SUPPORTED, text).write(&mut self.out);
                reply::ready_for_query(&mut self.out, b'I');
                return Next::Write;
            }
            // PostgreSQL ignores them outside of COPY.
            b'd' | b'c' | b'f' => Ok(()),
            _ => Err(violation(format!("invalid frontend message type {kind}"))),
        };
        match result {
            Ok(()) => Next::Listen,
            Err(fault) => {
                fault.write(&mut self.out);
                self.is_skipping = true;
                match fault.severity {
                    // At once, as PostgreSQL does: asyncpg sends no Sync before it has heard of an error.
                    Severity::Error => Next::Write,
                    Severity::Fatal => Next::End,
                }
            }
        }
    }

    /// The answer to a message whose command was waited for and cancelled. A PAUSE is taken back, as PgBouncer does.
    pub async fn cancelled(&mut self, kind: u8) -> Next {
        if let Some(which) = self.pausing.take() {
            self.lookout.unpause(which.as_deref()).await;
        }
        let text = "canceling statement due to user request";
        Fault::error(sqlstate::QUERY_CANCELED, text).write(&mut self.out);
        match kind {
            b'Q' => reply::ready_for_query(&mut self.out, b'I'),
            _ => self.is_skipping = true,
        }
        Next::Write
    }

    async fn query(&mut self, body: &[u8]) -> Next {
        self.portals.clear();
        self.statements.remove(&b""[..]);
        let Some(text) = query_text(body) else {
            violation("invalid message format").write(&mut self.out);
            return Next::End;
        };
        let fault = match utf8(text).and_then(parse) {
            Ok(commands) if commands.is_empty() => {
                reply::empty_query(&mut self.out);
                None
            }
            Ok(commands) => self.all(&commands).await.err(),
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            fault.write(&mut self.out);
        }
        reply::ready_for_query(&mut self.out, b'I');
        Next::Write
    }

    async fn all(&mut self, commands: &[Command]) -> Result<(), Fault> {
        for command in commands {
            let answer = self.run(command).await?;
            if let Some(columns) = columns(command) {
                reply::row_description(&mut self.out, &columns);
                for row in &answer.rows {
                    write_row(&mut self.out, &columns, row, |_| 0);
                }
            }
            reply::command_complete(&mut self.out, answer.tag);
        }
        Ok(())
    }

    async fn run(&mut self, command: &Command) -> Result<Answer, Fault> {
        let verb = command.verb();
        if !verb.is_allowed(self.role) {
            let text = format!("permission denied: {} needs an admin of the console", verb.word());
            return Err(Fault::error(sqlstate::INSUFFICIENT_PRIVILEGE, text)
                .hint("Admins are listed in [console] of the configuration."));
        }
        match command {
            Command::Deallocate(Some(name)) => {
                self.statements.remove(name.as_bytes());
            }
            Command::Deallocate(None) => self.statements.clear(),
            _ => {}
        }
        let asker = Asker {
            user: &self.user,
            database: &self.database,
        };
        self.pausing = match command {
            Command::Pause(which) if !self.lookout.is_paused(which.as_deref()) => Some(which.clone()),
            _ => None,
        };
        let answer = run(&self.lookout, command, &asker).await;
        self.pausing = None;
        let answer = answer?;
        if let Some(warning) = &answer.warning {
            let fields = reply::ErrorFields {
                severity: "WARNING",
                code: SqlState(*b"01000"),
                message: warning,
                detail: None,
                hint: None,
            };
            reply::notice_response(&mut self.out, &fields);
        }
        Ok(answer)
    }

    fn parse(&mut self, body: &[u8]) -> Result<(), Fault> {
        let message = Parse::read(body).ok_or_else(|| violation("invalid message format"))?;
        let mut commands = parse(utf8(message.text)?)?;
        if commands.len() > 1 {
            let text = "cannot insert multiple commands into a prepared statement";
            return Err(Fault::error(sqlstate::SYNTAX_ERROR, text));
        }
        if !message.name.is_empty() && self.statements.contains_key(message.name) {
            let text = format!("prepared statement \"{}\" already exists", lossy(message.name));
            return Err(Fault::error(sqlstate::DUPLICATE_STATEMENT, text));
        }
        if self.statements.len() >= NAMES_MAX && !self.statements.contains_key(message.name) {
            let text = "too many prepared statements at the console";
            return Err(Fault::error(sqlstate::LIMIT_EXCEEDED, text));
        }
        self.statements.insert(message.name.to_vec(), commands.pop());
        reply::parse_complete(&mut self.out);
        Ok(())
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), Fault> {
        let names = Bind::read(body).ok_or_else(|| violation("invalid message format"))?;
        let command = self.statement(names.statement)?.clone();
        let columns = command.as_ref().and_then(columns).unwrap_or_default();
        let formats = result_formats(&body[names.names_len..], columns.len())?;
        if self.portals.len() >= NAMES_MAX && !self.portals.contains_key(names.portal) {
            let text = "too many portals at the console";
            return Err(Fault::error(sqlstate::LIMIT_EXCEEDED, text));
        }
        let portal = Portal {
            command,
            formats,
            columns,
            left: None,
        };
        self.portals.insert(names.portal.to_vec(), portal);
        reply::frame(&mut self.out, BIND_COMPLETE, |_| ());
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<&Option<Command>, Fault> {
        self.statements.get(name).ok_or_else(|| {
            let text = match name {
                b"" => "unnamed prepared statement does not exist".to_owned(),
                name => format!("prepared statement \"{}\" does not exist", lossy(name)),
            };
            Fault::error(sqlstate::NO_SUCH_STATEMENT, text)
        })
    }

    fn describe(&mut self, body: &[u8]) -> Result<(), Fault> {
        let named = Named::read(body).ok_or_else(|| violation("invalid message format"))?;
        let (columns, formats) = match named {
            Named::Statement(name) => {
                let command = self.statement(name)?;
                let columns = command.as_ref().and_then(columns).unwrap_or_default();
                reply::frame(&mut self.out, PARAMETER_DESCRIPTION, |out| {
                    out.extend_from_slice(&[0, 0])
                });
                (columns, Vec::new())
            }
            Named::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.columns.clone(), portal.formats.clone())
            }
        };
        match columns.is_empty() {
            true => reply::frame(&mut self.out, NO_DATA, |_| ()),
            false => reply::row_description_in(&mut self.out, &columns, Portal::format(&formats)),
        }
        Ok(())
    }

    async fn execute(&mut self, body: &[u8]) -> Result<(), Fault> {
        let malformed = || violation("invalid message format");
        let (name, rest) = cstr(body).ok_or_else(malformed)?;
        let limit = i32::from_be_bytes(rest.try_into().map_err(|_| malformed())?);
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let done = self
            .execute_portal(&mut portal, limit.unwrap_or(usize::MAX))
            .await;
        self.portals.insert(name.to_vec(), portal);
        done
    }

    async fn execute_portal(&mut self, portal: &mut Portal, limit: usize) -> Result<(), Fault> {
        let Some(command) = &portal.command else {
            reply::empty_query(&mut self.out);
            return Ok(());
        };
        let (mut rows, tag) = match portal.left.take() {
            Some(left) => left,
            None => {
                let answer = self.run(command).await?;
                (answer.rows.into_iter(), answer.tag)
            }
        };
        for row in rows.by_ref().take(limit) {
            write_row(
                &mut self.out,
                &portal.columns,
                &row,
                Portal::format(&portal.formats),
            );
        }
        match rows.len() {
            0 => reply::command_complete(&mut self.out, tag),
            _ => reply::frame(&mut self.out, PORTAL_SUSPENDED, |_| ()),
        }
        portal.left = Some((rows, tag));
        Ok(())
    }

    fn close(&mut self, body: &[u8]) -> Result<(), Fault> {
        match Named::read(body).ok_or_else(|| violation("invalid message format"))? {
            Named::Statement(name) => {
                self.statements.remove(name);
            }
            Named::Portal(name) => {
                self.portals.remove(name);
            }
        }
        reply::close_complete(&mut self.out);
        Ok(())
    }
}

const BIND_COMPLETE: u8 = b'2';
const PORTAL_SUSPENDED: u8 = b's';
const PARAMETER_DESCRIPTION: u8 = b't';
const NO_DATA: u8 = b'n';

/// The result formats of a Bind, from what stands behind its names. No statement of the console has parameters.
fn result_formats(rest: &[u8], columns: usize) -> Result<Vec<u16>, Fault> {
    let malformed = || violation("invalid message format");
    let (formats, rest) = counted(rest).ok_or_else(malformed)?;
    let rest = rest.get(usize::from(formats) * 2..).ok_or_else(malformed)?;
    let (parameters, rest) = counted(rest).ok_or_else(malformed)?;
    if parameters > 0 {
        let text =
            format!("bind message supplies {parameters} parameters, but prepared statement requires 0");
        return Err(Fault::error(sqlstate::PROTOCOL_VIOLATION, text));
    }
    let (count, rest) = counted(rest).ok_or_else(malformed)?;
    if rest.len() != usize::from(count) * 2 {
        return Err(malformed());
    }
    let formats: Vec<u16> = rest
        .chunks_exact(2)
        .map(|two| u16::from_be_bytes([two[0], two[1]]))
        .collect();
    if formats.len() > 1 && formats.len() != columns {
        let text = format!(
            "bind message has {} result formats but query has {columns} columns",
            formats.len()
        );
        return Err(Fault::error(sqlstate::PROTOCOL_VIOLATION, text));
    }
    if let Some(code) = formats.iter().find(|code| **code > 1) {
        let text = format!("unsupported format code: {code}");
        return Err(Fault::error(sqlstate::INVALID_PARAMETER, text));
    }
    Ok(formats)
}

fn counted(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*count), rest))
}

fn utf8(text: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(text).map_err(|_| {
        Fault::error(
            sqlstate::BAD_ENCODING,
            "invalid byte sequence for encoding \"UTF8\"",
        )
    })
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(63).collect()
}

fn no_portal(name: &[u8]) -> Fault {
    let text = format!("portal \"{}\" does not exist", lossy(name));
    Fault::error(sqlstate::NO_SUCH_PORTAL, text)
}

fn violation(text: impl Into<String>) -> Fault {
    Fault::fatal(sqlstate::PROTOCOL_VIOLATION, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_formats_are_counted() {
        assert_eq!(result_formats(b"\0\0\0\0\0\0", 2), Ok(vec![]));
        assert_eq!(result_formats(b"\0\x01\0\0\0\0\0\x01\0\x01", 2), Ok(vec![1]));
        assert_eq!(result_formats(b"\0\0\0\0\0\x02\0\x01\0\0", 2), Ok(vec![1, 0]));
        for (rest, code) in [
            (&b"\0\0\0\0\0"[..], "08P01"),
            (b"\xff\xff\0\0\0\0", "08P01"),
            (b"\0\0\0\x01\0\0", "08P01"),
            (b"\0\0\0\0\0\x01\0\x02", "22023"),
            (b"\0\0\0\0\0\x03\0\0\0\0\0\0", "08P01"),
            (b"\0\0\0\0\0\0x", "08P01"),
        ] {
            let fault = result_formats(rest, 2).expect_err("refused");
            assert_eq!(fault.code.as_str(), code, "{rest:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_formats_or_refused(rest: Vec<u8>, columns in 0usize..30) {
            let _ = result_formats(&rest, columns);
        }
    }
}
