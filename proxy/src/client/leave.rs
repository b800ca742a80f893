//! What becomes of a server whose client has left, and how a statement is cancelled.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::relay::Then;
use super::worker::Worker;
use crate::pool::Pool;
use crate::pool::lease::Lease;
use crate::protocol::session::{Heard, Session};
use crate::server::cancel::cancel;
use crate::server::held::{Lost, Server};

/// How long a server may take to come to an end of what a client left in it before it is closed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a server that has exceeded `query_timeout` or `transaction_timeout` may take to hear that it was cancelled.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// How long a statement may still run for a client that said goodbye behind it.
const LAST_STATEMENT: Duration = Duration::from_secs(3600);

/// Brings a server to an end of what its client left, and gives it back; on any doubt it is closed.
///
/// A client that said goodbye gets what it sent before done, as at a PostgreSQL; one that vanished has its statement
/// cancelled.
pub(super) async fn clean(worker: Rc<Worker>, mut session: Session, mut lease: Lease, then: Then) {
    let Some(last_words) = session.wind_up(&mut lease.backend) else {
        return;
    };
    let orderly = then == Then::Leave;
    let patience = match then {
        Then::Leave => LAST_STATEMENT,
        Then::Abandon | Then::Continue => PATIENCE,
        Then::GiveUp => LAST_CHANCE,
    };
    let drained = async {
        if !last_words.is_empty() {
            lease.write(&last_words).await.map_err(|_| Lost)?;
        }
        if !orderly && lease.backend.works_for_client() {
            send_cancel(&lease.pool().clone(), &lease, &worker);
        }
        drain(&worker, &mut session, &mut lease).await?;
        if lease.backend.status != b'I' {
            lease.run(b"ROLLBACK", &worker.buffers).await?.map_err(|_| Lost)?;
        }
        if session.is_due() || !session.pins.is_empty() {
            lease
                .run(b"DISCARD ALL", &worker.buffers)
                .await?
                .map_err(|_| Lost)?;
            lease.backend.emptied();
        }
        Ok::<(), Lost>(())
    };
    if let Ok(Ok(())) = tokio::time::timeout(patience, drained).await {
        lease.give_back();
    }
}

/// Reads until the server owes nothing.
async fn drain(worker: &Worker, session: &mut Session, lease: &mut Lease) -> Result<(), Lost> {
    loop {
        if lease.backend.pipeline.is_empty() && lease.backend.is_between_frames() {
            return Ok(());
        }
        lease.fill(&worker.buffers).await?;
        let mut sink = worker.sink();
        let pool = lease.pool().clone();
        let server: &mut Server = lease;
        let (used, heard) = worker.at_desk(&pool, usize::MAX, |desk| {
            session.on_server(server.inbox.bytes(), &mut server.backend, desk, &mut sink)
        });
        server.inbox.consume(used, &worker.buffers);
        let back = std::mem::take(&mut sink.back);
        worker.recycle(sink);
        match heard {
            Heard::Going | Heard::UnitEnded | Heard::Settled => {}
            Heard::SettingsRefused | Heard::Elsewhere(_) | Heard::Ending | Heard::Broken(_) => {
                return Err(Lost);
            }
        }
        if let Some(more) = session.wind_up(&mut server.backend)
            && !(more.is_empty() && back.is_empty())
        {
            server.write(&back).await.map_err(|_| Lost)?;
            server.write(&more).await.map_err(|_| Lost)?;
        }
    }
}

/// Sends a cancel request for the statement a server runs now. Until it has ended the server is lent to nobody, so it
/// can hit no other statement. Gives the task that sends it; none is needed for what is played within pgshunt.
pub fn send_cancel(pool: &Rc<Pool>, server: &Server, worker: &Worker) -> Option<JoinHandle<()>> {
    let point = server.cancel.clone();
    if let Some(hail) = &point.hail {
        hail.cancel();
        return None;
    }
    point.on_their_way.fetch_add(1, Ordering::AcqRel);
    pool.totals.borrow_mut().cancel_count += 1;
    let patience = pool.settings().cancel_wait_timeout;
    let (pool, common) = (pool.clone(), worker.common.clone());
    common.cancels.fetch_add(1, Ordering::AcqRel);
    Some(tokio::task::spawn_local(async move {
        if let Err(error) = cancel(&point.target, point.pid, &point.secret, patience).await {
            tracing::warn!(address = %point.target.address, %error, "a cancel request could not be passed on");
        }
        common.cancels.fetch_sub(1, Ordering::AcqRel);
        point.on_their_way.fetch_sub(1, Ordering::AcqRel);
        pool.cancel_ended();
    }))
}
