//! The commands of the console that act on databases: pause, resume, disable, enable, reconnect, kill, and their waiting.

use std::time::Duration;

use tokio::sync::oneshot;

use super::lookout::Lookout;
use crate::client::switches::{Switches, means};
use crate::client::worker::Order;
use crate::fault::Fault;
use crate::protocol::sqlstate;

/// How often a command that waits looks whether it still has to.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A database, or (`None`) all of them.
pub type Which<'a> = Option<&'a str>;

impl Lookout {
    /// Lends no more servers, and returns when all are closed. Clients wait meanwhile.
    ///
    /// # Errors
    /// There is no such database, or all are paused already.
    pub async fn pause(&self, which: Which<'_>) -> Result<(), Fault> {
        self.find(which)?;
        if which.is_none() && self.common.switches.load().all_paused {
            return Err(not_in_state("all databases are paused already".into()));
        }
        self.switch_paused(which).await;
        // A RESUME that comes first ends the waiting as well.
        while self.is_paused(which) && self.servers(which) > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn switch_paused(&self, which: Which<'_>) {
        self.switch(|switches| match which {
            None => switches.all_paused = true,
            Some(name) => {
                switches.paused.insert(name.into());
            }
        })
        .await;
    }

    /// Lends servers again: of one database, or of all, however they were paused.
    ///
    /// # Errors
    /// There is no such database, or it is not paused.
    pub async fn resume(&self, which: Which<'_>) -> Result<(), Fault> {
        self.find(which)?;
        let switches = self.common.switches.load_full();
        match which {
            None if !switches.pauses() => return Err(not_in_state("no database is paused".into())),
            Some(name) if !switches.paused.contains(name) => {
                let fault = not_in_state(format!("database \"{name}\" is not paused"));
                return Err(match switches.all_paused {
                    true => fault.hint("All databases are paused: RESUME without a name."),
                    false => fault,
                });
            }
            None | Some(_) => {}
        }
        self.switch(|switches| match which {
            None => {
                switches.all_paused = false;
                switches.paused.clear();
            }
            Some(name) => {
                switches.paused.remove(name);
            }
        })
        .await;
        Ok(())
    }

    /// Takes back what one PAUSE did.
    pub async fn unpause(&self, which: Which<'_>) {
        self.switch(|switches| match which {
            None => switches.all_paused = false,
            Some(name) => {
                switches.paused.remove(name);
            }
        })
        .await;
    }

    /// Refuses new clients of a database, or takes them again.
    ///
    /// # Errors
    /// There is no such database.
    pub async fn disable(&self, name: &str, disabled: bool) -> Result<(), Fault> {
        self.find(Some(name))?;
        self.switch(|switches| {
            match disabled {
                true => switches.disabled.insert(name.into()),
                false => switches.disabled.remove(name),
            };
        })
        .await;
        Ok(())
    }

    /// Has servers connected anew, each when it is next free.
    ///
    /// # Errors
    /// There is no such database.
    pub async fn reconnect(&self, which: Which<'_>) -> Result<(), Fault> {
        self.find(which)?;
        self.ask_all(|answer| Order::Renew(which.map(Into::into), answer))
            .await;
        Ok(())
    }

    /// Ends all clients and their servers, and leaves the database paused.
    ///
    /// # Errors
    /// There is no such database.
    pub async fn kill(&self, which: Which<'_>) -> Result<(), Fault> {
        self.find(which)?;
        self.switch_paused(which).await;
        self.ask_all(|answer| Order::EndAll(which.map(Into::into), answer))
            .await;
        Ok(())
    }

    /// Returns when servers that were to be connected anew are all gone.
    ///
    /// # Errors
    /// There is no such database.
    pub async fn wait_close(&self, which: Which<'_>) -> Result<(), Fault> {
        self.find(which)?;
        let outdated = || self.ask_all(|answer| Order::Outdated(which.map(Into::into), answer));
        while outdated().await.into_iter().sum::<usize>() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Forgets every answer kept for a database, or for all.
    ///
    /// # Errors
    /// There is no such database.
    pub fn clear_cache(&self, which: Which<'_>) -> Result<(), Fault> {
        self.find(which)?;
        let snapshot = self.common.snapshot.load();
        for (database, cache) in self.common.caches().iter() {
            if which.is_none_or(|said| means(said, database, &snapshot)) {
                cache.clear();
            }
        }
        Ok(())
    }

    fn find(&self, which: Which<'_>) -> Result<(), Fault> {
        match which {
            Some(name) if self.common.snapshot.load().database(name).is_none() => {
                let text = format!("database \"{name}\" does not exist");
                Err(Fault::error(sqlstate::NO_SUCH_DATABASE, text).hint("SHOW DATABASES lists them."))
            }
            None | Some(_) => Ok(()),
        }
    }

    /// Has a PAUSE of just this been said?
    pub fn is_paused(&self, which: Which<'_>) -> bool {
        let switches = self.common.switches.load();
        match which {
            None => switches.all_paused,
            Some(name) => switches.paused.contains(name),
        }
    }

    /// Servers of a database, connecting and closing ones with them.
    fn servers(&self, which: Which<'_>) -> usize {
        let snapshot = self.common.snapshot.load();
        let ledgers = self.common.ledgers();
        let meant = ledgers
            .iter()
            .filter(|(key, _)| which.is_none_or(|said| means(said, &key.database, &snapshot)));
        meant.map(|(_, ledger)| ledger.servers()).sum()
    }

    /// Changes the switches, and returns when every worker follows.
    async fn switch(&self, change: impl Fn(&mut Switches)) {
        self.common.switches.rcu(|switches| {
            let mut switches = Switches::clone(switches);
            change(&mut switches);
            switches
        });
        self.ask_all(Order::Switch).await;
    }

    /// Gives every worker an order; the answers of those that have not ended.
    async fn ask_all<T>(&self, order: impl Fn(oneshot::Sender<T>) -> Order) -> Vec<T> {
        let ask = |door: &tokio::sync::mpsc::UnboundedSender<Order>| {
            let (answer, told) = oneshot::channel();
            let _ = door.send(order(answer));
            told
        };
        let asked: Vec<_> = self.common.doors.iter().map(ask).collect();
        let mut answers = Vec::new();
        for told in asked {
            answers.extend(told.await);
        }
        answers
    }
}

fn not_in_state(text: String) -> Fault {
    Fault::error(sqlstate::NOT_IN_STATE, text)
}
