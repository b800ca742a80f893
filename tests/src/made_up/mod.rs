//! Schemas, rows and statements that nobody has written: what four shards and one PostgreSQL with all the rows are both asked.

pub mod kinds;
pub mod schema;
pub mod statements;
pub mod terms;

pub use schema::Schema;
pub use statements::{Asked, asked};
