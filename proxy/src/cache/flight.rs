//! One client asks for all who want to know the same at the same time; the others wait for its answer.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::by_hash::ByHash;

/// Who asks for what.
#[derive(Debug, Default)]
pub struct Flights {
    under_way: Arc<Mutex<UnderWay>>,
}

/// The questions that are being asked; a flight where somebody waits for it.
type UnderWay = ByHash<u128, Option<Arc<Flight>>>;

/// One question that is being asked.
#[derive(Debug, Default)]
pub struct Flight {
    is_over: AtomicBool,
    over: Notify,
}

/// The one who asks. When this goes, whatever came of it, the others wait no longer.
#[derive(Debug)]
pub struct Leader {
    hash: u128,
    under_way: Arc<Mutex<UnderWay>>,
}

impl Flights {
    /// Asks for all, unless somebody does already.
    ///
    /// # Errors
    ///
    /// The flight to wait for.
    pub fn lead(&self, hash: u128) -> Result<Leader, Arc<Flight>> {
        match lock(&self.under_way).entry(hash) {
            Entry::Occupied(mut known) => Err(known.get_mut().get_or_insert_default().clone()),
            Entry::Vacant(place) => {
                place.insert(None);
                Ok(Leader {
                    hash,
                    under_way: self.under_way.clone(),
                })
            }
        }
    }
}

fn lock(flights: &Mutex<UnderWay>) -> MutexGuard<'_, UnderWay> {
    flights.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Flight {
    /// Waits until it is over.
    pub async fn wait(&self) {
        let over = self.over.notified();
        tokio::pin!(over);
        over.as_mut().enable();
        if !self.is_over.load(Ordering::Acquire) {
            over.await;
        }
    }
}

impl Leader {
    /// Does anybody wait for it?
    pub fn is_awaited(&self) -> bool {
        lock(&self.under_way).get(&self.hash).is_some_and(Option::is_some)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let flight = lock(&self.under_way).remove(&self.hash).flatten();
        if let Some(flight) = flight {
            flight.is_over.store(true, Ordering::Release);
            flight.over.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_wait_for_one_however_it_ends() {
        let flights = Flights::default();
        let leader = flights.lead(1).expect("the first");
        assert!(!leader.is_awaited());
        let flight = flights.lead(1).expect_err("the second");
        assert!(leader.is_awaited());
        assert!(flights.lead(2).is_ok());
        let waiting = tokio::spawn({
            let flight = flight.clone();
            async move { flight.wait().await }
        });
        tokio::task::yield_now().await;
        drop(leader);
        waiting.await.expect("woken");
        flight.wait().await;
        assert!(flights.lead(1).is_ok());
    }
}
