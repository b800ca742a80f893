//! Lending servers to clients.

pub mod settings;
