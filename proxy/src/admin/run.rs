//! Does what a command of the console asks for. Who may ask has been settled before.

use tokio::sync::oneshot;

use super::command::{Command, Role};
use super::driver::Asker;
use super::lookout::{Crowded, Lookout, Seen};
use super::show::Show;
use super::table::{Column, Row, text};
use crate::client::worker::Order;
use crate::fault::Fault;
use crate::protocol::sqlstate;

/// What a command led to.
pub struct Answer {
    /// Its rows, in the columns that [`columns`] says.
    pub rows: Vec<Row>,
    /// The tag of CommandComplete.
    pub tag: &'static str,
    /// What the guest should know of it.
    pub warning: Option<String>,
}

impl Answer {
    fn done(tag: &'static str) -> Self {
        Answer::of(Vec::new(), tag)
    }

    fn of(rows: Vec<Row>, tag: &'static str) -> Self {
        Answer {
            rows,
            tag,
            warning: None,
        }
    }
}

/// The columns of a command's answer; `None` where it has none.
pub fn columns(command: &Command) -> Option<Vec<Column>> {
    match command {
        Command::Show(show) => Some(show.columns().to_vec()),
        Command::Setting(setting) => Some(vec![text(setting.name)]),
        Command::Select(constants) => Some(constants.iter().map(|constant| constant.column()).collect()),
        Command::Nothing(_)
        | Command::Deallocate(_)
        | Command::KillClient(_)
        | Command::Reload
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Disable(_)
        | Command::Enable(_)
        | Command::Reconnect(_)
        | Command::Kill(_)
        | Command::WaitClose(_)
        | Command::ClearCache(_)
        | Command::Shutdown(_)
        | Command::Set(_, _) => None,
    }
}

/// Does it.
///
/// # Errors
/// What the guest is told; the conversation goes on.
pub async fn run(lookout: &Lookout, command: &Command, asker: &Asker<'_>) -> Result<Answer, Fault> {
    let tag = command.verb().word();
    let done = |()| Answer::done(tag);
    if !command.verb().is_allowed(Role::Watcher) {
        tracing::info!(user = asker.user, ?command, "from the console");
    }
    match command {
        Command::Show(show) => shown(lookout, *show).await,
        Command::Setting(setting) => Ok(Answer::of(vec![vec![setting.value.into()]], "SHOW")),
        Command::Select(constants) => {
            let row = constants.iter().map(|constant| constant.cell(asker)).collect();
            Ok(Answer::of(vec![row], "SELECT 1"))
        }
        Command::Nothing(tag) => Ok(Answer::done(tag)),
        Command::Deallocate(_) => Ok(Answer::done("DEALLOCATE")),
        Command::KillClient(id) => kill_client(lookout, *id, asker).await,
        Command::Reload => {
            let later = lookout.reload().await?;
            Ok(Answer {
                warning: (!later.is_empty()).then(|| later.join("; ")),
                ..Answer::done("RELOAD")
            })
        }
        Command::Pause(which) => lookout.pause(which.as_deref()).await.map(done),
        Command::Resume(which) => lookout.resume(which.as_deref()).await.map(done),
        Command::Disable(name) => lookout.disable(name, true).await.map(done),
        Command::Enable(name) => lookout.disable(name, false).await.map(done),
        Command::Reconnect(which) => lookout.reconnect(which.as_deref()).await.map(done),
        Command::Kill(which) => lookout.kill(which.as_deref()).await.map(done),
        Command::WaitClose(which) => lookout.wait_close(which.as_deref()).await.map(done),
        Command::ClearCache(which) => lookout.clear_cache(which.as_deref()).map(done),
        Command::Shutdown(patience) => {
            lookout.shut_down(*patience);
            Ok(Answer::done("SHUTDOWN"))
        }
        Command::Set(key, value) => lookout.set(key, value).await.map(done),
    }
}

async fn shown(lookout: &Lookout, show: Show) -> Result<Answer, Fault> {
    if !show.asks_workers() {
        return Ok(Answer::of(show.rows(&lookout.nothing()), "SHOW"));
    }
    let seen = lookout.look().await.map_err(|Crowded| {
        let text = "too many others are looking at this moment";
        Fault::error(sqlstate::LIMIT_EXCEEDED, text)
    })?;
    Ok(Answer {
        warning: missing(&seen),
        ..Answer::of(show.rows(&seen), "SHOW")
    })
}

fn missing(seen: &Seen) -> Option<String> {
    let silent: Vec<_> = seen.silent.iter().map(ToString::to_string).collect();
    (!silent.is_empty()).then(|| {
        format!(
            "worker {} did not answer in time: its rows are missing",
            silent.join(", ")
        )
    })
}

async fn kill_client(lookout: &Lookout, id: u64, asker: &Asker<'_>) -> Result<Answer, Fault> {
    for door in &lookout.common.doors {
        let (answer, told) = oneshot::channel();
        let _ = door.send(Order::End(id, answer));
        if told.await == Ok(true) {
            tracing::info!(user = asker.user, client = id, "client ended from the console");
            return Ok(Answer::done("KILL_CLIENT"));
        }
    }
    let text = format!("there is no client {id}");
    Err(Fault::error(sqlstate::UNDEFINED_OBJECT, text).hint("SHOW CLIENTS has their ids in its last column."))
}
