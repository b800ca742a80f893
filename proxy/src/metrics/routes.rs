//! Where statements went, counted.

/// Where statements went, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// To a replica.
    pub replica_count: u64,
    /// To the primary.
    pub primary_count: u64,
    /// To the primary although they only read, since no replica was fresh enough or could do it.
    pub unfit_count: u64,
    /// To the coordinator.
    pub coordinator_count: u64,
    /// By the decisive reason's [`routing_rules::Reason::kind`].
    pub reasons: [u64; routing_rules::Reason::KINDS.len()],
}

impl Routes {
    /// Counts one.
    pub fn count(&mut self, reason: usize, is_replica: bool, is_unfit: bool) {
        match is_replica {
            true => self.replica_count += 1,
            false => self.primary_count += 1,
        }
        self.unfit_count += u64::from(is_unfit);
        if let Some(count) = self.reasons.get_mut(reason) {
            *count += 1;
        }
    }

    /// Counts one that shards can't answer together.
    pub fn count_beyond(&mut self) {
        self.coordinator_count += 1;
        self.reasons[routing_rules::Reason::BeyondShards.kind()] += 1;
    }

    /// Adds others.
    pub fn add(&mut self, o: &Routes) {
        self.replica_count += o.replica_count;
        self.primary_count += o.primary_count;
        self.unfit_count += o.unfit_count;
        self.coordinator_count += o.coordinator_count;
        for (mine, theirs) in self.reasons.iter_mut().zip(o.reasons) {
            *mine += theirs;
        }
    }
}
