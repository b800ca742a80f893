//! What a server's own catalog says of a database, in questions and in what is read from the answers. Asks nothing itself.

pub mod names;
