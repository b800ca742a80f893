//! A pool and the roles of its database's servers: which one is the primary now, and whose servers are of an old one.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::settings::Settings;
use super::{Failure, Pool, Role};
use crate::fault::Fault;
use crate::protocol::sqlstate;
use crate::server::address::Target;
use crate::server::connect::ConnectFault;

/// Time between two attempts to connect to a primary that is not there at the moment.
const RETRY_PRIMARY: Duration = Duration::from_millis(100);

impl Pool {
    /// Has another server become the primary? Then all of the old one's are closed: free ones now, lent ones when they
    /// come back, and who holds one is told.
    pub fn follow_primary(self: &Rc<Self>) {
        let (epoch, first) = {
            let reads = self.reads.borrow();
            if !reads.cluster.has_replicas() {
                return;
            }
            (reads.cluster.epoch(), reads.cluster.primary())
        };
        let before = self.epoch.replace(epoch);
        if before == epoch {
            return;
        }
        // The first look only confirms what a connection was told itself.
        let is_confirmed = before == 0 && first.is_some_and(|first| self.has_only(first));
        if self.plan.key.place.role != Role::Primary || is_confirmed {
            return;
        }
        self.preferred.set(first.unwrap_or(0));
        self.renew();
        self.fenced_below.set(self.generation.get());
    }

    /// Are all its servers those of this member? One that is being connected looks itself.
    fn has_only(&self, member: usize) -> bool {
        let reads = self.reads();
        let address = &reads.cluster.members[member].target.address;
        let mut has_only = true;
        self.each_known(|facts| has_only &= facts.target.address == *address);
        has_only
    }

    /// Is this where the primary is, as far as that is known?
    pub(super) fn is_at_primary(&self, target: &Target) -> bool {
        let reads = self.reads.borrow();
        let primary = reads.cluster.primary().filter(|_| reads.cluster.has_replicas());
        primary.is_none_or(|at| reads.cluster.members[at].target.address == target.address)
    }

    /// Could no server be reached the last time, and is none there?
    pub fn is_failing(&self) -> bool {
        let failure = self.failure.borrow();
        let is_unreachable = failure
            .as_ref()
            .is_some_and(|failure| failure.fault.code == sqlstate::CANNOT_CONNECT);
        is_unreachable && self.alive.get() == 0
    }

    /// Which shard it is about, where there are several.
    pub(super) fn naming_shard(&self, fault: Fault) -> Fault {
        match (self.reads.borrow().clusters.len() > 1, &fault.detail) {
            (true, None) => fault.detail(format!("Shard \"{}\".", self.plan.key.place.shard)),
            (true, Some(_)) | (false, _) => fault,
        }
    }

    /// Are servers of this generation ones of a primary that no longer is?
    pub fn is_fenced(&self, generation: u64) -> bool {
        generation < self.fenced_below.get()
    }

    /// The servers to try: the primary alone, once it is known. Another server that takes writes is one that nobody
    /// may write to.
    pub(super) fn candidates(&self) -> Rc<[Arc<Target>]> {
        let targets = self.targets.borrow().clone();
        let reads = self.reads.borrow();
        match (self.plan.key.place.role, reads.cluster.primary()) {
            (Role::Primary, Some(at)) if reads.cluster.has_replicas() && at < targets.len() => {
                self.preferred.set(0);
                Rc::new([targets[at].clone()])
            }
            (Role::Primary | Role::Replica(_) | Role::Coordinator, _) => targets,
        }
    }

    /// Is this a failure that another server's promotion would end?
    pub(super) fn awaits_primary(&self, fault: &ConnectFault) -> bool {
        self.plan.key.place.role == Role::Primary
            && self.reads.borrow().cluster.has_replicas()
            && match fault {
                ConnectFault::Unreachable(_) | ConnectFault::Lost(_) | ConnectFault::Timeout => true,
                ConnectFault::Refused(error) => error.code == Some(sqlstate::CANNOT_CONNECT_NOW),
                ConnectFault::OtherVerifier(_)
                | ConnectFault::NoTls
                | ConnectFault::TlsAnswer(_)
                | ConnectFault::Tls(_)
                | ConnectFault::Login(_)
                | ConnectFault::MessageLength
                | ConnectFault::StartupLength
                | ConnectFault::NoChance => false,
            }
    }
}

pub(super) fn retry_after(failure: &Failure, settings: &Settings) -> Duration {
    match failure.may_pass {
        true => RETRY_PRIMARY.min(settings.server_login_retry),
        false => settings.server_login_retry,
    }
}
