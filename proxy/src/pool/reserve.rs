//! What becomes of clients that wait for long: servers of the reserve, a notice, and in the end a refusal.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Pool;
use super::lease::Waiter;
use super::settings::Settings;
use crate::fault::Fault;
use crate::protocol::sqlstate;

impl Pool {
    /// Takes a place in the pool: one of `size`, or, once a client has waited for `reserve_pool_timeout`, one of
    /// `reserve_pool_size`.
    pub(super) fn takes_place(&self, settings: &Settings) -> bool {
        let has_waited = !settings.reserve_pool_timeout.is_zero()
            && self.longest_wait(Instant::now()) >= settings.reserve_pool_timeout;
        self.plan.ledger.reserve(has_waited)
    }

    /// How long the client in front has waited.
    pub(super) fn longest_wait(&self, now: Instant) -> Duration {
        let waiters = self.waiters.borrow();
        let oldest = waiters.iter().find(|waiter| waiter.is_waiting());
        oldest.map_or(Duration::ZERO, |waiter| waited(waiter, now))
    }

    /// Refuses those who have waited for `query_wait_timeout`, and has those told who wait since `query_wait_notify`.
    pub(super) fn mind_waiters(&self, settings: &Settings, now: Instant) {
        self.waiters.borrow_mut().retain(|waiter| {
            if is_over(settings.query_wait_timeout, waiter, now) && waiter.is_waiting() {
                waiter.refuse(
                    Fault::error(sqlstate::TOO_MANY_CONNECTIONS, "no server became free within query_wait_timeout")
                        .hint("All servers of this pool are busy: raise size in [pool], or look for long transactions."),
                );
            } else if is_over(settings.query_wait_notify, waiter, now) {
                waiter.notify();
            }
            waiter.is_waiting()
        });
    }
}

fn waited(waiter: &Rc<Waiter>, now: Instant) -> Duration {
    now.saturating_duration_since(waiter.since)
}

fn is_over(limit: Duration, waiter: &Rc<Waiter>, now: Instant) -> bool {
    !limit.is_zero() && waited(waiter, now) >= limit
}
