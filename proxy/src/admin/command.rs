//! What may be typed at the console, and who may type it. Text in, commands out; nothing is done here.
//!
//! The commands are PgBouncer's. What drivers send of themselves (`BEGIN`, `SET client_encoding`, `SELECT 1`) is
//! understood as well, and changes nothing.

use super::driver::{self, Constant, Setting};
use super::show::Show;
use super::words::{Unterminated, Word, statements};
use crate::fault::Fault;
use crate::protocol::sqlstate;

/// What a role may do at the console. A greater one may do all that a lesser one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Watcher,
    /// Do everything.
    Admin,
}

/// One statement of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `SHOW POOLS` …
    Show(Show),
    /// `SHOW client_encoding` …: a PostgreSQL setting that drivers ask for.
    Setting(&'static Setting),
    /// `SELECT 1` …
    Select(Vec<Constant>),
    /// `BEGIN`, `SET application_name = …`: answered with this tag, and that is all.
    Nothing(&'static str),
    /// `DEALLOCATE name`; `None` is all.
    Deallocate(Option<String>),
    /// `KILL_CLIENT id`: ends one client.
    KillClient(u64),
    /// `RELOAD`
    Reload,
    /// `PAUSE`; `None` is every database, here and below.
    Pause(Option<String>),
    /// `RESUME`
    Resume(Option<String>),
    /// `DISABLE`
    Disable(String),
    /// `ENABLE`
    Enable(String),
    /// `RECONNECT`
    Reconnect(Option<String>),
    /// `KILL`
    Kill(Option<String>),
    /// `WAIT_CLOSE`
    WaitClose(Option<String>),
    /// `CLEAR_CACHE`
    ClearCache(Option<String>),
    /// `SHUTDOWN`
    Shutdown(Patience),
    /// `SET key = value`
    Set(String, String),
}

/// What a shutdown waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Nothing.
    None,
    /// Until no client holds a server (`WAIT_FOR_SERVERS`).
    Transactions,
    /// Until the last client has left (`WAIT_FOR_CLIENTS`).
    Clients,
}

/// The first word of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Show,
    /// What drivers say.
    Driver,
    Set,
    Reload,
    Pause,
    Resume,
    Disable,
    Enable,
    Reconnect,
    Kill,
    KillClient,
    WaitClose,
    ClearCache,
    Shutdown,
}

/// Who may use a verb, and how.
pub struct Entry {
    /// The verb.
    pub verb: Verb,
    /// The least role that may use it.
    pub needs: Role,
    /// How it is written.
    pub syntax: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// Every verb and who may use it. A verb that is not here nobody may use.
pub const COMMANDS: [Entry; 14] = {
    use Role::{Admin, Watcher};
    [
        entry(Verb::Show, Watcher, "SHOW word", "show what the list below says"),
        entry(
            Verb::Driver,
            Watcher,
            "BEGIN, COMMIT, SELECT 1 …",
            "accepted for drivers, without effect",
        ),
        entry(Verb::KillClient, Admin, "KILL_CLIENT id", "end one client"),
        entry(
            Verb::Shutdown,
            Admin,
            "SHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS]",
            "stop: at once, after running transactions, or after the last client",
        ),
        entry(
            Verb::Set,
            Admin,
            "SET key = value",
            "change a key of [pool] or [limits] until the next RELOAD",
        ),
        entry(
            Verb::Reload,
            Admin,
            "RELOAD",
            "read the configuration and its files again; wrong ones change nothing",
        ),
        entry(
            Verb::Pause,
            Admin,
            "PAUSE [database]",
            "lend no servers: clients wait; answers when all servers are closed",
        ),
        entry(Verb::Resume, Admin, "RESUME [database]", "lend servers again"),
        entry(Verb::Disable, Admin, "DISABLE database", "refuse new clients"),
        entry(Verb::Enable, Admin, "ENABLE database", "take new clients again"),
        entry(
            Verb::Reconnect,
            Admin,
            "RECONNECT [database]",
            "connect all servers anew, each when it is next free",
        ),
        entry(
            Verb::Kill,
            Admin,
            "KILL [database]",
            "end all clients and servers at once, and pause",
        ),
        entry(
            Verb::WaitClose,
            Admin,
            "WAIT_CLOSE [database]",
            "wait until the servers that RECONNECT or RELOAD replaced are gone",
        ),
        entry(
            Verb::ClearCache,
            Admin,
            "CLEAR_CACHE [database]",
            "forget every answer that was kept",
        ),
    ]
};

const fn entry(verb: Verb, needs: Role, syntax: &'static str, about: &'static str) -> Entry {
    Entry {
        verb,
        needs,
        syntax,
        about,
    }
}

impl Verb {
    /// May this role use it?
    pub fn is_allowed(self, role: Role) -> bool {
        COMMANDS
            .iter()
            .any(|entry| entry.verb == self && role >= entry.needs)
    }

    /// Its first word, for messages.
    pub fn word(self) -> &'static str {
        let syntax = COMMANDS.iter().find(|entry| entry.verb == self);
        syntax
            .and_then(|entry| entry.syntax.split_whitespace().next())
            .unwrap_or("this command")
    }
}

