//! The way to a shard for pgshunt's own role: to its server that takes writes, and to the decisions that are kept there.

use std::sync::Arc;
use std::time::Duration;

use super::gid::{Id, plain};
use super::machine::Verdict;
use crate::protocol::auth::Secret;
use crate::server::address::Target;
use crate::server::ask::{AskFault, Asker, Row};

/// One shard, as pgshunt's own role reaches it.
#[derive(Clone, Debug)]
pub struct Door {
    /// Its name.
    pub shard: String,
    /// Its servers; the first that takes writes is the one.
    pub servers: Vec<Arc<Target>>,
    /// The role.
    pub user: String,
    /// What it proves.
    pub secret: Secret,
}

/// The longest a shard may take to let us in or to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The "abort", unless there is a decision; then what there is. An insert that meets one that is in progress waits for its end.
const ABORT: &str = "\
WITH mine AS (INSERT INTO pgshunt.decision (id, outcome, shards) VALUES ($1, 'abort', '{}') ON CONFLICT (id) DO NOTHING RETURNING outcome) \
SELECT outcome FROM mine";
const OUTCOME: &str = "SELECT outcome FROM pgshunt.decision WHERE id = $1";

impl Door {
    /// The door whose shard has this name in a gid.
    pub fn named<'a>(doors: &'a [Door], name: &str) -> Option<&'a Door> {
        doors.iter().find(|door| plain(&door.shard) == name)
    }

    /// A connection to the server that takes writes.
    ///
    /// # Errors
    /// Why there is none, in words for the log.
    pub async fn open(&self) -> Result<Asker, String> {
        let mut why = "it has no servers".to_owned();
        for target in &self.servers {
            match tokio::time::timeout(PATIENCE, self.try_open(target)).await {
                Ok(Ok(Some(asker))) => return Ok(asker),
                Ok(Ok(None)) => why = "none of its servers takes writes".to_owned(),
                Ok(Err(fault)) => why = fault,
                Err(_) => why = "no answer in time".to_owned(),
            }
        }
        Err(why)
    }

    async fn try_open(&self, target: &Target) -> Result<Option<Asker>, String> {
        let params = [
            (b"application_name".to_vec(), b"pgshunt recovery".to_vec()),
            (b"search_path".to_vec(), b"pg_catalog, pg_temp".to_vec()),
            (b"synchronous_commit".to_vec(), b"on".to_vec()),
        ];
        let asker = Asker::connect(target, &self.user, &self.secret, &params).await;
        let mut asker = asker.map_err(|fault| fault.to_string())?;
        let rows = asker.ask("SELECT pg_catalog.pg_is_in_recovery()", &[]).await;
        let rows = rows.map_err(|fault| fault.to_string())?;
        Ok((text(&rows, 0) == Some("f")).then_some(asker))
    }
}

/// Has it decided that nobody commits this transaction, unless it is committed already. Never both.
///
/// # Errors
/// The anchor could not be asked, and nothing is known.
pub async fn decide_abort(anchor: &mut Asker, id: &Id) -> Result<Verdict, String> {
    let asked = async {
        let rows = anchor.ask(ABORT, &[Some(id.as_str())]).await?;
        match rows.is_empty() {
            false => Ok(rows),
            true => anchor.ask(OUTCOME, &[Some(id.as_str())]).await,
        }
    };
    let rows: Result<Vec<Row>, AskFault> = tokio::time::timeout(PATIENCE, asked)
        .await
        .map_err(|_| "no answer in time".to_owned())?;
    let rows = rows.map_err(|fault| fault.to_string())?;
    match text(&rows, 0) {
        Some("commit") => Ok(Verdict::Committed),
        Some("abort") => Ok(Verdict::Aborted),
        Some(_) | None => Err("a decision that makes no sense".to_owned()),
    }
}

/// What became of a commit whose answer was lost. Tries for as long as a client may be kept waiting.
pub async fn resolve(anchor: Option<&Door>, id: &Id) -> Verdict {
    let Some(door) = anchor else {
        return Verdict::Unknown;
    };
    for pause in RESOLVE_PAUSES {
        tokio::time::sleep(pause).await;
        let resolved = match door.open().await {
            Ok(mut asker) => decide_abort(&mut asker, id).await,
            Err(why) => Err(why),
        };
        match resolved {
            Ok(verdict) => return verdict,
            Err(why) => tracing::warn!(%id, shard = door.shard, why, "a commit's outcome is not known yet"),
        }
    }
    Verdict::Unknown
}

/// A server that restarts is back within seconds.
const RESOLVE_PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// A value of an answer's first row.
pub(super) fn text(rows: &[Row], column: usize) -> Option<&str> {
    str::from_utf8(rows.first()?.get(column)?.as_deref()?).ok()
}
