//! app

use std::fmt;
use std::path::PathBuf;

use crate::snapshot::Snapshot;

/// Where the configuration came from, and can be read again.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file; SIGHUP reads it again.
    File(PathBuf),
    /// The command line; it cannot change.
    Dsn,
}

/// Why pgshunt could not start.
#[derive(Debug)]
pub enum StartFault {
    /// The stub speaks.
    Unwritten,
}

impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartFault::Unwritten => f.write_str("app is not in this build yet"),
        }
    }
}

impl std::error::Error for StartFault {}

/// Serves until told to stop.
pub fn serve(snapshot: Snapshot, source: Source) -> Result<(), StartFault> {
    let _ = (snapshot, source);
    Err(StartFault::Unwritten)
}
