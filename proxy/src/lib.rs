//! pgshunt: a PostgreSQL proxy that pools, routes and explains.
//!
//! # The life of a statement
//!
//! 1. `app` accepts a connection and gives it to the worker with the fewest clients; from then on the client and
//!    every server it borrows live on that worker's thread.
//! 2. `client::handshake`: TLS or not, startup message, authentication, the parameters a PostgreSQL would report.
//! 3. `client::relay` reads bytes and asks `protocol::session` what they mean: `Session::on_client` says what to
//!    answer at once, what to send on, and whether a server is needed.
//! 4. `pool` lends a server: an idle one, a new one, or a place in the queue.
//! 5. The server gets the client's settings and prepared statements in the same write as the client's own bytes.
//! 6. `Session::on_server` says which bytes of the answer are the client's; they leave in runs, not frame by frame.
//! 7. Idle, clean and owed nothing: the server goes back.
//!
//! # Floors
//!
//! A module may use what stands before it in this list, never what stands after it (`tests/tests/floors.rs`).

pub mod admin;
pub mod app;
pub mod by_hash;
pub mod cache;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod fault;
pub mod metrics;
pub mod net;
pub mod pool;
pub mod protocol;
pub mod server;
pub mod snapshot;
pub mod twophase;
