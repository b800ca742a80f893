//! What a server reports to a client with given startup settings: asked of a server once, then known.
//!
//! A startup setting the server refuses ends the login with the server's own words, as at a PostgreSQL.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use crate::fault::Fault;
use crate::net::buffer::Buffers;
use crate::pool::Pool;
use crate::pool::lease::{Answer, Lease};
use crate::protocol::message::error_field;
use crate::protocol::session::reported::Reported;
use crate::protocol::session::settings::{Settings, Shared, change};
use crate::protocol::sqlstate::{self, SqlState};

/// Why a client is not let in.
pub enum NotWelcome {
    /// What it is told.
    Fault(Fault),
}

/// What servers of this pool report to a client with these settings.
///
/// `application_name` is reported as it was given, so a client that differs from a known one in nothing else needs no
/// server to be let in. Clients of one kind share what is returned.
pub async fn introduce(
    pool: &Rc<Pool>,
    startup: Shared,
    buffers: &Buffers,
) -> Result<(Shared, Reported), NotWelcome> {
    let ledger = &pool.plan.ledger;
    if let Some(known) = ledger.welcome(&startup) {
        return Ok(known);
    }
    let (plain, name) = without_name(&startup);
    let mut welcome = match ledger.welcome(&plain) {
        Some((_, known)) => known,
        None => {
            let asked = ask(pool, &plain, buffers).await?;
            ledger.learn_welcome(plain, asked.clone());
            asked
        }
    };
    if let Some(name) = name {
        welcome = with_name(welcome, &name);
        ledger.learn_welcome(startup.clone(), welcome.clone());
    }
    Ok((startup, welcome))
}

const NAME: &[u8] = b"application_name";

/// The settings without `application_name`, and its value where it can be told how it will be reported.
fn without_name(startup: &Shared) -> (Shared, Option<Vec<u8>>) {
    match startup.value(NAME) {
        // PostgreSQL replaces what is not printable ASCII and cuts at NAMEDATALEN; both are its own to do.
        Some(name) if name.len() < 64 && name.iter().all(|c| (0x20..0x7f).contains(c)) => {
            let others = startup
                .iter()
                .filter(|(other, _)| !other.eq_ignore_ascii_case(NAME));
            let plain = Settings::collect(others.map(|(name, value)| (name.to_vec(), value.to_vec())));
            (Arc::new(plain), Some(name.to_vec()))
        }
        Some(_) | None => (startup.clone(), None),
    }
}

fn with_name(mut reported: Reported, name: &[u8]) -> Reported {
    if reported.value(NAME) != Some(name) {
        Arc::make_mut(&mut reported).set(NAME, name);
    }
    reported
}

/// Asks a server, with the settings made there.
async fn ask(pool: &Rc<Pool>, startup: &Shared, buffers: &Buffers) -> Result<Reported, NotWelcome> {
    let mut lease = borrow(pool).await.map_err(NotWelcome::Fault)?;
    if let Some(change) = change(&lease.backend.settings, startup) {
        match lease.run(&change.sql, buffers).await {
            Ok(Ok(())) => lease.backend.settings = startup.clone(),
            Ok(Err(error)) => return Err(NotWelcome::Fault(told(&error))),
            Err(_) => {
                let fault = Fault::fatal(
                    sqlstate::CONNECTION_FAILURE,
                    "the server closed the connection unexpectedly",
                );
                return Err(NotWelcome::Fault(fault));
            }
        }
    }
    let reported = lease.backend.reported.clone();
    lease.give_back();
    Ok(reported)
}

async fn borrow(pool: &Rc<Pool>) -> Result<Lease, Fault> {
    let mut ticket = None;
    poll_fn(|cx| {
        if ticket.is_none() {
            match pool.borrow(0, || cx.waker().clone()) {
                Answer::Lent(lease) => return Poll::Ready(Ok(lease)),
                Answer::Refused(fault) => return Poll::Ready(Err(fault)),
                Answer::Queued(place) => ticket = Some(place),
            }
        }
        match ticket.as_ref().and_then(|ticket| ticket.outcome()) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    })
    .await
}

/// A server's ErrorResponse in the words of a fault.
fn told(error: &[u8]) -> Fault {
    let field = |tag| error_field(error, tag).map(|text| String::from_utf8_lossy(text).into_owned());
    let code = error_field(error, b'C')
        .and_then(|code| code.try_into().ok())
        .map_or(sqlstate::INTERNAL, SqlState);
    Fault {
        detail: field(b'D'),
        hint: field(b'H'),
        ..Fault::fatal(
            code,
            field(b'M').unwrap_or_else(|| "the server refused a startup setting".into()),
        )
    }
}
