//! Looks up again the names of servers in use, and tells the workers where their hosts are (PgBouncer: "When a host name's
//! resolution changes, existing server connections are automatically closed when they are released").

use std::sync::Arc;
use std::time::Duration;

use crate::client::worker::{Common, Order};
use crate::server::address::Address;

/// How often it is looked whether a name's time is over.
const TICK: Duration = Duration::from_millis(500);

/// Runs for ever, on a [`tokio::task::LocalSet`].
pub async fn serve(common: Arc<Common>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let targets = common.targets.load_full();
        let mut seen = Vec::new();
        for target in targets.values().flatten().flat_map(|servers| &servers.targets) {
            let Address::Tcp { host, .. } = &target.address else {
                continue;
            };
            let name = Arc::as_ptr(&target.name);
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            if let Some(addresses) = target.name.again(host, &target.tcp).await {
                let (host, addresses): (Arc<str>, Arc<[_]>) = (host.as_str().into(), addresses.into());
                for door in &common.doors {
                    let _ = door.send(Order::Moved(host.clone(), addresses.clone()));
                }
            }
        }
        common.sweep();
    }
}
