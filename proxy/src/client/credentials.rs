//! What a client's proof is held against: the configuration's users, or the servers' own verifiers, asked for over one
//! control connection per database. Not for the exchange itself (`authenticate`).

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot};

use super::authenticate::Credential;
use crate::fault::Fault;
use crate::protocol::auth::verifier::Verifier;
use crate::protocol::auth::{Secret, md5};
use crate::protocol::sqlstate;
use crate::server::address::Target;
use crate::server::ask::{AskFault, Asker};
use crate::server::connect::ConnectFault;
use crate::snapshot::{self, AuthMode, Database, Snapshot};

/// How long what a server said of a role is believed.
const FRESH: Duration = Duration::from_secs(5);

/// The longest a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Roles remembered before the old ones are dropped.
const REMEMBERED_MAX: usize = 10_000;

/// What is known of a role.
#[derive(Clone, Debug)]
pub struct Found {
    /// What its proof is held against.
    pub credential: Credential,
    /// What to log in to servers with, where the proof itself is not good for that.
    pub login: Option<Secret>,
}

/// The door to the one who knows.
#[derive(Clone, Debug)]
pub struct Lookup {
    door: mpsc::Sender<Question>,
}

/// One look-up.
#[derive(Debug)]
pub struct Question {
    snapshot: Arc<Snapshot>,
    target: Arc<Target>,
    database: String,
    user: String,
    answer: oneshot::Sender<Result<Found, Fault>>,
}

