//! A way to a database: straight to PostgreSQL, or through pgshunt.

use std::process::{Command, Output, Stdio};

use crate::frame::Frame;
use crate::programs;
use crate::wire::Wire;

/// Where to connect, as whom, to which database.
#[derive(Clone, Debug)]
pub struct Door {
    /// A name or address; one that begins with `/` is the folder of a Unix socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The role.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database.
    pub database: String,
}

impl Door {
    /// The same way as another role, whose password is the same.
    pub fn as_user(&self, user: &str) -> Door {
        Door {
            user: user.into(),
            ..self.clone()
        }
    }

    /// The same way to another host: `::1`, `localhost`, a socket's folder.
    pub fn at(&self, host: &str) -> Door {
        Door {
            host: host.into(),
            ..self.clone()
        }
    }

    /// A session. Fails the test if it is refused.
    #[track_caller]
    pub fn wire(&self) -> Wire {
        self.wire_with(&[])
    }

    /// A session with startup parameters.
    #[track_caller]
    pub fn wire_with(&self, parameters: &[(&str, &str)]) -> Wire {
        match self.try_wire(parameters) {
            Ok(wire) => wire,
            Err(refusal) => panic!("no session: {refusal}"),
        }
    }

    /// A session, or the ErrorResponse that refused it.
    pub fn try_wire(&self, parameters: &[(&str, &str)]) -> Result<Wire, Frame> {
        Wire::log_in(self, parameters)
    }

    /// SQLSTATE and message of the refusal. Fails the test if there is none.
    #[track_caller]
    pub fn refusal(&self) -> String {
        match self.try_wire(&[]) {
            Ok(_) => panic!("a session was granted"),
            Err(refusal) => refusal.to_string(),
        }
    }

    /// A client program of PostgreSQL's, told where to connect by its environment.
    pub fn program(&self, name: &str) -> Command {
        let mut command = programs::client(name);
        command
            .env("PGHOST", &self.host)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGPASSWORD", &self.password)
            .env("PGDATABASE", &self.database)
            .stdin(Stdio::null());
        command
    }

    /// Runs SQL by psql: its rows, unaligned, without heading. Fails the test if it fails.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        let output = self.psql_output(sql);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql: {sql}\n{errors}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs SQL by psql, which stops at the first error.
    pub fn psql_output(&self, sql: &str) -> Output {
        let mut psql = self.program("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        psql.output().expect("psql")
    }

    /// Runs pgbench. Fails the test unless it ends well and no transaction failed.
    #[track_caller]
    pub fn pgbench(&self, arguments: &str) -> String {
        let output = self
            .program("pgbench")
            .args(arguments.split_whitespace())
            .output()
            .expect("pgbench");
        let errors = String::from_utf8_lossy(&output.stderr);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "pgbench {arguments}\n{errors}\n{report}");
        assert!(!errors.contains("error"), "pgbench {arguments}\n{errors}");
        report
    }
}
