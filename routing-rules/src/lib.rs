//! SQL text and facts in, a route and its reasons out.
//!
//! [`read`] looks at a text without parsing it: it cuts it into tokens as PostgreSQL does (`lexer`), counts its
//! statements and collects what they may do to the session that runs them (`script`, with `calls` for functions and
//! `settings` for SET), and recognises the few statements a session answers itself (`control`).
//!
//! [`access`] proves that a text only reads, with the [`Names`] of its database; [`route`] decides with that, the user's
//! [`Rules`] and the session's [`Facts`] which kind of server it is for, and says why.

mod access;
mod calls;
mod control;
mod effects;
mod facts;
mod lexer;
mod names;
mod route;
mod rules;
mod script;
mod settings;
mod vacated;
mod words;

pub use access::{Access, Why, access};
pub use control::Control;
pub use effects::Effects;
pub use facts::{Facts, Transaction, Wanted};
pub use names::{Kind, Known, Names};
pub use route::{Freshness, Reason, Reasons, Route, Target, route};
pub use rules::{Consistency, Reads, Rules};
pub use script::{Lex, Script, read};
pub use vacated::vacated;
