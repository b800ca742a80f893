//! What the tests share.

pub mod fuzzing;
