//! How rows of several shards become one answer: their order, their columns, the arrays of partial results. Pure.
//!
//! `rows` reads descriptions and rows, `order` compares sort keys as PostgreSQL does for the types it is sure of, `ways` is
//! the merge, `arrays` makes parameters of columns, `sorted` asks a PostgreSQL for the order of what `order` can't compare,
//! `copies` puts the results of COPY TO together.

pub mod arrays;
pub mod copies;
pub mod order;
pub mod rows;
pub mod sorted;
pub mod tags;
pub mod ways;
