//! TLS towards servers and from clients, with rustls.

/// How to speak TLS to servers: the mode and the files, already read.
#[derive(Debug, Default)]
pub struct ToServer {}