impl Command {
    /// What its right is looked up by.
    pub fn verb(&self) -> Verb {
        match self {
            Command::Show(_) => Verb::Show,
            Command::Setting(_) | Command::Select(_) | Command::Nothing(_) | Command::Deallocate(_) => {
                Verb::Driver
            }
            Command::KillClient(_) => Verb::KillClient,
            Command::Reload => Verb::Reload,
            Command::Pause(_) => Verb::Pause,
            Command::Resume(_) => Verb::Resume,
            Command::Disable(_) => Verb::Disable,
            Command::Enable(_) => Verb::Enable,
            Command::Reconnect(_) => Verb::Reconnect,
            Command::Kill(_) => Verb::Kill,
            Command::WaitClose(_) => Verb::WaitClose,
            Command::ClearCache(_) => Verb::ClearCache,
            Command::Shutdown(_) => Verb::Shutdown,
            Command::Set(_, _) => Verb::Set,
        }
    }
}

/// Reads a text: its commands in order, none if it says nothing.
///
/// # Errors
/// A syntax error, in PostgreSQL's words where they fit. Nothing of such a text is to be done.
pub fn parse(text: &str) -> Result<Vec<Command>, Fault> {
    let statements = statements(text).map_err(|Unterminated| {
        Fault::error(
            sqlstate::SYNTAX_ERROR,
            "syntax error: unterminated quote or comment",
        )
    })?;
    statements
        .iter()
        .map(|words| command(words).ok_or_else(|| unknown(words)))
        .collect()
}

fn unknown(words: &[Word]) -> Fault {
    let near = match words {
        [] => String::new(),
        [Word::Plain(word) | Word::Quoted(word), ..] => excerpt(word),
        [Word::Mark(c), ..] => c.to_string(),
    };
    let near = match words {
        [first, Word::Plain(second), ..] if first.is("SHOW") => format!("{near} {}", excerpt(second)),
        _ => near,
    };
    Fault::error(
        sqlstate::SYNTAX_ERROR,
        format!("unknown command or wrong arguments: \"{near}\""),
    )
    .hint("Use SHOW HELP to see what the console understands.")
}

/// The front of a word, so that an answer stays short.
fn excerpt(word: &str) -> String {
    word.chars().take(40).collect()
}

fn command(words: &[Word]) -> Option<Command> {
    let (first, rest) = words.split_first()?;
    let Word::Plain(first) = first else {
        return None;
    };
    match &first.to_ascii_uppercase()[..] {
        "SHOW" => show(rest),
        "SELECT" => driver::select(rest).map(Command::Select),
        "SET" => set(rest),
        "DEALLOCATE" => deallocate(rest),
        "KILL" => database_or_all(rest).map(Command::Kill),
        "KILL_CLIENT" => match rest {
            [id] => Some(Command::KillClient(id.text()?.parse().ok()?)),
            _ => None,
        },
        "SHUTDOWN" => shutdown(rest).map(Command::Shutdown),
        "RELOAD" if rest.is_empty() => Some(Command::Reload),
        "PAUSE" => database_or_all(rest).map(Command::Pause),
        "RESUME" => database_or_all(rest).map(Command::Resume),
        "RECONNECT" => database_or_all(rest).map(Command::Reconnect),
        "WAIT_CLOSE" => database_or_all(rest).map(Command::WaitClose),
        "CLEAR_CACHE" => database_or_all(rest).map(Command::ClearCache),
        "DISABLE" => database_or_all(rest)?.map(Command::Disable),
        "ENABLE" => database_or_all(rest)?.map(Command::Enable),
        word => driver::without_effect(word, rest).map(Command::Nothing),
    }
}

fn database_or_all(rest: &[Word]) -> Option<Option<String>> {
    match rest {
        [] => Some(None),
        [name] => name.text().map(|name| Some(name.to_owned())),
        _ => None,
    }
}

fn shutdown(rest: &[Word]) -> Option<Patience> {
    match rest {
        [] => Some(Patience::None),
        [word] if word.is("WAIT_FOR_SERVERS") => Some(Patience::Transactions),
        [word] if word.is("WAIT_FOR_CLIENTS") => Some(Patience::Clients),
        _ => None,
    }
}

fn show(rest: &[Word]) -> Option<Command> {
    let name = match rest {
        [name] => name.text()?,
        [a, b, c] if a.is("TRANSACTION") && b.is("ISOLATION") && c.is("LEVEL") => "transaction_isolation",
        [a, b] if a.is("TIME") && b.is("ZONE") => "TimeZone",
        _ => return None,
    };
    let show = Show::named(name).map(Command::Show);
    show.or_else(|| driver::setting(name).map(Command::Setting))
}

fn deallocate(rest: &[Word]) -> Option<Command> {
    let rest = match rest {
        [prepare, rest @ ..] if prepare.is("PREPARE") && !rest.is_empty() => rest,
        rest => rest,
    };
    match rest {
        [all] if all.is("ALL") => Some(Command::Deallocate(None)),
        [name] => Some(Command::Deallocate(Some(name.text()?.to_owned()))),
        _ => None,
    }
}

/// A driver's setting is accepted and forgotten: the console speaks one encoding, and has no transactions. Others are
/// the configuration's.
fn set(rest: &[Word]) -> Option<Command> {
    let rest = match rest {
        [scope, rest @ ..] if scope.is("SESSION") || scope.is("LOCAL") => rest,
        rest => rest,
    };
    let (name, value) = rest.split_first()?;
    let is_ours = ["NAMES", "TIME", "TRANSACTION", "CHARACTERISTICS"]
        .into_iter()
        .any(|word| name.is(word));
    if is_ours && !value.is_empty() {
        return Some(Command::Nothing("SET"));
    }
    match value {
        [is, value @ ..] if (*is == Word::Mark('=') || is.is("TO")) && !value.is_empty() => {
            let name = name.text()?;
            match (driver::setting(name), value) {
                (Some(_), _) => Some(Command::Nothing("SET")),
                (None, [value]) => Some(Command::Set(name.into(), value.text()?.into())),
                (None, _) => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
