//! Asks one database's servers for verifiers, over one control connection, and remembers the answers for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Found, Place, Question, What, mock, stored, with_password};
use crate::fault::Fault;
use crate::protocol::server_error::ServerError;
use crate::protocol::sqlstate;
use crate::server::address::Target;
use crate::server::ask::{AskFault, Asker};
use crate::server::connect::ConnectFault;
use crate::snapshot::{Control, DEFAULT_AUTH_QUERY, SETUP_AUTH_QUERY, Snapshot};

/// How long what a server said of a role is believed.
const FRESH: Duration = Duration::from_secs(5);

/// How long it is believed after a proof has failed: one look more a second for each role, however many guess.
const DOUBTED: Duration = Duration::from_secs(1);

/// How long a failure to ask stands for the next question.
const FAILED: Duration = Duration::from_secs(1);

/// The longest all servers together may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Roles remembered before the old ones are dropped.
const REMEMBERED_MAX: usize = 10_000;

/// Answers one database's questions until the door is closed.
pub(super) async fn serve(mut questions: mpsc::UnboundedReceiver<Question>, mock_key: [u8; 32]) {
    let mut clerk = Clerk {
        of: None,
        mock_key,
        asker: None,
        last: 0,
        known: HashMap::new(),
        failed: None,
    };
    while let Some(question) = questions.recv().await {
        clerk.follow(&question.snapshot);
        match question.what {
            What::Doubt => clerk.doubt(&question.user),
            // Whoever asked has left: it need not be found out.
            What::Find(answer) if answer.is_closed() => {}
            What::Find(answer) => {
                let Some(place) = &question.place else {
                    continue;
                };
                let found = clerk.find(&question.snapshot, place, &question.user).await;
                let _ = answer.send(found);
            }
        }
    }
}

struct Clerk {
    /// The configuration all of this is from.
    of: Option<Arc<Snapshot>>,
    mock_key: [u8; 32],
    asker: Option<Asking>,
    /// The server that answered last.
    last: usize,
    known: HashMap<String, (Instant, Found)>,
    failed: Option<(Instant, Why)>,
}

/// A control connection, and how it can be asked.
struct Asking {
    asker: Asker,
    query: String,
}

/// Why there was no answer.
#[derive(Clone)]
enum Why {
    /// No server could be reached.
    Nobody(Fault),
    /// The control role may not read verifiers.
    Forbidden,
}

impl Clerk {
    /// Under another configuration nothing of the old one is believed.
    fn follow(&mut self, snapshot: &Arc<Snapshot>) {
        if self.of.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot)) {
            return;
        }
        self.of = Some(snapshot.clone());
        self.asker = None;
        self.last = 0;
        self.known.clear();
        self.failed = None;
    }

    fn doubt(&mut self, user: &str) {
        if self
            .known
            .get(user)
            .is_some_and(|(at, _)| at.elapsed() >= DOUBTED)
        {
            self.known.remove(user);
        }
    }

    async fn find(&mut self, snapshot: &Snapshot, place: &Place, user: &str) -> Result<Found, Fault> {
        if let Some((at, found)) = self.known.get(user)
            && at.elapsed() < FRESH
        {
            return Ok(found.clone());
        }
        let control = snapshot
            .databases
            .iter()
            .find(|database| database.name == place.database)
            .and_then(|database| database.control.as_ref());
        let Some(control) = control else {
            return Ok(Found::unknown(mock(&self.mock_key, user), "no control role"));
        };
        let asked = match self.recent_failure() {
            Some(why) => Err(why),
            None => self.ask(&snapshot.auth.auth_query, place, control, user).await,
        };
        let found = match asked {
            Ok(answer) => self.read(user, answer),
            Err(Why::Forbidden) => self.own(control, user).ok_or_else(|| may_not_ask(user))?,
            Err(Why::Nobody(fault)) => return Err(fault),
        };
        if self.known.len() >= REMEMBERED_MAX {
            self.known.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        self.known.insert(user.into(), (Instant::now(), found.clone()));
        Ok(found)
    }

    /// What a server's answer means.
    fn read(&self, user: &str, answer: Answer) -> Found {
        let unknown = |because| Found::unknown(mock(&self.mock_key, user), because);
        match answer {
            Answer::Nobody => unknown("no such role, or it may not log in"),
            Answer::NoVerifier => unknown("the role has no password, or its password has expired"),
            Answer::Verifier(text) => {
                stored(&text).unwrap_or_else(|| unknown("its verifier is neither SCRAM-SHA-256 nor md5"))
            }
        }
    }

    /// A role that may not read verifiers can still prove the password it was configured with.
    fn own(&self, control: &Control, user: &str) -> Option<Found> {
        let password = control.password.as_ref().filter(|_| control.user == user)?;
        let salt = mock(&self.mock_key, user).salt;
        Some(with_password(password.expose(), salt))
    }

    fn recent_failure(&self) -> Option<Why> {
        let (at, why) = self.failed.as_ref()?;
        let stands = match why {
            Why::Nobody(_) => FAILED,
            Why::Forbidden => FRESH,
        };
        (at.elapsed() < stands).then(|| why.clone())
    }

    async fn ask(
        &mut self,
        query: &str,
        place: &Place,
        control: &Control,
        user: &str,
    ) -> Result<Answer, Why> {
        let asked = tokio::time::timeout(PATIENCE, self.ask_patiently(query, place, control, user)).await;
        let asked = asked.unwrap_or_else(|_| {
            self.asker = None;
            Err(nobody("no server could be asked about this role in time"))
        });
        self.failed = asked.as_ref().err().map(|why| (Instant::now(), why.clone()));
        asked
    }

    async fn ask_patiently(
        &mut self,
        query: &str,
        place: &Place,
        control: &Control,
        user: &str,
    ) -> Result<Answer, Why> {
        // A connection kept from earlier may have died meanwhile: then a new one is asked once more.
        if let Some(asking) = &mut self.asker {
            match asking.ask(user).await {
                Ok(answer) => return Ok(answer),
                Err(NotTold::Forbidden) => return Err(Why::Forbidden),
                Err(NotTold::Lost) => self.asker = None,
            }
        }
        let mut asking = Asking {
            asker: self.reach(place, control).await?,
            query: query.into(),
        };
        let answer = asking.ask(user).await;
        match answer {
            Ok(answer) => {
                self.asker = Some(asking);
                Ok(answer)
            }
            Err(NotTold::Forbidden) => Err(Why::Forbidden),
            Err(NotTold::Lost) => Err(nobody("the server was lost while it was asked about this role")),
        }
    }

    /// A control connection to any of the servers, beginning with the one that was last: a standby knows the same roles.
    async fn reach(&mut self, place: &Place, control: &Control) -> Result<Asker, Why> {
        let mut failed = None;
        for turn in 0..place.targets.len() {
            let at = (self.last + turn) % place.targets.len();
            match connect(&place.targets[at], control).await {
                Ok(asker) => {
                    self.last = at;
                    return Ok(asker);
                }
                Err(fault) => {
                    let address = &place.targets[at].address;
                    tracing::warn!(%address, user = control.user, error = %fault, "the control connection could not be made");
                    failed = Some(fault);
                }
            }
        }
        Err(match failed {
            Some(fault) => Why::Nobody(fault.for_client()),
            None => nobody("there is no server to ask about this role"),
        })
    }
}

