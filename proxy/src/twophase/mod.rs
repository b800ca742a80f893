//! A transaction that wrote on several shards commits on all of them or on none.
//!
//! # The life of such a commit
//!
//! 1. A transaction gets a secret; its id is the secret's digest ([`gid::Secret`]). One of its shards is its anchor.
//! 2. All shards but the anchor `PREPARE TRANSACTION` under a name that says id, anchor and shard ([`gid::Gid`]).
//! 3. On the anchor, in the transaction itself, `pgshunt.decide(secret)` inserts the row that says "commit"; then the anchor
//!    commits. That is the moment of the commit: the anchor's own work and the decision are one transaction.
//! 4. The others `COMMIT PREPARED`. What could not be told now is told later.
//!
//! `machine` is this life without any I/O, `commit` carries it out, `recover` ends what a crash left behind: it inserts an
//! "abort" under the same id, which is unique, before it rolls anything back, so that it can't cross a coordinator that is
//! slow. Everything needed for that is in the servers: any pgshunt can do it, at any time, several at once.

pub mod commit;
pub mod door;
pub mod gid;
pub mod known;
pub mod machine;
pub mod recover;
mod refusal;

pub use commit::{Commit, Participant, Report};
pub use machine::Outcome;
pub use refusal::Refusal;
