//! One connection to one PostgreSQL: reaching it, logging in, what it holds, cancelling on it.
//!
//! `address` says where, `dial` gets a line there, `connect` logs in, `cancel` interrupts, `ask` puts pgshunt's own
//! questions, `held` is a server ready to be lent, `hail` what interrupts one that is
//! played within pgshunt.

pub mod address;
pub mod ask;
pub mod cancel;
pub mod connect;
pub mod dial;
pub mod hail;
pub mod held;
