//! One client asks for all who want to know the same at the same time; the others wait for its answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::key::ByHash;

/// Who asks for what.
#[derive(Debug, Default)]
pub struct Flights {
    under_way: Arc<Mutex<ByHash<Arc<Flight>>>>,
}

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
    flight: Arc<Flight>,
    under_way: Arc<Mutex<ByHash<Arc<Flight>>>>,
}

impl Flights {
    /// Asks for all, unless somebody does already.
    ///
    /// # Errors
    ///
    /// The flight to wait for.
    pub fn lead(&self, hash: u128) -> Result<Leader, Arc<Flight>> {
        let mut under_way = lock(&self.under_way);
        if let Some(flight) = under_way.get(&hash) {
            return Err(flight.clone());
        }
        let flight = Arc::new(Flight::default());
        under_way.insert(hash, flight.clone());
        Ok(Leader {
            hash,
            flight,
            under_way: self.under_way.clone(),
        })
    }
}

fn lock(flights: &Mutex<ByHash<Arc<Flight>>>) -> MutexGuard<'_, ByHash<Arc<Flight>>> {
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

impl Drop for Leader {
    fn drop(&mut self) {
        lock(&self.under_way).remove(&self.hash);
        self.flight.is_over.store(true, Ordering::Release);
        self.flight.over.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_wait_for_one_however_it_ends() {
        let flights = Flights::default();
        let leader = flights.lead(1).expect("the first");
        let flight = flights.lead(1).expect_err("the second");
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
