//! The addresses of a server's name: looked up by the system, taken for true for a while (PgBouncer's `dns_max_ttl`), and
//! looked up again while they are in use, so that a name that moves takes its connections along.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::net::lookup_host;

use super::socket::{ADDRESSES_MAX, Settings};

/// One name's addresses as they were found last.
#[derive(Debug, Default)]
pub struct Name {
    known: Mutex<Option<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    at: Instant,
    /// Or why there are none.
    found: Result<Vec<IpAddr>, (io::ErrorKind, String)>,
}

impl Known {
    fn ttl(&self, settings: &Settings) -> Duration {
        match self.found {
            Ok(_) => settings.dns_max_ttl,
            Err(_) => settings.dns_nxdomain_ttl,
        }
    }
}

/// Names are looked up again no more often than this, however short their time is.
const AGAIN: Duration = Duration::from_secs(1);

impl Name {
    /// The addresses of this host, which is always the same one. An address is its own.
    ///
    /// # Errors
    /// It can't be looked up, or could not be within `dns_nxdomain_ttl`.
    pub async fn addresses(&self, host: &str, settings: &Settings) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        if let Some(found) = self.fresh(Instant::now(), settings) {
            return found.map_err(|(kind, text)| io::Error::new(kind, text));
        }
        let found = look_up(host).await;
        self.learn(
            found
                .as_ref()
                .map(Vec::clone)
                .map_err(|e| (e.kind(), e.to_string())),
        );
        found
    }

    /// None of the addresses answered: perhaps they are others by now.
    pub fn doubt(&self) {
        *self.known() = None;
    }

    /// Looks it up again if its time is over: what it stands for now. A name that can't be looked up keeps what it has.
    pub async fn again(&self, host: &str, settings: &Settings) -> Option<Vec<IpAddr>> {
        if host.parse::<IpAddr>().is_ok() || !self.is_due(Instant::now(), settings) {
            return None;
        }
        match look_up(host).await {
            Ok(found) => {
                self.learn(Ok(found.clone()));
                Some(found)
            }
            Err(error) => {
                let before = self.known().take().and_then(|known| known.found.ok());
                self.learn(before.ok_or((error.kind(), error.to_string())));
                None
            }
        }
    }

    fn fresh(
        &self,
        now: Instant,
        settings: &Settings,
    ) -> Option<Result<Vec<IpAddr>, (io::ErrorKind, String)>> {
        let known = self.known();
        let known = known.as_ref()?;
        (now.saturating_duration_since(known.at) < known.ttl(settings)).then(|| known.found.clone())
    }

    fn is_due(&self, now: Instant, settings: &Settings) -> bool {
        let known = self.known();
        let is_over =
            |known: &Known| now.saturating_duration_since(known.at) >= known.ttl(settings).max(AGAIN);
        known.as_ref().is_none_or(is_over)
    }

    fn learn(&self, found: Result<Vec<IpAddr>, (io::ErrorKind, String)>) {
        *self.known() = Some(Known {
            at: Instant::now(),
            found,
        });
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

async fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    let found: Vec<IpAddr> = lookup_host((host, 0))
        .await?
        .map(|address| address.ip())
        .take(ADDRESSES_MAX)
        .collect();
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ttls(max: u64, nxdomain: u64) -> Settings {
        Settings {
            dns_max_ttl: Duration::from_secs(max),
            dns_nxdomain_ttl: Duration::from_secs(nxdomain),
            ..Settings::default()
        }
    }

    #[tokio::test]
    async fn what_is_known_is_taken_for_true_for_its_time() {
        let name = Name::default();
        let here: IpAddr = "192.0.2.7".parse().expect("an address");
        name.learn(Ok(vec![here]));
        assert_eq!(
            name.addresses("no.such.host.invalid", &ttls(15, 0))
                .await
                .expect("known"),
            [here]
        );
        assert!(
            name.addresses("no.such.host.invalid", &ttls(0, 15))
                .await
                .is_err()
        );
        // The failure is known now, and its time is another one.
        assert!(name.addresses("localhost", &ttls(15, 15)).await.is_err());
        assert!(name.addresses("localhost", &ttls(15, 0)).await.is_ok());
        name.doubt();
        assert_eq!(
            name.addresses("192.0.2.9", &ttls(15, 15))
                .await
                .expect("itself")
                .len(),
            1
        );
    }

    #[tokio::test]
    async fn a_name_is_looked_up_again_and_keeps_what_it_has_if_that_fails() {
        let (name, brief) = (Name::default(), ttls(0, 0));
        name.learn(Ok(vec!["192.0.2.7".parse().expect("an address")]));
        assert!(name.again("localhost", &brief).await.is_none(), "a moment ago");
        let mut known = name.known().clone().expect("known");
        known.at = known.at.checked_sub(AGAIN).expect("a running clock");
        *name.known() = Some(known.clone());
        let after = name.again("localhost", &brief).await.expect("elsewhere");
        assert!(after.iter().all(IpAddr::is_loopback));
        *name.known() = Some(known);
        assert!(name.again("no.such.host.invalid", &brief).await.is_none());
        let kept = name.addresses("no.such.host.invalid", &ttls(15, 15)).await;
        assert_eq!(kept.expect("as before").len(), 1);
        assert!(
            name.again("192.0.2.9", &brief).await.is_none(),
            "an address is no name"
        );
    }
}
