//! The wire protocol, pure: no await, no clock, no chance, no log.
//!
//! `frame` walks headers, `startup` reads what comes before them, `message` views the client messages that change
//! state, `reply` writes what pgshunt answers itself, `auth` holds the exchanges, `session` every decision, `merge`
//! makes one answer of several shards'.

pub mod auth;
pub mod frame;
pub mod merge;
pub mod message;
pub mod options;
pub mod reply;
pub mod server_error;
pub mod session;
pub mod sqlstate;
pub mod startup;
