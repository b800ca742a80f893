//! What a client's proof is held against: the configuration's users, or the servers' own verifiers (`clerk`).
//! Not for the exchange itself (`authenticate`).
//!
//! One task answers for the whole process, and one more for each database whose servers are asked. Nobody's existence
//! shows in an answer or in the time it takes: a role that is not there is remembered like one that is, and a database
//! that is not there has its roles looked up where another one's are.

mod clerk;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot};

use super::authenticate::Credential;
use super::worker::Common;
use crate::fault::Fault;
use crate::protocol::auth::verifier::Verifier;
use crate::protocol::auth::{Secret, md5};
use crate::protocol::sqlstate;
use crate::server::address::Target;
use crate::snapshot::{self, AuthMode, AuthUser, Database, Snapshot};

/// What is known of a role.
#[derive(Clone, Debug)]
pub struct Found {
    /// What its proof is held against.
    pub credential: Credential,
    /// What to log in to servers with, where the proof itself is not good for that.
    pub login: Option<Secret>,
    /// The name in a client certificate that proves this role by itself.
    pub cert: Option<String>,
    /// For the log, when the proof fails: what else than a wrong password it may be.
    pub because: &'static str,
}

impl Found {
    fn new(credential: Credential, login: Option<Secret>) -> Found {
        Found {
            credential,
            login,
            cert: None,
            because: "wrong password",
        }
    }

    /// A role that cannot log in with a password: it meets the same exchange as one that can.
    fn unknown(mock: Verifier, because: &'static str) -> Found {
        Found {
            because,
            ..Found::new(Credential::Unknown(mock), None)
        }
    }
}

/// The door to the one who knows.
#[derive(Clone, Debug)]
pub struct Lookup {
    door: mpsc::Sender<Question>,
}

/// What comes through the door.
#[derive(Debug)]
pub struct Question {
    snapshot: Arc<Snapshot>,
    /// Of the database that is asked; `None`: there is none to ask.
    place: Option<Place>,
    user: String,
    what: What,
}

/// Whose servers are asked.
#[derive(Clone, Debug)]
struct Place {
    /// The database's name in the configuration.
    database: String,
    targets: Vec<Arc<Target>>,
}

#[derive(Debug)]
enum What {
    /// What is known of this role?
    Find(oneshot::Sender<Result<Found, Fault>>),
    /// A proof has failed: what is known may be out of date.
    Doubt,
}

impl Lookup {
    /// A door, and what comes through it for [`serve`].
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (door, questions) = mpsc::channel(1024);
        (Lookup { door }, questions)
    }
}

impl Common {
    /// What is known of a role that wants into a database.
    ///
    /// # Errors
    /// No server could be asked, or pgshunt may not ask it.
    pub async fn look_up(
        &self,
        snapshot: &Arc<Snapshot>,
        database: &str,
        user: &str,
    ) -> Result<Found, Fault> {
        let gone = || Fault::fatal(sqlstate::CANNOT_CONNECT_NOW, "pgshunt is shutting down");
        let (answer, told) = oneshot::channel();
        let question = self.question(snapshot, database, user, What::Find(answer));
        self.lookup.door.send(question).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }

    /// This role's proof has failed: the next one is held against what a server says then.
    pub fn doubt(&self, snapshot: &Arc<Snapshot>, database: &str, user: &str) {
        // With the door this full, a doubt less makes no difference.
        let _ = self
            .lookup
            .door
            .try_send(self.question(snapshot, database, user, What::Doubt));
    }

    fn question(&self, snapshot: &Arc<Snapshot>, database: &str, user: &str, what: What) -> Question {
        let asked = asked(snapshot, database);
        let place = asked.and_then(|asked| {
            let shards = self.targets.load();
            // Any server of any shard knows the roles: where one can't be asked, the next one is.
            let targets = shards.get(&asked.name)?.iter().flat_map(|shard| &shard.targets);
            Some(Place {
                database: asked.name.clone(),
                targets: targets.cloned().collect(),
            })
        });
        Question {
            snapshot: snapshot.clone(),
            place,
            user: user.into(),
            what,
        }
    }
}