async fn connect(target: &Target, control: &Control) -> Result<Asker, ConnectFault> {
    let target = Target {
        dbname: control.dbname.clone(),
        ..target.clone()
    };
    // INVARIANT: nothing a client says reaches this connection but the role's name, as a parameter (CVE-2025-12819).
    let search_path = (b"search_path".to_vec(), b"pg_catalog, pg_temp".to_vec());
    Asker::connect(&target, &control.user, &control.secret(), &[search_path]).await
}

/// What a server says of a role.
enum Answer {
    /// No row.
    Nobody,
    /// A row without a verifier.
    NoVerifier,
    /// A verifier.
    Verifier(String),
}

enum NotTold {
    /// The server refused the question.
    Forbidden,
    /// The connection is good for nothing any more.
    Lost,
}

impl Asking {
    /// Asks; where `pg_authid` may not be read, by the function that `pgshunt setup` makes.
    async fn ask(&mut self, user: &str) -> Result<Answer, NotTold> {
        match self.asker.ask(&self.query, &[Some(user)]).await {
            Ok(rows) => Ok(answer(rows)),
            Err(AskFault::Server(error)) => {
                if self.query == DEFAULT_AUTH_QUERY && is_forbidden(&error) {
                    self.query = SETUP_AUTH_QUERY.into();
                    return Box::pin(self.ask(user)).await;
                }
                tracing::warn!(%error, "auth_query was refused");
                Err(NotTold::Forbidden)
            }
            Err(error) => {
                tracing::info!(%error, "the control connection was lost");
                Err(NotTold::Lost)
            }
        }
    }
}

fn is_forbidden(error: &ServerError) -> bool {
    error.code == Some(sqlstate::INSUFFICIENT_PRIVILEGE)
}

fn answer(rows: Vec<Vec<Option<Vec<u8>>>>) -> Answer {
    let Some(row) = rows.into_iter().next() else {
        return Answer::Nobody;
    };
    let verifier = row.into_iter().nth(1).flatten();
    match verifier.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(text) => Answer::Verifier(text),
        None => Answer::NoVerifier,
    }
}

fn nobody(text: &str) -> Why {
    Why::Nobody(Fault::fatal(sqlstate::CANNOT_CONNECT_NOW, text))
}

fn may_not_ask(user: &str) -> Fault {
    Fault::fatal(
        sqlstate::INVALID_AUTHORIZATION,
        format!("pgshunt may not look up role \"{user}\""),
    )
    .hint("Its control role cannot read password verifiers. As a superuser run \"pgshunt setup\", or list this role in [[auth.user]].")
}
