//! Cancel requests at the console: Ctrl-C ends a command that waits.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;

use crate::protocol::auth::same_secret;

/// The keys of all guests.
#[derive(Default)]
pub struct Keys(RefCell<Vec<Weak<Key>>>);

/// What one guest may cancel with.
pub struct Key {
    secret: [u8; 4],
    asked: Notify,
}

impl Keys {
    /// A key for a new guest, good for as long as it is kept. `None`: the system gives no random bytes.
    pub fn cut(&self) -> Option<Rc<Key>> {
        let mut secret = [0; 4];
        SystemRandom::new().fill(&mut secret).ok()?;
        let key = Rc::new(Key {
            secret,
            asked: Notify::new(),
        });
        let mut keys = self.0.borrow_mut();
        keys.retain(|key| key.strong_count() > 0);
        keys.push(Rc::downgrade(&key));
        Some(key)
    }

    /// Somebody has sent this secret: the command its guest waits for ends.
    pub fn used(&self, secret: &[u8]) {
        for key in self.0.borrow().iter().filter_map(Weak::upgrade) {
            if same_secret(&key.secret, secret) {
                // Only a command that waits now: the next one was not meant.
                key.asked.notify_waiters();
            }
        }
    }
}

impl Key {
    /// The secret, which its guest is told.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Returns when it is used.
    pub async fn is_used(&self) {
        self.asked.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_fits_its_own_guest_and_only_while_it_waits() {
        let keys = Keys::default();
        let (one, other) = (keys.cut().expect("random"), keys.cut().expect("random"));
        keys.used(one.secret());
        let waits = |key: Rc<Key>| async move {
            tokio::select! {
                biased;
                () = key.is_used() => false,
                () = tokio::task::yield_now() => true,
            }
        };
        assert!(waits(one.clone()).await, "it came before the command");
        let used = async {
            keys.used(b"....");
            keys.used(one.secret());
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = other.is_used() => panic!("not its key"),
            () = one.is_used() => {}
            () = used => {}
        }
    }
}
