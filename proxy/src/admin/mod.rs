//! What operators see and say: the console on its own port, and HTTP for monitoring.
//!
//! `lookout` asks every worker for its census and adds it up; `show` turns that into PgBouncer's rows, `exposition`
//! into Prometheus' text, `page` into a page for people. `command` and `driver` know what may be said at the console,
//! `login` lets people in, `console` talks with them.

pub mod command;
pub mod console;
pub mod driver;
pub mod login;
pub mod lookout;
pub mod rates;
pub mod run;
pub mod show;
pub mod table;
pub mod talk;
pub mod words;
