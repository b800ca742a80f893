//! A call to what plays a server within pgshunt: what a cancel request is to a PostgreSQL.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Cancelled? Left alone?
#[derive(Debug, Default)]
pub struct Hail {
    is_canceled: AtomicBool,
    is_left: AtomicBool,
    notify: Notify,
}

impl Hail {
    /// What it is doing is to end with an error.
    pub fn cancel(&self) {
        self.is_canceled.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Nobody will hear its answer.
    pub fn leave(&self) {
        self.is_left.store(true, Ordering::Release);
        self.cancel();
    }

    /// A new statement begins: what was called before was not about it.
    pub fn begin(&self) {
        let is_left = self.is_left.load(Ordering::Acquire);
        self.is_canceled.store(is_left, Ordering::Release);
    }

    /// Was it called since?
    pub fn take(&self) -> bool {
        self.is_canceled.swap(false, Ordering::AcqRel)
    }

    /// Waits for a call. Cancel safe.
    pub async fn called(&self) {
        let notified = self.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_canceled.load(Ordering::Acquire) {
            notified.await;
        }
    }
}
