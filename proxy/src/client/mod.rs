//! The data path: a client from its first byte to its last.
//!
//! `worker` owns a thread; `arrive` turns a socket into a client by way of `handshake`, `credentials`, `certificate`,
//! `authenticate` and `introduce`; `gate` counts who may; `relay` serves it, `route` says where its statements go and `explain` why, `cached` answers from the cache and `filling` takes down what is kept there, `signals` tells it what comes from outside (`replicate`, if it speaks the replication protocol); `mode` says what it keeps, `leave` cleans up behind it; `pools` keeps its pools as the configuration says, and as operators do (`switches`), `forget` gives them up; `census` counts; `gather` plays one server for several shards.

pub mod arrive;
pub mod authenticate;
mod cached;
mod caches;
pub mod census;
pub mod certificate;
pub mod credentials;
mod explain;
mod filling;
mod forget;
pub mod gate;
mod gather;
pub mod handle;
pub mod handshake;
pub mod introduce;
pub mod leave;
mod lend;
pub mod marks;
pub mod mode;
mod pools;
pub mod relay;
pub mod replicate;
pub mod route;
mod shared;
mod signals;
pub mod switches;
pub mod worker;