/// The database whose servers are asked about a role; for a name that no database has, the first one that can be asked.
fn asked<'a>(snapshot: &'a Snapshot, database: &str) -> Option<&'a Database> {
    let can_be_asked = |database: &&Database| database.control.is_some();
    match snapshot.database(database) {
        Some(named) => Some(named).filter(can_be_asked),
        None => snapshot.databases.iter().find(can_be_asked),
    }
}

/// Answers look-ups until the last door is closed. Runs on a [`tokio::task::LocalSet`].
pub async fn serve(mut questions: mpsc::Receiver<Question>) {
    let mut mock_key = [0u8; 32];
    if SystemRandom::new().fill(&mut mock_key).is_err() {
        tracing::error!("the system gives no random bytes: nobody can log in");
        return;
    }
    let mut written = Written::default();
    let mut clerks: HashMap<String, mpsc::UnboundedSender<Question>> = HashMap::new();
    while let Some(question) = questions.recv().await {
        written.learn(&question.snapshot, &mock_key);
        let (user, auth) = (&question.user, &question.snapshot.auth);
        let known = match (auth.mode, written.users.get(user), &question.place) {
            (AuthMode::Trust, known, _) => Found {
                login: known.and_then(|known| known.login.clone()),
                ..Found::new(Credential::Trust, None)
            },
            (_, Some(known), _) => known.clone(),
            (AuthMode::Users, None, _) => Found::unknown(
                mock(&mock_key, user),
                "not among the [[auth.user]] of the configuration",
            ),
            (AuthMode::Passthrough, None, None) => Found::unknown(
                mock(&mock_key, user),
                "no [[auth.user]], and no control role to ask with",
            ),
            (AuthMode::Passthrough, None, Some(place)) => {
                let clerk = clerks.entry(place.database.clone()).or_insert_with(|| {
                    let (door, questions) = mpsc::unbounded_channel();
                    tokio::task::spawn_local(clerk::serve(questions, mock_key));
                    door
                });
                let _ = clerk.send(question);
                continue;
            }
        };
        if let What::Find(answer) = question.what {
            let _ = answer.send(Ok(known));
        }
    }
}

/// The users of the configuration, their passwords hashed once: a role in the file costs as much time as one that is not.
#[derive(Default)]
struct Written {
    of: Option<Arc<Snapshot>>,
    users: HashMap<String, Found>,
}

impl Written {
    fn learn(&mut self, snapshot: &Arc<Snapshot>, mock_key: &[u8; 32]) {
        if self.of.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot)) {
            return;
        }
        let users = snapshot.auth.users.iter();
        self.users = users
            .map(|user| (user.name.clone(), local(user, mock_key)))
            .collect();
        self.of = Some(snapshot.clone());
    }
}

fn local(user: &AuthUser, mock_key: &[u8; 32]) -> Found {
    let mock = mock(mock_key, &user.name);
    let found = match &user.credential {
        Some(snapshot::Credential::Scram(text) | snapshot::Credential::Md5(text)) => {
            // The form has been checked with the file.
            stored(text.expose()).unwrap_or_else(|| Found::unknown(mock, "an unreadable verifier"))
        }
        Some(snapshot::Credential::Password(password)) => with_password(password.expose(), mock.salt),
        None => Found::unknown(mock, "this role must bring its certificate"),
    };
    Found {
        cert: user.cert.clone(),
        ..found
    }
}

fn mock(key: &[u8; 32], user: &str) -> Verifier {
    Verifier::mock(key, user, ITERATIONS)
}

/// Iterations of verifiers pgshunt makes itself, PostgreSQL's own number.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

/// What `pg_authid.rolpassword` holds.
fn stored(text: &str) -> Option<Found> {
    if let Some(verifier) = Verifier::parse(text) {
        return Some(Found::new(Credential::Verifier(verifier), None));
    }
    md5::is_md5_hash(text).then(|| {
        let secret = Secret::Md5Hash(text.into());
        Found::new(Credential::Md5Hash(secret.clone()), Some(secret))
    })
}

/// The salt is the mock's: a role whose password pgshunt has looks like one that does not exist, try after try.
fn with_password(password: &str, salt: Vec<u8>) -> Found {
    let verifier = Verifier::from_password(password, salt, ITERATIONS);
    Found::new(
        Credential::Verifier(verifier),
        Some(Secret::Password(password.into())),
    )
}

#[cfg(test)]
#[path = "credentials/tests.rs"]
mod tests;