impl Lookup {
    /// A door, and what comes through it for [`serve`].
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (door, questions) = mpsc::channel(1024);
        (Lookup { door }, questions)
    }

    /// What is known of a role that wants into a database.
    ///
    /// # Errors
    /// No server could be asked, or pgshunt may not ask it.
    pub async fn find(
        &self,
        snapshot: Arc<Snapshot>,
        target: Arc<Target>,
        database: &str,
        user: &str,
    ) -> Result<Found, Fault> {
        let gone = || Fault::fatal(sqlstate::CANNOT_CONNECT_NOW, "pgshunt is shutting down");
        let (answer, told) = oneshot::channel();
        let question = Question {
            snapshot,
            target,
            database: database.into(),
            user: user.into(),
            answer,
        };
        self.door.send(question).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

/// Answers look-ups until the last door is closed.
pub async fn serve(mut questions: mpsc::Receiver<Question>) {
    let mut known: HashMap<(String, String), (Instant, Found)> = HashMap::new();
    let mut askers: HashMap<String, Asker> = HashMap::new();
    let mut chance = [0u8; 32];
    if SystemRandom::new().fill(&mut chance).is_err() {
        tracing::error!("the system gives no random bytes: nobody can log in");
        return;
    }
    while let Some(question) = questions.recv().await {
        let key = (question.database.clone(), question.user.clone());
        if let Some((at, found)) = known.get(&key)
            && at.elapsed() < FRESH
        {
            let _ = question.answer.send(Ok(found.clone()));
            continue;
        }
        let found = match tokio::time::timeout(PATIENCE, find(&question, &mut askers, &chance)).await {
            Ok(found) => found,
            Err(_) => {
                askers.remove(&question.database);
                Err(Fault::fatal(
                    sqlstate::CANNOT_CONNECT_NOW,
                    "no server could be asked about this role in time",
                ))
            }
        };
        if let Ok(found) = &found {
            if known.len() >= REMEMBERED_MAX {
                known.retain(|_, (at, _)| at.elapsed() < FRESH);
            }
            known.insert(key, (Instant::now(), found.clone()));
        }
        let _ = question.answer.send(found);
    }
}

async fn find(
    question: &Question,
    askers: &mut HashMap<String, Asker>,
    mock_key: &[u8; 32],
) -> Result<Found, Fault> {
    let (auth, user) = (&question.snapshot.auth, &question.user);
    let mock = || Verifier::mock(mock_key, user, ITERATIONS);
    if auth.mode == AuthMode::Trust {
        let written = auth.users.iter().find(|known| known.name == *user);
        let login = written
            .and_then(|known| local(&known.credential))
            .and_then(|found| found.login);
        return Ok(Found {
            credential: Credential::Trust,
            login,
        });
    }
    if let Some(known) = auth.users.iter().find(|known| known.name == *user) {
        return Ok(local(&known.credential).unwrap_or(Found {
            credential: Credential::Unknown(mock()),
            login: None,
        }));
    }
    let unknown = Found {
        credential: Credential::Unknown(mock()),
        login: None,
    };
    if auth.mode == AuthMode::Users {
        return Ok(unknown);
    }
    let Some(database) = question.snapshot.database(&question.database) else {
        return Ok(unknown);
    };
    let text = match ask(question, database, askers).await {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(unknown),
        Err(refused) => {
            // A role that may not read verifiers can still prove the password it was configured with.
            let own = database.control.as_ref().filter(|control| control.user == *user);
            let password = own.and_then(|control| control.password.as_ref());
            return match password {
                Some(password) => Ok(with_password(password.expose())),
                None => Err(refused),
            };
        }
    };
    Ok(stored(&text).unwrap_or(unknown))
}

/// Iterations of verifiers pgshunt makes itself, PostgreSQL's own number.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

fn local(credential: &snapshot::Credential) -> Option<Found> {
    match credential {
        snapshot::Credential::Scram(text) | snapshot::Credential::Md5(text) => stored(text.expose()),
        snapshot::Credential::Password(password) => Some(with_password(password.expose())),
    }
}

/// What `pg_authid.rolpassword` holds.
fn stored(text: &str) -> Option<Found> {
    if let Some(verifier) = Verifier::parse(text) {
        return Some(Found {
            credential: Credential::Verifier(verifier),
            login: None,
        });
    }
    md5::is_md5_hash(text).then(|| {
        let secret = Secret::Md5Hash(text.into());
        Found {
            credential: Credential::Md5Hash(secret.clone()),
            login: Some(secret),
        }
    })
}

fn with_password(password: &str) -> Found {
    let mut salt = vec![0; 16];
    // Without randomness the salt is all zero: the verifier never leaves this process.
    let _ = SystemRandom::new().fill(&mut salt);
    let verifier = Verifier::from_password(password, salt, ITERATIONS);
    Found {
        credential: Credential::Verifier(verifier),
        login: Some(Secret::Password(password.into())),
    }
}

/// Asks a server for a role's verifier; `None` when there is none.
async fn ask(
    question: &Question,
    database: &Database,
    askers: &mut HashMap<String, Asker>,
) -> Result<Option<String>, Fault> {
    let Some(control) = &database.control else {
        return Err(Fault::fatal(
            sqlstate::INVALID_AUTHORIZATION,
            "pgshunt has no role to look this one up with",
        )
        .hint("Name one as control in [[database]], or list this role in [[auth.user]]."));
    };
    let sql = &question.snapshot.auth.auth_query;
    // A connection kept from earlier may have died meanwhile: then a new one is asked once more.
    for is_last in [false, true] {
        if is_last || askers.get(&database.name).is_none_or(Asker::is_broken) {
            let target = Target {
                dbname: control.dbname.clone(),
                ..(*question.target).clone()
            };
            let secret = control
                .password
                .as_ref()
                .map_or(Secret::None, |p| Secret::Password(p.expose().into()));
            let search_path = (b"search_path".to_vec(), b"pg_catalog, pg_temp".to_vec());
            let asker = Asker::connect(&target, &control.user, &secret, &[search_path]).await;
            askers.insert(database.name.clone(), asker.map_err(|fault| unreachable(&fault))?);
        }
        let Some(asker) = askers.get_mut(&database.name) else {
            continue;
        };
        match asker.ask(sql, &[Some(&question.user)]).await {
            Ok(rows) => {
                let value = rows
                    .into_iter()
                    .next()
                    .and_then(|row| row.into_iter().nth(1))
                    .flatten();
                return Ok(value.and_then(|bytes| String::from_utf8(bytes).ok()));
            }
            Err(AskFault::Server(error)) => {
                tracing::warn!(user = control.user, %error, "auth_query was refused");
                return Err(may_not_ask(&question.user));
            }
            Err(_) => {
                askers.remove(&database.name);
            }
        }
    }
    Err(Fault::fatal(
        sqlstate::CANNOT_CONNECT_NOW,
        "the server was lost while it was asked about this role",
    ))
}

fn unreachable(fault: &ConnectFault) -> Fault {
    tracing::warn!(error = %fault, "the control connection could not be made");
    fault.for_client()
}

fn may_not_ask(user: &str) -> Fault {
    Fault::fatal(sqlstate::INVALID_AUTHORIZATION, format!("pgshunt may not look up role \"{user}\""))
        .hint("The control role needs to read password verifiers; list this role in [[auth.user]], or grant it that.")
}
