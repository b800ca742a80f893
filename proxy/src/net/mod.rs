//! Sockets: what listens, what streams, what encrypts. Knows bytes, not SQL.

pub mod buffer;
pub mod inbox;
pub mod names;
pub mod socket;
pub mod stream;
pub mod tls;
