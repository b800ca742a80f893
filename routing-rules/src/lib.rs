//! SQL text and facts in, a route and its reasons out.

mod script;
pub use script::{Control, Effects, Lex, Script, read};
