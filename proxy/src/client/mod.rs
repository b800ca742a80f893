//! The data path: a client from its first byte to its last.

pub mod authenticate;
pub mod handshake;
