//! One connection to one PostgreSQL: reaching it, logging in, what it holds, cancelling on it.

pub mod address;
