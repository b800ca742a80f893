//! SQL text and facts in, a route and its reasons out.
//!
//! [`read`] looks at a text without parsing it: it cuts it into tokens as PostgreSQL does (`lexer`), counts its
//! statements and collects what they may do to the session that runs them (`script`, with `calls` for functions and
//! `settings` for SET), and recognises the few statements a session answers itself (`control`).

mod access;
mod calls;
mod control;
mod effects;
mod lexer;
mod names;
mod script;
mod settings;
mod words;

pub use access::{Access, Why, access};
pub use control::Control;
pub use effects::Effects;
pub use names::{Kind, Known, Names};
pub use script::{Lex, Script, read};
