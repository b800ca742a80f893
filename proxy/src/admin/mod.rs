//! What operators see and say: the console on its own port, and HTTP for monitoring.
//!
//! `lookout` asks every worker for its census and adds it up; `show` turns that into PgBouncer's rows, `exposition`
//! into Prometheus' text, `page` into a page for people; `ready` says whether statements can be served. `command` and
//! `driver` know what may be said at the console, `login` lets people in, `talk` speaks the protocol, `run` does what
//! they ask, by way of `operate` where it is about databases; `console` and `http` have the sockets. `visit` is a client of
//! pgshunt's own.

pub mod cancel;
pub mod command;
pub mod console;
pub mod driver;
pub mod exposition;
pub mod http;
pub mod login;
pub mod lookout;
pub mod operate;
pub mod page;
pub mod process;
pub mod rates;
pub mod ready;
pub mod run;
pub mod show;
pub mod table;
pub mod talk;
pub mod visit;
pub mod words;
