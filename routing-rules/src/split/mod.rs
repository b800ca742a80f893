//! Rows that come in one statement and belong on several shards: an INSERT of several rows becomes one text for each shard, and the
//! data of a COPY is cut into rows as it streams by. Who sends what to whom is not decided here.

mod arrays;
mod copy;
mod insert;

pub use copy::{CopyError, CopyFault, CopyFormat, CopyOptions, CopySplitter, Goes};
pub use insert::{InsertPart, in_order};
